"""Two scenes one after the other, and captions that tell them in order.

A clip of two pictures is exact on cached features: a still looks the same in every frame. Axes as in encoder.model.
"""

import random

import torch
from torch import Tensor

WORDINGS = (
    "first {first}, then {second}",
    "at first {first}, and then {second}",
    "{first}, then {second}",
    "{first}; after that, {second}",
    "it starts with {first} and ends with {second}",
    "in the beginning {first}, in the end {second}",
)
"""What comes first is said first. A sentence the other way round ("before ...") tells the opposite to a weighted mean of
words, and in training each kind undoes what the other one teaches.
"""


def told(first: str, second: str, wording: str) -> str:
    """A sentence of one of WORDINGS over two captions, which come as sentences of their own."""
    sentence = wording.format(first=_clause(first), second=_clause(second))
    return f"{sentence[:1].upper()}{sentence[1:]}."


def both_orders(first: str, second: str, rng: random.Random) -> tuple[str, str]:
    """The captions of "first, then second" and of "second, then first" in the same wording, drawn."""
    wording = rng.choice(WORDINGS)
    return told(first, second, wording), told(second, first, wording)


def joined(first: Tensor, second: Tensor, cut: int, num_frames: int) -> Tensor:
    """Tower states of two stills, each (d, 1, 1 + L, D) -> (d, T, 1 + L, D): `cut` frames of the first, then the second."""
    return torch.cat([first.expand(-1, cut, -1, -1), second.expand(-1, num_frames - cut, -1, -1)], dim=1)


def _clause(caption: str) -> str:
    caption = caption.rstrip(" .")
    return caption[:1].lower() + caption[1:]
