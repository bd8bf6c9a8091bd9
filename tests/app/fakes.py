"""A chat without a model, for tests of what stands between the page and the model."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from bridge import AnswerStats, NoVideoError
from encoder.video import VideoError, VideoFrames, VideoInfo


def frames_of(name: str, *, duration: float = 4.0, is_image: bool = False) -> VideoFrames:
    """Frames whose colour depends on the name."""
    count = 1 if is_image else 4
    shade = sum(name.encode()) % 256
    return VideoFrames(
        pixels=torch.full((count, 3, 40, 60), shade, dtype=torch.uint8),
        times=torch.arange(count, dtype=torch.float64) * 1.25,
        info=VideoInfo(
            duration=0.0 if is_image else duration,
            fps=0.0 if is_image else 25.0,
            width=60,
            height=40,
            rotation=0,
            codec="png" if is_image else "h264",
            num_frames=1 if is_image else 100,
            is_image=is_image,
            container="image2" if is_image else "mp4",
        ),
    )


class FakeChat:
    """Says the video's name and the question back, word by word; counts who is inside at one time."""

    inside = 0
    most_inside = 0

    def __init__(self, *, words: int = 5, pause: float = 0.0) -> None:
        self.frames: VideoFrames | None = None
        self.messages: list[dict[str, str]] = []
        self.last: AnswerStats | None = None
        self.closed = 0
        self._words = words
        self._pause = pause
        self._name = ""

    def open(self, path: Path, *, check: Callable[[VideoInfo], None]) -> VideoFrames:
        if "broken" in str(path):
            raise VideoError("This is not a video.")
        if "fault" in str(path):
            raise ZeroDivisionError("a fault of the program")
        frames = frames_of(path.stem, duration=900.0 if "long" in path.stem else 4.0)
        check(frames.info)
        self.frames, self._name, self.messages = frames, path.stem, []
        return self.frames

    def ask(self, question: str, *, stop: threading.Event) -> Iterator[str]:
        if self.frames is None:
            raise NoVideoError("Add a video first, then ask about it.")
        if "fault" in question:
            raise ZeroDivisionError("a fault of the program")
        FakeChat.inside += 1
        FakeChat.most_inside = max(FakeChat.most_inside, FakeChat.inside)
        self.messages = [*self.messages, {"role": "user", "content": question}, {"role": "assistant", "content": ""}]
        said, finish = 0, "end"
        for word in [self._name, question, *["word"] * (self._words - 2)]:
            if stop.is_set():
                finish = "stopped"
                break
            time.sleep(self._pause)
            said += 1
            self.messages[-1]["content"] += f"{word} "
            yield f"{word} "
        FakeChat.inside -= 1
        self.last = AnswerStats(new_tokens=said, first_token_seconds=0.0, seconds=said * self._pause, finish=finish)

    def clear(self) -> None:
        self.messages = []

    def close(self) -> None:
        self.frames, self.messages, self.last = None, [], None
        self.closed += 1
