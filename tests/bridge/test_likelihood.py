"""The scores of given answers: as each alone, in one forward, whatever was asked before."""

import pytest
import torch

from bridge.generate import KeyValues, UnanswerableError
from bridge.likelihood import option_log_likelihoods
from bridge.model import VideoLanguageModel
from tests.bridge.conftest import CONTEXT, END, ids_of

OPTIONS = ["a dog.", "a man rides a horse on the beach", "no"]


@pytest.mark.parametrize("seen", [True, False])
def test_options_score_as_alone_and_as_a_plain_forward(
    model: VideoLanguageModel, pixels: torch.Tensor, seen: bool
) -> None:
    video = model.encode(pixels) if seen else None
    scores = option_log_likelihoods(model, "what is it?", OPTIONS, video)
    for option, score, count in zip(OPTIONS, scores.log_likelihood, scores.tokens, strict=True):
        alone = option_log_likelihoods(model, "what is it?", [option], video)
        assert alone.tokens == [count] == [len(ids_of(model, option))]
        assert alone.log_likelihood[0] == pytest.approx(score, abs=1e-4)
        assert plain_score(model, option, video) == pytest.approx(score, abs=1e-4)


def plain_score(model: VideoLanguageModel, option: str, video: torch.Tensor | None) -> float:
    """The same by definition: one forward over the whole conversation, no cache, no batch."""
    messages = [{"role": "user", "content": "what is it?"}, {"role": "assistant", "content": option}]
    prompt = model.prompt(messages, num_slots=0 if video is None else video.shape[1], add_generation_prompt=False)
    with torch.inference_mode():
        logits = model.llm(inputs_embeds=model.embed(prompt, video), use_cache=False).logits[0]
    places = ((prompt.labels >= 0) & (prompt.labels != END)).nonzero().flatten()[: len(ids_of(model, option))]
    return torch.log_softmax(logits[places - 1], -1)[range(len(places)), prompt.labels[places]].sum().item()


def test_every_kind_of_attention_gives_the_same(model: VideoLanguageModel, pixels: torch.Tensor) -> None:
    video = model.encode(pixels)
    model.llm.set_attn_implementation("sdpa")
    expected = option_log_likelihoods(model, "what is it?", OPTIONS, video).log_likelihood
    model.llm.set_attn_implementation("eager")
    eager = option_log_likelihoods(model, "what is it?", OPTIONS, video).log_likelihood
    model.llm.set_attn_implementation("sdpa")
    assert eager == pytest.approx(expected, abs=1e-4)


@pytest.fixture
def shapes(model: VideoLanguageModel, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Sequences and tokens of every forward of the LLM."""
    forward, found = model.llm.forward, []

    def counted(*args: object, **kwargs: object) -> object:
        given = kwargs["inputs_embeds"] if kwargs.get("inputs_embeds") is not None else kwargs["input_ids"]
        found.append(tuple(given.shape[:2]))
        return forward(*args, **kwargs)

    monkeypatch.setattr(model.llm, "forward", counted)
    return found


def test_the_video_is_read_once_and_a_question_with_all_its_options_in_one_forward(
    model: VideoLanguageModel, pixels: torch.Tensor, shapes: list[tuple[int, int]]
) -> None:
    video, key_values = model.encode(pixels), KeyValues()
    for question in ("what is it?", "what is the dog doing?"):
        option_log_likelihoods(model, question, OPTIONS, video, key_values)
    first, second = (
        model.prompt([{"role": "user", "content": question}], num_slots=video.shape[1])
        for question in ("what is it?", "what is the dog doing?")
    )
    held = int(first.is_video.nonzero().max()) + 1
    options = sum(len(ids_of(model, option)) for option in OPTIONS)
    assert shapes == [
        (1, held), (1, len(first.input_ids) - held + options), (1, len(second.input_ids) - held + options)
    ]  # fmt: skip


@pytest.mark.parametrize("seen", [True, False])
def test_what_was_scored_before_changes_no_bit(model: VideoLanguageModel, pixels: torch.Tensor, seen: bool) -> None:
    video, key_values = model.encode(pixels) if seen else None, KeyValues()
    fresh = option_log_likelihoods(model, "what is it?", OPTIONS, video)
    for question, options in (("what is the dog doing?", OPTIONS[1:]), ("what is it?", OPTIONS[::-1])):
        option_log_likelihoods(model, question, options, video, key_values)
    assert option_log_likelihoods(model, "what is it?", OPTIONS, video, key_values) == fresh


def test_scores_leave_the_cache_in_step(model: VideoLanguageModel, pixels: torch.Tensor) -> None:
    video, key_values = model.encode(pixels), KeyValues()
    prompt = model.prompt([{"role": "user", "content": "what is it?"}], num_slots=video.shape[1])
    expected = KeyValues().read(model, prompt, video)
    option_log_likelihoods(model, "what is the dog doing?", OPTIONS, video, key_values)
    torch.testing.assert_close(key_values.read(model, prompt, video), expected, atol=1e-4, rtol=1e-4)


def test_a_failed_forward_leaves_nothing_half_read(
    model: VideoLanguageModel, pixels: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, key_values = model.encode(pixels), KeyValues()
    expected = option_log_likelihoods(model, "what is it?", OPTIONS, video, key_values)
    with monkeypatch.context() as broken:
        layer = model.llm.model.layers[1]
        broken.setattr(layer, "forward", lambda *args, **kwargs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            option_log_likelihoods(model, "what is it?", OPTIONS, video, key_values)
    assert key_values.ids == []
    assert option_log_likelihoods(model, "what is it?", OPTIONS, video, key_values) == expected


def test_what_does_not_fit_the_context_is_refused(model: VideoLanguageModel) -> None:
    with pytest.raises(UnanswerableError, match=f"fits the model's {CONTEXT} tokens"):
        option_log_likelihoods(model, "what is it?", ["yes", "no " * CONTEXT], None)


def test_an_option_without_words_is_refused(model: VideoLanguageModel) -> None:
    with pytest.raises(ValueError, match="option with words"):
        option_log_likelihoods(model, "what is it?", ["yes", " "], None)
