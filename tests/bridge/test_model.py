"""Encode, project, splice: what reaches the LLM."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from bridge.generate import KeyValues
from bridge.model import VideoLanguageModel

ASKED = [{"role": "user", "content": "what is it?"}]
SLOTS = 8


def next_logits(model: VideoLanguageModel, video: torch.Tensor | None) -> torch.Tensor:
    prompt = model.prompt(ASKED, num_slots=0 if video is None else video.shape[1])
    return KeyValues().read(model, prompt, video)


def test_without_a_video_it_is_the_bare_llm(model: VideoLanguageModel, llm_folder: Path) -> None:
    bare = AutoModelForCausalLM.from_pretrained(llm_folder)
    messages = [{"role": "system", "content": model.system}, *ASKED]
    text = model.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = model.tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
    with torch.inference_mode():
        expected = bare(ids).logits[0, -1]
    torch.testing.assert_close(next_logits(model, None), expected)


def test_the_video_changes_the_answer(model: VideoLanguageModel, pixels: torch.Tensor) -> None:
    video = model.encode(pixels)
    assert video.shape == (1, SLOTS, 64)
    assert (next_logits(model, video) - next_logits(model, model.encode(255 - pixels))).abs().max() > 1e-3


def test_changing_the_branch_changes_the_answer(model: VideoLanguageModel, pixels: torch.Tensor) -> None:
    before = next_logits(model, model.encode(pixels))
    with torch.no_grad():
        model.encoder.branch.intra_frame[-1].mlp.fc2.weight.normal_()
    assert (next_logits(model, model.encode(pixels)) - before).abs().max() > 1e-3


def test_a_branch_of_scale_zero_changes_nothing(model: VideoLanguageModel, pixels: torch.Tensor) -> None:
    """The other half: the test above sees the branch, and not some other way for weights to leak."""
    torch.nn.init.zeros_(model.encoder.branch.output_fusion.scale)
    before = next_logits(model, model.encode(pixels))
    with torch.no_grad():
        model.encoder.branch.intra_frame[-1].mlp.fc2.weight.normal_()
    torch.testing.assert_close(next_logits(model, model.encode(pixels)), before)


def test_a_picture_gives_fewer_tokens(model: VideoLanguageModel, pixels: torch.Tensor) -> None:
    assert model.encode(pixels[:1]).shape[1] == model.projector.num_tokens(1) == SLOTS - 3


def test_a_reduced_dtype_keeps_weights_and_stays_near(model: VideoLanguageModel, pixels: torch.Tensor) -> None:
    exact = model.encode(pixels)
    model.encoder_dtype = torch.bfloat16
    near = model.encode(pixels)
    assert near.dtype == torch.float32
    assert torch.cosine_similarity(exact - model.projector.center, near - model.projector.center, dim=-1).min() > 0.98
    assert not torch.equal(exact, near)
