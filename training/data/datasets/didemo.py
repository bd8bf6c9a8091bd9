"""DiDeMo: about 10,000 personal videos; all sentences about a video, joined in the order of the file, are one paragraph.

    {train,val,test}_data.json   [{"video", "description", "times", "num_segments", "annotation_id", "dl_link"}], or
                                 {video: [sentences]} as STAN's code reads it
    {train,val,test}_list.txt    a video a line: keeps to these; may be absent
    videos/                      {video}, or the same name with another ending

Annotators saw the first 30 seconds of a video, so nothing after them is shown.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from training.data.benchmarks.files import VIDEO_SUFFIXES, json_rows, read_text
from training.data.datasets.clips import captioned, check_split
from training.data.datasets.files import captions_by_name, numbered_lines
from training.data.jsonl import DataError
from training.data.retrieval import CaptionedVideo

SPLITS = ("train", "val", "test")
NEEDED = ("video", "description")
KNOWN = ("times", "num_segments", "annotation_id", "dl_link", "download_link", "reference_descriptions", "context")
SECONDS = 30.0


def read(root: Path, split: str = "test") -> list[CaptionedVideo]:
    """Videos of one of SPLITS, each with its paragraph. Raises DataError with file and line."""
    check_split(split, SPLITS)
    path, chosen = root / f"{split}_data.json", root / f"{split}_list.txt"
    listed = {name: where for where, name in numbered_lines(chosen)} if chosen.is_file() else None
    sentences = [(name, said) for name, said in _sentences(path) if listed is None or name in listed]
    silent = (listed or {}).keys() - {name for name, _ in sentences}
    for name in (name for name in listed or {} if name in silent):
        raise DataError(f"{listed[name]}: expected a video with sentences in {path.name}, got '{name}'.")
    return [
        CaptionedVideo(video=_video(root, video.video), captions=(" ".join(video.captions),), split=split, end=SECONDS)
        for video in captioned(sentences, split=split, source=path)
    ]


def _sentences(path: Path) -> Iterator[tuple[str, str]]:
    if read_text(path).lstrip().startswith("["):
        for row in json_rows(path, NEEDED, KNOWN):
            yield row.text("video"), row.text("description")
    else:
        yield from captions_by_name(path)


def _video(root: Path, name: str) -> str:
    """The file of a video; many are kept under another ending than the one they were published with."""
    stem = PurePosixPath(name).stem
    paths = [f"videos/{name}", *(f"videos/{stem}.{suffix}" for suffix in VIDEO_SUFFIXES)]
    return next((path for path in paths if (root / path).exists()), paths[0])
