"""What was measured before, item by item: RUNS/CLAIM.json. Another sitting measures only what is missing."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from encoder.checkpoints import WEIGHTS_FILE
from training.data.jsonl import DataError
from training.engine.files import write_text
from training.reproduction.table import Scores


class Record:
    """Scores of a claim by run. Of a run that is not at hand they count as they are; of one trained anew they do not.

    Raises DataError for a file of another kind.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"clusters": {}, "runs": {}}
        if content.keys() != {"clusters", "runs"}:
            raise DataError(
                f"{path}: expected scores by item under 'clusters' and 'runs', got the keys {', '.join(content)}. "
                "Delete this file: the next command measures anew."
            )
        self.clusters: dict[str, list[int]] = content["clusters"]
        self.runs: dict[str, dict] = content["runs"]

    def find(self, folder: Path) -> dict[str, Scores] | None:
        """Scores of the run in `folder` by column, None where they have to be measured."""
        run = self.runs.get(folder.name)
        if run is None or (folder.exists() and run["encoder"] != fingerprint(folder)):
            return None
        return {
            column: Scores([[float(digit) for digit in right]], [str(number) for number in self.clusters[column]])
            for column, right in run["right"].items()
        }

    def add(self, folder: Path, scores: Mapping[str, Scores]) -> None:
        """Keep what was measured of the run in `folder`; every score is 0 or 1. Raises DataError for other items."""
        for column, found in scores.items():
            number: dict[str, int] = {}
            clusters = [number.setdefault(cluster, len(number)) for cluster in found.clusters]
            if self.clusters.setdefault(column, clusters) != clusters:
                raise DataError(
                    f"{self.path} holds scores of other items for '{column}': expected {len(self.clusters[column])} as "
                    f"they are there, got {len(clusters)}. Measure in another folder, or delete this file."
                )
        right = {column: "".join(str(int(value)) for value in found.seeds[0]) for column, found in scores.items()}
        self.runs[folder.name] = {"encoder": fingerprint(folder), "right": right}
        write_text(self.path, json.dumps({"clusters": self.clusters, "runs": self.runs}) + "\n")


def fingerprint(folder: Path) -> str:
    """SHA-256 of the encoder that a run trained, empty while it has not."""
    if not (folder / "encoder").is_dir():
        return ""
    with (folder / "encoder" / WEIGHTS_FILE).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
