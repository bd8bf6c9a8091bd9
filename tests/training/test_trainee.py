"""Which parts of an encoder learn, how fast, and at what price of memory."""

import pytest
import torch

from encoder.model import MugSTAN
from encoder.presets import create_encoder
from encoder.stan import DropPath
from tests.bridge.conftest import tiny_encoder
from training import trainee
from training.recipe import RecipeError
from training.trainee import Trainee, groups


@pytest.fixture
def clip(tiny_towers: None) -> MugSTAN:
    torch.manual_seed(0)
    return create_encoder("clip-b32")


def test_rates_and_decay_go_where_they_belong(clip: MugSTAN) -> None:
    """Backbone and branch have their own rates; matrices decay, vectors do not; nothing is in two groups, or in none."""
    trainee = Trainee(clip, frozen=["backbone.text"], autocast=None)
    found = trainee.parameter_groups(lr=1e-6, branch_lr=1e-5, weight_decay=0.2)
    rates = {id(p): (group["lr"], group["weight_decay"]) for group in found for p in group["params"]}
    names = {name: p for name, p in clip.named_parameters() if not name.startswith("backbone.text.")}
    assert rates.keys() == {id(p) for p in names.values()}
    assert sum(len(group["params"]) for group in found) == len(rates)
    for name, parameter in names.items():
        expected = (1e-5 if name.startswith("branch.") else 1e-6, 0.2 if parameter.ndim > 1 else 0.0)
        assert rates[id(parameter)] == expected, name
    assert rates[id(clip.backbone.visual_projection.weight)] == (1e-6, 0.2)
    assert rates[id(clip.branch.intra_frame[0].layer_norm1.weight)] == (1e-5, 0.0)
    assert groups(clip.backbone.text, lr=1.0, weight_decay=0.1) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("backbone.visoin", "no module 'backbone.visoin': backbone has vision, visual_projection, text, text_projection"),
        ("backbon", "no module 'backbon': the encoder has backbone, branch"),
        ("branch.cross_frame.4", "branch.cross_frame has 0, 1, 2, 3"),
        ("branch.time_embedding.x", "branch has cross_frame, intra_frame, layer_fusion, output_fusion"),
        ("backbone.text_projection.weight", "backbone.text_projection has no children"),
    ],
)  # fmt: skip
def test_a_name_that_is_no_modules_is_told_where_it_goes_wrong(clip: MugSTAN, name: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Trainee(clip, frozen=[name], autocast=None)


def test_nothing_is_trained_that_a_checkpoint_would_lose() -> None:
    with pytest.raises(RecipeError, match="in backbone.text, backbone.vision. Name these modules in 'frozen'"):
        Trainee(tiny_encoder(), frozen=[], autocast=None)
    with pytest.raises(RecipeError, match="in backbone.vision. Name"):
        Trainee(tiny_encoder(), frozen=["backbone.text"], autocast=None)
    Trainee(tiny_encoder(), frozen=["backbone.text", "backbone.vision"], autocast=None)


def test_number_and_process_decide_which_paths_are_dropped(clip: MugSTAN, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in clip.modules():
        if isinstance(module, DropPath):
            module.rate = 0.5
    frames, learner = torch.randn(2, 3, 3, 32, 32), Trainee(clip, frozen=[], autocast=None)

    def seen(batch: int, process: int) -> torch.Tensor:
        monkeypatch.setattr(trainee, "rank", lambda: process)
        with torch.no_grad():
            return learner.learn_from(frames, batch)

    assert torch.equal(seen(0, 0), seen(0, 0))
    assert not torch.equal(seen(0, 0), seen(1, 0))
    assert not torch.equal(seen(0, 0), seen(0, 1))


def test_bf16_products_give_features_in_fp32_that_are_nearly_the_same(clip: MugSTAN) -> None:
    frames, ids = torch.randn(2, 3, 3, 32, 32), torch.tensor([[5, 6, 513]])
    found = []
    for autocast in (None, torch.bfloat16):
        trainee = Trainee(clip, frozen=[], autocast=autocast)
        with trainee.at_rest():
            assert not clip.branch.training
            found.append([trainee.watch(frames), trainee.read(ids, torch.ones_like(ids)).sentence])
        assert clip.branch.training
    for exact, rough in zip(*found, strict=True):
        assert exact.dtype == rough.dtype == torch.float32
        assert not torch.equal(exact, rough)
        torch.testing.assert_close(exact, rough, atol=0.1, rtol=0.1)
