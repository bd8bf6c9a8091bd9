"""The Video-ChatGPT benchmark: free answers about 500 videos of ActivityNet-200, judged from 0 to 5 in five aspects.

From github.com/mbzuai-oryx/Video-ChatGPT (quantitative_evaluation/README.md has the links); the question files lie in
the root or in Benchmarking_QA/:

    generic_qa.json, temporal_qa.json     [{"video_name", "Q", "A"}]
    consistency_qa.json                   [{"video_name", "Q1", "Q2", "A"}]: two questions with one answer
    Test_Videos/ or videos/               {video_name}.mp4

A video has several questions and a question has no id, so ids are made as their owners make them: the number of the
question among those of its video, in the order of the file.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from training.data.benchmarks.files import VIDEO_SUFFIXES, find_file, find_medium, json_rows
from training.data.items import Item, unique

ASPECTS = {
    "correctness": "generic",
    "detail": "generic",
    "context": "generic",
    "temporal": "temporal",
    "consistency": "consistency",
}
"""What is judged, and which questions it is judged on."""
PARTS = {"generic": ("Q",), "temporal": ("Q",), "consistency": ("Q1", "Q2")}
"""The files and the keys of their questions."""


def read(root: Path, parts: Sequence[str] = tuple(PARTS)) -> list[Item]:
    """Questions of the given parts; groups {"part"}. Ids: part/video_number, with /Q1 and /Q2 behind it for pairs.

    Raises DataError, KeyError for a part.
    """
    items = []
    for part in parts:
        keys = PARTS[part]
        path = find_file(root, f"{part}_qa.json", f"Benchmarking_QA/{part}_qa.json")
        count: Counter[str] = Counter()
        of_part = []
        for row in json_rows(path, ("video_name", "A", *keys)):
            name = row.name("video_name")
            id = f"{part}/{name}_{count[name]}"
            count[name] += 1
            video = find_medium(root, ("Test_Videos", "videos"), [name], VIDEO_SUFFIXES)
            of_part += [
                Item(
                    id=f"{id}/{key}" if len(keys) > 1 else id, video=video, question=row.text(key),
                    answers=(row.text("A"),), groups={"part": part},
                )
                for key in keys
            ]  # fmt: skip
        items += unique(of_part, path)
    return items


def pairs(items: Sequence[Item]) -> list[tuple[Item, Item]]:
    """The two questions of every row of consistency_qa.json, joined by id. Raises ValueError for a half of a pair."""
    found = {item.id: item for item in items if item.groups.get("part") == "consistency"}
    joined = []
    for id, item in found.items():
        stem, _, key = id.rpartition("/")
        other = f"{stem}/{'Q2' if key == 'Q1' else 'Q1'}"
        if other not in found:
            raise ValueError(f"expected a question '{other}' beside '{id}', got none.")
        if key == "Q1":
            joined.append((item, found[other]))
    return joined
