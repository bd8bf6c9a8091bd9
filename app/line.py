"""The line of people waiting for one model: a single thread runs their jobs, one after another, as they came.

A model answers one caller at a time. Everything that touches it (reading a video, answering) is a job here, so no
order of clicks, closed tabs or cancelled requests can bring two callers to it at once.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

HEARTBEAT = 0.5
"""Seconds between two reports of a job that has nothing new; also how soon a reader that went away is noticed."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a job stands: `ahead` others come first; `running` once it is its turn."""

    ahead: int
    running: bool


class _End:
    """Closes the stream of a job's results."""


class Job(Generic[T]):
    """One piece of work, its stop switch, and what it has produced so far."""

    def __init__(self, work: Callable[[threading.Event], Iterable[T]], line: "Line") -> None:
        self.stop = threading.Event()
        self.done = threading.Event()
        self._work = work
        self._line = line
        self._results: queue.SimpleQueue[T | _End] = queue.SimpleQueue()
        self._error: Exception | None = None

    @property
    def failed(self) -> bool:
        """The work raised something; `events` raises it again."""
        return self._error is not None

    def cancel(self) -> None:
        """Stop the job. One that still waits leaves the line; one that runs ends at its next look at the switch."""
        self.stop.set()
        if self._line.remove(self):
            self.finish()

    def run(self) -> None:
        """Do the work; called by the line's thread only."""
        try:
            for result in self._work(self.stop):
                self._results.put(result)
        except Exception as error:  # belongs to the reader: raised again in `events`
            self._error = error
        finally:
            self.finish()

    def finish(self) -> None:
        """Close the stream of results."""
        self.done.set()
        self._results.put(_End())

    def events(self) -> Iterator[Place | list[T]]:
        """Yield the place in line while there is nothing new, and every batch of results as it comes.

        Raises what the work raised. A reader that goes away (closes this iterator) cancels the job.
        """
        try:
            place = self._line.place(self)
            if not place.running:
                yield place
            ended = False
            while not ended:
                try:
                    batch = [self._results.get(timeout=HEARTBEAT)]
                except queue.Empty:
                    yield self._line.place(self)
                    continue
                while not self._results.empty():
                    batch.append(self._results.get())
                results = [result for result in batch if not isinstance(result, _End)]
                ended = len(results) < len(batch)
                if results:
                    yield results
            if self._error is not None:
                raise self._error
        finally:
            self.cancel()


class Line:
    """A first-come, first-served line in front of one worker thread."""

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self._running: Job | None = None
        self._changed = threading.Condition()
        self._closed = False
        threading.Thread(target=self._serve, name="model", daemon=True).start()

    def submit(self, work: Callable[[threading.Event], Iterable[T]]) -> Job[T]:
        """Put work at the end of the line. It is called with its stop switch and yields results."""
        job = Job(work, self)
        with self._changed:
            if self._closed:
                raise RuntimeError("the line is closed: no job can be taken any more.")
            self._jobs.append(job)
            self._changed.notify()
        return job

    def place(self, job: Job) -> Place:
        """Where the job stands now."""
        with self._changed:
            if job not in self._jobs:
                return Place(ahead=0, running=True)
            return Place(ahead=self._jobs.index(job) + (self._running is not None), running=False)

    def remove(self, job: Job) -> bool:
        """Take a waiting job out of the line; False when its turn has come already."""
        with self._changed:
            if job not in self._jobs:
                return False
            self._jobs.remove(job)
            return True

    def close(self) -> None:
        """Stop the running job, drop the waiting ones, end the thread."""
        with self._changed:
            self._closed = True
            jobs = [*self._jobs] + ([self._running] if self._running else [])
            self._changed.notify()
        for job in jobs:
            job.cancel()

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._closed)
                if self._closed:
                    return
                self._running = self._jobs.popleft()
            self._running.run()
            with self._changed:
                self._running = None
