"""A run folder: metrics.jsonl, ledger.jsonl (steps that were skipped), curves.png, and the last two states.

A state is written under a temporary name, flushed to disk and renamed, so a killed run keeps the last whole one. The
one before it stays, for the day when the disk has damaged the last.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from training.engine.distributed import rank
from training.engine.files import ResumeError, append_row, read_rows, sync, whole, write_rows
from training.engine.state import DamagedStateError, State

STATE_FILE = "state.safetensors"
PREVIOUS_FILE = "previous.safetensors"


def run_in(folder: Path) -> "Run":
    """The run of a folder; of several processes only the first one writes to it."""
    return Run(folder) if rank() == 0 else SilentRun(folder)


def has_state(folder: Path) -> bool:
    """Whether a state was saved in this run folder."""
    return (folder / STATE_FILE).exists() or (folder / PREVIOUS_FILE).exists()


@dataclass(frozen=True)
class Run:
    """Paths and files of one training run."""

    folder: Path

    @property
    def state_file(self) -> Path:
        """The last state: between the two renames of a save, and where people took it away, it is the previous one."""
        last, previous = self.folder / STATE_FILE, self.folder / PREVIOUS_FILE
        return previous if previous.exists() and not last.exists() else last

    @property
    def metrics_file(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def ledger_file(self) -> Path:
        return self.folder / "ledger.jsonl"

    def log(self, row: dict) -> None:
        """Append one line to metrics.jsonl."""
        append_row(self.metrics_file, {k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()})

    def log_skip(self, step: int, reason: str, samples: tuple[str, ...]) -> None:
        """Note a step that changed nothing, and whose samples were to blame, in metrics.jsonl and ledger.jsonl."""
        self.log({"step": step, "skipped": reason, "samples": list(samples)})
        append_row(self.ledger_file, {"step": step, "reason": reason, "samples": list(samples)})

    def metrics(self) -> list[dict]:
        """All lines of metrics.jsonl, without a last one that a kill tore. Raises ResumeError."""
        return read_rows(self.metrics_file)

    def save(self, step: int, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Trained parameters and optimizer state after `step` steps."""
        for rows in filter(Path.exists, (self.metrics_file, self.ledger_file)):
            sync(rows)
        state, last = State.of(step, module, optimizer), self.folder / STATE_FILE
        with whole(last) as partial:
            state.write(partial)
            sync(partial)  # before the rename: the last state leaves its name only for one that is on disk
            if last.exists():
                last.replace(self.folder / PREVIOUS_FILE)

    def restore(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> int:
        """Put the saved state back; returns the number of steps done, 0 where nothing was saved.

        Raises ResumeError when the state is damaged, or when its parameters are not those of this module. Metrics and
        skipped steps past the state are dropped.
        """
        if not self.state_file.exists():
            self._drop_rows(after=0)
            return 0
        try:
            state = State.read(self.state_file)
        except DamagedStateError as error:
            raise ResumeError(f"{error} {self._way_out()}") from error
        try:
            state.put_into(module, optimizer)
        except KeyError as error:
            raise ResumeError(
                f"{self.state_file} does not fit: {error.args[0]}. Resume with the settings of the first start."
            ) from error
        self._drop_rows(after=state.step)
        return state.step

    def _way_out(self) -> str:
        """What to do about a damaged state."""
        previous = self.folder / PREVIOUS_FILE
        if self.state_file != previous and previous.exists():
            try:
                step = State.read(previous).step
            except DamagedStateError:
                return f"{PREVIOUS_FILE} beside it is damaged, too. Start anew in another --output."
            return f"{PREVIOUS_FILE} beside it is whole: delete {STATE_FILE} to go on from step {step}."
        return "No other state is kept. Start anew in another --output."

    def _drop_rows(self, *, after: int) -> None:
        for path in filter(Path.exists, (self.metrics_file, self.ledger_file)):
            write_rows(path, [row for row in read_rows(path) if row["step"] <= after])

    def draw_curves(self) -> None:
        """curves.png: the training loss, and every validation metric in a panel of its own."""
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        rows = self.metrics()
        validation = sorted({k for row in rows for k in row if k.startswith("val_")})
        losses = [(row["step"], row["loss"]) for row in rows if "loss" in row]
        figure, axes = plt.subplots(1, 1 + len(validation), figsize=(4.5 * (1 + len(validation)), 3.2), squeeze=False)
        for axis, name in zip(axes[0], ["loss", *validation], strict=True):
            points = losses if name == "loss" else [(row["step"], row[name]) for row in rows if name in row]
            if points:
                axis.plot(*zip(*points, strict=True), linewidth=1, marker="." if name != "loss" else None)
            axis.set_title(name)
            axis.set_xlabel("step")
            axis.grid(alpha=0.3)
        figure.tight_layout()
        with whole(self.folder / "curves.png") as partial:
            figure.savefig(partial, dpi=90, format="png")
        plt.close(figure)


class SilentRun(Run):
    """Goes on from the states of a run, and writes nothing."""

    def log(self, row: dict) -> None:
        """Nothing."""

    def log_skip(self, step: int, reason: str, samples: tuple[str, ...]) -> None:
        """Nothing."""

    def save(self, step: int, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Nothing."""

    def draw_curves(self) -> None:
        """Nothing."""

    def _drop_rows(self, *, after: int) -> None:
        """Nothing."""
