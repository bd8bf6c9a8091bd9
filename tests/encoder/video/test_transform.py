"""Frames become what a vision tower eats, without torchvision."""

import pytest
import torch

from encoder.video.transform import Transform, normalise, resize_squash

HALF = (0.5, 0.5, 0.5)


def test_squash_keeps_content_and_range() -> None:
    pixels = torch.zeros(2, 3, 40, 80, dtype=torch.uint8)
    pixels[..., 40:] = 255
    out = resize_squash(pixels, 16)
    assert out.shape == (2, 3, 16, 16)
    assert out.min() >= 0
    assert out.max() <= 255
    assert out[..., :7].max() < 5
    assert out[..., 9:].min() > 250


def test_crop_keeps_the_middle() -> None:
    pixels = torch.zeros(1, 3, 40, 120, dtype=torch.uint8)
    pixels[..., 40:80] = 255
    assert (Transform(size=20, mean=HALF, std=HALF, mode="crop")(pixels)[..., 2:-2] > 0.9).all()


def test_downscaling_averages() -> None:
    checks = (torch.arange(64)[:, None] + torch.arange(64)) % 2 * 255
    out = resize_squash(checks.to(torch.uint8).expand(1, 3, 64, 64), 8)
    assert (out - 127.5).abs().max() < 8  # without antialiasing the checks would alias to black or white


def test_normalise() -> None:
    x = torch.full((1, 3, 2, 2), 255.0)
    out = normalise(x, mean=(0.5, 0.0, 1.0), std=(0.5, 0.5, 0.25))
    assert out[0, :, 0, 0].tolist() == pytest.approx([1.0, 2.0, 0.0])


def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match="'squash' or 'crop'"):
        Transform(size=8, mean=HALF, std=HALF, mode="pad")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(T, 3, H, W\), got \(3, 8, 8\)"):
        Transform(size=8, mean=HALF, std=HALF)(torch.zeros(3, 8, 8, dtype=torch.uint8))
