"""Batches of clips and captions to be told apart, drawn from cached tower states: real clips, and clips made of pictures.

Axes as in encoder.model.
"""

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from training.data.camera import BACKWARDS, MOVES, moved
from training.data.features import FeatureCache
from training.data.jsonl import DataError
from training.data.scenes import both_orders, joined

log = logging.getLogger(__name__)

KINDS = ("pictures", "clips", "scenes", "camera", "partial")
MIN_FRAMES = 4
"""A clip of two scenes shows each of them for two frames or more."""


@dataclass(frozen=True)
class Medium:
    """A cached medium and its captions. `name` is what people call it: the path of the medium itself.

    detail   what changes over time in a clip or how its camera moves, empty where nobody says
    filmed   of a picture: the files of its states under each camera move that was filmed, see training.data.camera
    """

    file: Path
    captions: tuple[str, ...]
    is_video: bool
    name: str = ""
    detail: str = ""
    filmed: Mapping[str, Path] | None = None


@dataclass(frozen=True)
class Contrast:
    """Tower states (d, B, T, 1 + L, D), the caption of each clip, and the names of the media they are made of.

    group    this many neighbours are variations of each other: their captions are contrasted among themselves
    across   whether the captions are wrong for the clips of all other groups, too
    """

    states: Tensor
    captions: tuple[str, ...]
    names: tuple[str, ...]
    group: int = 1
    across: bool = True


