"""Scores of several seeds on the same items, their mean and its interval, as a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from training.evaluation.statistics import cluster_bootstrap, paired_gap


@dataclass(frozen=True)
class Scores:
    """Values from 0 to 1 of each item, one list for each seed, and the cluster that each item belongs to."""

    seeds: Sequence[Sequence[float]]
    clusters: Sequence[str]

    @classmethod
    def together(cls, runs: Sequence["Scores"]) -> "Scores":
        """Of several seeds on the same items."""
        return cls([values for run in runs for values in run.seeds], runs[0].clusters)

    @property
    def means(self) -> list[float]:
        """Of each seed."""
        return [sum(values) / len(values) for values in self.seeds]

    @property
    def mean(self) -> float:
        """Over seeds and items."""
        return sum(self.means) / len(self.means)

    @property
    def per_item(self) -> list[float]:
        """The mean over seeds of each item."""
        return [sum(values) / len(values) for values in zip(*self.seeds, strict=True)]

    def interval(self) -> tuple[float, float]:
        """95 % of the mean over seeds, when clusters of items are drawn anew."""
        return cluster_bootstrap(self.per_item, self.clusters, seed=0)

    def gap(self, other: "Scores") -> tuple[float, tuple[float, float]]:
        """Mean of this minus the other on the same items and seeds, and its 95 % interval."""
        return paired_gap(self.per_item, other.per_item, self.clusters, seed=0)

    def cell(self) -> str:
        """0.61 (0.55-0.66) [0.60 0.61 0.62]: mean, interval, and each seed."""
        low, high = self.interval()
        return f"{self.mean:.3f} ({low:.3f}-{high:.3f}) [{' '.join(f'{mean:.3f}' for mean in self.means)}]"


def markdown(rows: Mapping[str, Mapping[str, str]]) -> str:
    """{row: {column: cell}} -> a table whose columns are those of the first row."""
    columns = list(next(iter(rows.values())))
    lines = [["", *columns], ["---"] * (1 + len(columns))]
    lines += [[name, *(cells[column] for column in columns)] for name, cells in rows.items()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
