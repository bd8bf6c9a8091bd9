"""The STAN branch: what its modules mix, what they leave alone, and how a fresh one starts."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from einops import rearrange
from torch import Tensor

from encoder.backbones.base import ShapeError
from encoder.backbones.clip import CLIPBackbone
from encoder.model import MugSTAN
from encoder.presets import CLIP_CONFIGS, clip_encoder, fresh_branch
from encoder.stan import CrossFrameModule, DropPath, GateFusion, IntraFrameModule, STANBranch, SumFusion

B, T, L, D = 2, 3, 4, 16


def tokens(x: Tensor) -> Tensor:
    """(B, T, L, D) patches -> branch state (B, 1 + L*T, D) under a fixed CLS."""
    cls = torch.linspace(-1, 1, x.shape[-1]).expand(x.shape[0], 1, -1)
    return torch.cat([cls, rearrange(x, "b t l d -> b (l t) d")], dim=1)


def moved(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Which of two branch states' tokens differ: CLS (B,), patches (B, T, L)."""
    delta = (a - b).abs().amax(-1)
    return delta[:, 0] > 1e-6, rearrange(delta[:, 1:], "b (l t) -> b t l", t=T) > 1e-6


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    """Two clips (B, T, L, D) that differ in patch 1 of frame 0."""
    torch.manual_seed(0)
    a = torch.randn(B, T, L, D)
    b = a.clone()
    b[:, 0, 1] = torch.randn(B, D)  # not += 1: LayerNorm would undo a constant shift
    return a, b


@torch.no_grad()
def test_cross_frame_module_mixes_frames_but_not_patches(pair: tuple[Tensor, Tensor], randomise: Callable) -> None:
    module = randomise(CrossFrameModule(D, 2, eps=1e-5, drop_path=0.0))
    cls, patches = moved(*(module(tokens(x), T) for x in pair))
    assert patches[:, :, 1].all()
    assert not patches[:, :, [0, 2, 3]].any()
    assert not cls.any()


@torch.no_grad()
def test_intra_frame_module_mixes_patches_but_not_frames(pair: tuple[Tensor, Tensor], randomise: Callable) -> None:
    module = randomise(IntraFrameModule(D, 2, 2 * D, "quick_gelu", eps=1e-5, drop_path=0.0))
    cls, patches = moved(*(module(tokens(x), T) for x in pair))
    assert patches[:, 0].all()
    assert not patches[:, 1:].any()
    assert cls.all()  # the video's CLS sees every frame


@torch.no_grad()
def test_fresh_cross_frame_module_is_the_identity(pair: tuple[Tensor, Tensor]) -> None:
    module = CrossFrameModule(D, 2, eps=1e-5, drop_path=0.1)
    assert torch.equal(module(tokens(pair[0]), T), tokens(pair[0]))


@torch.no_grad()
@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_intra_frame_module_is_a_clip_layer_in_each_frame(clip_config: dict[str, Any], activation: str) -> None:
    """The whole layer on a one-frame video; on a longer one, each frame's patches."""
    torch.manual_seed(0)
    clip_config["vision_config"]["hidden_act"] = activation
    backbone = CLIPBackbone(clip_config).eval()
    branch = fresh_branch(backbone, depth=2, scaled=False).eval()
    layer = backbone.vision.encoder.layers[3]
    one = torch.randn(B, 1 + L, 32)
    torch.testing.assert_close(branch.intra_frame[1](one, 1), layer(one, None), rtol=0, atol=1e-6)

    clip = torch.randn(B, T, L, 32)
    state = tokens(clip)
    got = rearrange(branch.intra_frame[1](state, T)[:, 1:], "b (l t) d -> b t l d", t=T)
    for t in range(T):
        expected = layer(torch.cat([state[:, :1], clip[:, t]], dim=1), None)[:, 1:]
        torch.testing.assert_close(got[:, t], expected, rtol=0, atol=1e-6)


@torch.no_grad()
def test_a_patch_of_one_frame_moves_only_its_frame_and_the_video_cls(randomise: Callable) -> None:
    """A one-layer branch with fresh (identity) cross-frame attention, layouts and fusion included."""
    branch = branch_of(depth=1)
    randomise(branch.intra_frame)
    torch.manual_seed(0)
    states = torch.randn(1, B, T, 1 + L, D)
    other = states.clone()
    other[0, :, 0, 2] = torch.randn(B, D)
    shared = torch.randn(D), torch.randn(1 + L, D)
    delta = (branch(states, *shared) - branch(other, *shared)).abs().amax(-1) > 1e-6  # (B, T, 1 + L)
    assert delta[:, 0, 1:].all()
    assert not delta[:, 1:, 1:].any()
    assert delta[:, :, 0].all()


