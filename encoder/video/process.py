"""Start a decoding worker, watch its time and memory, and turn whatever happens to it into an answer or a VideoError.

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from encoder.video.info import VideoError

logger = logging.getLogger(__name__)

RECORD = struct.Struct("<II")
"""Before each record of the worker: a frame's name or one of the two below, and the number of bytes that follow."""
FACTS = 0xFFFFFFFF
DECORD_STARTS = 0xFFFFFFFE

MEMORY_LIMIT = 1500 * 2**20
"""Resident bytes of a worker. 8K frames fit: a decoder holds up to 17 of them."""
DECORD_SHARE = 0.5
"""Of the time left when decord starts: it is known to hang, and PyAV must still have time for the file after it."""
WATCH_EVERY = 0.05

WORKER = [sys.executable, "-P", "-m", "encoder.video.worker"]
"""-P: modules come from the repository and the environment, never from the folder where the user happens to be."""
_ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Answer:
    """What a worker sent: facts (info, size, order, times) and raw RGB frames by name."""

    facts: dict[str, Any] = field(default_factory=dict)
    frames: dict[int, bytes] = field(default_factory=dict)


class _WorkerFailedError(Exception):
    """A worker ended without an answer; the message is for the user."""


def run_worker(request: dict[str, Any], *, timeout: float) -> Answer:
    """Let a worker answer `request`; when decord hangs or crashes in it, once more with PyAV alone.

    Raises VideoError when the file cannot be shown, the time is over or the decoder died.
    """
    deadline = time.monotonic() + timeout
    worker = _Worker({**request, "decord": True, "seconds": timeout})
    try:
        try:
            return worker.answer(deadline)
        except _WorkerFailedError as failure:
            if not worker.in_decord:
                raise
            logger.info("decord failed on %r (%s); PyAV reads it.", request["path"], failure)
            return _Worker({**request, "decord": False, "seconds": deadline - time.monotonic()}).answer(deadline)
    except _WorkerFailedError as failure:
        raise VideoError(str(failure)) from failure


class _Worker:
    """One worker process and the records it has sent so far."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.in_decord = False
        self._path = request["path"]
        self._answer = Answer()
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
        try:
            self._process.stdin.write(json.dumps(request).encode())
            self._process.stdin.close()
        except BrokenPipeError:  # it died at once; answer() says so
            pass

    def answer(self, deadline: float) -> Answer:
        """Wait for the facts record; raises VideoError sent by the worker, or _WorkerFailedError. Leaves no process behind."""
        try:
            for name, payload in self._records(deadline):
                if name == FACTS:
                    self._answer.facts = json.loads(payload)
                    break
                self._answer.frames[name] = payload
        finally:
            self._process.kill()
            self._process.stdout.close()
            self._errors += self._process.stderr.read()
            self._process.stderr.close()
            self._process.wait()
        if self._errors:
            logger.info("worker on %r: %s", self._path, self._errors[-4096:].decode(errors="replace").strip())
        if "error" in self._answer.facts:
            raise VideoError(self._answer.facts["error"])
        if not self._answer.facts:
            raise _WorkerFailedError("This video could not be read: it is damaged in a way that crashed the decoder.")
        return self._answer

    def _records(self, deadline: float) -> Iterator[tuple[int, bytes]]:
        """Records in the order sent, until the worker ends; raises _WorkerFailedError over its time or memory."""
        started = time.monotonic()
        buffer = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            selector.register(self._process.stderr, selectors.EVENT_READ)
            while True:
                now = time.monotonic()
                if now >= deadline:
                    raise _WorkerFailedError(
                        f"Reading this video took longer than {_seconds(now - started)}, so it was stopped. "
                        "A shorter version, or one with smaller pictures, should work."
                    )
                if _resident_bytes(self._process.pid) > MEMORY_LIMIT:
                    raise _WorkerFailedError(
                        "Reading this video needs too much memory, so it was stopped. "
                        "A version with smaller pictures should work."
                    )
                for key, _ in selector.select(min(WATCH_EVERY, deadline - now)):
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
                    if name == DECORD_STARTS:
                        self.in_decord = True
                        now = time.monotonic()
                        deadline = now + (deadline - now) * DECORD_SHARE
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
