"""The folder of a chat model: it comes back as it was, is replaced as a whole, and is refused where it does not fit."""

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bridge import checkpoint as module
from bridge.checkpoint import CheckpointConfig, LLMPart, load_checkpoint, read_config, save_checkpoint
from bridge.model import VideoLanguageModel
from bridge.presets import CHAT_MODELS
from encoder.checkpoints import CheckpointError, trained_state_dict
from tests.bridge.conftest import SLOTS, tiny_lora

MINI = CHAT_MODELS["mini"]
SAVED = ["adapter", "bridge.safetensors", "config.json", "encoder.safetensors"]


def rewrite(file: Path, **changes: Any) -> None:  # noqa: ANN401
    """Change keys of a JSON object; None removes one."""
    whole = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in whole.items() if value is not None}))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@torch.no_grad()
def answer_logits(model: VideoLanguageModel, pixels: Tensor) -> Tensor:
    prompt = model.prompt([{"role": "user", "content": "what is the dog doing?"}], num_slots=SLOTS)
    return model.llm(inputs_embeds=model.embed(prompt, model.encode(pixels))).logits


# ---- saved and loaded


def test_a_saved_model_computes_the_same(
    model: VideoLanguageModel, tiny_config: CheckpointConfig, pixels: Tensor, tmp_path: Path
) -> None:
    """To the last bit, for weights that fp16 can hold."""
    folder, adapted = tmp_path / "run" / "checkpoint", tiny_lora(model.llm)
    nn.init.normal_(model.encoder.branch.time_embedding)
    trained = [*trained_state_dict(model.encoder).values(), *model.projector.parameters()]
    with torch.no_grad():
        for tensor in (*trained, *(p for name, p in adapted.named_parameters() if "lora_" in name)):
            tensor.copy_(tensor.half())
    save_checkpoint(folder, config=tiny_config, encoder=model.encoder, projector=model.projector, adapter=adapted)
    with warnings.catch_warnings():
        for shown_to_users in (UserWarning, FutureWarning):
            warnings.simplefilter("error", shown_to_users)
        loaded = load_checkpoint(folder)
    model.llm = adapted.merge_and_unload()
    assert torch.equal(answer_logits(loaded, pixels), answer_logits(model, pixels))
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert names(folder) == SAVED
    assert names(folder.parent) == ["checkpoint"]
    config = read_config(folder)
    assert (config.parts, config.tokens_per_video) == (("encoder", "bridge", "adapter"), SLOTS)
    assert config.llm.sha256
    assert set(config.versions) == {"torch", "transformers", "peft", "safetensors"}
    settings = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == tiny_config.llm.name


def test_parts_that_were_not_trained_come_fresh(
    model: VideoLanguageModel, tiny_config: CheckpointConfig, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / "c", config=tiny_config, encoder=None, projector=None, adapter=None)
    assert names(tmp_path / "c") == ["config.json"]
    assert read_config(tmp_path / "c").tokens_per_video == SLOTS
    loaded = load_checkpoint(tmp_path / "c")
    assert torch.equal(loaded.projector.center, model.projector.center)  # among the words of the LLM
    assert torch.equal(loaded.encoder.branch.time_embedding, model.encoder.branch.time_embedding)


def test_mini_is_small_and_loads() -> None:
    assert sum(path.stat().st_size for path in MINI.rglob("*") if path.is_file()) <= 60e6
    config = read_config(MINI)
    assert config.parts == ("encoder", "bridge", "adapter")
    assert config.encoder.retrieval_mode == "plain"
    model = load_checkpoint(MINI)
    for mine, file in ((model.projector.state_dict(), "bridge"), (model.encoder.state_dict(), "encoder")):
        tensors = load_file(MINI / f"{file}.safetensors")
        assert all(torch.equal(mine[name], tensor.float()) for name, tensor in tensors.items())


# ---- replaced


def stamp(model: VideoLanguageModel, adapted: nn.Module, step: int) -> None:
    """Write a number into every part."""
    with torch.no_grad():
        model.encoder.branch.time_embedding.fill_(step)
        model.projector.center.fill_(step)
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.fill_(step)


def stamps(folder: Path) -> set[float]:
    """The numbers in the parts of a checkpoint: one, where all of it is of one save."""
    adapter = load_file(folder / "adapter" / "adapter_model.safetensors")
    return {
        load_file(folder / "encoder.safetensors")["branch.time_embedding"].mean().item(),
        load_file(folder / "bridge.safetensors")["center"].mean().item(),
        *(tensor.mean().item() for tensor in adapter.values()),
        float(json.loads((folder / "config.json").read_text())["step"]),
    }


