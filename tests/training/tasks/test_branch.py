"""The branch's training on whatever media there are, with frozen towers that stay as they are."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from encoder.model import MugSTAN
from encoder.stan import DropPath
from tests.bridge.conftest import tiny_encoder
from training.align import AlignRecipe
from training.data.camera import FILMED
from training.data.contrasts import Medium
from training.data.features import FeatureCache
from training.data.jsonl import DataError
from training.engine.loop import LoopConfig, fit
from training.engine.run import Run
from training.tasks.branch import (
    HELD_OUT_GROUPS,
    BranchSettings,
    BranchTask,
    contrast_across,
    contrast_within,
    diagonal_blocks,
    dropout_mask,
    group_loss,
    interactions,
)
from training.tasks.contrastive import contrastive_loss
from training.tasks.heads import Temperature, WordStates, padded
from training.tasks.wake import wake

FRAMES = 4
ALL = ("pictures", "scenes", "camera", "clips", "partial")


@pytest.fixture
def encoder() -> MugSTAN:
    """The mini encoder in toy size: 4 pooled patches of width 32."""
    encoder = tiny_encoder()
    wake(encoder.branch, torch.Generator().manual_seed(0))
    return encoder


@pytest.fixture
def words(encoder: MugSTAN) -> WordStates:
    return WordStates(encoder, tokenize)


def tokenize(captions: list[str], **options: object) -> dict[str, torch.Tensor]:
    """Eight ids of every caption, from its letters."""
    ids = [[1 + ord(letter) % 49 for letter in caption.ljust(32)[:32:4]] for caption in captions]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.ones(len(ids), 8, dtype=torch.long)}


def media(folder: Path, pictures: int = 0, clips: int = 0, stills: int = 0) -> list[Medium]:
    """Media with random features, pictures filmed; `stills` are rows of a video that turned out to be a picture."""
    found = []

    def states(name: str, frames: int) -> Path:
        file = folder / f"{name}.safetensors"
        FeatureCache.save(file, torch.randn(2, frames, 5, 32, generator=torch.Generator().manual_seed(len(name))))
        return file

    for kind, count, frames in (("picture", pictures, 1), ("clip", clips, FRAMES), ("still", stills, 1)):
        for i in range(count):
            filmed = {move: states(f"{kind}{i}-{move}", FRAMES) for move in FILMED} if kind == "picture" else None
            file = states(f"{kind}{i}", frames)
            found.append(
                Medium(file, (f"The {kind} shows {i}.", f"{i} in a {kind}."), kind != "picture", filmed=filmed)
            )
    return found


def branch_task(
    encoder: MugSTAN, words: WordStates, train: list[Medium], val: list[Medium], **settings: object
) -> BranchTask:
    chosen = replace(BranchSettings(kinds=("clips",), batch=4, lr=1e-3, mask=0.0, camera_rows=2), **settings)
    return BranchTask(encoder, words, train, val, num_frames=FRAMES, settings=chosen)


def test_every_batch_has_patches_of_its_own_masked(
    tmp_path: Path, encoder: MugSTAN, words: WordStates, monkeypatch: pytest.MonkeyPatch
) -> None:
    fuse, seen = encoder.fuse, []

    def watched(states: torch.Tensor, patches: torch.Tensor | None) -> torch.Tensor:
        seen.append(patches if patches is None else tuple(patches.tolist()))
        return fuse(states, patches)

    monkeypatch.setattr(encoder, "fuse", watched)
    task = branch_task(encoder, words, media(tmp_path, pictures=3), [], mask=0.5, kinds=("scenes",))
    for step in (*range(12), 0):
        task.loss(step)
    assert {len(patches) for patches in seen} == {2}, "of four"
    assert len(set(seen)) > 2
    assert seen[-1] == seen[0], "the same batch, the same patches"
    task = branch_task(
        encoder, words, media(tmp_path, pictures=3), [], mask=0.5, kinds=("scenes", "camera"), camera_rows=1
    )
    for step in range(1, 24, 2):
        task.loss(step)
    assert set(seen[-12:]) == {(0, 1), (2, 3)}, "of camera moves, rows of the grid"
    task = branch_task(encoder, words, media(tmp_path, pictures=3), [], kinds=("camera",), camera_rows=0)
    task.loss(0)
    assert seen[-1] is None


def test_frozen_towers_stay_in_evaluation_mode(tmp_path: Path, encoder: MugSTAN, words: WordStates) -> None:
    chosen = media(tmp_path, pictures=3, clips=2)
    task = branch_task(encoder, words, chosen, media(tmp_path, clips=2), kinds=ALL)
    modes = []

    class Watched:
        module, parameter_groups, validate = task.module, task.parameter_groups, task.validate

        def loss(self, step: int) -> object:
            modes.append((encoder.backbone.text.training, encoder.backbone.vision.training, encoder.branch.training))
            return task.loss(step)

    fit(Watched(), LoopConfig(steps=4, validate_every=2), Run(tmp_path / "run"), resume=False, name="branch")
    assert modes == [(False, False, True)] * 4
    assert torch.equal(words(["A dog."]).sentence, words(["A dog."]).sentence)


@pytest.mark.parametrize("similarities", [("plain",), ("mug_simple",), ("plain", "mug")])
def test_all_kinds_are_trained_on_in_their_turn(
    tmp_path: Path, encoder: MugSTAN, words: WordStates, similarities: tuple[str, ...]
) -> None:
    chosen = media(tmp_path, pictures=5, clips=2, stills=1)
    task = branch_task(encoder, words, chosen, chosen, kinds=ALL, similarities=similarities)
    outputs = [task.loss(step) for step in range(10)]
    assert all(torch.isfinite(out.loss) for out in outputs)
    assert [list(out.metrics) for out in outputs] == [[f"loss_{kind}"] for kind in ALL] * 2
    found = task.validate()
    expected = {f"{kind}_R@1_{mode}" for kind in ("clip", "picture") for mode in similarities}
    cosines = {"scenes_cosine", "camera_cosine"}
    assert set(found) == expected | {"scale", "scenes", "camera"} | cosines
    assert all(0 <= value <= 1 for name, value in found.items() if name not in cosines)
    assert all(-1.001 < found[name] < 1.001 for name in cosines)
    moves = task.val.kinds["camera"](random.Random("camera"), 4 * HELD_OUT_GROUPS).states.float()
    with torch.no_grad():
        video = torch.nn.functional.normalize(encoder.eval().encode_states(moves).video, dim=-1).unflatten(0, (-1, 4))
    different = [(video[:, i] * video[:, j]).sum(-1).mean() for i in range(4) for j in range(i)]
    assert found["camera_cosine"] == pytest.approx(torch.stack(different).mean().item(), abs=1e-5)


def test_kinds_without_media_are_left_out_with_a_warning(
    tmp_path: Path, encoder: MugSTAN, words: WordStates, caplog: pytest.LogCaptureFixture
) -> None:
    few = media(tmp_path, pictures=1, clips=2)
    task = branch_task(encoder, words, few, [], kinds=("scenes", "clips"))
    assert [list(task.loss(step).metrics) for step in (0, 1)] == [["loss_clips"]] * 2
    assert "no batches of scenes: " in caplog.text
    assert "1 pictures, 1 of them filmed, and 2 clips" in caplog.text
    with pytest.raises(DataError, match="no batches of pictures, scenes: .* Nothing is left to learn from"):
        branch_task(encoder, words, few, [], kinds=("scenes", "pictures"))


def test_gradients_reach_the_branch_the_heads_and_the_word_order(
    tmp_path: Path, encoder: MugSTAN, words: WordStates
) -> None:
    encoder.requires_grad_(True)
    encoder.backbone.text.requires_grad_(False)
    encoder.backbone.vision.requires_grad_(False)
    task = branch_task(encoder, words, media(tmp_path, pictures=4), [], kinds=("scenes",))
    task.loss(0).loss.backward()
    trained = {id(p) for group in task.parameter_groups() for p in group["params"]}
    assert trained == {id(p) for p in task.module.parameters()}
    backbone = encoder.backbone
    for part in (backbone.vision_head, backbone.vision_lower, backbone.text_head, backbone.text_order, encoder.branch):
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in part.parameters())
    assert encoder.branch.cross_frame[0].temporal_fc.weight.grad.abs().max() > 0
    assert encoder.branch.output_fusion.scale.grad.abs().max() > 0


@pytest.mark.parametrize("kind", ["pictures", "clips"])
def test_what_is_compared_with_all_others_is_seen_as_the_encoder_sees_it_but_for_what_is_dropped(
    tmp_path: Path, encoder: MugSTAN, words: WordStates, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    for module in encoder.modules():
        if isinstance(module, DropPath):
            module.rate = 0.0
    chosen = media(tmp_path, pictures=4, clips=4)
    task = branch_task(encoder, words, chosen, [], kinds=(kind,), batch=4, pictures=4, dropout=0.0)
    loss = task.loss(0).loss
    batch = task.train.kinds[kind](random.Random("0-branch-0"), 4)
    with task.autocast():
        video = encoder.encode_states(batch.states.float())
        similarity = encoder.similarity(words(list(batch.captions)), video, "plain")
    torch.testing.assert_close(loss, contrastive_loss(task.temperatures["across"](similarity)), rtol=0.01, atol=0)
    loss.backward()
    for part in (encoder.branch.intra_frame, encoder.backbone.vision_head, encoder.backbone.text_head):
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in part.parameters())
    task = branch_task(encoder, words, chosen, [], kinds=(kind,), batch=4, pictures=4, dropout=0.5)
    assert task.loss(0).loss.item() != pytest.approx(loss.item(), rel=0.01)
    assert task.loss(0).loss.item() == task.loss(0).loss.item(), "what is dropped follows from the step"
    read, seen = encoder.backbone.read_frames, []
    monkeypatch.setattr(encoder.backbone, "read_frames", lambda moments: seen.append(moments) or read(moments))
    task.loss(0)
    dropped = seen[0] == 0
    assert dropped.float().mean() == pytest.approx(0.5, abs=0.1), "of what the head reads"
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped)), "the same in all frames of a clip"


@pytest.mark.parametrize("kind", ["scenes", "camera"])
def test_nothing_is_dropped_where_the_clips_of_a_group_are_told_apart(
    tmp_path: Path, encoder: MugSTAN, words: WordStates, kind: str
) -> None:
    for module in encoder.modules():
        if isinstance(module, DropPath):
            module.rate = 0.0
    chosen = media(tmp_path, pictures=4)
    losses = [branch_task(encoder, words, chosen, [], kinds=(kind,), dropout=d).loss(0).loss.item() for d in (0.0, 0.5)]
    assert losses[0] == losses[1]


def test_dropout_keeps_the_mean_and_drops_whole_channels_of_a_caption(words: WordStates) -> None:
    kept = dropout_mask(500, 40, 0.4, torch.Generator().manual_seed(0))
    assert ((kept == 0).float().mean() - 0.4).abs() < 0.02
    assert (kept.mean() - 1).abs() < 0.03
    captions = ["A dog.", "A cat on a mat."]
    some = dropout_mask(2, words.width, 0.5, torch.Generator().manual_seed(0))
    backbone = words.encoder.backbone
    hidden, mask = padded(words.states(captions))
    expected = backbone.text_head(backbone.pool_text(hidden, mask) * some)
    torch.testing.assert_close(words(captions, some).sentence, expected)


def test_what_starts_from_nothing_learns_at_the_rate_of_the_branch(
    tmp_path: Path, encoder: MugSTAN, words: WordStates
) -> None:
    task = branch_task(encoder, words, media(tmp_path, pictures=2), [], kinds=("scenes",), lr=1e-3, heads_lr=1e-5)
    rates = {id(p): group["lr"] for group in task.parameter_groups() for p in group["params"]}
    backbone = encoder.backbone
    assert rates[id(backbone.text_order.weight)] == rates[id(encoder.branch.time_embedding)] == 1e-3
    assert rates[id(backbone.text_head.fc1.weight)] == rates[id(backbone.vision_lower[1].weight)] == 1e-5
    assert rates[id(encoder.branch.output_fusion.scale)] == 1e-2


def test_a_camera_move_is_learned_from_any_number_of_its_frames(
    tmp_path: Path, encoder: MugSTAN, words: WordStates, monkeypatch: pytest.MonkeyPatch
) -> None:
    fuse, seen = encoder.fuse, []
    monkeypatch.setattr(encoder, "fuse", lambda states, patches: seen.append(states) or fuse(states, patches))
    task = branch_task(
        encoder, words, media(tmp_path, pictures=3), [], kinds=("camera", "scenes"), camera_frames=3, camera_rows=0
    )
    for step in range(0, 16, 2):
        whole = task.train.kinds["camera"](random.Random(f"0-branch-{step}"), 4).states.float()
        task.loss(step)
        frames = seen[-1].shape[2]
        assert torch.equal(seen[-1], whole[:, :, [0, 2, 3] if frames == 3 else [0, 1, 2, 3]])
    assert {states.shape[2] for states in seen} == {3, 4}
    task.loss(1)
    assert seen[-1].shape[2] == FRAMES, "of scenes, all"


def test_clips_are_contrasted_with_their_own_group_by_its_weight_alone(
    tmp_path: Path, encoder: MugSTAN, words: WordStates
) -> None:
    chosen = media(tmp_path, pictures=4)
    losses = []
    for weight in (0.0, 1.0, 3.0):
        torch.manual_seed(0)  # the same paths are dropped
        task = branch_task(encoder, words, chosen, [], kinds=("scenes",), group_weight=weight)
        losses.append(task.loss(0).loss.item())
    assert losses[0] < losses[1] < losses[2]
    assert losses[2] - losses[1] == pytest.approx(2 * (losses[1] - losses[0]), rel=1e-4)


def test_other_groups_are_contrasted_without_a_look_at_the_own_one() -> None:
    similarity = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    own = torch.block_diag(*[torch.ones(2, 2)] * 3).bool() & ~torch.eye(6).bool()
    expected = contrast_across(similarity, 2)
    torch.testing.assert_close(contrast_across(similarity.masked_fill(own, 7.0), 2), expected)
    assert contrast_across(similarity.masked_fill(~own & ~torch.eye(6).bool(), -50.0), 2) < 1e-6, "nobody else is near"
    torch.testing.assert_close(contrast_across(similarity, 1), contrastive_loss(similarity))


def test_without_the_branch_frames_know_nothing_of_each_other(
    tmp_path: Path, encoder: MugSTAN, words: WordStates
) -> None:
    task = branch_task(encoder, words, media(tmp_path, pictures=4), media(tmp_path, pictures=4), kinds=("scenes",), use_branch=False)  # fmt: skip
    before = [p.clone() for p in encoder.branch.parameters()]
    fit(task, LoopConfig(steps=2, validate_every=2), Run(tmp_path / "run"), resume=False, name="branch")
    assert all(torch.equal(a, b) for a, b in zip(before, encoder.branch.parameters(), strict=True))
    found = task.validate()
    assert found["scenes"] == 0.5, "cut in the middle or not, the mean of frames has no order"
    assert found["scenes_cosine"] == pytest.approx(1.0)


def test_matrix_products_are_computed_in_the_dtype_that_was_asked_for(
    tmp_path: Path, encoder: MugSTAN, words: WordStates
) -> None:
    chosen = media(tmp_path, pictures=4)
    seen = []
    encoder.backbone.vision_head.fc1.register_forward_hook(lambda module, given, output: seen.append(output.dtype))
    losses = []
    for dtype in (torch.float32, torch.bfloat16):
        task = branch_task(encoder, words, chosen, [], kinds=("pictures",), dtype=dtype)
        losses.append(task.loss(0).loss.item())
    assert seen == [torch.float32, torch.bfloat16]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_a_group_is_contrasted_within_itself_alone() -> None:
    similarity = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    blocks = diagonal_blocks(similarity, 2)
    assert all(torch.equal(blocks[i], similarity[2 * i : 2 * i + 2, 2 * i : 2 * i + 2]) for i in range(3))
    expected = torch.stack([contrastive_loss(block) for block in blocks]).mean()
    torch.testing.assert_close(contrast_within(similarity, 2), expected)
    changed = similarity + 5 * (torch.block_diag(*[torch.ones(2, 2)] * 3) == 0)
    torch.testing.assert_close(contrast_within(changed, 2), expected)


def test_a_caption_that_is_nearer_to_all_clips_of_its_group_gains_nothing() -> None:
    similarity = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    favour = torch.randn(8, generator=torch.Generator().manual_seed(1))
    plain, freed = (contrast_within(some, 4) for some in (similarity, interactions(similarity, 4)))
    torch.testing.assert_close(contrast_within(interactions(similarity + favour[:, None], 4), 4), freed)
    torch.testing.assert_close(contrast_within(interactions(similarity + favour, 4), 4), freed)
    assert not torch.isclose(contrast_within(similarity + favour[:, None], 4), plain)
    right = torch.eye(8) + favour[:, None]
    assert contrast_within(10 * interactions(right, 4), 4) < 0.01


def test_what_captions_differ_in_is_not_forgotten_while_clips_do_not_show_it() -> None:
    """At chance the similarities themselves count for nothing; where all is told apart, as much as the interactions."""
    temperature = Temperature(10.0)
    blind = torch.tensor([0.9, 0.1, 0.5, 0.4])[:, None].expand(4, 4).clone().requires_grad_()
    loss = group_loss(blind, 4, temperature)
    torch.testing.assert_close(loss, torch.tensor(4.0).log())
    loss.backward()
    assert blind.grad.sum(1).abs().max() < 1e-6, "no caption as such gains or loses"
    right = 5 * torch.eye(4) + torch.tensor([0.9, 0.1, 0.5, 0.4])[:, None]
    told = contrast_within(temperature(interactions(right, 4)), 4)
    torch.testing.assert_close(
        group_loss(right, 4, temperature), told + contrast_within(temperature(right), 4), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_frames": 3}, "num_frames of 4 or more, got 3"),
        ({"branch_batch": 1}, "branch_batch of 2 or more, got 1"),
        ({"head_batch": 1, "branch_batch": 0}, "head_batch of 2 or more, got 1; branch_batch of 2 or more, got 0"),
        ({"branch_mask": 1.0}, "branch_mask of at least 0 and below 1, got 1.0"),
        ({"head_noise": -0.1}, "head_noise of 0 or more, got -0.1"),
        ({"head_dropout": 1.0}, "head_dropout of at least 0 and below 1, got 1.0"),
        ({"camera_rows": -1}, "camera_rows of 0 or more, got -1"),
        ({"camera_frames": 9}, "camera_frames from 2 to num_frames = 8, got 9"),
        ({"group_weight": -0.5}, "group_weight of 0 or more, got -0.5"),
        ({"kinds": ("scene", "clips")}, r"expected kinds of pictures, .*, got \['scene'\]"),
        ({"kinds": ()}, "expected kinds of pictures, .*, got none"),
        ({"similarities": ("cosine",)}, r"expected similarities of mug, mug_simple, plain, got \['cosine'\]"),
        ({"threads": -1}, "threads of 0 or more, got -1"),
        ({"encoder": "maxi"}, "unknown encoder 'maxi'. Known encoders: .*mini"),
        ({"encoder": "clip-b32"}, "expected an encoder with alignment heads, 'mini', got 'clip-b32'. .*post-pretrain"),
        ({"feature_dtype": "int8"}, "unknown feature_dtype 'int8'. Known dtypes: float32, bfloat16"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AlignRecipe(**values)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_all_kinds_of_batches_show_in_the_log(count: int) -> None:
    loop = AlignRecipe(kinds=ALL[:count]).branch_loop
    logged = {ALL[(done - 1) % count] for done in range(loop.log_every, 6 * loop.log_every, loop.log_every)}
    assert logged == set(ALL[:count])
