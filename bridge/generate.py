"""Write an answer token by token, and score answers that are given.

Axes: S prompt tokens, M video tokens, V vocabulary, N options, W tokens of an option.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache

from bridge.detokenize import Detokenizer, LoopGuard
from bridge.model import VideoLanguageModel
from bridge.prompt import IGNORE_INDEX, Prompt

SLOT = -1
"""Stands for a video slot among the ids of a KeyValues."""
PREFILL_CHUNK = 256
"""Tokens read in one go: a stop is noticed between two of them."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen and when to end."""

    temperature: float = 0.0
    """0 takes the likeliest token; above it, tokens are drawn, the more freely the higher."""
    top_p: float = 0.9
    """Draw among the likeliest tokens that hold this share of the probability; 1 draws among all."""
    max_new_tokens: int = 128
    seed: int | None = None
    """The same seed gives the same text; None gives another one each time. Without effect at temperature 0."""
    longest_loop: int = 64
    """Longest repeated phrase, in tokens, that the repetition guard watches for; 0 switches it off."""

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError(f"temperature must be 0 (greedy) or above, got {self.temperature}.")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, got {self.top_p}.")
        if self.max_new_tokens < 1 or self.longest_loop < 0:
            raise ValueError(
                "max_new_tokens must be at least 1 and longest_loop at least 0, "
                f"got {self.max_new_tokens} and {self.longest_loop}."
            )


class UnanswerableError(ValueError):
    """A question cannot be put to this model, or nothing came of it: the message says what did not fit."""


