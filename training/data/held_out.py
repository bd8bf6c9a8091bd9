"""Clips that a training is measured on, a few at a time. T frames, S the encoder's size, E joint space."""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial

import torch
from torch import Tensor

from encoder.video import FrameReader, VideoError
from training.data.clip_frames import ClipFrames
from training.data.examples import Clip
from training.data.reader_threads import ReaderThreads
from training.engine.distributed import gather, gather_objects, share

log = logging.getLogger(__name__)

AT_ONCE = 8


class HeldOut:
    """Held-out clips; of several processes each watches its share."""

    def __init__(self, clips: Sequence[Clip], frames: ClipFrames, threads: ReaderThreads) -> None:
        self.clips, self.frames, self.threads = clips, frames, threads
        self._unreadable: dict[str, str] = {}
        self._told: set[str] = set()

    def watched(self, watch: Callable[[Tensor], Tensor]) -> tuple[list[Clip], Tensor]:
        """The clips that can be read (B), and their features (B, T, E) by `watch`, (n, T, 3, S, S) -> (n, T, E).

        The same in all processes. A clip that cannot be read is left out, with one warning.
        """
        mine = self.clips[share(len(self.clips))]
        features, readable = [], []
        for frames in self._frames(mine):
            shown = [torch.zeros(self._shape) if frame is None else frame for frame in frames]
            features.append(watch(torch.stack(shown)))
            readable += [frame is not None for frame in frames]
        kept = gather(torch.tensor(readable), len(self.clips))
        if not kept.all():
            self._tell()
        clips = [clip for clip, can_be_read in zip(self.clips, kept.tolist(), strict=True) if can_be_read]
        return clips, gather(torch.cat(features), len(self.clips))[kept]

    def _tell(self) -> None:
        """What no process could read, each once: people see the log of the first process alone."""
        for name, reason in sorted(item for part in gather_objects(self._unreadable) for item in part.items()):
            if name not in self._told:
                self._told.add(name)
                log.warning("%s is not measured on: %s", name, reason)

    @property
    def _shape(self) -> tuple[int, ...]:
        size = self.frames.transform.size
        return self.frames.num_frames, 3, size, size

    def _frames(self, clips: Sequence[Clip]) -> Iterator[list[Tensor | None]]:
        """A few clips at a time, the next ones being read meanwhile; None for one that cannot be."""
        parts = [clips[first : first + AT_ONCE] for first in range(0, len(clips), AT_ONCE)]
        waiting = [self._submitted(part) for part in parts[:1]]
        for number in range(len(parts)):
            waiting += [self._submitted(part) for part in parts[number + 1 : number + 2]]
            yield [future.result() for future in waiting.pop(0)]

    def _submitted(self, clips: Sequence[Clip]) -> list[Future[Tensor | None]]:
        return [self.threads.submit(partial(self._read, clip=clip)) for clip in clips]

    def _read(self, reader: FrameReader, *, clip: Clip) -> Tensor | None:
        if clip.name in self._unreadable:
            return None
        try:
            return self.frames.for_measuring(reader, clip)
        except VideoError as error:
            self._unreadable[clip.name] = str(error)
            return None
