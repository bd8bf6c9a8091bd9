"""A conversation about one video: what is computed once, what is kept, what is forgotten."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

import bridge.chat
from bridge.chat import NoVideoError, QuestionTooLongError, VideoChat
from bridge.generate import KeyValues, Sampling
from bridge.model import VideoLanguageModel
from bridge.prompt import Prompt
from encoder.video import VideoError, VideoFrames, VideoInfo

END = 2
SHORT = Sampling(max_new_tokens=8)
Say = Callable[[list[int]], None]


@pytest.fixture
def chat(model: VideoLanguageModel, pixels: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> VideoChat:
    """A chat whose videos are random frames, another one for every path; "broken" cannot be read."""

    def read(path: Path, num_frames: int) -> VideoFrames:
        if path.name == "broken":
            raise VideoError("This is not a video.")
        generator = torch.Generator().manual_seed(len(path.name))
        frames = torch.randint(0, 256, (num_frames, 3, 40, 60), dtype=torch.uint8, generator=generator)
        info = VideoInfo(
            duration=4.0, fps=1.0, width=60, height=40, rotation=0, codec="raw", num_frames=4, is_image=False,
            container="none",
        )  # fmt: skip
        return VideoFrames(pixels=frames, times=torch.arange(4.0, dtype=torch.float64), info=info)

    monkeypatch.setattr(bridge.chat, "read_frames", read)
    return VideoChat(model)


@pytest.fixture
def read_lengths(model: VideoLanguageModel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of tokens that the LLM read, call by call."""
    forward, lengths = model.llm.forward, []

    def counted(*args: object, **kwargs: object) -> object:
        lengths.append(kwargs["inputs_embeds"].shape[1])
        return forward(*args, **kwargs)

    monkeypatch.setattr(model.llm, "forward", counted)
    return lengths


def ids_of(model: VideoLanguageModel, text: str) -> list[int]:
    return model.tokenizer(text, add_special_tokens=False).input_ids


