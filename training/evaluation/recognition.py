"""Zero-shot recognition: the class whose name, in many sentences, is most similar to the video.

Only the encoder is asked. Axes: C classes, P prompts a class, V views, T frames, E joint space.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.functional import normalize

from encoder.video import VideoFrames, read_frames
from training.class_head import HEAD_FILE, ClassHead
from training.data.benchmarks.recognition import Recognition
from training.evaluation.action_prompts import TEMPLATES, prompts, words
from training.evaluation.answers import Answer, Status
from training.evaluation.retrieval_metrics import ranks
from training.evaluation.retriever import EncoderError, Retriever, load_retriever
from training.evaluation.scorer import Seen

TOP = 5


@dataclass(kw_only=True)
class ActionWatcher:
    """An encoder that watches `views` clips of a video, one after the other, each with the frames it is made for."""

    retriever: Retriever
    views: int = 1
    head: ClassHead | None = None
    """What the encoder was trained to tell its classes apart by; None for their names."""
    known: dict[tuple[str, ...], tuple[Tensor, list[int]]] = field(default_factory=dict)
    """Of classes that have been read: features of those that are said otherwise, and which of them each class has."""

    @classmethod
    def load(cls, name: str, *, views: int = 1) -> "ActionWatcher":
        """Load the encoder of a chat model, of a preset or of a folder. Raises EncoderError."""
        retriever = load_retriever(name)
        try:
            head = ClassHead.load(Path(name))
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise EncoderError(
                f"cannot load {Path(name) / HEAD_FILE}: {error!r}. Train it anew, or delete it."
            ) from error
        return cls(retriever=retriever, views=views, head=head)

    @property
    def num_frames(self) -> int:
        """Of all views together."""
        return self.views * self.retriever.num_frames

    def fingerprint(self) -> str:
        """SHA-256 of the encoder's weights, and of those of its head."""
        encoder = self.retriever.fingerprint()
        if self.head is None:
            return encoder
        return hashlib.sha256(f"{encoder}|{self.head.fingerprint()}".encode()).hexdigest()

    def precision(self) -> str:
        """Device and dtype, in words."""
        return self.retriever.precision()

    def read(self, path: Path, start: float | None, end: float | None) -> VideoFrames:
        """The frames of all views. Raises VideoError."""
        return read_frames(path, self.num_frames, start=start, end=end)

    def watch(self, pixels: Tensor, *, branch: bool = True) -> Seen:
        """Frames uint8 (V * T, 3, H, W), or a single one -> a feature of length one for each view, (1, V, E)."""
        views = pixels.split(self.retriever.num_frames)
        return Seen(normalize(torch.stack([self.retriever.look(view, branch=branch).mean(0) for view in views]))[None])

    def class_scores(self, classes: tuple[str, ...], seen: Seen) -> np.ndarray:
        """Cosines (C,) of the classes with a video, or scores of the trained head, the mean over its views.

        Classes of the same words are compared once: rounding differs with the place, and what is equal must tie.
        Raises EncoderError for a class that the trained head does not know.
        """
        if self.head is not None:
            return self.head(seen.tokens[0]).mean(0).numpy()[self._places(classes)]
        if classes not in self.known:
            said = {words(name): name for name in classes}
            place = {name: i for i, name in enumerate(said)}
            self.known[classes] = self.class_features(list(said.values())), [place[words(name)] for name in classes]
        features, places = self.known[classes]
        return (seen.tokens[0] @ features.T).mean(0).numpy()[places]

    def _places(self, classes: Sequence[str]) -> list[int]:
        """Of classes among those of the head."""
        place = {name: index for index, name in enumerate(self.head.classes)}
        if unknown := [name for name in classes if name not in place]:
            raise EncoderError(
                f"the encoder was trained to tell {len(place)} classes apart, and '{unknown[0]}' is none of them. Choose "
                "another --model, or take its class_head.safetensors away to go by the names of the classes."
            )
        return [place[name] for name in classes]

    def class_features(self, classes: list[str]) -> Tensor:
        """(C, E): the prompts of a class, each of length one, averaged and made of length one again."""
        sentences = self.retriever.read_sentences([prompt for name in classes for prompt in prompts(name)])
        return normalize(normalize(sentences).reshape(len(classes), len(TEMPLATES), -1).mean(1))


@dataclass(kw_only=True)
class RecognitionExam:
    """Asks for the similarity with every class. A tie costs half a rank: what is the same for all classes finds none."""

    scorer: ActionWatcher | None
    """None where answers are only scored, not asked for."""
    headline = ("top1", "top5")
    compared = ("top1", "top5")

    def wording(self, item: Recognition) -> str:
        return f"{'|'.join(TEMPLATES)}|{self.scorer.views} views"

    def recall(self, items: Sequence[Recognition], answers: Iterable[Answer]) -> None:
        pass

    def ask(self, control: str, item: Recognition, seen: Seen, *, seed: int) -> tuple[dict[str, Any], Status]:
        scores = self.scorer.class_scores(item.classes, seen)
        (rank,) = ranks(scores[None], [[item.classes.index(item.answers[0])]])
        best = np.argsort(-scores, kind="stable")[:TOP]
        top = {item.classes[i]: float(scores[i]) for i in best}
        return {"label": item.answers[0], "prediction": next(iter(top)), "top": top, "rank": float(rank)}, "ok"

    def blank(self, item: Recognition) -> dict[str, Any]:
        return {"label": item.answers[0], "prediction": None, "top": {}, "rank": None}

    def score(self, item: Recognition, answer: Answer) -> dict[str, float]:
        return {"top1": float(answer.values["rank"] <= 1), "top5": float(answer.values["rank"] <= TOP)}

    def expected(self, item: Recognition) -> list[str]:
        return list(item.answers)

    def score_names(self, control: str, item: Recognition) -> tuple[str, ...]:
        return self.headline

    def derived(self, items: Sequence[Recognition], answers: Sequence[Answer]) -> dict[str, list[dict[str, float]]]:
        return {}
