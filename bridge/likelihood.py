"""How likely the LLM finds answers that are given: all options of a question in one forward.

A question and its options are a tree, whose branches are the options. The LLM reads it as one sequence in which a token
looks only at what stands before it on its own branch, and counts positions along it: every option is read as if it
stood alone, and the question once for all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bridge.generate import KeyValues, UnanswerableError, check_length, end_ids
from bridge.model import VideoLanguageModel
from bridge.prompt import IGNORE_INDEX, Prompt


@dataclass(frozen=True)
class OptionScores:
    """Per option: the sum of the log-likelihoods of its tokens in nats, and how many tokens that are."""

    log_likelihood: list[float]
    tokens: list[int]


def option_log_likelihoods(
    model: VideoLanguageModel,
    question: str,
    options: Sequence[str],
    video: Tensor | None,
    key_values: KeyValues | None = None,
) -> OptionScores:
    """How likely each option is as the answer to `question`; `video` is model.encode(...), None for no video.

    `key_values` of earlier questions about the same video spare reading that again, and change no bit of the result.
    The end of the turn is not counted. Raises UnanswerableError for an option without words, or where it does not fit
    the context.
    """
    asked = [{"role": "user", "content": question}]
    prompt = model.prompt(asked, num_slots=0 if video is None else video.shape[1])
    ids = [_option_ids(model, asked, option, prompt) for option in options]
    check_length(model, prompt, max(map(len, ids)))
    key_values = key_values or KeyValues()
    held = key_values.hold_video(model, prompt, video)
    tree = _tree(prompt.input_ids[held:].tolist(), ids)
    logits = key_values.branch_off(
        model, tree.ids, positions=held + tree.depths, sees=tree.sees, sources=tree.sources
    )  # (R, V)
    targets = torch.tensor([token for option in ids for token in option], device=logits.device)
    each = torch.log_softmax(logits, dim=-1).gather(1, targets[:, None])[:, 0].double()
    counts = [len(option) for option in ids]
    return OptionScores(log_likelihood=[part.sum().item() for part in each.split(counts)], tokens=counts)


@dataclass(frozen=True)
class _Tree:
    """Shapes: ids, depths (N,), sees (N, N) bool, True where a token looks; sources (R,): what predicts each option's
    tokens, option after option."""

    ids: Tensor
    depths: Tensor
    sees: Tensor
    sources: Tensor


def _tree(trunk: list[int], branches: Sequence[list[int]]) -> _Tree:
    ids = [*trunk, *(token for branch in branches for token in branch)]
    depths = [*range(len(trunk)), *(len(trunk) + depth for branch in branches for depth in range(len(branch)))]
    owner = torch.tensor([0] * len(trunk) + [n for n, branch in enumerate(branches, start=1) for _ in branch])
    same = (owner[None, :] == 0) | (owner[None, :] == owner[:, None])
    sources: list[int] = []
    place = len(trunk)
    for branch in branches:
        sources += [len(trunk) - 1, *range(place, place + len(branch) - 1)]
        place += len(branch)
    return _Tree(torch.tensor(ids), torch.tensor(depths), same.tril(), torch.tensor(sources))


def _option_ids(model: VideoLanguageModel, asked: list[dict[str, str]], option: str, prompt: Prompt) -> list[int]:
    """The option's own tokens as the assistant's turn after `asked` holds them."""
    slots = int(prompt.is_video.sum())
    turn = model.prompt(
        [*asked, {"role": "assistant", "content": option}], num_slots=slots, add_generation_prompt=False
    )
    spoken = turn.labels[len(prompt.input_ids) :].tolist()
    ends = end_ids(model)
    length = next((n for n, i in enumerate(spoken) if i in ends or i == IGNORE_INDEX), len(spoken))
    if length == 0:
        raise UnanswerableError(f"expected an option with words, got {option!r}.")
    return spoken[:length]
