"""Import of published weights, and our own checkpoint folder: what fits is loaded, what does not is named."""

import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from encoder.checkpoints import (
    CheckpointError,
    load_encoder,
    load_trained,
    read_encoder_config,
    save_encoder,
    trained_state_dict,
)
from encoder.model import MugSTAN
from encoder.presets import ENCODERS, clip_encoder, create_encoder


@torch.no_grad()
def same_video(a: MugSTAN, b: MugSTAN, video: Tensor) -> bool:
    return torch.equal(a.encode_video(video).frames, b.encode_video(video).frames)


# ---- published weights


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone.", "model.vision_tower."])
@pytest.mark.parametrize("name", ["stan_a", "btadapter_a"])
def test_each_key_may_have_its_own_prefix(golden: Callable, name: str, prefix: str) -> None:
    """Every second key keeps the published one, so that the first key decides nothing."""
    data = golden(name)
    weights = {}
    for i, (key, tensor) in enumerate(data.weights.items()):
        bare = key.removeprefix("backbone.")
        weights[prefix + bare if i % 2 and bare != key else key] = tensor
    assert same_video(data.imported(weights), data.imported(), data.io["video"])


def test_mmengine_files_and_needless_names_are_accepted(golden: Callable, caplog: pytest.LogCaptureFixture) -> None:
    data = golden("btadapter_a")
    extra = {"backbone.position_ids": torch.arange(17)[None], "extra_proj.0.weight": torch.zeros(32, 64)}
    wrapped = {"meta": {"epoch": 1}, "state_dict": {**data.weights, **extra}}
    with caplog.at_level(logging.INFO, logger="encoder"):
        assert same_video(data.imported(wrapped), data.imported(), data.io["video"])
    assert "extra_proj.0.weight" in caplog.text


def test_half_precision_files_are_loaded_into_fp32(golden: Callable) -> None:
    data = golden("stan_b")
    model = data.imported({name: tensor.half() for name, tensor in data.weights.items()})
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    with torch.no_grad():
        got = model.encode_video(data.io["video"]).frames
    torch.testing.assert_close(got, data.io["frame_features"], rtol=0, atol=2e-2)


def test_old_btadapter_names_are_understood(golden: Callable) -> None:
    data = golden("btadapter_a")
    old = {name.replace("btadapter", "timesFPN"): tensor for name, tensor in data.weights.items()}
    assert same_video(data.imported(old), data.imported(), data.io["video"])


def test_without_gates_btadapter_sums_but_keeps_its_own_cls(golden: Callable) -> None:
    """The balances may stay in the file, or be gone from it."""
    data = golden("btadapter_a")
    plain = {name: tensor for name, tensor in data.weights.items() if "balance" not in name}
    model = data.imported(gates=None)
    assert same_video(model, data.imported(plain, gates=None), data.io["video"])
    assert torch.equal(model.branch.cls_token, data.weights["backbone.btadapter_cls_token"].flatten())
    with torch.no_grad():
        before = model.encode_video(data.io["video"]).frames
        model.branch.cls_token += torch.randn(64, generator=torch.Generator().manual_seed(0))
        assert (model.encode_video(data.io["video"]).frames - before).abs().max() > 1e-3


def test_without_text_config_there_is_no_text_tower(golden: Callable) -> None:
    data = golden("stan_a")
    config = {key: value for key, value in data.config["clip_config"].items() if key != "text_config"}
    vision = {name: tensor for name, tensor in data.weights.items() if not name.startswith("text_")}
    model = data.imported(vision, clip_config=config)
    assert same_video(model, data.imported(), data.io["video"])
    with pytest.raises(ValueError, match="no text tower"):
        model.encode_text(data.io["input_ids"], data.io["text_mask"])
    with pytest.raises(CheckpointError, match="unexpected in the text tower: text_backbone"):
        data.imported(clip_config=config)
    with pytest.raises(CheckpointError, match="missing in the text tower: text_backbone"):
        data.imported(vision)


def test_what_is_missing_or_unexpected_is_listed_by_part(golden: Callable) -> None:
    data = golden("stan_a")
    weights = dict(data.weights)
    for name in ("STAN_T_layers.2.temporal_fc.bias", "layers.1.mlp.fc1.weight", "STAN_time_embed.weight"):
        del weights[f"backbone.{name}"]
    weights |= {"backbone.STAN_S_layers.0.extra": torch.zeros(1), "head.weight": torch.zeros(1)}
    weights["text_backbone.text_projection.weight"] = torch.zeros(32, 40)
    with pytest.raises(CheckpointError) as error:
        data.imported(weights)
    message = str(error.value)
    assert "2 missing in the branch: " in message
    assert "backbone.STAN_T_layers.2.temporal_fc.bias" in message
    assert "backbone.STAN_time_embed.weight" in message
    assert "1 missing in the vision tower: backbone.layers.1.mlp.fc1.weight" in message
    assert "1 unexpected in the branch: backbone.STAN_S_layers.0.extra" in message
    assert "1 unexpected in the rest: head.weight" in message
    assert "(expected (32, 48), got (32, 40))" in message


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("backbone.STAN_pos_embed.weight", "position embedding"),
        ("logit_scale", "temperature"),
        ("module.backbone.patch_embedding_3d.weight", "patch_3d"),
        ("adapter.text_weight_fc.weight", "drl_wti"),
    ],
)
def test_some_names_are_refused_with_the_reason(golden: Callable, key: str, reason: str) -> None:
    data = golden("stan_a")
    with pytest.raises(CheckpointError, match=rf"{key} \(.*{reason}"):
        data.imported({**data.weights, key: torch.zeros(1)})