class Contrasts:
    """Draws batches of every kind that there are media for; a batch is a function of its random generator.

    pictures   single frames
    clips      real clips with their captions and details, and up to as many pictures under a camera move
    scenes     groups of two: two pictures one after the other, in both orders
    camera     groups of four: a picture under all moves of the camera
    partial    clips or captions of which half belongs to something else
    """

    def __init__(self, media: Sequence[Medium], num_frames: int) -> None:
        self.num_frames = num_frames
        self.stills = [m for m in media if not m.is_video]
        self.videos = [m for m in media if m.is_video]
        self.filmed = [m for m in self.stills if m.filmed]
        enough = {
            self.pictures: len(self.stills) > 1,
            self.clips: len(self.videos) > 1,
            self.scenes: len(self.stills) > 1,
            self.camera: len(self.filmed) > 0,
            self.partial: len(self.stills) > 1,
        }
        self.kinds: dict[str, Callable[[random.Random, int], Contrast]] = {
            draw.__name__: draw for draw, there in enough.items() if there
        }

    def possible(self, kinds: Sequence[str]) -> tuple[str, ...]:
        """Those of `kinds` that there are media for; a warning names the others. Raises DataError where none is left."""
        found = tuple(kind for kind in kinds if kind in self.kinds)
        if missing := sorted(set(kinds) - set(found)):
            message = (
                f"no batches of {', '.join(missing)}: they take two pictures or two clips with captions in the train split, "
                f"camera a filmed picture; there are {len(self.stills)} pictures, {len(self.filmed)} of them filmed, and "
                f"{len(self.videos)} clips"
            )
            if not found:
                raise DataError(f"{message}. Nothing is left to learn from.")
            log.warning("%s", message)
        return found

    def pictures(self, rng: random.Random, size: int) -> Contrast:
        """`size` different pictures, T = 1."""
        media = rng.sample(self.stills, min(size, len(self.stills)))
        return Contrast(stacked(media, 1), tuple(rng.choice(m.captions) for m in media), _names(media))

    def clips(self, rng: random.Random, size: int) -> Contrast:
        """`size` different clips, up to half of them filmed pictures: a few real ones are soon learned by heart."""
        moving = rng.sample(self.filmed, min(size // 2, len(self.filmed)))
        real = rng.sample(self.videos, min(size - len(moving), len(self.videos)))
        captions = [rng.choice(said(m)) for m in real]
        clips = [stacked(real, self.num_frames)]
        for medium in moving:
            move, caption = rng.choice(list(MOVES)), rng.choice(medium.captions)
            clips.append(filmed_states(medium, move)[:, None])
            captions.append(moved(move, rng.randrange(3), caption) if rng.random() < 0.5 else caption)
        return Contrast(torch.cat(clips, dim=1), tuple(captions), _names([*real, *moving]))

    def scenes(self, rng: random.Random, size: int) -> Contrast:
        """`size` clips; 2i and 2i + 1 show the same two pictures in both orders, and the cut falls anywhere."""
        clips, captions, media = [], [], []
        for _ in range(size // 2):
            a, b = rng.sample(self.stills, 2)
            cut = rng.randrange(2, self.num_frames - 1)
            first, second = FeatureCache.load(a.file), FeatureCache.load(b.file)
            clips += [
                joined(first, second, cut, self.num_frames),
                joined(second, first, self.num_frames - cut, self.num_frames),
            ]
            captions += both_orders(rng.choice(a.captions), rng.choice(b.captions), rng)
            media += [a, b]
        return Contrast(torch.stack(clips, dim=1), tuple(captions), _names(media), group=2)

    def camera(self, rng: random.Random, size: int) -> Contrast:
        """`size` clips, four of each picture. Three of four groups say nothing but the move, so others may say the same."""
        clips, captions, media = [], [], []
        for _ in range(size // len(MOVES)):
            medium = rng.choice(self.filmed)
            wording, said = rng.randrange(3), rng.choice(medium.captions) if rng.random() < 0.25 else ""
            for move in MOVES:
                clips.append(filmed_states(medium, move))
                captions.append(moved(move, wording, said))
            media.append(medium)
        return Contrast(torch.stack(clips, dim=1), tuple(captions), _names(media), group=len(MOVES), across=False)

    def partial(self, rng: random.Random, size: int) -> Contrast:
        """`size` pictures as clips. Half of each clip, or of its caption, is that of another picture."""
        clips, captions, media = [], [], []
        for medium in rng.sample(self.stills, min(size, len(self.stills))):
            other = rng.choice([m for m in rng.sample(self.stills, 2) if m is not medium])
            clip, caption = misaligned(medium, other, self.num_frames, rng)
            clips.append(clip)
            captions.append(caption)
            media += [medium, other]
        return Contrast(torch.stack(clips, dim=1), tuple(captions), _names(media))


def stacked(media: Sequence[Medium], num_frames: int) -> Tensor:
    """(d, B, T, 1 + L, D) of pictures, T = 1, or of clips; among clips a single frame is shown T times."""
    return torch.stack([FeatureCache.load(m.file).expand(-1, num_frames, -1, -1) for m in media], dim=1)


def filmed_states(medium: Medium, move: str) -> Tensor:
    """(d, T, 1 + L, D) of a picture under a camera move; a move that was not filmed is its opposite in reverse."""
    if move in medium.filmed:
        return FeatureCache.load(medium.filmed[move])
    return FeatureCache.load(medium.filmed[BACKWARDS[move]]).flip(1)


def misaligned(medium: Medium, other: Medium, num_frames: int, rng: random.Random) -> tuple[Tensor, str]:
    """A clip (d, T, 1 + L, D) and a caption of a picture, where half of one of the two belongs to the other picture."""
    own, caption = FeatureCache.load(medium.file), rng.choice(medium.captions)
    halves = [own, FeatureCache.load(other.file)]
    sentences = [caption, rng.choice(other.captions)]
    rng.shuffle(halves)
    rng.shuffle(sentences)
    if rng.random() < 0.5:
        return joined(*halves, num_frames // 2, num_frames), caption
    return own.expand(-1, num_frames, -1, -1), " ".join(sentences)


def said(medium: Medium) -> tuple[str, ...]:
    """What can be said about a clip: a caption, alone or with its detail, or the detail."""
    if not medium.detail:
        return medium.captions
    return (*medium.captions, *(f"{caption} {medium.detail}" for caption in medium.captions), medium.detail)


def _names(media: Sequence[Medium]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(m.name for m in media))