class KeyValues:
    """The LLM's key-value cache and the ids it was computed from, always in step. One video a cache.

    It is a cache only: whatever it holds, `read` gives the logits of the prompt it is asked for.
    """

    def __init__(self) -> None:
        self.ids: list[int] = []
        self._cache = DynamicCache()

    def read(
        self, model: VideoLanguageModel, prompt: Prompt, video: Tensor | None, stop: threading.Event | None = None
    ) -> Tensor | None:
        """Logits (V,) fp32 of the token after the prompt; None when `stop` came first.

        Computes only what differs from what is held; `video` is (1, M, llm_dim), None for a prompt without slots.
        """
        ids = torch.where(prompt.is_video, SLOT, prompt.input_ids).tolist()
        kept = min(_common_prefix(self.ids, ids), len(ids) - 1)  # the last token is read again for its logits
        self._forget_after(kept)
        with torch.inference_mode():
            embeds = model.embed(prompt, video)
        logits = None
        for start in range(kept, len(ids), PREFILL_CHUNK):
            if stop is not None and stop.is_set():
                return None
            logits = self._advance(model, embeds[:, start : start + PREFILL_CHUNK], ids[start : start + PREFILL_CHUNK])
        return logits

    def step(self, model: VideoLanguageModel, token: int) -> Tensor:
        """Read one more token; logits (V,) fp32 of the one after it."""
        table = model.llm.get_input_embeddings()
        with torch.inference_mode():
            embeds = table(torch.tensor([[token]], device=table.weight.device))
        return self._advance(model, embeds, [token])

    def copies(self, count: int) -> DynamicCache:
        """The cache `count` times side by side; this one stays as it is."""
        copy = DynamicCache()
        for index, layer in enumerate(self._cache.layers):
            copy.update(*(t.expand(count, -1, -1, -1) for t in (layer.keys, layer.values)), index)
        return copy

    def _advance(self, model: VideoLanguageModel, embeds: Tensor, ids: list[int]) -> Tensor:
        try:
            with torch.inference_mode():
                out = model.llm(inputs_embeds=embeds, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        except BaseException:  # some layers may have read the tokens and others not
            self._forget_after(0)
            raise
        self.ids += ids
        return out.logits[0, -1].float()

    def _forget_after(self, length: int) -> None:
        if length == 0:
            self.ids, self._cache = [], DynamicCache()
        elif length < len(self.ids):
            self._cache.crop(length - len(self.ids))
            del self.ids[length:]


class Generation:
    """One answer in the making: iterate over it for its text pieces, whole characters each.

    `text` is what was handed out so far, `finish` why it ended: "end" (of the turn), "length" (max_new_tokens or the
    context), "stopped" (by the event, or abandoned) or "repetition" (a loop, of which `text` keeps the first round).
    Nothing global changes, neither the random state nor the gradient mode of who iterates.
    """

    def __init__(
        self,
        model: VideoLanguageModel,
        key_values: KeyValues,
        prompt: Prompt,
        video: Tensor | None,
        *,
        sampling: Sampling,
        stop: threading.Event | None = None,
    ) -> None:
        self.text = ""
        self.finish = "stopped"
        self.new_tokens = 0
        self.first_token_at: float | None = None  # reading of time.perf_counter
        self._model, self._key_values, self._prompt, self._video = model, key_values, prompt, video
        self._sampling = sampling
        self._stop = stop or threading.Event()

    def __iter__(self) -> Iterator[str]:
        detokenizer, guard = Detokenizer(self._model.tokenizer), LoopGuard(self._sampling.longest_loop)
        ends, choose = end_ids(self._model), _Chooser(self._sampling)
        ids: list[int] = []
        logits = self._key_values.read(self._model, self._prompt, self._video, self._stop)
        while logits is not None and not self._stop.is_set():
            token = choose(logits)
            self.new_tokens += 1
            if self.first_token_at is None:
                self.first_token_at = time.perf_counter()
            if token in ends:
                self.finish = "end"
                break
            ids.append(token)
            repeated = guard.push(token)
            if guard.looping:
                self.finish = "repetition"
                del ids[len(ids) - repeated :]
                break
            yield from self._hand_out(detokenizer.decode(ids[: len(ids) - repeated]))
            full = len(self._key_values.ids) + 1 >= self._model.context_length
            if self.new_tokens >= self._sampling.max_new_tokens or full:
                self.finish = "length"
                break
            if not self._stop.is_set():
                logits = self._key_values.step(self._model, token)
        yield from self._hand_out(detokenizer.decode(ids, last=True))

    def _hand_out(self, piece: str) -> Iterator[str]:
        piece = piece if self.text else piece.lstrip()
        if piece:
            self.text += piece
            yield piece


class _Chooser:
    """Logits (V,) -> the next token's id, with a random generator of its own."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._random = torch.Generator()
        if sampling.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(sampling.seed)

    def __call__(self, logits: Tensor) -> int:
        if not torch.isfinite(logits.max()):
            raise UnanswerableError("the language model's numbers are not finite. Another dtype may help.")
        if self._sampling.temperature == 0:
            return int(logits.argmax())
        shares, order = torch.softmax(logits.cpu() / self._sampling.temperature, dim=-1).sort(descending=True)
        shares[shares.cumsum(0) - shares >= self._sampling.top_p] = 0.0  # the likeliest always stays
        return int(order[torch.multinomial(shares, 1, generator=self._random)])


def end_ids(model: VideoLanguageModel) -> frozenset[int]:
    """Ids that end an answer: the end of turn, and every other control token, which has no place inside one."""
    configured = model.llm.generation_config.eos_token_id
    ends = configured if isinstance(configured, list) else [configured]
    return frozenset(i for i in (*ends, *model.tokenizer.all_special_ids) if i is not None)


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

    The question is read once, all options in one batch after it; `key_values` of earlier questions about the same video
    spare reading that again. Right padding needs no mask: no token looks ahead. The end of the turn is not counted.
    Raises UnanswerableError for an option without words, or where it does not fit the context.
    """
    slots = 0 if video is None else video.shape[1]
    asked = [{"role": "user", "content": question}]
    prompt = model.prompt(asked, num_slots=slots)
    ids = [_option_ids(model, asked, option, prompt) for option in options]
    check_length(model, prompt, max(map(len, ids)))
    key_values = key_values or KeyValues()
    first = key_values.read(model, prompt, video)  # (V,)
    width = max(len(i) for i in ids)
    padded = torch.tensor([i + [0] * (width - len(i)) for i in ids], device=first.device)  # (N, W)
    logits = first.expand(len(ids), 1, -1)  # (N, 1, V)
    with torch.inference_mode():
        if width > 1:
            out = model.llm(input_ids=padded[:, :-1], past_key_values=key_values.copies(len(ids)), use_cache=True)
            logits = torch.cat([logits, out.logits.float()], dim=1)  # (N, W, V)
        log_likelihood = torch.log_softmax(logits, dim=-1).gather(-1, padded[..., None])[..., 0]
    sums = [row[: len(i)].double().sum().item() for row, i in zip(log_likelihood, ids, strict=True)]
    return OptionScores(log_likelihood=sums, tokens=[len(i) for i in ids])


def check_length(model: VideoLanguageModel, prompt: Prompt, answer: int) -> None:
    """Raise UnanswerableError where a prompt and an answer of so many tokens do not fit the model's context."""
    if len(prompt.input_ids) + answer > model.context_length:
        raise UnanswerableError(
            f"expected a prompt that fits the model's {model.context_length} tokens, got {len(prompt.input_ids)} and an "
            f"answer of {answer}. Shorten the question, or what is read beside it."
        )


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


def _common_prefix(a: list[int], b: list[int]) -> int:
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
