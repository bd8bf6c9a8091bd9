"""The packets of a video, counted and timed without decoding, and whether they can be trusted to be its frames.

Only the worker process imports this module.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import av

from encoder.video.container import Movie, no_picture_error
from encoder.video.info import VideoError
from encoder.video.timeline import Stamp, Timeline, make_timeline

_ENCRYPTED = "The video is encrypted (protected against copying), so it cannot be shown."


@dataclass(frozen=True, kw_only=True)
class Index:
    """Packets that should each give one frame, in file order."""

    stamps: list[Stamp]
    """(presentation time or None, duration) of each packet, in ticks of the stream."""
    keys: list[int]
    """Positions of the packets that decoding can start from, ascending."""
    key_of: dict[tuple[int | None, int | None], int]
    """Position of a key packet by its (pts, dts): says where a seek has really landed."""
    timeline: Timeline
    doubts: tuple[str, ...]
    """Why the packets may not be the frames; empty for an ordinary file."""
    suits_decord: bool
    """Whether the header states a length, and each key packet starts a closed group of pictures; see fast.py."""

    @property
    def has_times(self) -> bool:
        return "no times" not in self.doubts

    def key_before(self, position: int, back: int = 0) -> int:
        """Position of the key packet to decode from for this one's frame; `back` goes that many keys further."""
        stamp = self.stamps[position][0]
        at = bisect_right(self.keys, position) - 1
        # Leading pictures are stored after a key packet and shown before it: they need the key before.
        while at > 0 and stamp is not None and (self.stamps[self.keys[at]][0] or 0) > stamp:
            at -= 1
        return self.keys[max(0, at - back)] if self.keys else 0

    def cost(self, positions: list[int]) -> int:
        """Packets to decode for these frames."""
        runs: dict[int, int] = {}
        for position in positions:
            key = self.key_before(position)
            runs[key] = max(runs.get(key, 0), position - key + 1)
        return sum(runs.values())


def read_index(movie: Movie) -> Index:
    """Demux the whole stream. Raises VideoError when it holds no packets or is encrypted."""
    stamps: list[Stamp] = []
    keys: list[int] = []
    key_of: dict[tuple[int | None, int | None], int] = {}
    ambiguous: set[tuple[int | None, int | None]] = set()
    doubts: set[str] = set()
    last_dts: int | None = None
    closed = True
    codec = movie.codec
    for packet in movie.packets():
        if packet.has_sidedata("encryption_info"):
            raise VideoError(_ENCRYPTED)
        if packet.is_discard:
            doubts.add("edit list")
        if not is_shown(codec, packet):
            continue
        if packet.is_keyframe:
            if (packet.pts, packet.dts) in key_of:
                ambiguous.add((packet.pts, packet.dts))
            key_of[packet.pts, packet.dts] = len(stamps)
            keys.append(len(stamps))
            closed = closed and opens_closed_group(codec, packet)
        if packet.dts is not None and last_dts is not None and packet.dts <= last_dts:
            doubts.add("times run backwards")
        last_dts = packet.dts
        stamps.append((packet.pts, packet.duration or 0))
    if not stamps:
        raise no_picture_error(movie)
    known = [pts for pts, _ in stamps if pts is not None]
    if len(known) < len(stamps):
        doubts.add("no times")
    if len(set(known)) < len(known):
        doubts.add("equal times")
    if not keys or keys[0] != 0:
        doubts.add("does not start with a key frame")
    if movie.demuxer == "avi" and movie.stream.codec_context.has_b_frames:
        doubts.add("times of decoding only")
    if movie.damage:
        doubts.add("damage")
    if movie.interlaced:
        doubts.add("fields")
    for times in ambiguous:
        del key_of[times]
    timeline = make_timeline(stamps, tick=float(movie.stream.time_base), rate=movie.rate)
    return Index(
        stamps=stamps,
        keys=keys,
        key_of=key_of,
        timeline=timeline,
        doubts=tuple(sorted(doubts)),
        suits_decord=closed and not doubts and bool(movie.stream.duration or movie.container.duration),
    )


def is_shown(codec: str, packet: av.Packet) -> bool:
    """Whether a packet gives a frame: VP8 and VP9 also store pictures that are only referred to.

    VP8 (RFC 6386, 9.1): bit 4 of the frame tag. VP9: a bit of the uncompressed header; a superframe holds one shown.
    """
    if codec not in ("vp8", "vp9"):
        return True
    data = memoryview(packet)
    if codec == "vp8":
        return bool(data[0] & 0x10)
    if data[-1] & 0xE0 == 0xC0:
        return True
    bits = data[0] << (1 if data[0] & 0x30 == 0x30 else 0)  # profile 3 has a reserved bit
    show_existing, shown = bits & 0x08, bits & 0x02
    return bool(show_existing or shown)


def opens_closed_group(codec: str, packet: av.Packet) -> bool:
    """Whether a key packet holds an IDR picture, past which nothing refers back; other key packets need care.

    H.264 and HEVC in mp4 and Matroska: NAL units, each after four bytes of length (ISO/IEC 14496-15).
    """
    if codec not in ("h264", "hevc"):
        return True
    data = memoryview(packet)
    at = 0
    while at + 4 < len(data):
        unit = data[at + 4] & 0x1F if codec == "h264" else data[at + 4] >> 1 & 0x3F
        if unit in ((5,) if codec == "h264" else (19, 20)):
            return True
        if unit in range(1, 5) if codec == "h264" else unit < 32:  # a picture of another kind comes first
            return False
        at += 4 + int.from_bytes(data[at : at + 4], "big")
    return False