def branch_of(*, depth: int, max_frames: int = 64) -> STANBranch:
    return STANBranch(
        width=D, heads=2, mlp_width=2 * D, activation="gelu", eps=1e-5, depth=depth, max_frames=max_frames,
        layer_fusion=SumFusion(), output_fusion=SumFusion(),
    ).eval()  # fmt: skip


@torch.no_grad()
def test_the_order_of_frames_matters_to_a_trained_branch(clip_config: dict[str, Any], randomise: Callable) -> None:
    model = clip_encoder(clip_config, depth=3)
    randomise(model.branch)
    video = torch.randn(B, T, 3, 32, 32)
    straight, backwards = model.encode_video(video), model.encode_video(video.flip(1))
    assert (straight.video - backwards.video).abs().max() > 1e-3
    assert (straight.tokens - backwards.tokens.flip(1)).abs().max() > 1e-3


@torch.no_grad()
def test_without_time_embeddings_a_reversed_clip_gives_the_reversed_frames(
    clip_config: dict[str, Any], randomise: Callable
) -> None:
    """Attention over time has no order of its own; the temporal weights are random and do mix frames."""
    torch.manual_seed(0)
    model = clip_encoder(clip_config, depth=3)
    model.branch = randomise(fresh_branch(model.backbone, depth=3, scaled=True))
    model.branch.time_embedding.zero_()
    model.branch.output_fusion.scale.fill_(1.0)
    video = torch.randn(B, T, 3, 32, 32)
    straight, backwards = model.encode_video(video), model.encode_video(video.flip(1))
    torch.testing.assert_close(backwards.frames, straight.frames.flip(1), rtol=0, atol=1e-5)
    torch.testing.assert_close(backwards.tokens, straight.tokens.flip(1), rtol=0, atol=1e-5)
    torch.testing.assert_close(backwards.video, straight.video, rtol=0, atol=1e-5)
    alone = model.encode_video(video[:, :1])
    assert (alone.tokens[:, 0] - straight.tokens[:, 0]).abs().max() > 1e-3  # frames do see each other


@torch.no_grad()
def test_a_fresh_scaled_branch_changes_nothing(clip_config: dict[str, Any]) -> None:
    torch.manual_seed(0)
    backbone = CLIPBackbone(clip_config).eval()
    model = MugSTAN(backbone, fresh_branch(backbone, depth=3, scaled=True)).eval()
    states = model.video_states(torch.randn(B, T, 3, 32, 32))
    tokens_alone, frames_alone = backbone.finish(states[-1], states)
    video = model.encode_states(states)
    torch.testing.assert_close(video.tokens, tokens_alone, rtol=0, atol=1e-6)
    torch.testing.assert_close(video.frames, frames_alone, rtol=0, atol=1e-6)
    model.branch.output_fusion.scale.fill_(1.0)
    assert (model.encode_states(states).frames - frames_alone).abs().max() > 1e-2


def test_video_feature_is_the_mean_before_any_norm(clip_config: dict[str, Any]) -> None:
    video = clip_encoder(clip_config, depth=2).encode_video(torch.randn(B, T, 3, 32, 32))
    torch.testing.assert_close(video.video, video.frames.mean(1))
    assert (video.frames.norm(dim=-1) - 1).abs().min() > 1e-3


def test_gates_choose_between_backbone_and_branch() -> None:
    gate = GateFusion(3, norm=1e4)
    with torch.no_grad():
        gate.balance.copy_(torch.tensor([1.0, -1.0, 0.0]))
    got = gate(torch.full((2, 3), 6.0), torch.full((2, 3), 2.0))
    torch.testing.assert_close(got, torch.tensor([6.0, 2.0, 4.0]).expand(2, 3))


@pytest.mark.parametrize(("name", "millions"), [("clip-b32", 40.2), ("clip-b16", 40.2), ("clip-l14", 71.4)])
def test_the_branch_has_the_published_number_of_parameters(name: str, millions: float) -> None:
    with torch.device("meta"):
        model = clip_encoder(CLIP_CONFIGS[name])
    width = model.backbone.width
    intra, cross = {768: (7_087_872, 2_954_496), 1024: (12_596_224, 5_250_048)}[width]
    count = sum(p.numel() for p in model.branch.parameters())
    assert count == 4 * intra + 4 * cross + 64 * width
    assert abs(count / 1e6 - millions) < 0.06


