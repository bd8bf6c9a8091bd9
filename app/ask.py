"""`python -m app ask`: questions about a video in the terminal. Answers go to standard output, all else to standard error."""

import sys
from pathlib import Path

from encoder.video import VideoError, VideoFrames, probe


def ask(video: Path, questions: list[str], *, model: str) -> int:
    """Answer every question in one conversation about the video. Returns the exit code: 1 when it could not be done."""
    try:
        probe(video)  # a file that cannot be shown is told at once, before anything large is imported
    except VideoError as error:
        note(f"{video}: {error}")
        return 1
    from app.progress import load_model
    from bridge import ChatError, ModelError, VideoChat

    try:
        chat = VideoChat(load_model(model))
        note(facts(video, chat.open(video)))
        for question in questions:
            note(f"> {question}")
            for piece in chat.ask(question):
                print(piece, end="", flush=True)
            print(flush=True)
    except VideoError as error:
        note(f"{video}: {error}")
    except ModelError as error:
        note(f"Cannot load the model: {error}")
    except ChatError as error:
        note(str(error))
    else:
        return 0
    return 1


def facts(video: Path, frames: VideoFrames) -> str:
    """One line on what the file is and which of its frames the model saw."""
    info = frames.info
    if info.is_image:
        return f"{video.name}: picture, {info.width} x {info.height}, {info.codec}"
    times = ", ".join(f"{seconds:.1f}" for seconds in frames.times.tolist())
    return (
        f"{video.name}: {info.duration:.1f} s, {info.fps:.3g} fps, {info.width} x {info.height}, {info.codec}, "
        f"{info.num_frames} frames; the model saw those at {times} s"
    )


def note(text: str) -> None:
    """Tell the person at the terminal, beside the answers."""
    print(text, file=sys.stderr, flush=True)
