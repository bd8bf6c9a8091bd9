"""One decoding worker: started, watched in its time and memory, and stopped. `relay.py` decides when.

A decoder may hang, abort on an uncaught C++ exception or eat all memory; only a process of its own can be stopped.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

RECORD = struct.Struct("<II")
"""Before each record of the worker: a frame's name or one of the four below, and the number of bytes that follow."""
STARTS = 0xFFFFFFFC
"""First record of an answer: the request is taken up."""
DECORD_STARTS = 0xFFFFFFFE
FACTS = 0xFFFFFFFF
"""Last record of an answer."""
NO_MEMORY = 0xFFFFFFFD
"""Last record of a worker: memory ran out."""

MEMORY_LIMIT = 1500 * 2**20
"""Resident bytes of a worker. 8K frames fit: a decoder holds up to 17 of them."""
START_SHARE = 0.2
"""Of the time, for a used worker to take up a request: one that needs more hangs in what an earlier file left there."""
DECORD_SHARE = 0.5
"""Of the time left when decord starts: it is known to hang, and PyAV must still have time for the file after it."""
WATCH_EVERY = 0.05

WORKER = [sys.executable, "-P", "-m", "encoder.video.worker"]
"""-P: modules come from the repository and the environment, never from the folder where the user happens to be."""
_ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Answer:
    """What a worker sent: facts (info, size, order, times; or error alone) and raw RGB frames by name."""

    facts: dict[str, Any] = field(default_factory=dict)
    frames: dict[int, bytes] = field(default_factory=dict)


class WorkerFailedError(Exception):
    """A worker died or had to be given up; the message is for the user."""


class Worker:
    """One process that answers one request after the other, until it is stopped."""

    def __init__(self) -> None:
        self.answered = 0
        self.in_decord = False
        """Whether decord was started for the last request."""
        self._errors = b""
        environment = {**os.environ, "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"}
        # The file name travels as data on standard input: no shell, no option parser ever sees it.
        self._process = subprocess.Popen(
            WORKER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        os.set_blocking(self._process.stderr.fileno(), False)

    def answer(self, request: dict[str, Any], deadline: float) -> Answer:
        """Let it answer until `deadline` (monotonic). Raises WorkerFailedError, and then it must be stopped."""
        self.in_decord = False
        with suppress(BrokenPipeError):  # it is dead, and has no records
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        answer = Answer()
        try:
            for name, payload in self._records(deadline):
                if name == NO_MEMORY:
                    raise WorkerFailedError(
                        "Reading this video needs too much memory. A version with smaller pictures should work."
                    )
                if name == FACTS:
                    answer.facts = json.loads(payload)
                    self.answered += 1
                    return answer
                answer.frames[name] = payload
        finally:
            self._log_errors(request["path"])
        raise WorkerFailedError("This video could not be read: it is damaged in a way that crashed the decoder.")

    def stop(self) -> None:
        """Kill it, whatever it does. Leaves no process and no descriptor behind."""
        self._process.kill()
        with suppress(BrokenPipeError):  # of a request that it never took
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.stderr.close()
        self._process.wait()

    def _log_errors(self, path: str) -> None:
        with suppress(BlockingIOError):  # read once: a decoder gone wild may write faster than this reads
            self._errors += os.read(self._process.stderr.fileno(), 1 << 16)
        if self._errors:
            logger.info("worker on %r: %s", path, self._errors[-4096:].decode(errors="replace").strip())
        self._errors = b""

    def _records(self, deadline: float) -> Iterator[tuple[int, bytes]]:
        """Records in the order sent, until the worker ends; raises WorkerFailedError over its time or memory."""
        started = time.monotonic()
        limit = started + (deadline - started) * START_SHARE if self.answered else deadline
        buffer = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            selector.register(self._process.stderr, selectors.EVENT_READ)
            while True:
                now = time.monotonic()
                if now >= limit:
                    raise WorkerFailedError(
                        f"Reading this video took longer than {_seconds(now - started)}, so it was stopped. "
                        "A shorter version, or one with smaller pictures, should work."
                    )
                if _resident_bytes(self._process.pid) > MEMORY_LIMIT:
                    raise WorkerFailedError(
                        "Reading this video needs too much memory, so it was stopped. "
                        "A version with smaller pictures should work."
                    )
                for key, _ in selector.select(min(WATCH_EVERY, limit - now)):
                    data = os.read(key.fd, 1 << 20)
                    if key.fileobj is self._process.stderr:
                        self._errors = self._errors[-4096:] + data
                        if not data:
                            selector.unregister(key.fileobj)
                        continue
                    if not data:
                        return
                    buffer += data
                while len(buffer) >= RECORD.size:
                    name, length = RECORD.unpack_from(buffer)
                    if len(buffer) < RECORD.size + length:
                        break
                    payload = bytes(memoryview(buffer)[RECORD.size : RECORD.size + length])
                    del buffer[: RECORD.size + length]
                    if name == STARTS:
                        limit = deadline
                    elif name == DECORD_STARTS:
                        self.in_decord = True
                        now = time.monotonic()
                        limit = now + (deadline - now) * DECORD_SHARE
                    else:
                        yield name, payload


def _seconds(number: float) -> str:
    return f"{number:.0f} second{'s' * (round(number) != 1)}"


def _resident_bytes(pid: int) -> int:
    """Memory of a process in bytes; 0 where /proc does not tell (the worker's own address-space limit remains)."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_bytes().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
