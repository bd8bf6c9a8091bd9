"""What a click shows, without a browser: generators over plain data."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.events import View, ask_question, clear_talk, open_video
from app.line import Line
from app.session import Session
from tests.app.fakes import FakeChat


@pytest.fixture
def session() -> Iterator[Session]:
    line = Line()
    yield Session(FakeChat(), line)
    line.close()


@pytest.fixture
def slow_session() -> Iterator[Session]:
    """Its answers take so long that they must be ended, and it has one exchange about belt.mp4 behind it."""
    line = Line()
    session = Session(FakeChat(words=10_000, pause=0.002), line, max_seconds=100.0)
    shown(open_video(session, Path("belt.mp4")))
    views = ask_question(session, "what?")
    streamed(views)
    session.stop()
    shown(views)
    assert len(session.messages) == 2
    yield session
    line.close()


def streamed(views: Iterator[View]) -> View:
    """The page at the first words of an answer."""
    page: View = {}
    while not page.get("talk") or page["talk"][-1]["role"] != "assistant":
        page |= next(views)
    return page


def shown(views: Iterator[View]) -> View:
    """The page after the last of several changes."""
    page: View = {}
    for view in views:
        page |= view
    return page


def test_opening_shows_the_strip_and_begins_a_new_conversation(session: Session) -> None:
    page = shown(open_video(session, Path("belt.mp4")))
    assert page["strip"].count("<img") == 4
    assert page["talk"] == []


def test_a_refused_file_is_a_plain_message(session: Session) -> None:
    page = shown(open_video(session, Path("broken.mp4")))
    assert "This is not a video." in page["strip"]
    assert "error" in page["strip"]
    assert "<img" not in page["strip"]


@pytest.mark.parametrize(("name", "why"), [("broken", "not a video"), ("long", "15 minutes long"), ("fault", "wrong")])
def test_a_refused_file_leaves_the_earlier_video_and_its_conversation_on_the_page(
    slow_session: Session, name: str, why: str
) -> None:
    talk = slow_session.messages
    page = shown(open_video(slow_session, Path(f"{name}.mp4")))
    assert why in page["strip"]
    assert '<p class="name">belt.mp4</p>' in page["strip"]
    assert page["strip"].count("<img") == 4
    assert page["talk"] == slow_session.messages == talk


def test_a_question_about_a_video_that_is_then_refused_goes_back_into_its_box(slow_session: Session) -> None:
    talk, gate = slow_session.messages, threading.Event()
    slow_session._line.submit(lambda stop: [gate.wait(5)])
    opening, asking = open_video(slow_session, Path("broken.mp4")), ask_question(slow_session, "and this?")
    page = next(opening) | next(asking) | next(asking)
    assert page["talk"] == [{"role": "user", "content": "and this?"}]
    gate.set()
    page |= shown(opening)
    page |= shown(asking)
    assert "could not be opened" in page["status"]
    assert page["question"] == "and this?"
    assert page["talk"] == slow_session.messages == talk
    assert not page["busy"]


def test_an_answer_about_the_old_video_does_not_come_back_when_a_new_one_is_opened(slow_session: Session) -> None:
    asking = ask_question(slow_session, "and then?")
    page = streamed(asking)
    opening = open_video(slow_session, Path("hall.mp4"))
    page |= next(opening)
    page |= next(asking)  # the first that it shows after the news
    assert page["talk"] == []
    assert list(asking) == []
    page |= shown(opening)
    assert page["talk"] == slow_session.messages == []
    assert (page["question"], page["status"], page["busy"]) == ("", "", False)
    assert "hall.mp4" in page["strip"]


def test_an_answer_does_not_come_back_after_clear(slow_session: Session) -> None:
    asking = ask_question(slow_session, "and then?")
    page = streamed(asking)
    page |= clear_talk(slow_session)
    page |= next(asking)
    assert list(asking) == []
    assert page["talk"] == slow_session.messages == []
    assert (page["question"], page["status"], page["busy"]) == ("", "", False)


def test_a_piece_that_overtakes_the_news_of_a_clear_is_taken_back(slow_session: Session) -> None:
    asking = ask_question(slow_session, "and then?")
    piece = streamed(asking)
    page = clear_talk(slow_session) | piece
    assert page["talk"] != []
    page |= shown(asking)
    assert page["talk"] == []
    assert page["status"] == ""


def test_an_answer_grows_and_ends_with_the_conversation_in_memory(session: Session) -> None:
    shown(open_video(session, Path("belt.mp4")))
    views = list(ask_question(session, " what? "))
    assert views[0]["talk"] == [{"role": "user", "content": "what?"}]
    assert views[0]["question"] == ""
    assert views[0]["busy"]
    assert views[-1]["talk"] == session.messages
    assert views[-1]["talk"][-1]["content"].startswith("belt what?")
    assert not views[-1]["busy"]
    assert "Answered" in views[-1]["status"]


def test_a_question_without_a_video_goes_back_into_its_box(session: Session) -> None:
    page = shown(ask_question(session, "what?"))
    assert "Add a video first" in page["status"]
    assert page["question"] == "what?"
    assert page["talk"] == []
    assert not page["busy"]


@pytest.mark.parametrize("text", ["", "  \n "])
def test_an_empty_question_is_asked_for(session: Session, text: str) -> None:
    assert list(ask_question(session, text))[0]["status"].count("type a question") == 1


def test_a_stop_before_the_answer_began_gives_the_question_back(session: Session) -> None:
    shown(open_video(session, Path("belt.mp4")))
    session._line.submit(lambda stop: iter(lambda: stop.wait(0.01), True))  # someone else's endless job
    views = ask_question(session, "what?")
    page = next(views) | next(views)
    assert "Waiting: 1 ahead of you." in page["status"]
    session.stop()
    page |= shown(views)
    assert "before the answer began" in page["status"]
    assert page["question"] == "what?"
    assert page["talk"] == []


def test_a_fault_of_the_program_is_logged_and_the_page_lives_on(
    session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, logger="app.events"):
        assert "Something went wrong" in shown(open_video(session, Path("fault.mp4")))["strip"]
        shown(open_video(session, Path("belt.mp4")))
        page = shown(ask_question(session, "fault"))
    assert "Something went wrong" in page["status"]
    assert page["question"] == "fault"
    assert "ZeroDivisionError" not in page["status"]
    assert caplog.text.count("ZeroDivisionError") >= 2
    assert "belt" in shown(ask_question(session, "what?"))["talk"][-1]["content"]


def test_clear_empties_the_conversation(session: Session) -> None:
    shown(open_video(session, Path("belt.mp4")))
    shown(ask_question(session, "what?"))
    assert clear_talk(session)["talk"] == []
    assert session.messages == []
