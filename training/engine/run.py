"""A run folder: metrics.jsonl, curves.png, and one state file that is always whole.

The state is written under a temporary name, flushed to disk and renamed, so a killed run keeps the last whole one.
"""

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

log = logging.getLogger(__name__)
STATE_FILE = "state.safetensors"


class ResumeError(ValueError):
    """A folder holds another training; the message says what differs."""


@dataclass(frozen=True)
class Run:
    """Paths and files of one training run."""

    folder: Path

    @property
    def state_file(self) -> Path:
        return self.folder / STATE_FILE

    @property
    def metrics_file(self) -> Path:
        return self.folder / "metrics.jsonl"

    def log(self, row: dict) -> None:
        """Append one line to metrics.jsonl."""
        with self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()}) + "\n")

    def metrics(self) -> list[dict]:
        """All lines of metrics.jsonl, without a last one that a kill tore."""
        if not self.metrics_file.exists():
            return []
        lines = self.metrics_file.read_text(encoding="utf-8").splitlines()
        rows = []
        for number, line in enumerate(lines, start=1):
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                if number < len(lines):
                    raise ResumeError(f"{self.metrics_file}:{number}: expected JSON, got {line[:80]!r}.") from error
                log.warning("%s ends in half a line, which is dropped", self.metrics_file)
        return rows

    def save(self, step: int, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Trained parameters and optimizer state after `step` steps."""
        tensors = {f"model.{n}": p.detach().contiguous() for n, p in module.named_parameters() if p.requires_grad}
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v.contiguous() for k, v in state.items()}
        partial = self.folder / "state.partial"
        save_file(tensors, partial, metadata={"step": str(step)})
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(self.state_file)

    def restore(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> int:
        """Put the saved state back; returns the number of steps done, 0 where nothing was saved.

        Raises ResumeError when the parameters are not those of this module. Metrics past the state are dropped.
        """
        if not self.state_file.exists():
            self._drop_metrics(after=0)
            return 0
        with safe_open(str(self.state_file), "pt") as file:
            step = int(file.metadata()["step"])
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 (not a dict)
        trained = {n: p for n, p in module.named_parameters() if p.requires_grad}
        saved = {k.removeprefix("model."): t for k, t in tensors.items() if k.startswith("model.")}
        if saved.keys() != trained.keys():
            raise ResumeError(
                f"{self.state_file} does not fit: {len(trained.keys() - saved.keys())} missing "
                f"{sorted(trained.keys() - saved.keys())[:3]}, {len(saved.keys() - trained.keys())} unexpected "
                f"{sorted(saved.keys() - trained.keys())[:3]}. Resume with the settings of the first start."
            )
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(saved[name])
        optimizer.load_state_dict(_optimizer_state(tensors) | {"param_groups": optimizer.state_dict()["param_groups"]})
        self._drop_metrics(after=step)
        return step

    def _drop_metrics(self, *, after: int) -> None:
        kept = [row for row in self.metrics() if row["step"] <= after]
        partial = self.metrics_file.with_suffix(".partial")
        partial.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        partial.replace(self.metrics_file)

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
        partial = self.folder / "curves.partial.png"
        figure.savefig(partial, dpi=90)
        plt.close(figure)
        partial.replace(self.folder / "curves.png")


def _optimizer_state(tensors: dict[str, Tensor]) -> dict:
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = tensor
    return {"state": state}
