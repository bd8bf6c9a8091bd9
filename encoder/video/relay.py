"""Worker after worker: how many requests one may answer, and which requests get another try in a fresh one."""

from __future__ import annotations

import logging
import time
from typing import Any

from encoder.video.info import VideoError
from encoder.video.process import Answer, Worker, WorkerFailedError

logger = logging.getLogger(__name__)


class Relay:
    """Has requests answered, at most `requests_each` by one worker; used by one thread at a time, and closed by it."""

    def __init__(self, *, requests_each: int) -> None:
        self._requests_each = requests_each
        self._worker: Worker | None = None
        self._closed = False

    def answer(self, request: dict[str, Any], *, timeout: float) -> Answer:
        """Let a worker answer `request`; when decord hangs or crashes in it, once more with PyAV alone.

        A worker that answered before may die of what an earlier file left in it: then a fresh one has a try as well.
        Raises VideoError when the file cannot be shown, the time is over or the decoder died.
        """
        if self._closed:
            raise ValueError(f"expected an open reader, got a closed one for {request['path']!r}. Try a new reader.")
        deadline = time.monotonic() + timeout
        decord = True
        while True:
            worker = self._worker = self._worker or Worker()
            is_fresh = not worker.answered
            try:
                answer = self._ask(worker, request | {"decord": decord}, deadline)
                break
            except WorkerFailedError as failure:
                if decord and worker.in_decord:
                    decord = False
                elif is_fresh or time.monotonic() >= deadline:
                    raise VideoError(str(failure)) from failure
                who = "a used worker" if decord else "decord"
                logger.info("%s failed on %r (%s); a fresh worker reads it.", who, request["path"], failure)
        if "error" in answer.facts:
            raise VideoError(answer.facts["error"])
        return answer

    def close(self) -> None:
        """End the worker; no request is answered any more."""
        self._closed = True
        self._stop()

    def _ask(self, worker: Worker, request: dict[str, Any], deadline: float) -> Answer:
        """One try. The worker stays only if it answered and may answer more."""
        is_last = worker.answered + 1 >= self._requests_each
        try:
            answer = worker.answer(request | {"seconds": deadline - time.monotonic(), "last": is_last}, deadline)
        except BaseException:  # Ctrl+C too: what is left of this answer must not become the next one
            self._stop()
            raise
        if is_last:
            self._stop()
        return answer

    def _stop(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()