def recomputed(chat: VideoChat, model: VideoLanguageModel, question: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Next-token logits after `question`, with the conversation's cache and without any."""
    prompt = chat._render(question, chat._video, chat._forgotten)
    fresh = KeyValues().read(model, prompt, chat._video)
    return chat._key_values.read(model, prompt, chat._video), fresh


def test_no_question_before_a_video(chat: VideoChat) -> None:
    with pytest.raises(NoVideoError, match="Open a video"):
        chat.ask("what is it?")
    chat.open("a.mp4")
    chat.close()
    with pytest.raises(NoVideoError):
        chat.ask("what is it?")
    assert (chat.frames, chat.messages) == (None, [])


def test_the_encoder_runs_once_per_video(
    chat: VideoChat, model: VideoLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, calls = model.encoder.encode_video, []
    monkeypatch.setattr(
        model.encoder, "encode_video", lambda *args, **kwargs: calls.append(1) or encode(*args, **kwargs)
    )
    chat.open("a.mp4")
    for question in ("what?", "where?", "why?"):
        list(chat.ask(question, sampling=SHORT))
    chat.clear()
    list(chat.ask("what?", sampling=SHORT))
    assert len(calls) == 1
    chat.open("other.mp4")
    assert len(calls) == 2


def test_pieces_add_up_to_the_message(chat: VideoChat) -> None:
    chat.open("a.mp4")
    pieces = list(chat.ask("what is it?", sampling=SHORT))
    assert chat.messages == [
        {"role": "user", "content": "what is it?"},
        {"role": "assistant", "content": "".join(pieces)},
    ]
    assert 0 < chat.last.first_token_seconds <= chat.last.seconds
    assert chat.last.finish in ("length", "end", "repetition")


def test_the_time_to_the_first_token_begins_with_the_question(
    chat: VideoChat, model: VideoLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is spent on rendering the conversation counts too."""
    chat.open("a.mp4")
    prompt, pause = model.prompt, 0.3

    def slow_prompt(*args: object, **kwargs: object) -> Prompt:
        time.sleep(pause)
        return prompt(*args, **kwargs)

    monkeypatch.setattr(model, "prompt", slow_prompt)
    list(chat.ask("what is it?", sampling=SHORT))
    assert pause < chat.last.first_token_seconds < chat.last.seconds


def test_a_follow_up_reads_its_own_tokens_alone(
    chat: VideoChat, model: VideoLanguageModel, read_lengths: list[int], say: Say
) -> None:
    chat.open("a.mp4")
    answer = ids_of(model, "a horse")
    say([*answer, END])
    list(chat.ask("what is it?", sampling=Sampling(max_new_tokens=16)))
    first = read_lengths[0]
    del read_lengths[:]
    say([END])
    list(chat.ask("where is it?", sampling=Sampling(max_new_tokens=16)))
    added = ids_of(model, "<|im_end|>\n<|im_start|>user\nwhere is it?<|im_end|>\n<|im_start|>assistant\n")
    assert first > len(added)
    assert read_lengths == [len(added)]


def test_the_cache_gives_the_logits_of_a_full_recomputation(chat: VideoChat, model: VideoLanguageModel) -> None:
    chat.open("a.mp4")
    for question in ("what is it?", "where?", "and then?"):
        list(chat.ask(question, sampling=SHORT))
        torch.testing.assert_close(*recomputed(chat, model, "why?"), atol=1e-4, rtol=1e-4)


def test_the_first_video_does_not_leak_into_the_second(chat: VideoChat, model: VideoLanguageModel) -> None:
    chat.open("a.mp4")
    list(chat.ask("what is it?", sampling=SHORT))
    first = recomputed(chat, model, "why?")[0]
    chat.open("other.mp4")
    cached, fresh = recomputed(chat, model, "why?")
    assert chat.messages == []
    torch.testing.assert_close(cached, fresh, atol=1e-4, rtol=1e-4)
    assert (cached - first).abs().max() > 1e-3


def test_two_chats_on_one_model_do_not_mix(chat: VideoChat, model: VideoLanguageModel) -> None:
    other = VideoChat(model)
    chat.open("a.mp4")
    other.open("other.mp4")
    alone = "".join(chat.ask("what is it?", sampling=SHORT))
    chat.clear()
    mixed = ""
    mine, theirs = (c.ask("what is it?", sampling=SHORT) for c in (chat, other))
    for piece in mine:
        mixed += piece
        next(theirs, None)
    assert mixed == alone


def test_a_stopped_answer_stays_as_far_as_it_got(chat: VideoChat, model: VideoLanguageModel, say: Say) -> None:
    chat.open("a.mp4")
    say([*ids_of(model, "a man rides a horse"), END])
    stop, pieces = threading.Event(), []
    for piece in chat.ask("what is it?", stop=stop):
        pieces.append(piece)
        if len(pieces) == 3:
            stop.set()
    assert chat.messages[-1]["content"] == "".join(pieces)
    assert (chat.last.finish, chat.last.new_tokens) == ("stopped", 3)
    say([])
    torch.testing.assert_close(*recomputed(chat, model, "why?"), atol=1e-4, rtol=1e-4)


def test_an_abandoned_answer_leaves_the_chat_whole(chat: VideoChat, model: VideoLanguageModel) -> None:
    chat.open("a.mp4")
    answer = chat.ask("what is it?", sampling=SHORT)
    piece = next(answer)
    answer.close()
    assert chat.messages[-1]["content"] == piece
    assert chat.last.finish == "stopped"
    torch.testing.assert_close(*recomputed(chat, model, "why?"), atol=1e-4, rtol=1e-4)


def test_a_question_ends_an_answer_half_read(chat: VideoChat, model: VideoLanguageModel) -> None:
    chat.open("a.mp4")
    first = chat.ask("what is it?", sampling=SHORT)
    piece = next(first)
    second = "".join(chat.ask("where?", sampling=SHORT))
    assert list(first) == []
    assert [m["content"] for m in chat.messages] == ["what is it?", piece, "where?", second]
    torch.testing.assert_close(*recomputed(chat, model, "why?"), atol=1e-4, rtol=1e-4)


def test_clearing_in_the_middle_of_an_answer_ends_it(chat: VideoChat) -> None:
    chat.open("a.mp4")
    answer = chat.ask("what is it?", sampling=SHORT)
    next(answer)
    chat.clear()
    assert list(answer) == []
    assert (chat.messages, chat.last) == ([], None)


def test_clearing_keeps_the_video(chat: VideoChat) -> None:
    frames = chat.open("a.mp4")
    before = "".join(chat.ask("what is it?", sampling=SHORT))
    chat.clear()
    assert chat.frames is frames
    assert "".join(chat.ask("what is it?", sampling=SHORT)) == before


def test_a_broken_file_keeps_the_earlier_video_and_conversation(chat: VideoChat) -> None:
    frames = chat.open("a.mp4")
    list(chat.ask("what is it?", sampling=SHORT))
    with pytest.raises(VideoError, match="not a video"):
        chat.open("broken")
    assert chat.frames is frames
    assert len(chat.messages) == 2
    assert "".join(chat.ask("where?", sampling=SHORT))


def test_a_file_that_the_check_refuses_is_not_encoded_and_keeps_the_earlier_video_and_conversation(
    chat: VideoChat, model: VideoLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(info: VideoInfo) -> None:
        raise VideoError(f"{info.duration:.0f} s is too long.")

    frames = chat.open("a.mp4", check=lambda info: None)
    list(chat.ask("what is it?", sampling=SHORT))
    with monkeypatch.context() as patch:
        patch.setattr(
            model.encoder, "encode_video", lambda *args, **kwargs: pytest.fail("the refused file was encoded")
        )
        with pytest.raises(VideoError, match="4 s is too long"):
            chat.open("other.mp4", check=refuse)
    assert chat.frames is frames
    assert len(chat.messages) == 2
    assert "".join(chat.ask("where?", sampling=SHORT))


def test_the_oldest_turns_leave_when_the_context_is_full(chat: VideoChat, model: VideoLanguageModel) -> None:
    chat.open("a.mp4")
    for n in range(12):
        list(chat.ask(f"what is number {n} on the beach?", sampling=SHORT))
        assert len(chat._key_values.ids) <= model.context_length
    assert len(chat.messages) == 24
    assert 0 < chat._forgotten < 24
    prompt = chat._render("why?", chat._video, chat._forgotten)
    assert prompt.is_video.sum() == chat._video.shape[1]
    assert "number 0" not in model.tokenizer.decode(prompt.input_ids)
    assert "number 11" in model.tokenizer.decode(prompt.input_ids)
    torch.testing.assert_close(*recomputed(chat, model, "why?"), atol=1e-4, rtol=1e-4)


def test_a_question_longer_than_the_context_is_refused_and_costs_nothing(chat: VideoChat) -> None:
    chat.open("a.mp4")
    list(chat.ask("what is it?", sampling=SHORT))
    with pytest.raises(QuestionTooLongError, match="Ask a shorter one"):
        list(chat.ask("why " * 500, sampling=SHORT))
    assert len(chat.messages) == 2
    assert chat._forgotten == 0


def test_an_empty_answer_is_shown_but_not_told_to_the_model(
    chat: VideoChat, model: VideoLanguageModel, say: Say
) -> None:
    chat.open("a.mp4")
    say([END])
    assert list(chat.ask("what is it?")) == []
    assert chat.messages[-1] == {"role": "assistant", "content": ""}
    prompt = chat._render("where?", chat._video, 0)
    assert "what is it?" not in model.tokenizer.decode(prompt.input_ids)


def test_a_picture_can_be_asked_about(model: VideoLanguageModel, tmp_path: Path) -> None:
    Image.new("RGB", (64, 48), (200, 30, 30)).save(tmp_path / "red.png")
    chat = VideoChat(model)
    assert chat.open(tmp_path / "red.png").info.is_image
    assert list(chat.ask("what is it?", sampling=SHORT))
