"""Still pictures are videos of one frame."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from encoder.video import VideoError, probe, read_frames

HALVES = np.zeros((120, 200, 3), np.uint8)
HALVES[:60] = (250, 10, 10)  # red above blue
HALVES[60:] = (10, 10, 250)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tiff", "gif", "avif"])
def test_picture_is_one_frame(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(HALVES).save(path)
    frames = read_frames(path, 8, short_side=60)
    assert frames.pixels.shape == (1, 3, 60, 100)
    assert frames.times.tolist() == [0.0]
    info = frames.info
    assert (info.is_image, info.num_frames, info.duration, info.width, info.height) == (True, 1, 0.0, 200, 120)
    assert frames.pixels[0, 0, 5, 50] > 200
    assert frames.pixels[0, 2, 55, 50] > 200
    assert probe(path) == info


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int, tmp_path: Path) -> None:
    stored = {
        1: HALVES,
        2: HALVES[:, ::-1],
        3: HALVES[::-1, ::-1],
        4: HALVES[::-1],
        5: HALVES.transpose(1, 0, 2),
        6: np.rot90(HALVES),
        7: np.rot90(HALVES, 2).transpose(1, 0, 2),
        8: np.rot90(HALVES, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "turned.jpg", exif=exif)
    frames = read_frames(tmp_path / "turned.jpg", 1)
    assert (frames.info.width, frames.info.height) == (200, 120)
    assert frames.pixels.shape == (1, 3, 120, 200)
    assert frames.pixels[0, 0, 10].float().mean() > 200
    assert frames.pixels[0, 2, -10].float().mean() > 200


def test_transparent_parts_are_white(tmp_path: Path) -> None:
    Image.new("RGBA", (60, 40), (0, 0, 0, 0)).save(tmp_path / "logo.png")
    assert read_frames(tmp_path / "logo.png", 1).pixels.min() == 255


def test_sixteen_bit_grey(tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 60), 128 << 8, np.uint16)).save(tmp_path / "deep.png")
    assert read_frames(tmp_path / "deep.png", 1).pixels.float().mean() == pytest.approx(128, abs=1)


def test_animated_webp_keeps_its_delays(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (64, 48), (40 * i, 0, 0)) for i in range(6)]
    delays = [50, 50, 200, 50, 50, 400]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], duration=delays, lossless=True)
    read = read_frames(tmp_path / "a.webp", 6)
    assert read.times.tolist() == pytest.approx([0.0, 0.05, 0.1, 0.3, 0.35, 0.4])
    assert read.pixels[:, 0].float().mean(dim=(1, 2)).tolist() == pytest.approx([0, 40, 80, 120, 160, 200], abs=2)
    assert (read.info.is_image, read.info.num_frames) == (False, 6)
    assert read.info.duration == pytest.approx(0.8)
    chosen = read_frames(tmp_path / "a.webp", 2, places=[0.0, 0.9])
    assert chosen.times.tolist() == pytest.approx([0.0, 0.4])


def test_a_stereo_photo_shows_its_first_picture(tmp_path: Path) -> None:
    """MPO: a JPEG with another one behind it."""
    first, second = Image.fromarray(HALVES), Image.new("RGB", (200, 120))
    first.save(tmp_path / "stereo.jpg", "MPO", save_all=True, append_images=[second])
    frames = read_frames(tmp_path / "stereo.jpg", 4)
    assert (frames.pixels.shape, frames.info.is_image) == ((1, 3, 120, 200), True)
    assert frames.pixels[0, 0, 5, 50] > 200


def test_broken_picture(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:3000])
    with pytest.raises(VideoError, match="damaged"):
        read_frames(tmp_path / "cut.jpg", 1)
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff" + bytes(range(200)))
    with pytest.raises(VideoError, match="JPEG picture is damaged"):
        read_frames(tmp_path / "cut.jpg", 1)
