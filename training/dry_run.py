"""What a training would do, in words: recipe, data, what is trained and frozen, steps and memory."""

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from training.data.jsonl import read_rows
from training.engine.loop import LoopConfig, Task
from training.media import Chosen
from training.recipe import Recipe

MB = 1e6


@dataclass(frozen=True)
class Stage:
    """One call of the loop: its steps, what it trains, and the bytes that it needs."""

    name: str
    loop: LoopConfig
    batch: int
    """Media in a batch."""
    media: int
    """Media to draw from."""
    trained: Mapping[str, int]
    """Parameters by module."""
    frozen: Mapping[str, int]
    weights: int
    optimizer: int
    """Gradients and AdamW's two averages."""
    kept: int
    """Features that stay in memory."""
    activations: int
    """What the forward of a batch leaves for its backward."""

    @classmethod
    def of(
        cls,
        name: str,
        task: Task,
        modules: Mapping[str, nn.Module],
        loop: LoopConfig,
        *,
        batch: int,
        media: int,
        kept: int,
        activations: int,
    ) -> "Stage":
        """`modules` are what takes part in the task, frozen or not; what else the task trains is added."""
        trained = {id(p): p for group in task.parameter_groups() for p in group["params"]}
        modules = nn.ModuleDict({**modules, **{k: m for k, m in task.module.named_children() if k not in modules}})
        counts = {True: Counter(), False: Counter()}
        for path, is_trained, size in _parts(modules, trained.keys()):
            counts[is_trained][path] += size
        return cls(
            name=name, loop=loop, batch=batch, media=media, trained=counts[True], frozen=counts[False],
            weights=sum(p.numel() * p.element_size() for p in modules.parameters()),
            optimizer=sum(3 * p.numel() * p.element_size() for p in trained.values()),
            kept=kept, activations=activations,
        )  # fmt: skip

    def lines(self) -> Iterator[str]:
        """For people."""
        batches = self.loop.steps * self.loop.accumulate
        yield (
            f"{self.name}: {self.loop.steps} steps of {self.loop.accumulate} x {self.batch} media, "
            f"{batches * self.batch / max(1, self.media):.1f} times all {self.media} to learn from"
        )
        for title, counts in (("trained", self.trained), ("frozen", self.frozen)):
            yield f"  {title}: {sum(counts.values()):,} parameters"
            yield from (f"    {size:>13,}  {path}" for path, size in counts.items())
        parts = {
            "weights": self.weights, "gradients and optimizer": self.optimizer, "features": self.kept,
            "activations of a batch": self.activations,
        }  # fmt: skip
        yield (
            f"  memory: about {sum(parts.values()) / MB:,.0f} MB beside Python and its libraries ("
            + ", ".join(f"{name} {size / MB:,.0f}" for name, size in parts.items())
            + ")"
        )


class Plan:
    """A recipe, the data it would be followed on, and the stages of the training.

    `missing` names, with file and line, media that are not there: the training would not start.
    """

    def __init__(self, task: str, recipe: Recipe, data: list[Path]) -> None:
        self.task, self.recipe, self.data = task, recipe, data
        self.stages: list[Stage] = []
        self.missing = [
            f"{path}:{number}: {kind} {row[kind]!r}"
            for path in data
            for number, row in read_rows(path)
            for kind in ("image", "video")
            if kind in row and not (path.parent / str(row[kind])).is_file()
        ]

    def text(self) -> str:
        """For people."""
        lines = [f"training {self.task}, nothing is trained or written", "recipe:"]
        lines += [f"  {key} = {json.dumps(value)}" for key, value in asdict(self.recipe).items()]
        lines += ["data:", *(f"  {path}" for path in self.data)]
        if self.missing:
            lines += [f"missing media: {len(self.missing)}, the training would not start"]
            return "\n".join([*lines, *(f"  {line}" for line in self.missing)])
        return "\n".join([*lines, *self._found(), *(line for stage in self.stages for line in stage.lines())])

    def _found(self) -> Iterator[str]:
        chosen = Chosen.of(self.data)
        for split in ("train", "val"):
            samples = [sample for sample in chosen.samples if sample.split == split]
            media = {sample.media: sample.is_video for sample in samples}
            yield (
                f"  {split}: {len(samples)} rows, {sum(media.values())} videos and "
                f"{len(media) - sum(media.values())} pictures with {sum(len(s.captions) for s in samples)} captions and "
                f"{sum(len(s.qa) for s in samples)} questions"
            )
        left_out = len(chosen.rows) - len(chosen.samples)
        yield f"  left out: {left_out} rows, of another split or without captions"
        yield "  missing media: none; whether all can be read is seen when the features are computed"


def activation_bytes(forward: Callable[[], object]) -> int:
    """Bytes that a forward keeps for its backward, parameters not counted."""
    storages: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        if not isinstance(tensor if tensor._base is None else tensor._base, nn.Parameter):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        result = forward()  # held until all is counted, so that no place in memory is used twice
    total = sum(storages.values())
    del result
    return total


def _parts(whole: nn.Module, trained: Collection[int]) -> Iterator[tuple[str, bool, int]]:
    """(name, whether trained, size) of the largest modules that are trained or frozen as a whole.

    `trained` are ids of parameters. Numbers in names become *, so that equal layers share a line; a parameter with two
    names counts under the first.
    """
    seen: set[int] = set()

    def walk(name: str, part: nn.Module) -> Iterator[tuple[str, bool, int]]:
        parameters = [p for p in part.parameters() if id(p) not in seen]
        if name and len({id(p) in trained for p in parameters}) == 1:
            seen.update(map(id, parameters))
            yield re.sub(r"\.\d+(?=\.|$)", ".*", name), id(parameters[0]) in trained, sum(p.numel() for p in parameters)
            return
        for child, p in part.named_parameters(name, recurse=False):
            if id(p) not in seen:
                seen.add(id(p))
                yield child, id(p) in trained, p.numel()
        for child, module in part.named_children():
            yield from walk(f"{name}.{child}" if name else child, module)

    return walk("", whole)
