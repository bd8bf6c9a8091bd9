"""The alignment tasks on whatever media there are, with frozen towers that stay as they are."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from encoder.model import MugSTAN, VideoFeatures
from tests.bridge.conftest import tiny_encoder
from training.align import AlignRecipe, precomputed
from training.data.features import FeatureCache
from training.data.jsonl import DataError
from training.engine.loop import LoopConfig, fit
from training.engine.run import Run
from training.tasks.align import BranchTask, Medium, WordStates

FRAMES = 4


@pytest.fixture
def encoder() -> MugSTAN:
    """The mini encoder in toy size: 4 pooled patches of width 32."""
    return tiny_encoder()


@pytest.fixture
def words(encoder: MugSTAN) -> WordStates:
    return WordStates(encoder, tokenize)


def tokenize(captions: list[str], **options: object) -> dict[str, torch.Tensor]:
    """Four ids of every caption, from its letters."""
    ids = [[1 + ord(letter) % 49 for letter in caption.ljust(16)[:16:4]] for caption in captions]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.ones(len(ids), 4, dtype=torch.long)}


def media(folder: Path, pictures: int = 0, clips: int = 0, stills: int = 0) -> list[Medium]:
    """Media with random features; `stills` are rows of a video that turned out to be a picture."""
    found = []
    for kind, count, frames in (("picture", pictures, 1), ("clip", clips, FRAMES), ("still", stills, 1)):
        for i in range(count):
            generator = torch.Generator().manual_seed(len(found))
            file = folder / f"{kind}{i}.safetensors"
            FeatureCache.save(file, torch.randn(2, frames, 5, 32, generator=generator))
            found.append(Medium(file, (f"The {kind} shows {i}.", f"{i} in a {kind}."), kind != "picture"))
    return found


def branch_task(
    encoder: MugSTAN, words: WordStates, train: list[Medium], val: list[Medium], *, mask: float = 0.0
) -> BranchTask:
    return BranchTask(encoder, words, train, val, batch_size=2, num_frames=FRAMES, lr=1e-3, mask=mask, seed=0)


def test_every_batch_has_patches_of_its_own_masked(
    tmp_path: Path, encoder: MugSTAN, words: WordStates, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, seen = encoder.encode_states, []

    def watched(states: torch.Tensor, *, patches: torch.Tensor | None = None) -> VideoFeatures:
        seen.append(patches if patches is None else tuple(patches.tolist()))
        return encode(states, patches=patches)

    monkeypatch.setattr(encoder, "encode_states", watched)
    task = branch_task(encoder, words, media(tmp_path, pictures=3, clips=2), [], mask=0.5)
    for step in (*range(12), 0):
        task.loss(step)
    assert {len(patches) for patches in seen} == {2}, "of four"
    assert len(set(seen)) > 2
    assert seen[-1] == seen[0], "the same batch, the same patches"
    branch_task(encoder, words, media(tmp_path, clips=2), []).loss(0)
    assert seen[-1] is None


def test_frozen_towers_stay_in_evaluation_mode(tmp_path: Path, encoder: MugSTAN, words: WordStates) -> None:
    task = branch_task(encoder, words, media(tmp_path, pictures=3, clips=2), media(tmp_path, clips=2))
    modes = []

    class Watched:
        module, parameter_groups, validate = task.module, task.parameter_groups, task.validate

        def loss(self, step: int) -> object:
            modes.append((encoder.backbone.text.training, encoder.backbone.vision.training, encoder.branch.training))
            return task.loss(step)

    fit(Watched(), LoopConfig(steps=4, validate_every=2), Run(tmp_path / "run"), resume=False, name="branch")
    assert modes == [(False, False, True)] * 4
    assert torch.equal(words(["A dog."]).sentence, words(["A dog."]).sentence)


@pytest.mark.parametrize(
    ("kinds", "drawn"),
    [
        ({"pictures": 2}, {"pictures", "pseudo_clips"}),
        ({"clips": 2}, {"clips"}),
        ({"pictures": 1, "clips": 2}, {"clips"}),
        ({"clips": 1, "stills": 1}, {"clips"}),
        ({"stills": 2}, {"clips"}),
        ({"pictures": 2, "clips": 1, "stills": 2}, {"pictures", "clips", "pseudo_clips"}),
    ],
)
def test_whatever_can_be_told_apart_is_trained_on(
    tmp_path: Path, encoder: MugSTAN, words: WordStates, kinds: dict[str, int], drawn: set[str]
) -> None:
    chosen = media(tmp_path, **kinds)
    task = branch_task(encoder, words, chosen, chosen)
    outputs = [task.loss(step) for step in range(6)]
    assert all(torch.isfinite(out.loss) for out in outputs)
    assert {name for out in outputs for name in out.metrics} == {f"loss_{name}" for name in drawn}
    task.validate()


@pytest.mark.parametrize("kinds", [{"pictures": 1, "clips": 1}, {"pictures": 1, "stills": 1}])
def test_one_picture_and_one_clip_cannot_be_told_apart(
    tmp_path: Path, encoder: MugSTAN, words: WordStates, kinds: dict[str, int]
) -> None:
    with pytest.raises(DataError, match=r"expected two pictures or two clips .* got 1 and 1\."):
        branch_task(encoder, words, media(tmp_path, **kinds), [])


@pytest.mark.parametrize("frames", [4, 5, 8])
def test_every_recipe_that_is_accepted_can_cut_a_pseudo_clip(
    tmp_path: Path, encoder: MugSTAN, words: WordStates, frames: int
) -> None:
    recipe = AlignRecipe(num_frames=frames, branch_batch=2)
    task = BranchTask(
        encoder, words, media(tmp_path, pictures=2), [], batch_size=recipe.branch_batch, num_frames=recipe.num_frames,
        lr=1e-3, mask=recipe.branch_mask, seed=0,
    )  # fmt: skip
    assert [task.loss(step).tokens for step in (0, 1)] == [2, 2 * frames]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_frames": 3}, "num_frames of 4 or more, got 3"),
        ({"branch_batch": 1}, "branch_batch of 2 or more, got 1"),
        ({"head_batch": 1, "branch_batch": 0}, "head_batch of 2 or more, got 1; branch_batch of 2 or more, got 0"),
        ({"branch_mask": 1.0}, "branch_mask of at least 0 and below 1, got 1.0"),
        ({"threads": -1}, "threads of 0 or more, got -1"),
        ({"encoder": "maxi"}, "unknown encoder 'maxi'. Known encoders: mini"),
        ({"feature_dtype": "int8"}, "unknown feature_dtype 'int8'. Known dtypes: float32, bfloat16"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AlignRecipe(**values)


def test_the_heads_never_learn_from_stale_rows(tmp_path: Path, encoder: MugSTAN, words: WordStates) -> None:
    chosen = media(tmp_path, pictures=2, clips=1)

    def fresh(wanted: list[Medium], folder: Path) -> None:
        """What is kept in `tmp_path` is what a new folder would get."""
        kept, new = (precomputed(encoder, words, wanted, place) for place in (tmp_path, folder))
        assert [len(part) for part in kept] == [len(wanted)] * 2
        for a, b in zip((*kept[0], *kept[1]), (*new[0], *new[1]), strict=True):
            assert torch.equal(a, b)

    renamed = Medium(chosen[0].file, ("Something else.",), is_video=False)
    for number, wanted in enumerate([chosen, chosen[1:], chosen[::-1], [renamed, *chosen[1:]]]):
        (tmp_path / str(number)).mkdir()
        fresh(wanted, tmp_path / str(number))


def test_precomputed_rows_are_computed_once(tmp_path: Path, encoder: MugSTAN, words: WordStates) -> None:
    chosen = media(tmp_path, pictures=2)
    first = precomputed(encoder, words, chosen, tmp_path)
    (file,) = tmp_path.glob("precomputed-*.safetensors")
    assert len(load_file(file)) == 4
    nothing = SimpleNamespace(sentence_states=None)
    again = precomputed(encoder, nothing, chosen, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip((*first[0], *first[1]), (*again[0], *again[1]), strict=True))
