"""The LLM from a folder or out of a wheel's GGUF, with an adapter that fits or is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from bridge import language_model as module
from bridge.language_model import load_language_model
from encoder.checkpoints import CheckpointError
from tests.bridge.conftest import tiny_lora

WHEEL = "smollm2-135m-instruct"


@pytest.fixture
def adapter(llm_folder: Path, tmp_path: Path) -> Path:
    """A LoRA of the tiny LLaMA, as peft writes it."""
    folder = tmp_path / "adapter"
    llm = load_language_model(str(llm_folder), dtype=torch.float32).model
    tiny_lora(llm).save_pretrained(str(folder), save_embedding_layers=False)
    return folder


@pytest.fixture
def unpacked(llm_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the GGUF files that were read; what they hold is the tiny LLaMA."""
    read: list[str] = []

    def from_gguf(load: Callable) -> Callable:
        def run(folder: str, *, gguf_file: str | None = None, **options: Any) -> Any:  # noqa: ANN401
            if gguf_file is not None:
                read.append(gguf_file)
                options.pop("quantization_config", None)
            return load(folder, **options)

        return run

    monkeypatch.setenv("MUGSTAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "wheel_file", lambda package, name: llm_folder / name)
    for loader in (AutoTokenizer, AutoModelForCausalLM):
        monkeypatch.setattr(loader, "from_pretrained", from_gguf(loader.from_pretrained))
    return read


def test_the_gguf_is_read_once(unpacked: list[str], llm_folder: Path, tmp_path: Path) -> None:
    stages: list[str] = []
    first = load_language_model(WHEEL, dtype=torch.float32, on_progress=stages.append)
    second = load_language_model(WHEEL, dtype=torch.bfloat16, on_progress=stages.append)
    assert unpacked == ["SmolLM2-135M-Instruct.Q4_1.gguf"] * 2  # its tokenizer and its weights
    assert stages == ["Unpacking the language model (once)"]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [f"{WHEEL}-v1"]
    assert first.name == WHEEL
    expected = load_language_model(str(llm_folder), dtype=torch.float32).model.state_dict()
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, expected[name])
    assert {p.dtype for p in second.model.parameters()} == {torch.bfloat16}


def test_an_adapter_is_merged_as_peft_does_it(adapter: Path, llm_folder: Path) -> None:
    plain = load_language_model(str(llm_folder), dtype=torch.float32).model
    mine = load_language_model(str(llm_folder), dtype=torch.float32, adapter=adapter).model.state_dict()
    weight = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(mine[weight], plain.state_dict()[weight])
    theirs = PeftModel.from_pretrained(plain, str(adapter)).merge_and_unload().state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    halved = load_language_model(str(llm_folder), dtype=torch.bfloat16, adapter=adapter).model.state_dict()
    assert torch.equal(halved[weight], mine[weight].bfloat16())  # merged in fp32 first


def test_an_adapter_that_does_not_fit_is_refused(adapter: Path, llm_folder: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    whole = load_file(file)
    gone, bent, *_ = whole
    for tensors, message in (
        ({k: v for k, v in whole.items() if k != gone}, f"1 missing in the language model: {gone}"),
        (whole | {"lora_of_another": torch.zeros(1)}, "1 unexpected in the language model: lora_of_another"),
        (whole | {bent: torch.zeros(3, 5)}, r"1 of another shape .* got \(3, 5\)"),
        ({}, f"{len(whole)} missing"),
    ):
        save_file(tensors, file)
        with pytest.raises(CheckpointError, match=f"(?s)do not fit the language model.*{message}.*Was the adapter"):
            load_language_model(str(llm_folder), dtype=torch.float32, adapter=adapter)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"adapter_model.safetensors, found \['README.md', 'adapter_config"):
        load_language_model(str(llm_folder), dtype=torch.float32, adapter=adapter)
