"""The frame strip: exactly the frames the model saw, with their times, and what the file is. Plain HTML.

The pictures travel inside the page as data URIs, so no file has to be served for them.
"""

import base64
import html
import io

from PIL import Image
from torch import Tensor

from encoder.video import VideoFrames, VideoInfo

THUMBNAIL = 256
"""Longest side of a frame in the strip, in pixels: twice its size on the page, for dense screens."""
JPEG_QUALITY = 80


def render_strip(frames: VideoFrames, name: str) -> str:
    """HTML of the frames in order of time, under the facts of the file called `name`."""
    cells = []
    for number, (pixels, seconds) in enumerate(zip(frames.pixels, frames.times.tolist(), strict=True), start=1):
        caption = "picture" if frames.info.is_image else clock(seconds)
        cells.append(
            f'<li><img src="{data_uri(pixels)}" alt="Frame {number}, {caption}">'
            f'<span class="time">{caption}</span></li>'
        )
    damage = render_notice(frames.info.damaged, kind="error") if frames.info.damaged else ""
    return f'{render_facts(frames.info, name, seen=len(cells))}{damage}<ol class="frames">{"".join(cells)}</ol>'


def render_facts(info: VideoInfo, name: str, *, seen: int) -> str:
    """HTML of one line of facts: length, rate, size, codec, and how many of its frames the model saw."""
    facts = [f"{info.width} × {info.height}", info.codec]
    if not info.is_image:
        frames = f"{info.num_frames} frames" if info.num_frames != 1 else "1 frame"
        facts = [f"{info.duration:.1f} s", f"{info.fps:.3g} fps", *facts, f"{frames}, the model saw {seen}"]
    items = "".join(f"<li>{escape(fact)}</li>" for fact in facts)
    return f'<p class="name">{escape(name)}</p><ul class="facts">{items}</ul>'


def render_notice(text: str, *, kind: str = "info") -> str:
    """HTML of a message to the user; `kind` is info or error."""
    role = "alert" if kind == "error" else "status"
    return f'<p class="notice {kind}" role="{role}">{escape(text)}</p>'


def data_uri(pixels: Tensor) -> str:
    """A small JPEG of one frame, uint8 (3, H, W), as a data URI."""
    image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def clock(seconds: float) -> str:
    """A time in the video.

    >>> clock(3.44), clock(75.0), clock(3661.5)
    ('0:03.4', '1:15.0', '1:01:01.5')
    """
    tenths = round(seconds * 10)
    hours, minutes, rest = tenths // 36000, tenths // 600 % 60, tenths % 600
    text = f"{minutes}:{rest // 10:02d}.{rest % 10}"
    return f"{hours}:{minutes:02d}:{rest // 10:02d}.{rest % 10}" if hours else text


def escape(text: str) -> str:
    """Text that stays text: neither HTML, nor a placeholder of the page's templates."""
    return html.escape(text).replace("$", "&#36;").replace("{", "&#123;").replace("`", "&#96;")
