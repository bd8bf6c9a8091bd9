"""Steps of the alignment tasks in toy size, as one process or as one of several: `torchrun -m ... OUTPUT`.

The first process writes losses and averaged gradients to OUTPUT.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest.mock import patch

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.bridge.conftest import tiny_encoder
from tests.training.engine.toy import Regression
from training.data.contrasts import Medium
from training.data.features import FeatureCache
from training.engine.distributed import average, gather, gather_objects, joined, mean, rank, share
from training.engine.loop import DivergedError, LoopConfig, StepOutput, accumulated, fit
from training.engine.run import Run, run_in
from training.tasks.branch import BranchSettings, BranchTask
from training.tasks.heads import FrameTable, HeadsTask, WordStates
from training.tasks.wake import wake

FRAMES, WIDTH, TEXT_WIDTH = 4, 32, 16


def results(folder: Path) -> dict[str, Tensor]:
    """Losses and gradients by name. `folder` gets features, and runs of the loop."""
    torch.set_num_threads(1)
    encoder = tiny_encoder()
    for module in encoder.modules():
        if hasattr(module, "drop_path"):
            module.drop_path = nn.Identity()  # what is dropped differs between a whole batch and its shares
    tables = FrameTable(
        random_rows(7, 2 * WIDTH * encoder.backbone.head_levels), random_rows(7, TEXT_WIDTH), list("abcdefg")
    )
    heads = HeadsTask(encoder, tables, tables, batch_size=5, lr=1e-2, dropout=0.3, noise=0.3, seed=0)
    media = [stored(folder, i, FRAMES if i % 2 else 1) for i in range(10)]
    wake(encoder.branch, torch.Generator().manual_seed(0))
    settings = BranchSettings(
        kinds=("pictures", "clips", "scenes"), similarities=("plain", "mug_simple"), batch=4, lr=1e-3, mask=0.5
    )
    branch = BranchTask(encoder, WordStates(encoder, tokenize), media, media, num_frames=FRAMES, settings=settings)
    encoder.double()
    found = {}
    with in_double():
        for name, task, steps in (("heads", heads, 2), ("branch", branch, 3)):
            task.module.double()
            for step in range(steps):
                out = accumulated(task, step, LoopConfig(steps=steps))
                parameters = [p for group in task.parameter_groups() for p in group["params"]]
                average(parameters)
                found[f"{name}.{step}.loss"] = out.loss
                for key, p in task.module.named_parameters():
                    if p.grad is not None:
                        found[f"{name}.{step}.{key}"], p.grad = p.grad, None
    run = run_in(folder / "run")
    shared = Shared(poison={3: "loss", 5: "gradient"})
    with patch.object(Run, "save", saved_late(Run.save)):
        fit(shared, LoopConfig(steps=8, warmup=2, save_every=4, log_every=1), run, resume=False, name="run")
    try:
        shared = Shared(poison=dict.fromkeys(range(8, 12), "loss"))
        fit(shared, LoopConfig(steps=12, log_every=1), run, resume=True, name="again")
    except DivergedError:
        found["run.stopped"] = torch.ones(1)
    first, *others = gather_objects([p.detach() for p in shared.module.parameters()])
    found["run.agreed"] = torch.tensor(
        float(all(torch.equal(p, q) for o in others for p, q in zip(first, o, strict=True)))
    )
    return found | {f"run.{key}": p.detach() for key, p in shared.module.named_parameters()}


@contextmanager
def in_double() -> Iterator[None]:
    """Tasks compute in float64, where what a difference means is beyond doubt."""
    with patch.object(torch, "autocast", lambda *_, **__: nullcontext()), patch.object(Tensor, "float", Tensor.double):
        yield


def saved_late(save: Callable[..., None]) -> Callable[..., None]:
    """The first process is still saving when the others are done."""

    def late(*args: object) -> None:
        time.sleep(0.5)
        save(*args)

    return late


class Shared(Regression):
    """Only one process meets what is not finite; its loss is of its own rows, that of the whole batch their mean."""

    def loss(self, batch: int) -> StepOutput:
        mine = self.inputs[self.drawn(batch)][share(self.batch_size)]
        torch.manual_seed(0)
        loss = (gather(self.module[2](self.module[0](mine)), self.batch_size) - 1).square().mean()
        if batch in self.poison and rank() == 0:
            loss = loss * torch.nan if self.poison[batch] == "loss" else loss + (0 * self.module[0].weight).sqrt().sum()
        return StepOutput(loss, tokens=len(mine), samples=tuple(map(str, self.drawn(batch))))


def random_rows(count: int, width: int) -> list[Tensor]:
    return [torch.randn(2, width, generator=torch.Generator().manual_seed(i)) for i in range(count)]


def stored(folder: Path, number: int, frames: int) -> Medium:
    file = folder / f"{number}.safetensors"
    if rank() == 0:
        states = torch.randn(2, frames, 5, WIDTH, generator=torch.Generator().manual_seed(number))
        FeatureCache.save(file, states)
    mean(torch.zeros(1))  # the others wait for the file
    return Medium(file, (f"The number {number}.",), is_video=frames > 1, name=str(number))


def tokenize(captions: list[str], **options: object) -> dict[str, Tensor]:
    ids = [[1 + ord(letter) % 49 for letter in caption.ljust(24)[-8:]] for caption in captions]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.ones(len(ids), 8, dtype=torch.long)}


def main(output: Path) -> None:
    with joined():
        found = results(output.parent)
        if rank() == 0:
            save_file({name: t.contiguous() for name, t in found.items()}, output)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
