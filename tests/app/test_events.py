"""What a click shows, without a browser: generators over plain data."""

import logging
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


def shown(views: Iterator[View]) -> View:
    """The page after the last of several changes."""
    page: View = {}
    for view in views:
        page |= view
    return page


def test_opening_shows_the_strip_and_begins_a_new_conversation(session: Session) -> None:
    page = shown(open_video(session, Path("belt.mp4"), "belt.mp4"))
    assert page["strip"].count("<img") == 4
    assert page["talk"] == []


def test_a_refused_file_is_a_plain_message(session: Session) -> None:
    page = shown(open_video(session, Path("broken.mp4"), "broken.mp4"))
    assert "This is not a video." in page["strip"]
    assert "error" in page["strip"]


def test_an_answer_grows_and_ends_with_the_conversation_in_memory(session: Session) -> None:
    shown(open_video(session, Path("belt.mp4"), "belt.mp4"))
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
    shown(open_video(session, Path("belt.mp4"), "belt.mp4"))
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
        assert "Something went wrong" in shown(open_video(session, Path("fault.mp4"), "fault.mp4"))["strip"]
        shown(open_video(session, Path("belt.mp4"), "belt.mp4"))
        page = shown(ask_question(session, "fault"))
    assert "Something went wrong" in page["status"]
    assert page["question"] == "fault"
    assert "ZeroDivisionError" not in page["status"]
    assert caplog.text.count("ZeroDivisionError") >= 2
    assert "belt" in shown(ask_question(session, "what?"))["talk"][-1]["content"]


def test_clear_empties_the_conversation(session: Session) -> None:
    shown(open_video(session, Path("belt.mp4"), "belt.mp4"))
    shown(ask_question(session, "what?"))
    assert clear_talk(session)["talk"] == []
    assert session.messages == []
