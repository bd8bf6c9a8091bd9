"""Data sets of a few short clips, in their owners' layouts: what the trainings on videos are tried on."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

COUNT = 6
CAPTIONS = [f"{who} {what}" for who in ("a dog", "a car", "the man") for what in ("runs", "is on the road")]
"""One for each clip."""


def write_clips(folder: Path) -> list[Path]:
    """COUNT clips of a wave that moves, each of another colour, shape and length."""
    paths = [folder / f"{i}.mp4" for i in range(COUNT)]
    for i, path in enumerate(paths):
        write_wave(path, colour=i, frames=8 + 3 * i, width=64 + 16 * i, height=64 + 16 * (i % 2))
    return paths


def write_wave(path: Path, *, colour: int, frames: int, width: int, height: int) -> None:
    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        across = np.linspace(0, 4 * np.pi, width)[None, :, None]
        shades = np.array([colour % 3, (colour + 1) % 3, colour // 2])[None, None] / 2
        for t in range(frames):
            wave = 127 + 100 * np.sin(across + t / 2) * shades
            pixels = np.broadcast_to(wave, (height, width, 3)).astype(np.uint8)
            target.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        target.mux(stream.encode(None))


def put(clips: list[Path], root: Path, names: list[str]) -> None:
    """Copies of the clips under the names of a data set; what a file is, is told by its content."""
    for clip, name in zip(clips, names, strict=True):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, root / name)


def write(root: Path, name: str, content: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(content)


def msrvtt(root: Path, clips: list[Path]) -> None:
    """Two captions a video, the second one the same for all; and a test list, of which nothing may be learned."""
    names = [f"video{i}" for i in range(COUNT)]
    test = {"video_id": "video99", "split": "test"}
    videos = [{"video_id": name, "split": "train" if i % 2 else "validate"} for i, name in enumerate(names)]
    sentences = [
        {"video_id": name, "caption": said}
        for name, own in zip(names, CAPTIONS, strict=True)
        for said in (own, "a video")
    ]
    sentences.append({"video_id": "video99", "caption": "of the test"})
    write(root, "MSRVTT_data.json", json.dumps({"videos": [*videos, test], "sentences": sentences}))
    write(root, "MSRVTT_JSFUSION_test.csv", "video_id,sentence\nvideo99,of the test\n")
    put([*clips, clips[0]], root, [f"videos/all/{name}.mp4" for name in (*names, "video99")])


def webvid(root: Path, clips: list[Path]) -> None:
    rows = [f"{i},http://x/{i}.mp4,PT00H00M12S,000_{i},{said}" for i, said in enumerate(CAPTIONS)]
    for size in ("2M", "10M"):
        write(root, f"results_{size}_train.csv", "\n".join(["videoid,contentUrl,duration,page_dir,name", *rows]) + "\n")
    put(clips, root, [f"videos/000_{i}/{i}.mp4" for i in range(COUNT)])


def didemo(root: Path, clips: list[Path]) -> None:
    rows = [
        {"video": f"{i}_x.mov", "description": said, "times": [[0, 0]]}
        for i, own in enumerate(CAPTIONS)
        for said in (own, "it stops")
    ]
    write(root, "train_data.json", json.dumps(rows))
    write(root, "test_data.json", json.dumps(rows[:2]))
    put(clips, root, [f"videos/{i}_x.mp4" for i in range(COUNT)])


def lsmdc(root: Path, clips: list[Path]) -> None:
    names = [f"10{i}_Film_00.00.0{i}.000-00.00.0{i}.900" for i in range(COUNT)]
    rows = ["\t".join([name, *["00.00.01.000"] * 4, said]) for name, said in zip(names, CAPTIONS, strict=True)]
    write(root, "LSMDC16_annos_training.csv", "\n".join(rows) + "\n")
    write(root, "LSMDC16_challenge_1000_publictect.csv", rows[0] + "\n")
    put(clips, root, [f"videos/10{i}_Film/{name}.avi" for i, name in enumerate(names)])


def kinetics400(root: Path, clips: list[Path]) -> None:
    rows = [f"{'abseiling' if i % 2 else 'air drumming'},abcdefghij{i},{i},{i + 10},train" for i in range(COUNT)]
    write(root, "train.csv", "\n".join(["label,youtube_id,time_start,time_end,split", *rows]) + "\n")
    write(root, "val.csv", "label,youtube_id,time_start,time_end,split\nzumba,abcdefghij9,0,10,val\n")
    put(clips, root, [f"train/abcdefghij{i}_{i:06d}_{i + 10:06d}.mp4" for i in range(COUNT)])


def ssv2(root: Path, clips: list[Path]) -> None:
    templates = ["Pushing [something]", "Lifting [something] up"]
    rows = [
        {"id": str(i), "label": templates[i % 2].replace("[something]", "a cup"), "template": templates[i % 2]}
        for i in range(COUNT)
    ]
    labels = {"Pushing something": "0", "Lifting something up": "1", "Folding something": "2"}
    write(root, "labels/labels.json", json.dumps(labels))
    write(root, "labels/train.json", json.dumps(rows))
    put(clips, root, [f"20bn-something-something-v2/{i}.webm" for i in range(COUNT)])


def hmdb51(root: Path, clips: list[Path]) -> None:
    names = {label: [f"film{i}_{label}_u_0.avi" for i in range(COUNT // 2)] for label in ("brush_hair", "wave")}
    for label, files in names.items():
        lines = [*(f"{file} 1" for file in files), f"test_{label}_u_0.avi 2"]
        write(root, f"testTrainMulti_7030_splits/{label}_test_split1.txt", "\n".join(lines) + "\n")
    put(clips, root, [f"videos/{label}/{file}" for label, files in names.items() for file in files])


def ucf101(root: Path, clips: list[Path]) -> None:
    classes = ("ApplyEyeMakeup", "YoYo")
    names = [f"{c}/v_{c}_g{g:02d}_c01.avi" for c in classes for g in range(COUNT // 2)]
    write(root, "ucfTrainTestlist/classInd.txt", "1 ApplyEyeMakeup\n2 YoYo\n")
    lines = [f"{name} {1 + classes.index(name.split('/')[0])}" for name in names]
    write(root, "ucfTrainTestlist/trainlist01.txt", "\n".join(lines) + "\n")
    write(root, "ucfTrainTestlist/testlist01.txt", "YoYo/v_YoYo_g99_c01.avi\n")
    put(clips, root, [f"videos/{name}" for name in names])


LAYOUTS: dict[str, Callable[[Path, list[Path]], None]] = {
    layout.__name__: layout for layout in (msrvtt, webvid, didemo, lsmdc, kinetics400, ssv2, hmdb51, ucf101)
}
