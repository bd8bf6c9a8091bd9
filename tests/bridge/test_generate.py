"""Answers in the making: streaming, stopping, sampling, loops."""

import threading
from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from bridge.detokenize import Detokenizer, LoopGuard
from bridge.generate import Generation, KeyValues, Sampling, end_ids
from bridge.model import VideoLanguageModel
from tests.bridge.conftest import END, ids_of

ASKED = [{"role": "user", "content": "what is the dog doing?"}]
FREE = Sampling(temperature=1.5, top_p=1.0, max_new_tokens=24, seed=7, longest_loop=0)
Say = Callable[[list[int]], None]


def generate(
    model: VideoLanguageModel,
    sampling: Sampling,
    video: torch.Tensor | None = None,
    stop: threading.Event | None = None,
) -> Generation:
    prompt = model.prompt(ASKED, num_slots=0 if video is None else video.shape[1])
    return Generation(model, KeyValues(), prompt, video, sampling=sampling, stop=stop)


def test_greedy_is_what_transformers_generates(model: VideoLanguageModel, pixels: torch.Tensor) -> None:
    video = model.encode(pixels)
    prompt = model.prompt(ASKED, num_slots=video.shape[1])
    with torch.inference_mode():
        ids = model.llm.generate(
            inputs_embeds=model.embed(prompt, video), max_new_tokens=20, do_sample=False, eos_token_id=[0, 1, 2]
        )[0]
    expected = model.tokenizer.decode([i for i in ids.tolist() if i > 2]).strip()
    generation = generate(model, Sampling(max_new_tokens=20, longest_loop=0), video)
    assert "".join(generation).rstrip("\ufffd").strip() == expected.rstrip("\ufffd").strip()
    assert generation.new_tokens > 5


def test_pieces_come_one_token_at_a_time(model: VideoLanguageModel, say: Say) -> None:
    ids = ids_of(model, "a man rides")
    say([*ids, END])
    generation = generate(model, Sampling())
    assert list(generation) == [model.tokenizer.decode([i]) for i in ids]
    assert generation.finish == "end"
    assert generation.text == "a man rides"
    assert generation.new_tokens == len(ids) + 1


def test_a_character_of_many_tokens_comes_whole(model: VideoLanguageModel, say: Say) -> None:
    text = "a 🙂 é 日本 b"
    ids = ids_of(model, text)
    assert len(ids) > len(text)
    say([*ids, END])
    pieces = list(generate(model, Sampling(longest_loop=0)))
    assert "".join(pieces) == text
    assert "\ufffd" not in "".join(pieces)
    assert "🙂" in pieces


def test_half_a_character_at_the_end_is_left_out(model: VideoLanguageModel, say: Say) -> None:
    say([*ids_of(model, "a 🙂")[:-1], END])
    assert "".join(generate(model, Sampling(longest_loop=0))).rstrip() == "a"


def test_leading_blanks_are_left_out(model: VideoLanguageModel, say: Say) -> None:
    say([*ids_of(model, "\n \n a man"), END])
    assert list(generate(model, Sampling()))[0].startswith("a")


@pytest.mark.parametrize("after", [1, 3])
def test_a_stop_is_heard_before_the_next_token(model: VideoLanguageModel, say: Say, after: int) -> None:
    say([*ids_of(model, "a man rides a horse on the beach"), END])
    stop, pieces = threading.Event(), []
    generation = generate(model, Sampling(longest_loop=0), stop=stop)
    for piece in generation:
        pieces.append(piece)
        if len(pieces) == after:
            stop.set()
    assert len(pieces) == generation.new_tokens == after
    assert generation.finish == "stopped"


