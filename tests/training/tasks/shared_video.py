"""Batches of the trainings on videos in toy size, as one process or as one of several: `torchrun -m ... FOLDER`.

FOLDER holds the videos and a tiny CLIP; the first process writes what it found to FOLDER/found.safetensors.
"""

import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from encoder.model import MugSTAN
from encoder.presets import clip_encoder
from tests.training.engine.shared_work import in_double
from tests.training.towers import tiny_clip_config, tiny_tokenizer
from training.class_head import ClassHead
from training.data.batches import Batch, Batches
from training.data.clip_frames import ClipFrames
from training.data.examples import Clip, Examples
from training.data.held_out import HeldOut
from training.data.jsonl import DataError
from training.data.reader_threads import ReaderThreads
from training.data.unreadable import Unreadable
from training.engine.distributed import average, joined, rank
from training.engine.loop import LoopConfig, accumulated
from training.tasks.recognition import RecognitionTask
from training.tasks.video_text import VideoTextTask
from training.trainee import Trainee, groups

TEXTS = ("the same words", "a dog runs", "a car", "the same words", "a man", "a road")
CLASSES = ("run", "drive", "stop")


class Doubled(Batches):
    def batch(self, number: int) -> Batch:
        found = super().batch(number)
        return replace(found, frames=found.frames.double())


def clips_of(folder: Path, *, classes: bool = False) -> list[Clip]:
    """One of them, 2.mp4, cannot be read."""
    return [
        Clip(f"{i}.mp4", (CLASSES[i % 3],) if classes else (text, "a video"), recording=str(i))
        for i, text in enumerate(TEXTS)
    ]


def tiny_clip() -> MugSTAN:
    torch.manual_seed(0)
    encoder = clip_encoder(tiny_clip_config(), depth=2)
    for module in encoder.branch.cross_frame:  # a fresh one is the identity
        nn.init.normal_(module.temporal_fc.weight, std=0.1)
    for module in encoder.modules():
        if hasattr(module, "drop_path"):
            module.drop_path = nn.Identity()  # what is dropped differs between a whole batch and its shares
    return encoder


def made(folder: Path, threads: ReaderThreads, *, limit: float, ledger: str, classes: bool = False) -> dict:
    clips = clips_of(folder, classes=classes)
    frozen = ["backbone.vision.embeddings"]
    trainee = Trainee(tiny_clip().double(), frozen=frozen, autocast=None, mask=0.4, seed=1)
    frames = ClipFrames(root=folder, transform=trainee.encoder.backbone.transform, num_frames=3, crop_area=0.5)
    unreadable = Unreadable(folder / ledger, limit=limit, total=len(clips))
    return {
        "trainee": trainee, "groups": trainee.parameter_groups(lr=1e-3, branch_lr=1e-2, weight_decay=0.1),
        "batches": Doubled(Examples(clips), frames, threads, unreadable, batch_size=5, total=4, seed=1),
        "held_out": HeldOut(clips, frames, threads),
    }  # fmt: skip


def video_text(parts: dict, *, similarity: str = "mug_simple") -> VideoTextTask:
    return VideoTextTask(**parts, tokenize=tiny_tokenizer(), max_words=10, similarity=similarity, temperature=0.05)


def recognition(parts: dict) -> RecognitionTask:
    torch.manual_seed(3)
    head = ClassHead(CLASSES, torch.randn(3, 24)).double()
    parts["groups"] += groups(head, lr=1e-3, weight_decay=0.0)
    return RecognitionTask(**parts, head=head, temperature=0.1)


def results(folder: Path, ledger: str) -> dict[str, Tensor]:
    """Losses, gradients and validation by name."""
    torch.set_num_threads(1)
    found: dict[str, Tensor] = {}
    watch = HeldOut.watched
    with (
        in_double(),
        ReaderThreads(1) as threads,
        patch.object(HeldOut, "watched", lambda self, look: watch(self, lambda frames: look(frames.double()))),
    ):
        tasks = {
            "text": video_text(made(folder, threads, limit=1.0, ledger=f"text-{ledger}")),
            "class": recognition(made(folder, threads, limit=1.0, ledger=f"class-{ledger}", classes=True)),
        }
        for name, task in tasks.items():
            for step in range(2):
                found[f"{name}.{step}.loss"] = accumulated(task, step, LoopConfig(steps=2, accumulate=2)).loss
                average([p for group in task.parameter_groups() for p in group["params"]])
                for key, p in task.module.named_parameters():
                    if p.grad is not None:
                        found[f"{name}.{step}.{key}"], p.grad = p.grad, None
            found |= {f"{name}.{key}": torch.tensor(value) for key, value in task.validate().items()}
        try:
            video_text(made(folder, threads, limit=0.1, ledger=f"limit-{ledger}")).loss(0)
        except DataError as error:
            found["stopped"] = torch.tensor(list(str(error).replace(ledger, "").encode()))
    return found


def main(folder: Path) -> None:
    with joined():
        found = results(folder, "2.jsonl")
        if rank() == 0:
            save_file({name: t.contiguous() for name, t in found.items()}, folder / "found.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
