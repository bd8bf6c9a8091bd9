"""Threads that read clips while others are learned from."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import TypeVar

from encoder.video import FrameReader

T = TypeVar("T")


class ReaderThreads:
    """`count` threads with a FrameReader each, between entry and exit; with none, the calling thread reads at once.

    At the exit what waits is dropped, what is being read is waited for, and no process is left behind.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._readers = threading.local()
        self._open = ExitStack()
        self._pool = ThreadPoolExecutor(count, "reader", initializer=self._equip) if count else None

    def __enter__(self) -> "ReaderThreads":
        if self._pool is None:
            self._equip()
        return self

    def __exit__(self, *_: object) -> None:
        with self._open:
            if self._pool is not None:
                self._pool.shutdown(cancel_futures=True)

    def submit(self, work: Callable[[FrameReader], T]) -> "Future[T]":
        """What `work` makes of a reader, some time later; its errors are raised where the future's result is asked for."""
        if self._pool is not None:
            return self._pool.submit(lambda: work(self._readers.own))
        done: Future[T] = Future()
        try:
            done.set_result(work(self._readers.own))
        except Exception as error:  # noqa: BLE001 (as of a thread)
            done.set_exception(error)
        return done

    def _equip(self) -> None:
        self._readers.own = self._open.enter_context(FrameReader())
