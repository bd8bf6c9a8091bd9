"""Tiny models with random weights: a LLaMA with its own small tokenizer, and a mini encoder of toy size."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import BertConfig, Dinov2Config, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bridge.checkpoint import CheckpointConfig, EncoderPart, LLMPart, ProjectorPart, save_checkpoint
from bridge.language_model import LanguageModel, load_language_model
from bridge.model import VideoLanguageModel
from bridge.projectors import Projector
from encoder.backbones.mini import MiniBackbone
from encoder.model import MugSTAN
from encoder.presets import ENCODERS, fresh_branch

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
END = 2
"""The id of <|im_end|>."""
SYSTEM = "You see a video."
CONTEXT = 192
NUM_FRAMES, GRID = 4, 2
SLOTS = NUM_FRAMES + GRID**2


def ids_of(model: VideoLanguageModel, text: str) -> list[int]:
    """Token ids of a text."""
    return model.tokenizer(text, add_special_tokens=False).input_ids


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def llm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaMA of two layers and a byte-level tokenizer with a chat template, as a folder."""
    folder = tmp_path_factory.mktemp("llm")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    bpe.train_from_iterator(["a man rides a horse on the beach", "what is the dog doing in the video?"] * 4, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|im_end|>", bos_token="<|im_start|>",
        unk_token="<|endoftext|>", chat_template=TEMPLATE,
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=CONTEXT, bos_token_id=1, eos_token_id=2, pad_token_id=2,
        initializer_range=0.3,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def tiny_encoder(*, vocabulary: int = 50, longest: int = 16) -> MugSTAN:
    """The mini encoder in toy size, with so many words and places for them; its branch counts for something."""
    torch.manual_seed(2)
    backbone = MiniBackbone(
        vision_config=Dinov2Config(
            hidden_size=32, num_hidden_layers=3, num_attention_heads=2, mlp_ratio=2, image_size=56, patch_size=14
        ),
        text_config=BertConfig(
            vocab_size=vocabulary, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=longest,
        ),
        image_size=56, embed_dim=24, head_hidden=32, head_levels=2,
    )  # fmt: skip
    encoder = MugSTAN(backbone, fresh_branch(backbone, depth=2, scaled=True, max_frames=8)).eval()
    torch.nn.init.constant_(encoder.branch.output_fusion.scale, 0.5)
    return encoder


@pytest.fixture
def tiny_preset(monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of an encoder preset that builds `tiny_encoder`."""
    monkeypatch.setitem(ENCODERS, "tiny", tiny_encoder)
    return "tiny"


@pytest.fixture(scope="session")
def language_model(llm_folder: Path) -> LanguageModel:
    return load_language_model(str(llm_folder), dtype=torch.float32)


@pytest.fixture
def tokenizer(language_model: LanguageModel) -> PreTrainedTokenizerFast:
    return language_model.tokenizer


@pytest.fixture
def model(llm_folder: Path) -> VideoLanguageModel:
    """A chat model of toy size; made anew for each test, so that tests may change its weights."""
    return build_model(load_language_model(str(llm_folder), dtype=torch.float32))


def build_model(language_model: LanguageModel) -> VideoLanguageModel:
    encoder = tiny_encoder()
    torch.manual_seed(3)
    projector = Projector(net="mlp2x_gelu", grid=GRID, width=32, embed_dim=24, llm_dim=language_model.llm_dim)
    projector.place_among(language_model.model.get_input_embeddings().weight)
    return VideoLanguageModel(
        name="tiny", encoder=encoder, projector=projector, language_model=language_model, num_frames=NUM_FRAMES,
        system=SYSTEM,
    ).eval().requires_grad_(False)  # fmt: skip


def tiny_lora(llm: torch.nn.Module) -> PeftModel:
    """The LLM with a LoRA that counts for something."""
    torch.manual_seed(4)
    lora = LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    adapted = get_peft_model(llm, lora)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return adapted


@pytest.fixture
def tiny_config(tiny_preset: str, llm_folder: Path) -> CheckpointConfig:
    """Of a checkpoint of `model`."""
    return CheckpointConfig(
        preset="tiny", encoder=EncoderPart(preset=tiny_preset), projector=ProjectorPart(net="mlp2x_gelu", grid=GRID),
        llm=LLMPart(name=str(llm_folder)), num_frames=NUM_FRAMES, system=SYSTEM, step=1,
    )  # fmt: skip


@pytest.fixture
def checkpoint(model: VideoLanguageModel, tiny_config: CheckpointConfig, tmp_path: Path) -> Path:
    """`model` with a LoRA, saved. In `model` the adapter is not merged."""
    folder = tmp_path / "runs" / "checkpoint"
    adapter = tiny_lora(model.llm)
    save_checkpoint(folder, config=tiny_config, encoder=model.encoder, projector=model.projector, adapter=adapter)
    return folder


@pytest.fixture
def pixels() -> torch.Tensor:
    """Frames uint8 (T, 3, H, W)."""
    return torch.randint(0, 256, (NUM_FRAMES, 3, 40, 60), dtype=torch.uint8)


@pytest.fixture
def say(model: VideoLanguageModel, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[int]], None]:
    """Make the LLM answer with given ids: its logits favour the next of them at each call, the last one again and
    again. No ids: it speaks for itself again."""

    forward = model.llm.forward

    def script(ids: list[int]) -> None:
        waiting = list(ids)

        def scripted(*args: object, **kwargs: object) -> object:
            out = forward(*args, **kwargs)
            out.logits = out.logits * 0.0
            out.logits[..., waiting.pop(0) if len(waiting) > 1 else waiting[0]] = 50.0
            return out

        monkeypatch.setattr(model.llm, "forward", scripted if ids else forward)

    return script
