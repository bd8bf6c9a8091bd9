"""Clips that a training could not read: noted in its ledger, and a reason to stop where they are too many."""

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from training.data.jsonl import DataError
from training.engine.distributed import on_first, rank
from training.engine.files import append_row, read_rows, write_rows

log = logging.getLogger(__name__)

ENOUGH = 1000
"""Clips that are seen before a share of them is judged, or all where there are fewer: a few early ones prove nothing."""
SHOWN = 20
"""Clips in a message, and in the log; the ledger has all of them."""


@dataclass(frozen=True)
class Failure:
    """A row of a batch whose clip could not be read; `replacement` names the clip that stands there instead."""

    batch: int
    row: int
    path: str
    reason: str
    replacement: str


class Unreadable:
    """All processes know the same clips; the first one writes them down, each once.

    `limit` is the share of the clips seen, out of `total`, that may be unreadable.
    """

    def __init__(self, ledger: Path, *, limit: float, total: int) -> None:
        self.ledger, self.limit, self.total = ledger, limit, total
        self._reasons: dict[str, str] = {}

    def reason(self, name: str) -> str | None:
        """Why a clip could not be read before, None where nothing is known against it."""
        return self._reasons.get(name)

    def rewind(self, batch: int) -> None:
        """Know what was known before a batch: what a run found out later, which goes on from there, is forgotten."""

        def kept() -> dict[str, str]:
            rows = [row for row in read_rows(self.ledger) if row["batch"] < batch] if batch else []
            if rows:
                write_rows(self.ledger, rows)
            else:
                self.ledger.unlink(missing_ok=True)
            return {row["path"]: row["reason"] for row in rows}

        self._reasons = on_first(kept)

    def note(self, failures: Iterable[Failure], *, seen: int) -> None:
        """Write down what is new. Raises DataError where more than the limit of the clips `seen` is unreadable."""
        for failure in failures:
            if failure.path not in self._reasons:
                self._reasons[failure.path] = failure.reason
                if rank() == 0:
                    append_row(self.ledger, asdict(failure))
                if len(self._reasons) <= SHOWN:
                    log.warning("%s is replaced by %s: %s", failure.path, failure.replacement, failure.reason)
        judged = max(min(seen, self.total), min(ENOUGH, self.total))
        if len(self._reasons) > self.limit * judged:
            listed = [f"{path} ({reason.rstrip('.')})" for path, reason in self._reasons.items()]
            more = [f"and {len(listed) - SHOWN} more"] if len(listed) > SHOWN else []
            raise DataError(
                f"{len(listed)} videos could not be read, more than the share max_unreadable = {self.limit:g} of the "
                f"first {judged}: {'; '.join([*listed[:SHOWN], *more])}. {self.ledger} has all of them. Repair them, "
                "take them out of the data, or allow for more."
            )
