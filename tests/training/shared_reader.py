"""One decoding process for all threads and tests, which remembers what it has read."""

import os
import threading
from typing import Any

from encoder.video import FrameReader, VideoError, VideoFrames


class SharedReader:
    """Stands in for FrameReader. `fetched` counts what was not known yet."""

    def __init__(self) -> None:
        self._reader, self._lock = FrameReader(), threading.Lock()
        self._known: dict[tuple, VideoFrames | VideoError] = {}
        self.fetched = 0

    def __enter__(self) -> "SharedReader":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        self._reader.close()

    def read(self, path: Any, num_frames: int, *, places: Any = None, **options: Any) -> VideoFrames:
        key = (os.path.realpath(path), num_frames, None if places is None else tuple(places), *sorted(options.items()))
        with self._lock:
            if key not in self._known:
                self.fetched += 1
                try:
                    self._known[key] = self._reader.read(path, num_frames, places=places, **options)
                except VideoError as error:
                    self._known[key] = error
        found = self._known[key]
        if isinstance(found, VideoError):
            raise VideoError(str(found))
        return found
