"""An opened video: its best stream, the reasons to refuse it, and its packets, with damage counted instead of raised.

Only the worker process imports this module (and with it FFmpeg's parsers).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import av

from encoder.video.geometry import MAX_PIXELS
from encoder.video.info import VideoError
from encoder.video.sniff import RARE_DEMUXERS, Kind, boxes

_MOST_DEMUX_ERRORS = 50
"""A demuxer that goes on failing after this many errors will not find its way back."""
_NO_PICTURE = "The file has a header but no picture data (it was cut off or damaged); nothing can be shown."


@dataclass
class Damage:
    """What went wrong while a file was read."""

    errors: int = 0
    corrupt: int = 0

    def __bool__(self) -> bool:
        return self.errors + self.corrupt > 0


@dataclass
class Movie:
    """An open container and the video stream that is read from it."""

    container: av.container.InputContainer
    stream: av.VideoStream
    damage: Damage = field(default_factory=Damage)

    @property
    def codec(self) -> str:
        """Name of the format of the pictures, whichever decoder reads it."""
        return self.stream.codec_context.codec.canonical_name

    @property
    def demuxer(self) -> str:
        """First name of the container format."""
        return self.container.format.name.split(",")[0]

    @property
    def rate(self) -> float:
        """Frames a second by the header: a guess, for frames without timestamps."""
        return float(self.stream.guessed_rate or self.stream.average_rate or 25)

    @property
    def interlaced(self) -> bool:
        """Whether packets may hold single fields of a frame."""
        return self.stream.codec_context.field_order not in (0, 1)

    def packets(self) -> Iterator[av.Packet]:
        """Packets of the stream in file order, without the empty ones; errors are counted, and reading goes on."""
        failures = 0
        while failures < _MOST_DEMUX_ERRORS:
            try:
                for packet in self.container.demux(self.stream):
                    if packet.size:
                        # A transport stream says so at every joint; there the decoder's word counts alone.
                        self.damage.corrupt += packet.is_corrupt and self.demuxer != "mpegts"
                        yield packet
                return
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                failures += 1
                self.damage.errors += 1

    def decode(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        """Frames that come out after this packet (None: after the last one); a damaged packet gives none."""
        try:
            frames = self.stream.decode(packet)
        except av.error.EOFError:
            return []
        except av.error.FFmpegError:
            self.damage.errors += 1
            return []
        self.damage.corrupt += sum(frame.is_corrupt for frame in frames)
        return frames


@contextmanager
def open_movie(fd: int, kind: Kind) -> Iterator[Movie]:
    """Open the file behind `fd` by the demuxer of `kind`. Raises VideoError when it holds no video that can be shown."""
    with _open(fd, kind) as container:
        stream = _best_stream(container, kind)
        if not stream.codec_context.width:  # what the limit on pixels refuses has no size: look again, to name it
            with _open(fd, kind, max_pixels=10 * MAX_PIXELS) as unlimited:
                _best_stream(unlimited, kind)
        for other in container.streams:
            if other.index != stream.index:
                other.discard = av.stream.Discard.all
        yield Movie(container=container, stream=stream)


def _open(fd: int, kind: Kind, max_pixels: int = MAX_PIXELS) -> av.container.InputContainer:
    os.lseek(fd, 0, os.SEEK_SET)
    options = {
        "fd": str(fd),  # the demuxer never learns a file name, so it cannot resolve another beside it
        "protocol_whitelist": "fd",
        "format_whitelist": RARE_DEMUXERS,
        "max_pixels": str(max_pixels),
    }
    try:
        return av.open("fd:", format=kind.demuxer, options=options)
    except (av.error.FFmpegError, ValueError) as error:
        raise VideoError(_why_not_opened(fd, kind)) from error


def check_size(width: int, height: int) -> None:
    """Raises VideoError for pictures that would need too much memory."""
    if width * height > MAX_PIXELS:
        raise VideoError(
            f"The picture is too large: {width} x {height} pixels, at most {MAX_PIXELS // 10**6} megapixels can be shown."
        )


def no_picture_error(movie: Movie) -> VideoError:
    """For a stream of which nothing could be decoded."""
    if not movie.damage:
        return VideoError(_NO_PICTURE)
    return VideoError(
        "The video is damaged, or in a format that is not supported here: no picture of it could be decoded."
    )


def _best_stream(container: av.container.InputContainer, kind: Kind) -> av.VideoStream:
    videos = [s for s in container.streams if s.type == "video" and not _is_attached(s)]
    best = container.streams.best("video")
    if best in videos and best.codec_context is None:
        best = next((s for s in videos if s.codec_context is not None), best)
    elif best not in videos:
        best = videos[0] if videos else None
    if best is None:
        raise VideoError(_why_no_stream(container, kind))
    if best.codec_context is None:
        raise VideoError("This video is in a format that is not supported here. Please convert it to MP4 (H.264).")
    check_size(best.codec_context.width, best.codec_context.height)
    best.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    return best


def _is_attached(stream: av.stream.Stream) -> bool:
    pictures = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    return bool(stream.disposition & pictures)


def _why_no_stream(container: av.container.InputContainer, kind: Kind) -> str:
    sound = any(s.type == "audio" for s in container.streams)
    cover = any(s.type == "video" for s in container.streams)
    if sound and not kind.demuxer and not kind.sounds:
        return "This is not a video that can be read."  # random bytes often pass for a sound format
    if sound:
        return "The file has sound and a cover picture, no video." if cover else "The file has sound only, no video."
    return "The file has a cover picture only, no video." if cover else "The file holds no video."


def _why_not_opened(fd: int, kind: Kind) -> str:
    if kind.demuxer == "mov":
        found = boxes(fd)
        if b"moov" not in found and b"moof" not in found:
            return "The recording was not finished (the file has no index), so it cannot be opened."
        return "The file is damaged or was cut off: its index cannot be read."
    if kind.demuxer:
        return "The file is damaged or was cut off right at its start, so it cannot be opened."
    return "This is not a video that can be read."
