"""Which example stands in which row of which batch, and the random numbers of a row: functions of the seed alone.

Epochs are permutations that follow each other without a gap, so a batch may end one and begin the next.
"""

import random
from dataclasses import dataclass
from functools import lru_cache

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Batches of `batch_size` rows out of `count` examples."""

    count: int
    batch_size: int
    seed: int

    def example(self, batch: int, row: int, attempt: int = 0) -> int:
        """The number of an example; further attempts, for one that cannot be read, are any example."""
        if attempt:
            return self.rng(batch, row, attempt).randrange(self.count)
        epoch, place = divmod(batch * self.batch_size + row, self.count)
        return int(_permutation(self.seed, epoch, self.count)[place])

    def rng(self, batch: int, row: int, attempt: int) -> random.Random:
        """Random numbers for what else is random about a row."""
        return random.Random(f"{self.seed}-{batch}-{row}-{attempt}")


@lru_cache(maxsize=2)  # of this epoch and the next
def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(count)
