"""load_chat_model: one error for everything that can be wrong with a model, in words that help."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from bridge import ModelError, load_chat_model, presets
from bridge.presets import model_folder
from bridge.runtime import Runtime


@pytest.fixture(autouse=True)
def _not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "find_runtime", Runtime)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def drop_a_tensor(file: Path) -> None:
    tensors = load_file(file)
    save_file(dict(list(tensors.items())[1:]), file)


def without_template(folder: Path) -> None:
    """The checkpoint's LLM, in a folder of its own, speaks no chat."""
    config = json.loads((folder / "config.json").read_text())
    own = folder.parent / "llm"
    shutil.copytree(config["llm"]["name"], own)
    (own / "chat_template.jinja").unlink()
    config["llm"] = {"name": str(own)}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("break_it", "cause", "message"),
    [
        (shutil.rmtree, KeyError, "^unknown model '.*checkpoint'. Known models: mini. The path of a checkpoint folder"),
        (lambda f: (f / "config.json").unlink(), FileNotFoundError, "config.json, found none .* RUN/checkpoint"),
        (lambda f: (f / "config.json").write_text("{"), json.JSONDecodeError, r"property name .* \.json file of '.*checkpoint' .*fetch it again"),
        (lambda f: (f / "config.json").write_text("{}"), KeyError, "missing .*'preset'.* Known keys"),
        (lambda f: cut(f / "bridge.safetensors"), Exception, "header: .* A weight file of '.*checkpoint' .*fetch it again"),
        (lambda f: cut(f / "encoder.safetensors"), Exception, "header: .* A weight file"),
        (lambda f: cut(f / "adapter/adapter_model.safetensors"), Exception, "header: .* A weight file"),
        (lambda f: drop_a_tensor(f / "bridge.safetensors"), ValueError, "1 missing in the projector"),
        (lambda f: drop_a_tensor(f / "adapter/adapter_model.safetensors"), ValueError, "1 missing in the language model"),
        (lambda f: (f / "adapter/adapter_config.json").unlink(), ValueError, "adapter_config.json"),
        (without_template, ValueError, "no chat template. Try its -Instruct version"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_folder_is_a_model_error(
    checkpoint: Path, break_it: Callable[[Path], object], cause: type[Exception], message: str
) -> None:
    assert load_chat_model(checkpoint).name == "checkpoint"
    break_it(checkpoint)
    with pytest.raises(ModelError, match=f"(?s){message}") as error:
        load_chat_model(str(checkpoint))
    assert isinstance(error.value.__cause__, cause)


@pytest.mark.parametrize(
    ("cause", "message"),
    [
        (ImportError("no module named 'bitsandbytes'"), "'bitsandbytes'. Install .* -r requirements.txt"),
        (PermissionError(13, "Permission denied"), r"Permission denied. You need the right .*\$MUGSTAN_CACHE"),
        (OSError(28, "No space left on device"), r"No space left on device\.$"),
    ],
)
def test_what_is_wrong_with_the_machine_is_a_model_error(
    cause: Exception, message: str, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise cause

    monkeypatch.setattr(presets, "load_checkpoint", fail)
    with pytest.raises(ModelError, match=message) as error:
        load_chat_model(checkpoint)
    assert error.value.__cause__ is cause


def test_a_mistake_of_ours_stays_one(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "load_checkpoint", lambda *args, **kwargs: None.nothing)
    with pytest.raises(AttributeError):
        load_chat_model(checkpoint)


def test_an_unknown_name_is_a_key_error_of_its_folder() -> None:
    with pytest.raises(KeyError, match="unknown model 'huge'. Known models: mini"):
        model_folder("huge")
    with pytest.raises(ModelError, match="^unknown model 'huge'. Known models: mini"):
        load_chat_model("huge")
