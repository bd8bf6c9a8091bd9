"""The losses of the trainings on videos: what they compare, what they train, and in how many processes."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from encoder.backbones.base import TextFeatures
from encoder.model import VideoFeatures
from encoder.mug import MODES
from encoder.presets import clip_encoder
from tests.training.engine.shared_work import in_double
from tests.training.engine.test_distributed import torchrun
from tests.training.shared_reader import SharedReader
from tests.training.tasks import shared_video
from tests.training.towers import tiny_clip_config, tiny_tokenizer
from training.data.reader_threads import ReaderThreads
from training.dry_run import activation_bytes
from training.engine.files import read_rows
from training.engine.loop import LoopConfig, fit
from training.engine.run import Run
from training.tasks import video_text
from training.tasks.contrastive import contrastive_loss
from training.tasks.pairwise import no_negatives, similarities
from training.tasks.video_text import VideoTextTask


@pytest.fixture
def folder(tmp_path: Path, clips: list[Path]) -> Path:
    for clip in clips:
        (tmp_path / clip.name).symlink_to(clip)
    (tmp_path / "2.mp4").unlink()
    (tmp_path / "2.mp4").write_bytes(b"no video")
    return tmp_path


def test_two_processes_train_as_one(folder: Path, shared_reader: SharedReader) -> None:
    """Losses, gradients, validation, what is replaced, and when to stop; shares are of different sizes."""
    done = torchrun(2, shared_video.__name__, str(folder))
    assert done.returncode == 0, done.stderr
    expected, found = shared_video.results(folder, "1.jsonl"), load_file(folder / "found.safetensors")
    assert found.keys() == expected.keys()
    assert {"text.text_to_video_R@1", "class.top1", "stopped", "class.1.head.weight"} <= found.keys()
    assert sum(t.abs().max() > 1e-4 for t in expected.values()) > 200, "gradients of zero would prove nothing"
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=0, msg=lambda m, name=name: f"{name}: {m}")
    for task in ("text", "class", "limit"):
        one, two = (read_rows(folder / f"{task}-{count}.jsonl") for count in (1, 2))
        assert one == two
        assert [row["path"] for row in one] == ["2.mp4"]


# ---- which pairs are compared, and in what memory


@pytest.fixture
def features() -> tuple[TextFeatures, VideoFeatures]:
    """24 texts of 7 words and 24 videos of 5 frames."""
    generator = torch.Generator().manual_seed(0)
    tokens, frames = (torch.randn(24, n, 16, generator=generator).requires_grad_() for n in (7, 5))
    mask = torch.arange(7) < torch.randint(2, 8, (24, 1), generator=generator)
    text = TextFeatures(tokens=tokens, sentence=tokens.mean(1), mask=mask)
    return text, VideoFeatures(tokens=frames[:, :0], frames=frames, video=frames.mean(1))


@pytest.mark.parametrize("mode", MODES)
def test_chunks_change_neither_loss_nor_gradients(features: tuple[TextFeatures, VideoFeatures], mode: str) -> None:
    text, video = features
    compare = clip_encoder(tiny_clip_config(), depth=1).similarity
    found = []
    for found_by in (compare, partial(similarities, compare, max_elements=1500)):
        loss = contrastive_loss(found_by(text, video, mode) / 0.05)
        found.append([loss, *torch.autograd.grad(loss, [text.tokens, video.frames])])
    for one, chunked in zip(*found, strict=True):
        torch.testing.assert_close(chunked, one, atol=1e-6, rtol=0)
    assert found[0][1].abs().max() > 1e-3


def test_memory_does_not_grow_with_words_times_frames() -> None:
    """Of a batch of 48 pairs with 20 words and 12 frames, the similarities alone are kept, and the features."""
    tokens, frames = torch.randn(48, 20, 8).requires_grad_(), torch.randn(48, 12, 8).requires_grad_()
    text = TextFeatures(tokens=tokens, sentence=tokens.mean(1), mask=torch.ones(48, 20, dtype=torch.bool))
    video = VideoFeatures(tokens=frames[:, :0], frames=frames, video=frames.mean(1))
    compare = clip_encoder(tiny_clip_config(), depth=1).similarity
    whole = activation_bytes(lambda: compare(text, video, "mug_simple"))
    chunked = activation_bytes(lambda: similarities(compare, text, video, "mug_simple", max_elements=4000))
    assert whole > 4 * 48 * 48 * 20 * 12
    assert chunked < 4 * (tokens.numel() + frames.numel() + 48 * 48 + 2 * 48 * 8) + 48 * 20 + 10_000


def test_what_is_right_for_a_video_is_no_negative() -> None:
    """Pairs 0 and 2 have the same words, 1 and 3 the same clip: neither has anything to do with the other's loss."""
    ids = torch.tensor([[1, 5, 9], [1, 6, 9], [1, 5, 9], [1, 7, 9]])
    equal = no_negatives(ids, (0, 1, 2, 1))
    assert equal.nonzero().tolist() == [[0, 2], [1, 3], [2, 0], [3, 1]]
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = contrastive_loss(logits.masked_fill(equal, -torch.inf))
    loss.backward()
    assert torch.equal(logits.grad == 0, equal)
    by_hand = 0.0
    for one in (logits.detach(), logits.detach().T):
        for i in range(4):
            others = [j for j in range(4) if not equal[i, j]]
            by_hand += (one[i, others].logsumexp(0) - one[i, i]).item() / 8
    assert math.isclose(loss.item(), by_hand, rel_tol=1e-5)


