"""A conversation about one video: opened and encoded once, asked many times."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from bridge.generate import Generation, KeyValues, Sampling
from bridge.model import VideoLanguageModel
from bridge.prompt import Prompt
from encoder.video import VideoFrames, VideoInfo, read_frames


class ChatError(Exception):
    """A question cannot be answered; the message is meant for the person who asked."""


class NoVideoError(ChatError):
    """A question came before a video."""


class QuestionTooLongError(ChatError):
    """A question fills the model's context by itself."""


@dataclass(frozen=True, kw_only=True)
class AnswerStats:
    """How one answer went."""

    new_tokens: int
    """Tokens computed, those of a cut loop and the end of the turn included."""
    first_token_seconds: float
    """From the question, before it is rendered, to the first token; equal to `seconds` where none came."""
    seconds: float
    finish: str
    """"end", "length", "stopped" or "repetition"."""


class VideoChat:
    """One conversation. Holds no weights: a video's tokens, what was said, and the LLM's cache of it.

    The state is whole whenever the caller has the word, so an answer may be stopped or abandoned at any piece.
    """

    def __init__(self, model: VideoLanguageModel) -> None:
        self.frames: VideoFrames | None = None
        self.messages: list[dict[str, str]] = []
        self.last: AnswerStats | None = None
        self._model = model
        self._video: Tensor | None = None  # (1, M, llm_dim)
        self._answering: object | None = None
        self.clear()

    def open(self, path: Path | str, *, check: Callable[[VideoInfo], None] | None = None) -> VideoFrames:
        """Read and encode a video or picture, and start a new conversation about it.

        `check` sees the measured facts before anything is encoded, and refuses the file by raising.
        Raises encoder.video.VideoError and what `check` raises; an earlier video and its conversation then stay.
        """
        frames = read_frames(Path(path), self._model.num_frames)
        if check is not None:
            check(frames.info)
        video = self._model.encode(frames.pixels)
        self.clear()
        self.frames, self._video = frames, video
        return frames

    def ask(
        self, question: str, *, sampling: Sampling | None = None, stop: threading.Event | None = None
    ) -> Iterator[str]:
        """The answer in text pieces; `stop` ends it within one token, and what came so far stays in the conversation.

        A question asked while an earlier answer is half read ends that answer. Raises NoVideoError at once,
        QuestionTooLongError at the first piece.
        """
        self._need_video()
        return self._answer(question, sampling or Sampling(), stop)

    def clear(self) -> None:
        """Forget the conversation, keep the video."""
        self.messages = []
        self.last = None
        self._forgotten = 0  # messages at the start that no longer fit the context
        self._key_values = KeyValues()
        self._answering = None

    def close(self) -> None:
        """Forget everything."""
        self.clear()
        self.frames = self._video = None

    def _answer(self, question: str, sampling: Sampling, stop: threading.Event | None) -> Iterator[str]:
        video = self._need_video()
        started = time.perf_counter()
        self._answering = mine = object()
        prompt = self._prompt(question, video, sampling)
        answer = {"role": "assistant", "content": ""}
        self.messages += [{"role": "user", "content": question}, answer]
        self.last = None
        generation = Generation(self._model, self._key_values, prompt, video, sampling=sampling, stop=stop)
        try:
            for piece in generation:
                answer["content"] = generation.text
                yield piece
                if self._answering is not mine:  # cleared, closed or asked again meanwhile
                    return
        finally:
            if self._answering is mine:
                ended = time.perf_counter()
                self.last = AnswerStats(
                    new_tokens=generation.new_tokens, first_token_seconds=(generation.first_token_at or ended) - started,
                    seconds=ended - started, finish=generation.finish,
                )  # fmt: skip
                self._answering = None

    def _need_video(self) -> Tensor:
        if self._video is None:
            raise NoVideoError("There is no video yet. Open a video or a picture first, then ask about it.")
        return self._video

    def _prompt(self, question: str, video: Tensor, sampling: Sampling) -> Prompt:
        """The conversation and the question, without the oldest exchanges where they leave no room for an answer.

        Half the room is freed in one go: the cache must be computed anew after it, which should be rare.
        """
        room = self._model.context_length - sampling.max_new_tokens
        forgotten = self._forgotten
        prompt = self._render(question, video, forgotten)
        if len(prompt.input_ids) > room:
            while forgotten < len(self.messages) and len(prompt.input_ids) > room // 2:
                forgotten += 2
                prompt = self._render(question, video, forgotten)
        if len(prompt.input_ids) > room:
            raise QuestionTooLongError(
                f"This question is too long: with the video it takes {len(prompt.input_ids)} tokens, and "
                f"{max(room, 0)} fit beside an answer of up to {sampling.max_new_tokens}. Ask a shorter one."
            )
        self._forgotten = forgotten
        return prompt

    def _render(self, question: str, video: Tensor, forgotten: int) -> Prompt:
        known = self.messages[forgotten:]
        answered = [m for q, a in zip(known[::2], known[1::2], strict=True) if a["content"].strip() for m in (q, a)]
        return self._model.prompt([*answered, {"role": "user", "content": question}], num_slots=video.shape[1])
