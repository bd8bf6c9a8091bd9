"""Media to train on: which samples of the files are learned from, and where their features lie."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from encoder.model import MugSTAN
from encoder.runtime import cache_dir
from training.data.features import FeatureCache, cache_features
from training.data.jsonl import DataError, Sample, read_samples
from training.engine.files import write_rows

log = logging.getLogger(__name__)
LEDGER_FILE = "ledger.jsonl"
SHOWN = 20
"""Media in a message; the ledger has all of them."""


@dataclass(frozen=True)
class Chosen:
    """All rows of the files, and those that are learned from or measured on: with captions, of split train or val."""

    rows: list[Sample]
    samples: list[Sample]

    @classmethod
    def of(cls, data: Iterable[Path]) -> "Chosen":
        """Raises DataError on a row that cannot be used."""
        rows = [sample for path in data for sample in read_samples(path)]
        return cls(rows, [sample for sample in rows if sample.captions and sample.split in ("train", "val")])

    def check_enough(self, readable: int) -> None:
        """Raise DataError where fewer than two samples of the train split are `readable`."""
        if readable > 1:
            return
        of_train = [sample for sample in self.rows if sample.split == "train"]
        silent = sum(not sample.captions for sample in of_train)
        raise DataError(
            f"expected at least two readable media with captions in the train split, got {readable}: of "
            f"{len(self.rows)} rows {len(of_train)} are of that split, {silent} of these have no captions, and "
            f"{len(of_train) - silent - readable} could not be read (the lines above say why)."
        )


def feature_cache(
    tower: str, num_frames: int, folder: Path | None, dtype: torch.dtype = torch.bfloat16
) -> FeatureCache:
    """The cache of an encoder preset's tower; `folder` None takes the user's own."""
    return FeatureCache(
        folder=folder or cache_dir() / "features", tower=f"{tower}-v1", num_frames=num_frames, dtype=dtype
    )


def cached_samples(
    data: list[Path], encoder: MugSTAN, cache: FeatureCache, *, output: Path, max_unreadable: float
) -> dict[str, list[tuple[Sample, Path]]]:
    """The train and the val split of the files: samples with captions, each with the file of its tower states.

    Nothing is computed for other samples. Media that cannot be read are left out and written to `output`/ledger.jsonl.
    Raises DataError where they are more than the share `max_unreadable` of all, or where fewer than two media are left
    to train on.
    """
    chosen = Chosen.of(data)
    samples = chosen.samples
    unreadable: dict[Path, str] = {}
    with tqdm(total=len(samples), desc="features", unit="medium", dynamic_ncols=True) as bar:
        files = cache_features(
            samples, cache, encoder, on_progress=bar.update,
            on_unreadable=lambda sample, reason: unreadable.setdefault(sample.media, reason),
        )  # fmt: skip
    _note_unreadable(unreadable, len({sample.media for sample in samples}), output / LEDGER_FILE, max_unreadable)
    media: dict[str, list[tuple[Sample, Path]]] = {"train": [], "val": []}
    for index, file in sorted(files.items()):
        media[samples[index].split].append((samples[index], file))
    chosen.check_enough(len(media["train"]))
    log.info("%d media to learn from, %d held out", len(media["train"]), len(media["val"]))
    return media


def _note_unreadable(unreadable: dict[Path, str], asked: int, ledger: Path, limit: float) -> None:
    """Write the ledger, or take away one that no longer holds. Raises DataError where the limit is passed."""
    if not unreadable:
        ledger.unlink(missing_ok=True)
        return
    write_rows(ledger, [{"path": str(path), "reason": reason} for path, reason in sorted(unreadable.items())])
    if len(unreadable) > limit * asked:
        listed = [f"{path} ({reason.rstrip('.')})" for path, reason in sorted(unreadable.items())]
        more = [f"and {len(listed) - SHOWN} more"] if len(listed) > SHOWN else []
        raise DataError(
            f"{len(unreadable)} of {asked} media could not be read, more than the share max_unreadable = {limit:g} of the "
            f"recipe: {'; '.join([*listed[:SHOWN], *more])}. {ledger} has all of them. Repair them or take them out of "
            "the data."
        )
    log.warning("%d of %d media could not be read, see %s", len(unreadable), asked, ledger)
