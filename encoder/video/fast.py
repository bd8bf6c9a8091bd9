"""Sampled frames by decord: quick where it is right, and used only there. Only the worker process imports this module."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from encoder.video.geometry import Geometry
from encoder.video.index import Index

_CODECS = ("h264", "hevc", "vp9")
_DEMUXERS = ("mov", "matroska")
_PIXEL_FORMATS = ("yuv420p", "yuvj420p")


class DecordError(Exception):
    """decord is absent, failed, or disagrees with the packets about the frames; PyAV has to read the file."""


def suits_decord(*, demuxer: str, codec: str, pixel_format: str | None, index: Index, geometry: Geometry) -> bool:
    """Whether the probe shows nothing that decord is known to get wrong.

    Known: edit lists, damage, fields and missing times (doubts of the index), a missing duration, mirroring, other
    containers and codecs; and the frames after key packets that are not IDR pictures (open groups, intra refresh).
    """
    return (
        demuxer in _DEMUXERS
        and codec in _CODECS
        and pixel_format in _PIXEL_FORMATS
        and index.suits_decord
        and not geometry.orientation.mirrored
    )


def read_by_decord(
    fd: int,
    geometry: Geometry,
    short_side: int,
    times: Sequence[float],
    picks: Sequence[int],
    keep: Callable[[int, np.ndarray], None],
) -> None:
    """Hand the frames `picks` (indices into `times`, seconds) to `keep` as upright RGB pictures (H, W, 3).

    Raises DecordError when it cannot, or when its own count or times differ from `times`.
    """
    try:
        import decord  # absent on some platforms
    except (ImportError, OSError) as error:
        raise DecordError("decord is not installed") from error
    decord.logging.set_level(decord.logging.QUIET)
    width, height = geometry.scaled(short_side)
    try:
        # By descriptor: no name that could be taken for a protocol or an option ever reaches it.
        reader = decord.VideoReader(f"/proc/self/fd/{fd}", width=width, height=height, num_threads=0, fault_tol=1)
        if len(reader) != len(times):
            raise DecordError(f"decord counts {len(reader)} frames, the packets are {len(times)}")
        starts = reader.get_frame_timestamp(list(picks))[:, 0] - reader.get_frame_timestamp([0])[0, 0]
        pictures = reader.get_batch(list(picks)).asnumpy()
    except (decord.DECORDError, RuntimeError, IndexError, AssertionError) as error:
        raise DecordError(f"decord failed: {type(error).__name__}") from error
    half_frame = 0.5 * times[-1] / max(1, len(times) - 1)
    late = max(abs(start - times[i]) for start, i in zip(starts, picks, strict=True))
    if late > max(half_frame, 1e-3):
        raise DecordError(f"decord's times differ by {late:.3f} s")
    for i, picture in zip(picks, pictures, strict=True):
        keep(i, picture)
