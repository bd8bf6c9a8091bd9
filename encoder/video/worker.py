"""The process that decodes: reads one request (JSON) from standard input, writes frames and then facts to its output.

It limits itself before it touches the file; `process.py` watches it and kills it.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
from contextlib import suppress
from typing import Any

import numpy as np

from encoder.video.info import VideoError
from encoder.video.process import FACTS, RECORD

_ADDRESS_SPACE = 4 * 2**30
"""Above the resident limit that the parent watches: a single absurd allocation fails here, at once."""


def main() -> None:
    """Answer the request on standard input."""
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not land among the frames
    request = json.load(sys.stdin.buffer)
    _limit_this_process(request["seconds"])
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    try:
        facts = _answer(request, output)
    except VideoError as error:
        if error.__cause__ is not None:
            logging.info("%r", error.__cause__)
        facts = {"error": str(error)}
    except MemoryError:
        facts = {"error": "Reading this video needs too much memory. A version with smaller pictures should work."}
    _send(output, FACTS, json.dumps(facts).encode())
    output.flush()
    os._exit(0)  # decoders may hang or crash in their destructors; nothing here needs them to run


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


def _limit_this_process(seconds: float) -> None:
    cores = os.cpu_count() or 1
    for what, limit in [
        (resource.RLIMIT_AS, _ADDRESS_SPACE),
        (resource.RLIMIT_CPU, int(seconds * cores) + 2),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ]:
        hard = resource.getrlimit(what)[1]
        value = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        with suppress(OSError, ValueError):  # some systems have no such limit; the parent watches all the same
            resource.setrlimit(what, (value, value))


if __name__ == "__main__":
    main()
