"""The process that decodes: reads requests (JSON) from standard input, one a line, and answers each on its output.

An answer is frames and then facts. The process limits itself before it touches a file; `process.py` watches it and
kills it, and it ends by itself when nobody holds the other end of its input.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import resource
import select
import sys
import threading
from contextlib import suppress
from typing import Any

import numpy as np

from encoder.video.info import VideoError
from encoder.video.process import FACTS, NO_MEMORY, RECORD, STARTS

_ADDRESS_SPACE = 4 * 2**30
"""Above the resident limit that the parent watches: a single absurd allocation fails here, at once."""


def main() -> None:
    """Answer the requests on standard input."""
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not land among the frames
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        _send(output, STARTS, b"")
        output.flush()
        _limit_this_process(request["seconds"], last=request["last"])
        name, facts = FACTS, {}
        try:
            facts = _answer(request, output)
        except VideoError as error:
            if error.__cause__ is not None:
                logging.info("%r", error.__cause__)
            facts = {"error": str(error)}
        except MemoryError:
            name = NO_MEMORY
        _send(output, name, json.dumps(facts).encode())
        output.flush()
        # PyAV's objects hold each other in circles, and with them a decoder's threads and pictures. What is left after
        # that is set aside, so that the next collection need not look at it again: it takes 6 ms otherwise.
        gc.collect()
        gc.freeze()
    os._exit(0)  # decoders may hang or crash in their destructors; nothing here needs them to run


def _end_with_parent() -> None:
    """Wait, beside a decoder that may hang, until the parent has closed its end of standard input or is dead."""
    hang_up = select.poll()
    hang_up.register(0, 0)  # no event is asked for: the hang-up comes unasked
    hang_up.poll()
    os._exit(0)


def _answer(request: dict[str, Any], output: Any) -> dict[str, Any]:
    from encoder.video import reader  # after the limits: this loads the decoders

    sizes: dict[int, tuple[int, int]] = {}

    def keep(name: int, picture: np.ndarray) -> None:
        sizes[name] = picture.shape[:2]
        _send(output, name, np.ascontiguousarray(picture).tobytes())

    def announce(name: int) -> None:
        _send(output, name, b"")
        output.flush()

    info, times, order = reader.read(request, keep, announce)
    size = sizes[order[0]] if order else (0, 0)
    return {"info": info, "times": times, "order": order, "size": size}


def _send(output: Any, name: int, payload: bytes) -> None:
    output.write(RECORD.pack(name, len(payload)))
    output.write(payload)


def _limit_this_process(seconds: float, *, last: bool) -> None:
    """Before each request: time is counted over the life of the process, so its limit moves, until the `last` fixes it."""
    cores = os.cpu_count() or 1
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_seconds = int(used.ru_utime + used.ru_stime + seconds * cores) + 2
    for what, limit in [
        (resource.RLIMIT_AS, _ADDRESS_SPACE),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ]:
        hard = resource.getrlimit(what)[1]
        value = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        with suppress(OSError, ValueError):  # some systems have no such limit; the parent watches all the same
            resource.setrlimit(what, (value, hard if what == resource.RLIMIT_CPU and not last else value))


if __name__ == "__main__":
    main()
