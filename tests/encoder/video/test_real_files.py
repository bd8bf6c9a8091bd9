"""Real files that trouble decoders, each against the truth beside it."""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from encoder.video import VideoError, VideoFrames, VideoInfo, probe, read_frames

NOT_SUPPORTED = "supported|cannot be read here"
HDR = ("smpte2084", "arib-std-b67")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folder = metafunc.config.getoption("--video-files")
    rows = [None] if folder is None else [json.loads(line) for line in (Path(folder) / "truth.jsonl").open()]
    metafunc.parametrize("truth", rows, ids=lambda row: "no-folder" if row is None else ascii(row["file"]))


def test_file_matches_its_truth(truth: dict, video_files: Path) -> None:
    path = video_files / "media" / truth["file"]
    if truth["expect"] == "error":
        with pytest.raises(VideoError) as error:
            read_frames(path, 4)
        assert words(str(error.value)) & words(truth["reason"]), f"{error.value!r} says nothing of {truth['reason']!r}"
        return
    info = probe(path)
    check_facts(info, truth)
    for middle in truth["thumb_rgb"]:
        check_picture(read_near(path, info, middle[0] - truth["first_pts_s"]), info, truth, middle)
    check_spread(read_frames(path, 8), truth)


def words(text: str) -> set[str]:
    """The words of a message that carry its meaning."""
    plain = unicodedata.normalize("NFKC", text).lower()
    return {word for word in "".join(c if c.isalnum() else " " for c in plain).split() if len(word) > 4}


def check_facts(info: VideoInfo, truth: dict) -> None:
    assert abs(info.num_frames - truth["frames"]) <= truth["frames_tolerance"]
    assert [info.width, info.height] == truth["display_size"]
    assert info.rotation == truth["rotation"]
    assert info.mirrored == truth["mirrored"]
    assert abs(info.duration - truth["duration_s"]) <= max(0.15, 0.03 * truth["duration_s"])


def read_near(path: Path, info: VideoInfo, seconds: float) -> VideoFrames:
    """The frame that is asked for by its time, as a span around it."""
    margin = max(0.02, 0.6 / info.fps)
    frames = read_frames(path, 3, start=max(0.0, seconds - margin), end=seconds + margin)
    nearest = int((frames.times - seconds).abs().argmin())
    return VideoFrames(
        pixels=frames.pixels[nearest : nearest + 1], times=frames.times[nearest : nearest + 1], info=info
    )


def check_picture(frames: VideoFrames, info: VideoInfo, truth: dict, thumb: list) -> None:
    seconds, *colour, grey = thumb
    assert abs(frames.times[0].item() - (seconds - truth["first_pts_s"])) <= max(0.020, 0.5 / truth["avg_fps"]) + 1e-6
    picture = frames.pixels[0].permute(1, 2, 0).numpy().astype(np.float64)
    pattern = box_average(picture @ [0.299, 0.587, 0.114])
    assert np.abs(pattern - np.array(grey).reshape(8, 8)).mean() < 6
    if truth["color"].get("color_transfer") not in HDR:
        assert np.abs(picture.mean(axis=(0, 1)) - colour).max() < 6


def check_spread(frames: VideoFrames, truth: dict) -> None:
    assert frames.pixels.shape[0] == 8
    assert (frames.times.diff() >= 0).all()
    assert frames.times[0] >= 0
    assert frames.times[-1] <= truth["duration_s"]
    height, width = frames.pixels.shape[2:]
    assert min(height, width) == min(336, *truth["display_size"])
    assert abs(width / height - truth["display_size"][0] / truth["display_size"][1]) < 0.02


def box_average(grey: np.ndarray) -> np.ndarray:
    """(H, W) -> (8, 8) means."""
    rows = np.linspace(0, grey.shape[0], 9).round().astype(int)
    columns = np.linspace(0, grey.shape[1], 9).round().astype(int)
    sums = np.add.reduceat(np.add.reduceat(grey, rows[:-1], axis=0), columns[:-1], axis=1)
    return sums / np.outer(np.diff(rows), np.diff(columns))
