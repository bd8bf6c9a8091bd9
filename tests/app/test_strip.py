"""The frame strip shows exactly the frames it is given, and nothing of a file's name is taken for HTML."""

import base64
import io
import re

import pytest
import torch
from PIL import Image

from app.strip import clock, data_uri, render_notice, render_strip
from tests.app.fakes import frames_of


def pictures(html: str) -> list[Image.Image]:
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall(r"base64,([^\"]+)", html)]


def test_every_frame_appears_in_order_with_its_time() -> None:
    frames = frames_of("belt")
    shades = torch.tensor([10, 90, 170, 250], dtype=torch.uint8)
    frames.pixels[:] = shades[:, None, None, None]
    html = render_strip(frames, "belt.mp4")
    assert re.findall(r'class="time">([^<]+)', html) == ["0:00.0", "0:01.2", "0:02.5", "0:03.8"]
    seen = [picture.convert("L").getpixel((30, 20)) for picture in pictures(html)]
    assert all(abs(shade - want) <= 2 for shade, want in zip(seen, shades.tolist(), strict=True))


def test_facts_name_length_rate_size_codec_and_frames() -> None:
    html = render_strip(frames_of("belt"), "belt.mp4")
    for fact in ("belt.mp4", "4.0 s", "25 fps", "60 × 40", "h264", "100 frames, the model saw 4"):
        assert fact in html


def test_a_picture_has_no_time() -> None:
    html = render_strip(frames_of("photo", is_image=True), "photo.png")
    assert len(pictures(html)) == 1
    assert ">picture<" in html
    assert "fps" not in html


def test_a_frame_keeps_its_shape_and_colours_channels_first() -> None:
    red = torch.zeros(3, 300, 600, dtype=torch.uint8)
    red[0] = 255
    (picture,) = pictures(f'"{data_uri(red)}"')
    assert picture.size == (256, 128)
    r, g, b = picture.getpixel((100, 60))
    assert r > 240
    assert g < 15
    assert b < 15


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>.mp4", '"><img src=x onerror=alert(1)>.mp4', "${alert(1)}{{value}}`.mp4"]
)
def test_a_files_name_stays_text(name: str) -> None:
    for html in (render_strip(frames_of("belt"), name), render_notice(name)):
        assert "<script" not in html
        assert "<img src=x" not in html
        assert "${" not in html
        assert "{{" not in html


def test_long_times_have_hours() -> None:
    assert [clock(seconds) for seconds in (3.44, 59.96, 75.0, 3661.5)] == ["0:03.4", "1:00.0", "1:15.0", "1:01:01.5"]
