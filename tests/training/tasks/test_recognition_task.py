"""Recognition starts where zero-shot recognition ends, and learns what can be learned."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from encoder.presets import create_encoder
from tests.training.shared_reader import SharedReader
from tests.training.tasks import shared_video
from training.class_head import ClassHead
from training.data.batches import Batch
from training.data.examples import Clip
from training.engine.loop import LoopConfig, fit
from training.engine.run import Run
from training.evaluation.recognition import ActionWatcher
from training.evaluation.retriever import Retriever, caption_tokenizer
from training.recognition import RecognitionRecipe, head_of
from training.tasks.recognition import RecognitionTask
from training.trainee import Trainee, groups
from training.video_recipe import load_video_recipe


@pytest.fixture
def folder(tmp_path: Path, clips: list[Path]) -> Path:
    for clip in clips:
        (tmp_path / clip.name).symlink_to(clip)
    return tmp_path


def test_at_the_start_the_scores_are_those_of_zero_shot_recognition(
    tiny_towers: None, folder: Path, shared_reader: SharedReader
) -> None:
    classes = ("brush_hair", "ApplyEyeMakeup", "wave")
    torch.manual_seed(0)
    encoder = create_encoder("clip-b32")
    for module in encoder.branch.cross_frame:
        torch.nn.init.normal_(module.temporal_fc.weight, std=0.1)
    head = head_of(load_video_recipe("recognition-hmdb51", RecognitionRecipe, None), encoder, classes)
    retriever = Retriever(
        encoder=encoder, tokenize=caption_tokenizer("clip-b32"), num_frames=12, retrieval_mode="plain"
    )
    watcher = ActionWatcher(retriever=retriever)
    pixels = watcher.read(folder / "3.mp4", None, None).pixels
    expected = watcher.class_scores(classes, watcher.watch(pixels))
    trainee = Trainee(encoder, frozen=["backbone.text"], autocast=None)
    with trainee.at_rest():
        scores = head(trainee.watch(encoder.backbone.transform(pixels)[None]).mean(1))
    torch.testing.assert_close(scores[0], torch.from_numpy(expected), atol=1e-6, rtol=0)
    assert scores.std() > 1e-3
    assert not any(p.requires_grad for p in head.parameters())


NAMES = ("dark", "bright", "striped")


def shown(label: int, noise: torch.Generator) -> torch.Tensor:
    """A clip (T, 3, S, S) of a class."""
    frames = 0.3 * torch.randn(3, 3, 32, 32, generator=noise)
    frames += (label == 1) - (label == 0)
    frames[..., ::4, :] += 3.0 * (label == 2)
    return frames


class Toy:
    """Batches and held-out clips of NAMES."""

    clips = tuple(Clip(f"{i}.mp4", (NAMES[i % 3],), recording=str(i)) for i in range(9))

    def batch(self, number: int) -> Batch:
        noise = torch.Generator().manual_seed(number)
        frames = torch.stack([shown(row % 3, noise) for row in range(6)])
        names = tuple(NAMES[row % 3] for row in range(6))
        return Batch(frames=frames, clips=tuple(range(6)), names=names, texts=names)

    def watched(self, watch: Callable[[torch.Tensor], torch.Tensor]) -> tuple[list[Clip], torch.Tensor]:
        noise = torch.Generator().manual_seed(1000)
        return list(self.clips), watch(torch.stack([shown(i % 3, noise) for i in range(9)]))


def test_the_loss_is_the_mean_cross_entropy_over_the_temperature() -> None:
    torch.manual_seed(1)
    trainee, head, toy = (
        Trainee(shared_video.tiny_clip(), frozen=[], autocast=None),
        ClassHead(NAMES, torch.randn(3, 24)),
        Toy(),
    )
    out = RecognitionTask(trainee, head, toy, toy, [], temperature=0.2).loss(0)
    batch = toy.batch(0)
    scores = head(trainee.learn_from(batch.frames, 0).mean(1))
    labels = torch.tensor([NAMES.index(name) for name in batch.texts])
    torch.testing.assert_close(out.loss, torch.nn.functional.cross_entropy(scores / 0.2, labels))
    assert out.samples == batch.names


def test_a_linear_head_learns_what_it_found_alike(tmp_path: Path) -> None:
    """The encoder stands still: all of it is the head's work."""
    trainee = Trainee(shared_video.tiny_clip(), frozen=["backbone", "branch"], autocast=None)
    head, toy = ClassHead.linear(NAMES, 24), Toy()
    task = RecognitionTask(trainee, head, toy, toy, groups(head, lr=0.02, weight_decay=0.0), temperature=0.1)
    with torch.no_grad():
        assert task.loss(0).loss.item() == pytest.approx(math.log(3))
    assert task.validate() == {"top1": 0.0, "top5": 1.0}, "three equal scores: every rank is the middle one"
    run = Run(tmp_path / "run")
    fit(task, LoopConfig(steps=40, warmup=5, validate_every=100), run, resume=False, name="toy")
    assert run.metrics()[-1] == {"step": 40, "val_top1": 1.0, "val_top5": 1.0}


def test_a_head_comes_back_with_its_classes(tmp_path: Path) -> None:
    head = ClassHead(NAMES, torch.randn(3, 4))
    torch.nn.init.normal_(head.bias)
    assert ClassHead.load(tmp_path) is None
    head.save(tmp_path)
    back = ClassHead.load(tmp_path)
    assert back.classes == NAMES
    assert torch.equal(back(torch.eye(4)), head(torch.eye(4)))
    assert back.fingerprint() == head.fingerprint()
    with torch.no_grad():
        back.bias[0] += 1.0
    assert back.fingerprint() != head.fingerprint()