def test_a_stop_during_a_token_costs_that_token_alone(
    model: VideoLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, forward, calls = threading.Event(), model.llm.forward, []

    def forward_and_stop(*args: object, **kwargs: object) -> object:
        calls.append(1)
        if len(calls) == 4:  # the prompt and three tokens
            stop.set()
        return forward(*args, **kwargs)

    monkeypatch.setattr(model.llm, "forward", forward_and_stop)
    generation = generate(model, Sampling(longest_loop=0), stop=stop)
    list(generation)
    assert (len(calls), generation.new_tokens, generation.finish) == (4, 3, "stopped")


def test_a_stop_before_the_start_computes_nothing(model: VideoLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()
    stop.set()
    monkeypatch.setattr(model.llm, "forward", lambda *a, **k: pytest.fail("the LLM ran"))
    generation = generate(model, Sampling(), stop=stop)
    assert (list(generation), generation.finish) == ([], "stopped")


def test_it_ends_at_the_length_asked_for(model: VideoLanguageModel, say: Say) -> None:
    say([*ids_of(model, "a man rides a horse"), END])
    generation = generate(model, Sampling(max_new_tokens=3))
    list(generation)
    assert (generation.new_tokens, generation.finish) == (3, "length")


def test_it_ends_at_the_context(model: VideoLanguageModel) -> None:
    key_values, prompt = KeyValues(), model.prompt(ASKED, num_slots=0)
    model.context_length = len(prompt.input_ids) + 5
    generation = Generation(model, key_values, prompt, None, sampling=Sampling(longest_loop=0))
    list(generation)
    assert generation.finish in ("length", "end")
    assert len(key_values.ids) <= model.context_length


def test_a_seed_gives_the_same_text_and_another_one_another(model: VideoLanguageModel) -> None:
    texts = ["".join(generate(model, FREE)) for _ in range(2)]
    other = "".join(generate(model, Sampling(temperature=1.5, top_p=1.0, max_new_tokens=24, seed=8, longest_loop=0)))
    assert texts[0] == texts[1] != other


def test_a_tiny_top_p_is_greedy(model: VideoLanguageModel) -> None:
    greedy = "".join(generate(model, Sampling(max_new_tokens=12)))
    assert "".join(generate(model, Sampling(temperature=1.0, top_p=1e-6, max_new_tokens=12))) == greedy


def test_nothing_global_changes(model: VideoLanguageModel) -> None:
    state = torch.get_rng_state()
    for _ in generate(model, FREE):
        assert not torch.is_inference_mode_enabled()
    assert torch.equal(torch.get_rng_state(), state)


def test_a_loop_ends_the_answer_and_one_round_stays(model: VideoLanguageModel, say: Say) -> None:
    phrase = ids_of(model, " a man rides a horse.")
    say([*ids_of(model, "look:"), *phrase * 8, END])
    generation = generate(model, Sampling())
    assert "".join(generation) == generation.text == "look: a man rides a horse."
    assert generation.finish == "repetition"
    assert generation.new_tokens < 4 * len(phrase) + 4


def test_one_token_forever_is_a_loop(model: VideoLanguageModel, say: Say) -> None:
    say([*ids_of(model, "a man"), *ids_of(model, "!")])
    generation = generate(model, Sampling())
    assert ("".join(generation), generation.finish) == ("a man!", "repetition")


def test_saying_a_thing_twice_is_no_loop(model: VideoLanguageModel, say: Say) -> None:
    text = "on the beach on the beach, a man"
    say([*ids_of(model, text), END])
    generation = generate(model, Sampling())
    assert ("".join(generation), generation.finish) == (text, "end")


def test_the_guard_can_be_switched_off(model: VideoLanguageModel, say: Say) -> None:
    say([*ids_of(model, "!")])
    generation = generate(model, Sampling(longest_loop=0, max_new_tokens=20))
    assert ("".join(generation), generation.finish) == ("!" * 20, "length")


def test_a_long_phrase_loops_at_its_second_round() -> None:
    guard = LoopGuard(64)
    heard = [guard.push(token) or guard.looping for token in [*range(20), *range(20)]]
    assert heard[:20] == [False] * 20
    assert guard.looping


def test_detokenizer_adds_up_to_the_whole_text(tokenizer: PreTrainedTokenizerFast) -> None:
    text = "  naïve 🙂🙂 日本語\n the end"
    ids = tokenizer(text, add_special_tokens=False).input_ids
    detokenizer = Detokenizer(tokenizer)
    assert "".join(detokenizer.decode(ids[: n + 1]) for n in range(len(ids))) == text


def test_control_tokens_end_an_answer(model: VideoLanguageModel) -> None:
    assert end_ids(model) == {0, 1, 2}


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.5}, {"max_new_tokens": 0}, {"longest_loop": -1}]
)
def test_impossible_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        Sampling(**wrong)


def test_a_failed_forward_leaves_an_empty_cache(model: VideoLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    key_values, prompt = KeyValues(), model.prompt(ASKED, num_slots=0)
    expected = key_values.read(model, prompt, None)
    layer = model.llm.model.layers[1]
    with monkeypatch.context() as patch:
        patch.setattr(layer, "forward", lambda *a, **k: (_ for _ in ()).throw(MemoryError()))
        with pytest.raises(MemoryError):
            key_values.step(model, 5)
    assert key_values.ids == []
    torch.testing.assert_close(key_values.read(model, prompt, None), expected)


def test_a_long_prompt_read_in_chunks_gives_the_same(
    model: VideoLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = model.prompt([{"role": "user", "content": "a man rides a horse on the beach " * 3}], num_slots=0)
    whole = KeyValues().read(model, prompt, None)
    monkeypatch.setattr("bridge.generate.PREFILL_CHUNK", 7)
    torch.testing.assert_close(KeyValues().read(model, prompt, None), whole, atol=1e-4, rtol=1e-4)
