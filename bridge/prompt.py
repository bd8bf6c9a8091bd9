"""Messages -> token ids, video slots and labels, with the LLM's own chat template.

One function for training, chat and evaluation. A conversation is tokenised in segments that end where a speaker's turn
ends, so that the tokens of the first turns never depend on what follows: a follow-up question extends the ids.
"""

import re
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

IGNORE_INDEX = -100
VIDEO_MARK = "\ufdd0video\ufdd0"  # a Unicode noncharacter: no keyboard writes it, and user text is cleaned of it


@dataclass(frozen=True)
class Prompt:
    """input_ids (S,), is_video (S,) bool: the slots, labels (S,): ids of the assistant's words, else IGNORE_INDEX."""

    input_ids: Tensor
    is_video: Tensor
    labels: Tensor


def render(
    tokenizer: PreTrainedTokenizerBase,
    messages: list[dict[str, str]],
    *,
    num_slots: int,
    system: str,
    add_generation_prompt: bool = True,
) -> Prompt:
    """Turn {"role", "content"} messages into a Prompt; the video's slots stand at the start of the first user message.

    `num_slots` 0 leaves the video out. `add_generation_prompt` opens the assistant's next turn.
    Raises ValueError when the first message is not the user's.
    """
    if not messages or messages[0]["role"] != "user":
        raise ValueError(f"expected a conversation that starts with the user, got {[m['role'] for m in messages]}.")
    cleaned = [{"role": m["role"], "content": clean_text(tokenizer, m["content"])} for m in messages]
    if num_slots:
        cleaned[0]["content"] = VIDEO_MARK + "\n" + cleaned[0]["content"]
    turns = [{"role": "system", "content": system}, *cleaned]
    segments: list[tuple[str, bool]] = []  # text, is it the assistant's
    done = ""
    for end, turn in enumerate(turns, start=1):
        if turn["role"] == "assistant":
            done = _extend(tokenizer, turns[: end - 1], True, done, segments, False)
        done = _extend(tokenizer, turns[:end], False, done, segments, turn["role"] == "assistant")
    if add_generation_prompt and turns[-1]["role"] != "assistant":
        _extend(tokenizer, turns, True, done, segments, False)
    return _tokenise(tokenizer, segments, num_slots)


def clean_text(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """The text without the video mark and without anything the tokenizer would read as a control token."""
    marks = {VIDEO_MARK, "\ufdd0", *tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
    longest_first = sorted(marks, key=len, reverse=True)
    # A space in its place: without it, what stood left and right of a mark could form another one.
    return re.sub("|".join(map(re.escape, longest_first)), " ", text).strip()


def _extend(
    tokenizer: PreTrainedTokenizerBase,
    turns: list[dict[str, str]],
    generation: bool,
    done: str,
    segments: list[tuple[str, bool]],
    spoken: bool,
) -> str:
    """Append what the template writes for `turns` beyond `done`; returns all it wrote."""
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=generation)
    if not text.startswith(done):
        raise ValueError(
            f"expected a chat template that only appends, got one that rewrites earlier turns: {done[-60:]!r} became "
            f"{text[: len(done)][-60:]!r}. This model's template cannot be used for multi-turn video chat."
        )
    if len(text) > len(done):
        segments.append((text[len(done) :], spoken))
    return text


def _tokenise(tokenizer: PreTrainedTokenizerBase, segments: list[tuple[str, bool]], num_slots: int) -> Prompt:
    ids: list[int] = []
    is_video: list[bool] = []
    labels: list[int] = []
    slot = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    for text, spoken in segments:
        before, mark, after = text.partition(VIDEO_MARK)
        for piece, slots in ((before, num_slots if mark else 0), (after, 0)):
            new = tokenizer(piece, add_special_tokens=False).input_ids if piece else []
            ids += new + [slot] * slots
            is_video += [False] * len(new) + [True] * slots
            labels += (new if spoken else [IGNORE_INDEX] * len(new)) + [IGNORE_INDEX] * slots
    return Prompt(torch.tensor(ids), torch.tensor(is_video), torch.tensor(labels))


def splice_video_tokens(text_embeds: Tensor, video_embeds: Tensor, is_video: Tensor) -> Tensor:
    """Write the projected video into the slots of the prompt.

    Shapes: text_embeds (B, S, D), video_embeds (B, M, D), is_video (B, S) bool -> (B, S, D).
    Raises ValueError when the slots of a prompt do not number M.
    """
    slots = is_video.sum(dim=1)
    if not torch.all(slots == video_embeds.shape[1]):
        raise ValueError(
            f"each prompt needs {video_embeds.shape[1]} video slots (one per projected token), got {slots.tolist()}. "
            "Was the prompt truncated, or did num_frames change after tokenising?"
        )
    return text_embeds.masked_scatter(is_video[..., None], video_embeds.to(text_embeds.dtype))
