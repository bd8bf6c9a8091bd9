"""Clips made on the spot, whose frames carry their own number as a bar code."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from encoder.video import process, relay

BITS = 10
WIDTH, HEIGHT = 160, 96


def draw(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """RGB (H, W, 3): ten bars from left to right, white for a one; a red strip at the bottom says which way is up."""
    bits = [(number >> bit) & 1 for bit in range(BITS)]
    row = np.repeat(np.array(bits, np.uint8) * 200 + 20, -(-width // BITS))[:width]
    picture = np.repeat(np.repeat(row[None, :, None], height, axis=0), 3, axis=2)
    picture[-height // 4 :] = (200, 20, 20)
    return np.ascontiguousarray(picture)


def number_in(pixels: torch.Tensor) -> int:
    """(3, H, W) -> the number that `draw` put into an upright frame."""
    height, width = pixels.shape[1:]
    grey = pixels.float().mean(dim=0)[: height // 2].mean(dim=0)
    return sum(int(grey[(2 * bit + 1) * width // (2 * BITS)] > 120) << bit for bit in range(BITS))


def write_clip(
    path: Path,
    num_frames: int = 30,
    *,
    codec: str = "libx264",
    fps: int = 10,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    pixel_format: str = "yuv420p",
    pts: Callable[[int], int] = lambda i: 100 * i,
    matrix: list[int] | None = None,
    store: Callable[[np.ndarray], np.ndarray] = lambda picture: picture,
    sar: tuple[int, int] | None = None,
    options: dict[str, str] | None = None,
    muxer: str | None = None,
    muxer_options: dict[str, str] | None = None,
) -> Path:
    """A video of numbered frames; `pts` gives the time of frame i in ms, `store` turns it as `matrix` turns it back."""
    with av.open(str(path), "w", format=muxer, options=muxer_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        height, width = store(draw(0, *size)).shape[:2]
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        if codec in ("libx264", "libx265"):
            stream.codec_context.options = {"preset": "ultrafast", "x265-params": "log-level=none"} | (options or {})
        stream.codec_context.time_base = Fraction(1, 1000) if codec not in FIXED_RATE else Fraction(1, fps)
        if sar is not None:
            stream.codec_context.sample_aspect_ratio = Fraction(*sar)
        if matrix is not None:
            stream.set_display_matrix(matrix)
        for i in range(num_frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(store(draw(i, *size))), format="rgb24")
            frame = frame.reformat(format=pixel_format)
            frame.time_base = stream.codec_context.time_base
            frame.pts = pts(i) if codec not in FIXED_RATE else i
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


FIXED_RATE = ("mpeg1video", "mpeg2video", "mpeg4", "dvvideo", "h263", "wmv2", "flv", "msmpeg4v2")
"""Encoders that know frame rates, not times."""


@pytest.fixture
def make_clip(tmp_path: Path) -> Callable[..., Path]:
    """Write a clip of numbered frames into tmp_path: `make_clip(name, num_frames, codec=..., ...)`."""
    return lambda name, *args, **kwargs: write_clip(tmp_path / name, *args, **kwargs)


@pytest.fixture
def clip(make_clip: Callable[..., Path]) -> Path:
    """30 frames at 10 frames a second, with a key frame every 8."""
    return make_clip("clip.mp4", options={"g": "8", "bf": "2"})


@pytest.fixture
def numbers() -> Callable[[torch.Tensor], list[int]]:
    """(T, 3, H, W) -> the number of each upright frame."""
    return lambda pixels: [number_in(frame) for frame in pixels]


@pytest.fixture
def ffmpeg(tmp_path: Path) -> Callable[..., Path]:
    """Run Debian's ffmpeg on arguments of which the last names a file in tmp_path; for what PyAV cannot write."""
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("needs the ffmpeg program")

    def run(*arguments: str | Path) -> Path:
        target = tmp_path / arguments[-1]
        subprocess.run(
            [program, "-v", "error", "-nostdin", "-y", *map(str, arguments[:-1]), str(target)], check=True, timeout=60
        )
        return target

    return run


FAULTS = {
    "abort": "os.abort()",
    "hang": "time.sleep(60)",
    "greedy": "ballast = b'x' * (300 << 20); time.sleep(60)",
    "no_memory": "raise MemoryError",
    "abort_if_used": "if len(seen) > 1: os.abort()",
    "no_memory_if_used": "if len(seen) > 1: raise MemoryError",
    "hang_afterwards": "gc.collect = lambda: time.sleep(60)",
    "abort_in_decord": "if request['decord']: announce(process.DECORD_STARTS); os.abort()",
    "hang_in_decord": "if request['decord']: announce(process.DECORD_STARTS); time.sleep(60)",
}
"""What a worker does before it reads a file with this stem."""
FAULTY_WORKER = f"""
import gc, os, pathlib, time
from encoder.video import process, reader, worker

seen, honest = [], reader.read

def read(request, keep, announce):
    seen.append(request)
    exec({FAULTS!r}.get(pathlib.Path(request["path"]).stem, ""))
    return honest(request, keep, announce)

reader.read = read
worker.main()
"""


@pytest.fixture
def faulty(clip: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A copy of the clip whose reading goes wrong as FAULTS says; other files are read as ever."""
    monkeypatch.setattr(process, "WORKER", [sys.executable, "-c", FAULTY_WORKER])
    monkeypatch.setattr(process, "MEMORY_LIMIT", 200 * 2**20)

    def copy(fault: str) -> Path:
        assert fault in FAULTS
        return Path(shutil.copy(clip, clip.with_stem(fault)))

    return copy


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Process ids of the workers started by now."""
    pids = []

    class Counted(process.Worker):
        def __init__(self) -> None:
            super().__init__()
            pids.append(self._process.pid)

    monkeypatch.setattr(relay, "Worker", Counted)
    return pids


def children() -> set[int]:
    """Ids of the processes that this one started, in any thread, and that are not gone."""
    return {int(pid) for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split()}
