"""Decode only what the sampled frames need: from the key packet before each, with every landing and time checked.

Only the worker process imports this module.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import av

from encoder.video.container import Damage, Movie
from encoder.video.index import Index, is_shown

Keep = Callable[[int, av.VideoFrame], None]

_RETRIES = (0, 1, 4)
"""How many key packets further back to start, one try after another: some are not clean entry points."""
_SKIPPING = ("h264", "hevc")
"""Codecs in which pictures that no other one refers to are left out on the way to a sample: half the work."""


def read_jumps(
    reopen: Callable[[], Movie], index: Index, positions: set[int], keep: Keep, damage: Damage, hurry: float
) -> dict[int, int | None]:
    """Hand the frame of each packet position to `keep`; where it does not decode, the nearest one that does.

    Returns the timestamps of the neighbours by position: empty when every frame was found at its own time. Positions
    around which nothing decodes are missing from `keep` and have the timestamp None. `damage` counts what went wrong.
    After `hurry` (monotonic) the first frame of each run, a key frame, has to do.
    """
    reader = _Reader(reopen, index, damage, hurry)
    neighbours: dict[int, int | None] = dict.fromkeys(positions)
    for back in _RETRIES:
        runs: dict[int, set[int]] = {}
        for position in neighbours:
            runs.setdefault(index.key_before(position, back), set()).add(position)
        for key in sorted(runs):
            for position, frame, exact in reader.run(key, runs[key]):
                keep(position, frame)
                if exact:
                    del neighbours[position]
                else:
                    neighbours[position] = frame.pts
        if not neighbours or len(index.keys) < 2 or time.monotonic() > hurry:
            break
    return neighbours


class _Reader:
    """Walks the packets from any key packet on and knows the position of each."""

    def __init__(self, reopen: Callable[[], Movie], index: Index, damage: Damage, hurry: float) -> None:
        self._reopen_movie = reopen
        self._index = index
        self._damage = damage
        self._hurry = hurry
        self._movie = self._reopen()
        self._codec = self._movie.codec
        self._times_of_key = {position: times for times, position in index.key_of.items()}

    def run(self, key: int, wanted: set[int]) -> Iterator[tuple[int, av.VideoFrame, bool]]:
        """Decode from packet `key` until every wanted position has its frame or, past its time, a neighbour."""
        missing = sorted(wanted, key=self._place)
        before: av.VideoFrame | None = None
        for count, frame in enumerate(self._frames(key, wanted)):
            place = frame.pts if self._index.has_times else key + count
            while missing and place >= self._place(missing[0]):
                position = missing.pop(0)
                exact = place == self._place(position)
                nearer = before is not None and not exact and self._between(before, position, place)
                yield position, before if nearer else frame, exact
            if not missing:
                return
            before = frame
            if time.monotonic() > self._hurry:
                break
        if before is not None:
            for position in missing:
                yield position, before, False

    def _reopen(self) -> Movie:
        movie = self._reopen_movie()
        movie.damage = self._damage
        return movie

    def _place(self, position: int) -> int:
        """What a frame is recognised by: its timestamp, or its number where the file has none."""
        stamp = self._index.stamps[position][0]
        return stamp if self._index.has_times and stamp is not None else position

    def _between(self, before: av.VideoFrame, position: int, place: int) -> bool:
        """Whether the frame before the wanted place is nearer to it than the one at `place`."""
        wanted = self._place(position)
        return before.pts is not None and self._index.has_times and wanted - before.pts < place - wanted

    def _frames(self, key: int, wanted: set[int]) -> Iterator[av.VideoFrame]:
        movie, packets = self._go_to(key)
        context = movie.stream.codec_context
        if not context.is_open:
            movie.stream.thread_type = "AUTO"
        skip = self._codec in _SKIPPING and self._index.has_times
        for position, packet in packets:
            if skip:
                context.skip_frame = "DEFAULT" if position in wanted else "NONREF"
            for frame in movie.decode(packet):
                if frame.pts is not None or not self._index.has_times:
                    yield frame
        yield from (frame for frame in movie.decode(None) if frame.pts is not None or not self._index.has_times)

    def _go_to(self, key: int) -> tuple[Movie, Iterator[tuple[int, av.Packet]]]:
        """The movie and its numbered packets from `key` on; a seek that lands anywhere else is not believed."""
        times = [t for t in self._times_of_key.get(key, ()) if t is not None] if key else []
        if times:
            try:
                self._movie.container.seek(min(times), stream=self._movie.stream)
            except av.error.FFmpegError:
                pass
            else:
                packets = self._movie.packets()
                for packet in packets:
                    landing = self._index.key_of.get((packet.pts, packet.dts)) if packet.is_keyframe else None
                    if landing is not None:
                        if landing <= key:
                            return self._movie, self._numbered(landing, packet, packets, key)
                        break
        self._movie = self._reopen()
        packets = self._movie.packets()
        return self._movie, self._numbered(0, next(packets, None), packets, key)

    def _numbered(
        self, position: int, packet: av.Packet | None, packets: Iterator[av.Packet], key: int
    ) -> Iterator[tuple[int, av.Packet]]:
        """(position, packet) from `key` on. Packets that show nothing go along without a number of their own."""
        while packet is not None:
            if position >= key:
                yield position, packet
            position += is_shown(self._codec, packet)
            packet = next(packets, None)
