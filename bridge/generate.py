"""Write an answer token by token.

Axes: S prompt tokens, M video tokens, V vocabulary, N tokens that branch off, K tokens held before them.
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache

from bridge.detokenize import Detokenizer, LoopGuard
from bridge.model import VideoLanguageModel
from bridge.prompt import Prompt

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
        ids = slot_ids(prompt)
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

    def hold_video(self, model: VideoLanguageModel, prompt: Prompt, video: Tensor | None) -> int:
        """Hold the prompt up to the end of its video and no more, read on its own; how many tokens that are.

        The last bits of what is read next then do not depend on what was asked before.
        """
        length = int(prompt.is_video.nonzero().max()) + 1 if video is not None else 0
        ids = slot_ids(prompt)[:length]
        if self.ids[:length] == ids:
            self._forget_after(length)
            return length
        self._forget_after(0)
        with torch.inference_mode():
            embeds = model.embed(prompt, video)
        for start in range(0, length, PREFILL_CHUNK):
            end = min(start + PREFILL_CHUNK, length)
            self._advance(model, embeds[:, start:end], ids[start:end])
        return length

    def branch_off(
        self, model: VideoLanguageModel, ids: Tensor, *, positions: Tensor, sees: Tensor, sources: Tensor
    ) -> Tensor:
        """Read tokens that are no continuation of one another, and forget them again.

        Shapes: ids, positions (N,), sees (N, N) bool: which of them a token looks at besides all that is held;
        sources (R,): places among them whose logits are wanted -> (R, V) fp32.
        """
        held = len(self.ids)
        weight = model.llm.get_input_embeddings().weight
        device = weight.device
        mask = torch.cat([sees.new_ones(len(ids), held), sees], dim=1)[None, None].to(device)  # (1, 1, N, K + N)
        try:
            with torch.inference_mode():
                out = model.llm(
                    input_ids=ids[None].to(device), attention_mask=additive_mask(mask, weight.dtype), position_ids=positions[None].to(device),
                    past_key_values=self._cache, use_cache=True, logits_to_keep=sources.to(device),
                )  # fmt: skip
        except BaseException:
            self._forget_after(0)
            raise
        if held:
            self._cache.crop(-len(ids))
        else:
            self._forget_after(0)
        return out.logits[0].float()

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


def additive_mask(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Bool (..., S, K) -> 0 where a query may look, else the lowest number: what every kind of attention understands."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)


def slot_ids(prompt: Prompt) -> list[int]:
    """Token ids of a prompt, SLOT for those of a video."""
    return torch.where(prompt.is_video, SLOT, prompt.input_ids).tolist()


def end_ids(model: VideoLanguageModel) -> frozenset[int]:
    """Ids that end an answer: the end of turn, and every other control token, which has no place inside one."""
    configured = model.llm.generation_config.eos_token_id
    ends = configured if isinstance(configured, list) else [configured]
    return frozenset(i for i in (*ends, *model.tokenizer.all_special_ids) if i is not None)


def check_length(model: VideoLanguageModel, prompt: Prompt, answer: int) -> None:
    """Raise UnanswerableError where a prompt and an answer of so many tokens do not fit the model's context."""
    if len(prompt.input_ids) + answer > model.context_length:
        raise UnanswerableError(
            f"expected a prompt that fits the model's {model.context_length} tokens, got {len(prompt.input_ids)} and an "
            f"answer of {answer}. Shorten the question, or what is read beside it."
        )


def _common_prefix(a: list[int], b: list[int]) -> int:
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