@pytest.fixture
def task(folder: Path, shared_reader: SharedReader) -> Iterator[Callable[..., VideoTextTask]]:
    """Tasks in double precision, on five readable clips."""
    with ReaderThreads(0) as threads:
        yield lambda **options: shared_video.video_text(
            shared_video.made(folder, threads, limit=1.0, ledger="ledger.jsonl"), **options
        )


@pytest.mark.parametrize("mode", MODES)
def test_the_loss_is_that_of_all_pairs(task: Callable, mode: str) -> None:
    """By the encoder's own similarity, over the temperature; what it was computed on is named."""
    made = task(similarity=mode)
    with in_double():
        out, batch, trainee = made.loss(0), made.batches.batch(0), made.trainee
        frames = trainee.learn_from(batch.frames, 0)
        tokens = made.tokenize(list(batch.texts), padding=True, truncation=True, max_length=10, return_tensors="pt")
        text = trainee.read(tokens["input_ids"], tokens["attention_mask"])
        video = VideoFeatures(tokens=frames[..., :0], frames=frames, video=frames.mean(1))
        similarity = trainee.encoder.similarity(text, video, mode)
        equal = no_negatives(tokens["input_ids"], batch.clips)
        expected = contrastive_loss((similarity / 0.05).masked_fill(equal, -torch.inf))
    torch.testing.assert_close(out.loss, expected)
    assert out.samples == batch.names
    assert len(out.samples) == 5


def test_the_loss_leaves_out_what_is_no_negative(task: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among the batches are captions that stand twice, and clips that do."""
    seen = []
    monkeypatch.setattr(video_text, "contrastive_loss", lambda logits: seen.append(logits) or contrastive_loss(logits))
    made = task()
    with in_double():
        for number in range(4):
            made.loss(number)
    left_out = 0
    for number, logits in enumerate(seen):
        batch = made.batches.batch(number)
        pairs = list(zip(batch.texts, batch.clips, strict=True))
        for i, (text, clip) in enumerate(pairs):
            for j, (other_text, other_clip) in enumerate(pairs):
                equal = i != j and (text == other_text or clip == other_clip)
                assert (logits[i, j] == -math.inf) == equal
                left_out += equal
    assert left_out > 4


# ---- what is trained


def test_frozen_modules_stay_to_the_bit_and_keep_their_dropout_off(task: Callable, tmp_path: Path) -> None:
    made = task(similarity="plain")
    frozen = made.trainee.encoder.backbone.vision.embeddings
    before = {name: tensor.clone() for name, tensor in made.trainee.encoder.state_dict().items()}
    fit(made, LoopConfig(steps=2, warmup=0), Run(tmp_path / "run"), resume=False, name="run")
    after = made.trainee.encoder.state_dict()
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {f"backbone.vision.embeddings.{name}" for name in frozen.state_dict()}
    assert not frozen.training
    assert made.trainee.encoder.branch.training
    assert made.trainee.encoder.backbone.text.training


@pytest.mark.gpu
def test_a_gpu_computes_what_the_cpu_computes(task: Callable) -> None:
    """The loss and all gradients, in double precision."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    found = []
    for device in ("cpu", "cuda"):
        made = task()
        made.trainee.encoder.to(device)
        with in_double():
            out = made.loss(0)
        out.loss.backward()
        found.append({name: p.grad.cpu() for name, p in made.module.named_parameters() if p.grad is not None})
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-8, rtol=0)


def test_a_part_of_the_patches_is_hidden_and_another_one_each_time(task: Callable) -> None:
    made = task()
    kept = [made.trainee.patches(number) for number in (0, 1, 0)]
    assert [len(patches) for patches in kept] == [10] * 3, "of 16, without 0.4 of them"
    assert torch.equal(kept[0], kept[2])
    assert not torch.equal(kept[0], kept[1])


def test_long_captions_keep_their_end_and_padding_changes_nothing() -> None:
    """CLIP's sentence stands at its end token, which also pads: whatever stands after the first one is not read."""
    encoder, tokenizer = shared_video.tiny_clip(), tiny_tokenizer()
    captions = ["a dog", "a very long caption of a dog that runs on the road"]
    batch = tokenizer(captions, padding=True, truncation=True, max_length=12, return_tensors="pt")
    assert batch["input_ids"].shape == (2, 12)
    assert batch["input_ids"].max(1).values.tolist() == [len(tokenizer) - 1] * 2
    with torch.no_grad():
        together = encoder.encode_text(batch["input_ids"], batch["attention_mask"])
        alone = tokenizer(captions[:1], return_tensors="pt")
        sentence = encoder.encode_text(alone["input_ids"], alone["attention_mask"]).sentence
    torch.testing.assert_close(together.sentence[:1], sentence)
    assert together.mask[0].sum() == alone["input_ids"].shape[1]