def test_depth_kind_gates_and_clashes_are_checked(golden: Callable) -> None:
    stan, bt = golden("stan_a"), golden("btadapter_a")
    with pytest.raises(CheckpointError, match="depth 3, but .* hold 4 branch layers: pass depth=4"):
        stan.imported(depth=3)
    with pytest.raises(CheckpointError, match="depth 5"):
        bt.imported(depth=5)
    with pytest.raises(CheckpointError, match="look like kind 'stan'"):
        stan.imported(kind="btadapter")
    with pytest.raises(KeyError, match="Known kinds: stan, btadapter"):
        stan.imported(kind="mug")
    with pytest.raises(ValueError, match="gates belong to kind 'btadapter'"):
        stan.imported(gates={"out_norm": 1e4})
    with pytest.raises(KeyError, match=r"unknown \['outnorm'\]"):
        bt.imported(gates={"outnorm": 1e4})
    with pytest.raises(CheckpointError, match="1 missing in the branch: backbone.balance1"):
        bt.imported({name: t for name, t in bt.weights.items() if name != "backbone.balance1"})
    with pytest.raises(CheckpointError, match="1 unexpected in the rest: extra_proj.0.weight"):
        stan.imported({**stan.weights, "extra_proj.0.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="both stand for backbone.class_embedding"):
        stan.imported({**stan.weights, "class_embedding": torch.zeros(64)})
    with pytest.raises(CheckpointError, match="not tensors: epoch"):
        stan.imported({**stan.weights, "epoch": 3})


# ---- our folder


@pytest.fixture
def tiny(clip_config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Callable[[], MugSTAN]:
    """A registered preset of random weights, new ones each time."""
    monkeypatch.setitem(ENCODERS, "tiny", lambda: clip_encoder(clip_config, depth=2))
    return ENCODERS["tiny"]


def test_a_saved_encoder_comes_back(tmp_path: Path, tiny: Callable[[], MugSTAN], randomise: Callable) -> None:
    model = randomise(tiny())
    folder = tmp_path / "run" / "step_1"
    save_encoder(folder, model, preset="tiny")
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "encoder.safetensors"]
    written = json.loads((folder / "config.json").read_text())
    assert written == {"encoder": {"preset": "tiny", "retrieval_mode": "plain"}}
    back = load_encoder(folder)
    assert not back.training
    assert same_video(model, back, torch.randn(1, 3, 3, 32, 32, generator=torch.Generator().manual_seed(0)))


def test_mini_saves_its_heads_and_branch_only_and_fp16_comes_back_as_fp32(tmp_path: Path, randomise: Callable) -> None:
    model = create_encoder("mini")
    trained = trained_state_dict(model)
    assert {name.split(".")[0] if name.startswith("branch") else name.split(".")[1] for name in trained} == {
        "vision_head", "vision_lower", "text_head", "text_order", "branch",
    }  # fmt: skip
    towers = ("backbone.vision.", "backbone.text.")
    assert set(trained) == {name for name, _ in model.named_parameters() if not name.startswith(towers)}
    backbone = model.backbone
    for part in (model.branch, backbone.vision_head, backbone.vision_lower, backbone.text_head, backbone.text_order):
        randomise(part)
    save_encoder(tmp_path, model, preset="mini", dtype=torch.float16)
    assert (tmp_path / "encoder.safetensors").stat().st_size < 30e6
    back = load_encoder(tmp_path)
    for name, tensor in trained_state_dict(back).items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, trained[name].half().float()), name
    assert torch.equal(back.backbone.vision.layernorm.weight, model.backbone.vision.layernorm.weight)


def test_a_mini_from_before_it_knew_word_order_and_read_lower_layers_still_loads(tmp_path: Path) -> None:
    model = create_encoder("mini")
    save_encoder(tmp_path, model, preset="mini")
    weights = load_file(tmp_path / "encoder.safetensors")
    weights = {name: tensor for name, tensor in weights.items() if "text_order" not in name and "lower" not in name}
    save_file(weights, tmp_path / "encoder.safetensors")
    older = load_encoder(tmp_path).backbone
    assert not older.text_order.weight.any()
    assert not older.vision_lower[1].weight.any()
    del weights["backbone.text_head.fc1.weight"]
    save_file(weights, tmp_path / "encoder.safetensors")
    with pytest.raises(CheckpointError, match=r"1 missing in the text tower: backbone\.text_head\.fc1\.weight\n"):
        load_encoder(tmp_path)


def test_saving_keeps_the_other_parts_of_the_config(tmp_path: Path, tiny: Callable[[], MugSTAN]) -> None:
    (tmp_path / "config.json").write_text('{"step": 7, "encoder": {"preset": "mini"}}')
    save_encoder(tmp_path, tiny(), preset="tiny", retrieval_mode="mug")
    written = json.loads((tmp_path / "config.json").read_text())
    assert written == {"step": 7, "encoder": {"preset": "tiny", "retrieval_mode": "mug"}}


def test_an_encoder_remembers_its_retrieval_mode_and_frames(tmp_path: Path, tiny: Callable[[], MugSTAN]) -> None:
    """Folders that were written before there was one are of the plain mode."""
    save_encoder(tmp_path, tiny(), preset="tiny", retrieval_mode="mug_simple")
    assert read_encoder_config(tmp_path / "config.json").retrieval_mode == "mug_simple"
    (tmp_path / "config.json").write_text('{"encoder": {"preset": "tiny"}}')
    assert read_encoder_config(tmp_path / "config.json").retrieval_mode == "plain"
    assert load_encoder(tmp_path).branch.depth == 2
    save_encoder(tmp_path, tiny(), preset="tiny", num_frames=12)
    assert read_encoder_config(tmp_path / "config.json").num_frames == 12
    with pytest.raises(KeyError, match="unknown retrieval_mode 'cosine'. Known modes: mug, mug_simple, plain"):
        save_encoder(tmp_path / "other", tiny(), preset="tiny", retrieval_mode="cosine")
    assert not (tmp_path / "other").exists()


def test_presets_are_loaded_by_name(tiny: Callable[[], MugSTAN]) -> None:
    assert load_encoder("tiny").branch.depth == 2
    with pytest.raises(FileNotFoundError, match=r"clip-b16, clip-b32, clip-l14, mini, tiny\).*got 'nothing'"):
        load_encoder("nothing")


def test_a_folder_that_does_not_fit_is_refused(tmp_path: Path, tiny: Callable[[], MugSTAN]) -> None:
    save_encoder(tmp_path, tiny(), preset="tiny")
    weights = load_file(tmp_path / "encoder.safetensors")
    scale = weights.pop("backbone.visual_projection.weight")
    weights |= {"branch.more": torch.zeros(1), "branch.time_embedding": torch.zeros(3, 32)}
    save_file(weights, tmp_path / "encoder.safetensors")
    with pytest.raises(CheckpointError) as error:
        load_encoder(tmp_path)
    message = str(error.value)
    assert str(tmp_path / "encoder.safetensors") in message
    assert "1 missing in the vision tower: backbone.visual_projection.weight" in message
    assert "1 unexpected in the branch: branch.more" in message
    assert "branch.time_embedding (expected (64, 32), got (3, 32))" in message
    with pytest.raises(CheckpointError, match="memory do not fit"):
        load_trained(tiny(), {"backbone.visual_projection.weight": scale}, source="memory")


def test_a_config_with_unknown_or_missing_keys_is_refused(tmp_path: Path, tiny: Callable[[], MugSTAN]) -> None:
    save_encoder(tmp_path, tiny(), preset="tiny")
    config = tmp_path / "config.json"
    for content, message in (
        ({"encoder": {"preset": "tiny", "depht": 4}}, r"config.json.encoder: unknown \['depht'\]. Known keys: preset"),
        ({"encoder": {}}, r"missing \['preset'\]"),
        (
            {"encoder": {"preset": "huge"}},
            "unknown encoder 'huge'. Known encoders: clip-b16, clip-b32, clip-l14, mini, tiny",
        ),
        ({"step": 1}, "expected an object 'encoder'"),
    ):
        config.write_text(json.dumps(content))
        with pytest.raises(KeyError, match=message):
            load_encoder(tmp_path)


def test_only_safetensors_are_read(tmp_path: Path, tiny: Callable[[], MugSTAN]) -> None:
    save_encoder(tmp_path, tiny(), preset="tiny")
    (tmp_path / "encoder.safetensors").rename(tmp_path / "encoder.bin")
    with pytest.raises(FileNotFoundError, match=r"encoder.bin.*Only safetensors"):
        load_encoder(tmp_path)


def test_weights_that_are_not_finite_are_not_written(tmp_path: Path, tiny: Callable[[], MugSTAN]) -> None:
    """1e5 is a number in fp32 and infinite in fp16."""
    model = tiny()
    with torch.no_grad():
        model.branch.time_embedding[0, 0] = 1e5
    with pytest.raises(CheckpointError, match=r"float16: branch.time_embedding"):
        save_encoder(tmp_path, model, preset="tiny", dtype=torch.float16)
    assert not (tmp_path / "encoder.safetensors").exists()
    save_encoder(tmp_path, model, preset="tiny")
    with torch.no_grad():
        model.branch.time_embedding[0, 0] = math.nan
    with pytest.raises(CheckpointError, match="not finite"):
        save_encoder(tmp_path, model, preset="tiny")