@torch.no_grad()
def test_more_frames_than_time_embeddings_are_interpolated_and_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    """Seen through the branch's output: the frames are alike, so only time tells them apart."""
    branch = branch_of(depth=1, max_frames=2)
    branch.time_embedding.copy_(torch.stack([torch.zeros(D), torch.arange(D) / 4.0]))
    reference = branch_of(depth=1, max_frames=5)
    reference.load_state_dict(
        {**branch.state_dict(), "time_embedding": torch.arange(D) / 4.0 * torch.linspace(0, 1, 5)[:, None]}
    )
    states, shared = torch.randn(1, 1, 1, 1 + L, D).repeat(1, 1, 5, 1, 1), (torch.randn(D), torch.randn(1 + L, D))
    with caplog.at_level(logging.WARNING):
        got = branch(states, *shared)
        branch(states, *shared)
        expected = reference(states, *shared)
    torch.testing.assert_close(got, expected)
    assert (got[0, 0, 1:] - got[0, 1, 1:]).abs().max() > 1e-3
    warnings = [r.getMessage() for r in caplog.records if r.name.startswith("encoder")]
    assert warnings == ["5 frames, but 2 stored time embeddings: interpolating them."]


def test_drop_path_drops_whole_rows_in_training_only() -> None:
    torch.manual_seed(0)
    drop, x = DropPath(0.5), torch.ones(200, 3, 2)
    rows = drop.train()(x).flatten(1)
    assert set(rows.unique().tolist()) == {0.0, 2.0}
    assert (rows == rows[:, :1]).all()
    assert torch.equal(drop.eval()(x), x)
    assert [round(m.drop_path.rate, 4) for m in branch_of(depth=4).cross_frame] == [0.0, 0.0333, 0.0667, 0.1]
    assert [round(m.drop_path.rate, 4) for m in branch_of(depth=4).intra_frame] == [0.0, 0.0333, 0.0667, 0.1]


def test_gradients_reach_every_branch_parameter(clip_config: dict[str, Any], randomise: Callable) -> None:
    model = clip_encoder(clip_config, depth=3, gates={"out_norm": 1.0, "middle_norm": 1.0}, own_cls=True)
    randomise(model.branch)
    out = model.encode_video(torch.randn(B, T, 3, 32, 32))
    (out.frames.square().sum() + out.tokens.square().sum()).backward()
    # A key bias shifts all scores of a query alike, so softmax takes its gradient away.
    dead = [n for n, p in model.branch.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert [name for name in dead if "k_proj.bias" not in name] == []
    assert model.branch.time_embedding.grad[T:].abs().max() == 0


def test_a_fresh_scaled_branch_learns_its_scale_first(clip_config: dict[str, Any]) -> None:
    backbone = CLIPBackbone(clip_config)
    model = MugSTAN(backbone, fresh_branch(backbone, depth=2, scaled=True)).eval()
    model.encode_video(torch.randn(B, T, 3, 32, 32)).frames.square().sum().backward()
    assert model.branch.output_fusion.scale.grad.abs().min() > 0


def test_wrong_layouts_are_refused(clip_config: dict[str, Any]) -> None:
    model = clip_encoder(clip_config, depth=2)
    for shape in ((3, 3, 32, 32), (1, 3, 4, 32, 32), (1, 0, 3, 32, 32), (1, 4, 3, 24, 32)):
        with pytest.raises(ShapeError, match=r"\(.*32\)"):
            model.encode_video(torch.zeros(shape))
    branch = branch_of(depth=2)
    with pytest.raises(ShapeError, match="d=2"):
        branch(torch.zeros(3, B, T, 1 + L, D), torch.zeros(D), torch.zeros(1 + L, D))
    with pytest.raises(ShapeError, match="positions"):
        branch(torch.zeros(2, B, T, 1 + L, D), torch.zeros(D), torch.zeros(L, D))
    with pytest.raises(ValueError, match="4 layers, got 5"):
        clip_encoder(clip_config, depth=5)
    with pytest.raises(KeyError, match="mug_simple"):
        model.similarity(None, None, mode="cosine")
