"""Batches of clips, read ahead in threads: what is in a batch does not depend on who reads it, or where a run goes on.

Axes: B clips of a batch, n of them of this process, T frames, S the encoder's size.
"""

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from encoder.video import FrameReader, VideoError
from training.data.clip_frames import ClipFrames
from training.data.draw import Draw
from training.data.examples import Clip, Examples
from training.data.jsonl import DataError
from training.data.reader_threads import ReaderThreads
from training.data.unreadable import Failure, Unreadable
from training.engine.distributed import gather, gather_objects, share

AHEAD = 2
"""Batches that are read before they are asked for."""
MAX_ATTEMPTS = 10
"""Clips that are tried for one row of a batch."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Frames (n, T, 3, S, S) of this process's rows; index, name and text of the clips (B) of all rows."""

    frames: Tensor
    clips: tuple[int, ...]
    names: tuple[str, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True)
class _Row:
    """Frames (T, 3, S, S), None where every attempt failed, and why each failed attempt did."""

    frames: Tensor | None
    reasons: tuple[str, ...]


class Batches:
    """Batch `number` of `total`, by its number alone. Asked for in order, they are ready before they are asked for.

    A clip that cannot be read is replaced by another one, which the seed decides, and noted in `unreadable`.
    """

    def __init__(
        self,
        examples: Examples,
        frames: ClipFrames,
        threads: ReaderThreads,
        unreadable: Unreadable,
        *,
        batch_size: int,
        total: int,
        seed: int,
    ) -> None:
        self.examples, self.frames, self.threads, self.unreadable = examples, frames, threads, unreadable
        self.draw = Draw(count=len(examples), batch_size=batch_size, seed=seed)
        self.total = total
        self._next: int | None = None
        self._pending: dict[int, list[Future[_Row]]] = {}

    def batch(self, number: int) -> Batch:
        """Raises DataError where too many clips cannot be read, in all processes alike."""
        if number != self._next:
            self._go_to(number)
        self._next = number + 1
        last = min(number + AHEAD, self.total - 1) if self.threads.count else number
        for later in (number, *range(number + 1, last + 1)):
            if later not in self._pending:
                self._pending[later] = [
                    self.threads.submit(partial(self._read, batch=later, row=row)) for row in self._my_rows()
                ]
        rows = [future.result() for future in self._pending.pop(number)]
        attempts = self._agreed(number, rows)
        chosen = [self.examples[self.draw.example(number, row, attempt)] for row, attempt in enumerate(attempts)]
        clips = tuple(clip for clip, _ in chosen)
        return Batch(
            frames=torch.stack([row.frames for row in rows]), clips=clips, texts=tuple(text for _, text in chosen),
            names=tuple(self.examples.clips[clip].name for clip in clips),
        )  # fmt: skip

    def _go_to(self, number: int) -> None:
        """Forget what was read ahead, and what became known after batch `number`."""
        for futures in self._pending.values():
            for future in futures:
                future.cancel()
        self._pending.clear()
        self.unreadable.rewind(number)

    def _my_rows(self) -> range:
        return range(self.draw.batch_size)[share(self.draw.batch_size)]

    def _read(self, reader: FrameReader, *, batch: int, row: int) -> _Row:
        reasons: list[str] = []
        while len(reasons) < MAX_ATTEMPTS:
            attempt = len(reasons)
            clip = self._clip(batch, row, attempt)
            if known := self.unreadable.reason(clip.name):
                reasons.append(known)
                continue
            try:
                frames = self.frames.for_training(reader, clip, self.draw.rng(batch, row, attempt))
            except VideoError as error:
                reasons.append(str(error))
            else:
                return _Row(frames, tuple(reasons))
        return _Row(None, tuple(reasons))

    def _agreed(self, number: int, mine: list[_Row]) -> list[int]:
        """The attempt that all rows of the batch are of, those of other processes too; failures are noted."""
        size = self.draw.batch_size
        attempts = gather(torch.tensor([len(row.reasons) for row in mine]), size).tolist()
        if any(attempts):
            parts = gather_objects({row: found.reasons for row, found in zip(self._my_rows(), mine, strict=True)})
            reasons = {row: told for part in parts for row, told in part.items()}
            self.unreadable.note(self._failures(number, reasons), seen=(number + 1) * size)
        if MAX_ATTEMPTS in attempts:
            raise DataError(
                f"batch {number}: {MAX_ATTEMPTS} videos, one after the other, could not be read. "
                f"{self.unreadable.ledger} names them. Are the videos where the annotations say?"
            )
        return attempts

    def _failures(self, number: int, reasons: dict[int, tuple[str, ...]]) -> Iterator[Failure]:
        for row, told in sorted(reasons.items()):
            replacement = self._clip(number, row, len(told)).name
            for attempt, reason in enumerate(told):
                yield Failure(number, row, self._clip(number, row, attempt).name, reason, replacement)

    def _clip(self, batch: int, row: int, attempt: int) -> Clip:
        clip, _ = self.examples[self.draw.example(batch, row, attempt)]
        return self.examples.clips[clip]