@pytest.fixture
def save(model: VideoLanguageModel, tiny_config: CheckpointConfig) -> Callable[[Path, int], None]:
    """Save a checkpoint with its step in every part."""
    adapted = tiny_lora(model.llm)

    def run(folder: Path, step: int) -> None:
        stamp(model, adapted, step)
        save_checkpoint(
            folder, config=replace(tiny_config, step=step), encoder=model.encoder, projector=model.projector,
            adapter=adapted,
        )  # fmt: skip

    return run


def test_a_kill_at_any_moment_leaves_one_checkpoint_whole(
    save: Callable, tiny_config: CheckpointConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each picture of the disk, taken after a step of the save, is what a kill would leave behind."""
    home, folder = tmp_path / "home", tmp_path / "home" / "checkpoint"
    save(folder, 1)
    (folder / "README.md").write_text("the model card")
    pictures: list[Path] = []

    def watch(owner: object, name: str) -> None:
        original = getattr(owner, name)

        def step(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            result = original(*args, **kwargs)
            pictures.append(Path(shutil.copytree(home, tmp_path / f"picture-{len(pictures)}")))
            return result

        monkeypatch.setattr(owner, name, step)

    for owner, name in ((module, "save_file"), (module, "save_encoder"), (Path, "rename"), (Path, "replace")):
        watch(owner, name)
    save(folder, 2)
    monkeypatch.undo()
    whole = [p / "checkpoint" for p in pictures if (p / "checkpoint").exists()]
    assert len(whole) >= 5
    assert {frozenset(stamps(p)) for p in whole} == {frozenset({1.0}), frozenset({2.0})}
    assert all((p / "README.md").read_text() == "the model card" for p in whole)

    (between,) = [p for p in pictures if not (p / "checkpoint").exists()]  # the old one moved, the new one not yet
    with pytest.raises(FileExistsError):  # any save puts it back first
        save_checkpoint(between / "checkpoint", config=tiny_config, encoder=None, projector=None, adapter=None)
    assert stamps(between / "checkpoint") == {1.0}
    assert names(between) == ["checkpoint"]


def test_saving_again_replaces_the_parts_and_keeps_other_files(save: Callable, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    save(folder, 1)
    (folder / "README.md").write_text("the model card")
    (folder / "pictures").mkdir()
    (folder / "pictures" / "config.json").write_text("not ours")
    (folder / "adapter" / "left.txt").write_text("from before")
    (tmp_path / "link").symlink_to(folder)
    save(tmp_path / "link", 2)
    assert stamps(folder) == {2.0}
    assert names(folder) == sorted([*SAVED, "README.md", "pictures"])
    assert (folder / "pictures" / "config.json").read_text() == "not ours"
    assert names(folder / "adapter") == ["adapter_config.json", "adapter_model.safetensors"]
    assert names(tmp_path) == ["checkpoint", "link"]


def test_what_cannot_be_saved_changes_nothing(save: Callable, tiny_config: CheckpointConfig, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    with pytest.raises(CheckpointError, match="not finite"):
        save(folder, 100_000)  # infinite in fp16
    assert names(tmp_path) == []
    save(folder, 1)
    with pytest.raises(CheckpointError, match="not finite"):
        save(folder, 100_000)
    with pytest.raises(FileExistsError, match=r"holds \['bridge.safetensors', 'adapter'\], which this"):
        save_checkpoint(
            folder, config=tiny_config, encoder=load_checkpoint(folder).encoder, projector=None, adapter=None
        )
    assert stamps(folder) == {1.0}
    assert names(tmp_path) == ["checkpoint"]


# ---- refused


def test_tensors_that_do_not_fit_are_listed(checkpoint: Path) -> None:
    """In each part: one is missing, one unexpected, one of another shape."""
    for file, gone, owner in (
        ("bridge.safetensors", "norm.bias", "projector"),
        ("encoder.safetensors", "branch.output_fusion.scale", "branch"),
        ("adapter/adapter_model.safetensors", "base_model.model.model.layers.1.self_attn.v_proj.lora_A.weight", "language model"),
    ):  # fmt: skip
        whole = load_file(checkpoint / file)
        bent = next(name for name in whole if name != gone)
        tensors = {name: tensor for name, tensor in whole.items() if name != gone}
        tensors |= {bent: torch.zeros(7), "branch.more": torch.zeros(1)}
        save_file(tensors, checkpoint / file)
        with pytest.raises(CheckpointError) as error:
            load_checkpoint(checkpoint)
        message = str(error.value)
        assert str(checkpoint / file) in message
        assert f"1 missing in the {owner}: {gone}" in message
        assert f"{bent} (expected {tuple(whole[bent].shape)}, got (7,))" in message
        assert "branch.more" in message
        save_file(whole, checkpoint / file)
    load_checkpoint(checkpoint)


def test_parts_and_files_must_agree(checkpoint: Path) -> None:
    rewrite(checkpoint / "config.json", parts=["encoder", "bridge"])
    with pytest.raises(FileNotFoundError, match="does not list the part 'adapter', but adapter says otherwise"):
        load_checkpoint(checkpoint)
    shutil.rmtree(checkpoint / "adapter")
    load_checkpoint(checkpoint)
    (checkpoint / "bridge.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="lists the part 'bridge', but bridge.safetensors says otherwise"):
        load_checkpoint(checkpoint)
    rewrite(checkpoint / "config.json", parts=["encoder", "bridges"])
    with pytest.raises(KeyError, match=r"unknown \['bridges'\]. Known parts: encoder, bridge, adapter"):
        load_checkpoint(checkpoint)


def test_a_folder_llm_with_other_weights_is_refused(
    checkpoint: Path, tiny_config: CheckpointConfig, tmp_path: Path
) -> None:
    """Nothing in the requirements can bring a user's own folder back."""
    own = tmp_path / "own"
    shutil.copytree(tiny_config.llm.name, own)
    sha = read_config(checkpoint).llm.sha256
    rewrite(checkpoint / "config.json", llm={"name": str(own), "sha256": sha})
    load_checkpoint(checkpoint)
    weights = load_file(own / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in weights.items()}, own / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=rf"'{own}' with SHA-256 {sha[:16]}.*Put those weights back") as error:
        load_checkpoint(checkpoint)
    assert "requirements" not in str(error.value)
    (own / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"found no weight files\. Put"):
        load_checkpoint(checkpoint)
    rewrite(checkpoint / "config.json", llm={"name": tiny_config.llm.name})
    load_checkpoint(checkpoint)  # without a hash nothing is compared


