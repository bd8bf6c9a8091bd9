"""One conversation per browser tab, and the bounded register of them. Knows nothing of the web page."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from app.line import Job, Line, Place
from bridge import AnswerStats, NoVideoError, VideoChat
from encoder.video import VideoError, VideoFrames, VideoInfo

logger = logging.getLogger(__name__)

T = TypeVar("T")

CAPACITY = 16
"""Conversations kept in memory: each holds an encoded video and the language model's cache of what was said."""
TIME_TO_LIVE = 3600.0
"""Seconds after which an unused conversation is forgotten."""
GRACE = 120.0
"""Seconds a closed tab's conversation is kept: a sleeping telephone also looks like a closed tab."""
LONGEST_READ = 30.0
"""Seconds to wait for a video that is being read when its conversation ends."""


class BusyError(Exception):
    """The tab asks while its own answer is still being written. The message is for the user."""

    def __init__(self) -> None:
        super().__init__("The last answer is still being written. Wait for it, or press Stop first.")


class Session:
    """A tab's conversation: its chat, and the jobs it has in the line."""

    def __init__(self, chat: VideoChat, line: Line, *, max_seconds: float | None = None) -> None:
        self.last: AnswerStats | None = None  # of the latest answer; None when it was stopped before it began
        self.conversation = 0  # another number once the user wants another one: whoever shows the old one must end
        self.name = ""  # of the file that is open
        self._chat = chat
        self._line = line
        self._max_seconds = max_seconds
        self._opening: Job[VideoFrames] | None = None
        self._asking: Job[str] | None = None
        self._clearing = threading.Lock()

    @property
    def reading(self) -> bool:
        """A video is on its way: it waits in the line or is being read."""
        return self._opening is not None and not self._opening.done.is_set()

    @property
    def answering(self) -> bool:
        return self._asking is not None and not self._asking.done.is_set()

    @property
    def busy(self) -> bool:
        """Somebody waits for this conversation."""
        return self.reading or self.answering

    @property
    def frames(self) -> VideoFrames | None:
        """What the model saw of the file that is open."""
        return self._chat.frames

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation so far, `{"role", "content"}` each, without questions whose answer never began.

        Empty while a new video is on its way or the conversation is being cleared.
        """
        if self.reading or self._clearing.locked():
            return []
        said = list(self._chat.messages)
        return [
            dict(message)
            for question, answer in zip(said[::2], said[1::2], strict=True)
            if answer["content"].strip()
            for message in (question, answer)
        ]

    def open(self, path: Path) -> Iterator[Place | VideoFrames]:
        """Get in line at once; the iterator gives the place there, then the frames the model saw.

        Replaces video and conversation. The iterator raises VideoError; an earlier video and its conversation then stay.
        """
        self.conversation += 1
        self.stop()
        if self._opening is not None:
            self._opening.cancel()
        self._opening = job = self._line.submit(lambda stop: self._read(path, stop))
        return one_by_one(job)

    def ask(self, question: str) -> Iterator[Place | str]:
        """Yield the place in line, then the answer as far as it is written, again and again.

        Raises BusyError when an answer is being written already, NoVideoError when there is no video or the one that
        is on its way turns out to be none.
        """
        if self.answering:
            raise BusyError
        self.last = None
        awaited = self._opening if self.reading else None
        self._asking = job = self._line.submit(lambda stop: self._answer(question, awaited, stop))
        answer = ""
        for event in job.events():
            if isinstance(event, Place):
                yield event
            else:
                answer += "".join(event)
                yield answer

    def stop(self) -> None:
        """Stop the answer that is being written, within one token, or take the question out of the line."""
        if self._asking is not None:
            self._asking.cancel()

    def clear(self) -> None:
        """Forget the conversation and keep the video."""
        with self._clearing:
            self.conversation += 1
            self.stop()
            if self._asking is not None:
                self._asking.done.wait(LONGEST_READ)
            self._chat.clear()

    def close(self) -> None:
        """Stop everything and forget the video and the conversation."""
        for job in (self._asking, self._opening):
            if job is not None:
                job.cancel()
                job.done.wait(LONGEST_READ)
        self._chat.close()

    def _read(self, path: Path, stop: threading.Event) -> Iterator[VideoFrames]:
        if stop.is_set():
            return
        started = time.monotonic()
        frames = self._chat.open(path, check=self._check_length)
        self.name = path.name
        logger.info("video: %d frames read and encoded in %.1f s", len(frames.times), time.monotonic() - started)
        yield frames

    def _check_length(self, info: VideoInfo) -> None:
        limit = self._max_seconds
        if limit is not None and info.duration > limit:
            raise VideoError(
                f"This video is {minutes(info.duration)} long; this page takes up to {minutes(limit)}. "
                "Cut it and try again, or start the program with a larger --max-video-seconds."
            )

    def _answer(self, question: str, awaited: Job[VideoFrames] | None, stop: threading.Event) -> Iterator[str]:
        if stop.is_set():
            return
        if awaited is not None and awaited.failed:  # an answer about the earlier video would mislead
            raise NoVideoError(
                "The video that you asked about could not be opened. Add another one, then ask about it."
            )
        yield from self._chat.ask(question, stop=stop)
        self.last = stats = self._chat.last
        if stats is not None:
            logger.info("answer: %d tokens, %s, %.1f s", stats.new_tokens, stats.finish, stats.seconds)


class Sessions:
    """The conversations in memory, at most `capacity` beside those that are waited for; the least recently used leave first."""

    def __init__(
        self,
        new_session: Callable[[], Session],
        *,
        capacity: int = CAPACITY,
        time_to_live: float = TIME_TO_LIVE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._new_session = new_session
        self._capacity = capacity
        self._time_to_live = time_to_live
        self._clock = clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._deadlines: dict[str, float] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sessions)

    def enter(self, tab: str) -> Session:
        """The tab's conversation, a fresh one at its first visit or after it was forgotten."""
        self.sweep()
        with self._lock:
            if tab not in self._sessions:
                self._sessions[tab] = self._new_session()
            session = self._sessions[tab]
            self._sessions.move_to_end(tab)
            self._deadlines[tab] = self._clock() + self._time_to_live
            too_many = max(len(self._sessions) - self._capacity, 0)
            idle = [other for other, each in self._sessions.items() if other != tab and not each.busy]
            crowded_out = self._pop(idle[:too_many])
        self._close(crowded_out)
        return session

    def find(self, tab: str) -> Session | None:
        """The tab's conversation, if it has one."""
        return self._sessions.get(tab)

    def leave(self, tab: str) -> None:
        """A tab is gone: stop its answer now, forget it after a grace time unless it comes back."""
        session = self.find(tab)
        if session is not None:
            session.stop()
            self._deadlines[tab] = self._clock() + GRACE

    def sweep(self) -> None:
        """Forget every conversation whose time is over."""
        with self._lock:
            now = self._clock()
            over = self._pop([tab for tab, deadline in self._deadlines.items() if deadline <= now])
        self._close(over)

    def close(self) -> None:
        """Forget all."""
        with self._lock:
            everyone = self._pop(list(self._sessions))
        self._close(everyone)

    def _pop(self, tabs: list[str]) -> list[Session]:
        for tab in tabs:
            self._deadlines.pop(tab, None)
        return [self._sessions.pop(tab) for tab in tabs if tab in self._sessions]

    @staticmethod
    def _close(sessions: list[Session]) -> None:
        for session in sessions:
            session.close()


def one_by_one(job: Job[T]) -> Iterator[Place | T]:
    """The events of a job, its results singly instead of in batches."""
    for event in job.events():
        if isinstance(event, Place):
            yield event
        else:
            yield from event


def minutes(seconds: float) -> str:
    """A length of time in words.

    >>> minutes(45.2), minutes(600), minutes(754)
    ('45 seconds', '10 minutes', '12 min 34 s')
    """
    whole = round(seconds)
    if whole < 100:
        return f"{whole} seconds"
    return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} minutes"
