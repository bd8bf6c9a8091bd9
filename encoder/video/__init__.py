"""The one door to video files: `probe` says what a file holds, `read_frames` gives sampled pictures of it.

`FrameReader` gives those of many files, one after the other.

Decoders are attack surface and crash; all of them live in a worker process (`worker.py`). The worker imports this
package too and must start fast, so nothing here imports torch or av at import time.
"""

from encoder.video.decode import read_frames
from encoder.video.frame_reader import FrameReader
from encoder.video.info import VideoError, VideoFrames, VideoInfo
from encoder.video.probe import probe

__all__ = ["FrameReader", "VideoError", "VideoFrames", "VideoInfo", "probe", "read_frames"]