def test_another_version_of_the_llm_s_wheel_is_refused(checkpoint: Path) -> None:
    rewrite(checkpoint / "config.json", llm=asdict(LLMPart(name="smollm2-135m-instruct", sha256="0" * 64)))
    with pytest.raises(CheckpointError, match=r"found b179c9523d0e6a0f\.\.\. Install .* -r requirements-mini.txt"):
        load_checkpoint(checkpoint)


def test_tokens_per_video_must_follow_from_frames_and_grid(checkpoint: Path) -> None:
    rewrite(checkpoint / "config.json", tokens_per_video=SLOTS + 1)
    with pytest.raises(CheckpointError, match=f"expected tokens_per_video {SLOTS} .* got {SLOTS + 1}"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"num_frame": 4}, KeyError, r"config.json: unknown \['num_frame'\]. Known keys: preset, encoder, projector, llm, "),
        ({"projector": {"net": "linear", "grid": 2, "depth": 3}}, KeyError, r"projector: unknown \['depth'\]. Known keys: net, grid\."),
        ({"encoder": {"preset": "tiny", "depth": 4}}, KeyError, r"config.json.encoder: unknown \['depth'\]. Known keys: preset, "),
        ({"encoder": {"preset": "huge"}}, KeyError, "unknown encoder 'huge'. Known encoders: clip-b16, clip-b32, clip-l14, mini, tiny"),
        ({"llm": {}}, KeyError, r"config.json.llm: missing \['name'\]"),
        ({"llm": "smollm2"}, KeyError, "config.json.llm: expected an object, got smollm2"),
        ({"system": None}, KeyError, r"config.json: missing \['system'\]"),
        ({"num_frames": "8"}, ValueError, "config.json.num_frames: expected int, got '8'"),
        ({"num_frames": 0}, ValueError, "num_frames must be at least 1, got 0"),
    ],
)  # fmt: skip
def test_a_config_is_read_strictly(
    checkpoint: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    rewrite(checkpoint / "config.json", **changes)
    with pytest.raises(error, match=message):
        read_config(checkpoint)


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"with config.json, found none in .*RUN/checkpoint"):
        read_config(tmp_path)
