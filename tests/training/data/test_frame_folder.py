"""Folders of pictures are watched like videos."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from encoder.video import VideoError
from training.data.frame_folder import read_frame_folder


def write_pictures(folder: Path, count: int, name: str = "{:05d}.png") -> Path:
    """Pictures numbered from 1, each of them 20 levels brighter than the one before."""
    folder.mkdir()
    for number in range(1, count + 1):
        Image.new("RGB", (32, 24), (20 * number,) * 3).save(folder / name.format(number))
    return folder


def numbers(pixels: torch.Tensor) -> list[int]:
    """(T, 3, H, W) -> the number of every picture."""
    return [round(float(frame.float().mean()) / 20) for frame in pixels]


def test_frames_are_the_middle_ones_of_equal_segments(tmp_path: Path) -> None:
    frames = read_frame_folder(write_pictures(tmp_path / "clip", 12), 4, fps=3.0)
    assert frames.pixels.shape == (4, 3, 24, 32)
    assert frames.pixels.dtype == torch.uint8
    assert numbers(frames.pixels) == [2, 5, 8, 11]
    assert frames.times.tolist() == pytest.approx([1 / 3, 4 / 3, 7 / 3, 10 / 3])
    info = frames.info
    assert (info.duration, info.fps, info.num_frames, info.is_image) == (4.0, 3.0, 12, False)
    assert (info.width, info.height) == (32, 24)


def test_a_span_is_given_in_seconds(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "clip", 12)
    frames = read_frame_folder(folder, 2, fps=3.0, start=1.0, end=2.0)
    assert numbers(frames.pixels) == [5, 7]
    assert frames.times.tolist() == pytest.approx([4 / 3, 2.0])
    assert numbers(read_frame_folder(folder, 1, start=3.6, end=99.0).pixels) == [12], "3 a second unless told otherwise"
    with pytest.raises(
        VideoError, match=r"There is no frame between 5\.00 s and 6\.00 s; the last frame is at 3\.67 s"
    ):
        read_frame_folder(folder, 2, fps=3.0, start=5.0, end=6.0)


def test_names_are_read_as_numbers_and_other_files_left_out(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "clip", 10, "frame{}.png")
    (folder / "._frame1.png").write_bytes(b"not a picture")
    (folder / "notes.txt").write_text("nor this")
    assert numbers(read_frame_folder(folder, 10, fps=3.0).pixels) == list(range(1, 11))


def test_a_short_folder_repeats_its_pictures(tmp_path: Path) -> None:
    assert numbers(read_frame_folder(write_pictures(tmp_path / "clip", 2), 4, fps=3.0).pixels) == [1, 1, 2, 2]


def test_what_cannot_be_shown(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="There is no folder .*missing"):
        read_frame_folder(tmp_path / "missing", 2, fps=3.0)
    empty = write_pictures(tmp_path / "empty", 0)
    with pytest.raises(VideoError, match="The folder .*empty holds no jpg or png pictures"):
        read_frame_folder(empty, 2, fps=3.0)
    folder = write_pictures(tmp_path / "clip", 3)
    Image.new("RGB", (16, 24)).save(folder / "00002.png")
    with pytest.raises(VideoError, match=r"differ in size: 00002\.png has 16 x 24, another one 32 x 24"):
        read_frame_folder(folder, 3, fps=3.0)
    (folder / "00002.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(VideoError):
        read_frame_folder(folder, 3, fps=3.0)
    with pytest.raises(ValueError, match="expected more than 0 pictures a second, got 0"):
        read_frame_folder(folder, 3, fps=0)
