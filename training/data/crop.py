"""A random part of a clip's picture, the same one in every frame. T frames, H rows, W columns."""

import math
import random

from torch import Tensor

ASPECTS = (3 / 4, 4 / 3)
TRIES = 10


def random_crop(pixels: Tensor, smallest: float, rng: random.Random) -> Tensor:
    """(T, 3, H, W) -> (T, 3, h, w) of a share of the area from `smallest` to 1, and an aspect from 3:4 to 4:3.

    As in the published training (RandomResizedCrop): where no such part fits in ten tries, the largest middle square.
    """
    height, width = pixels.shape[-2:]
    for _ in range(TRIES):
        area = height * width * rng.uniform(smallest, 1.0)
        aspect = math.exp(rng.uniform(*map(math.log, ASPECTS)))
        h, w = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < h <= height and 0 < w <= width:
            top, left = rng.randint(0, height - h), rng.randint(0, width - w)
            return pixels[..., top : top + h, left : left + w]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[..., top : top + side, left : left + side]
