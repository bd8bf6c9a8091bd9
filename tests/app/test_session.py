"""A tab's conversation, and the bounded register of them."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.line import Line, Place
from app.session import GRACE, BusyError, Session, Sessions, minutes
from bridge import NoVideoError
from encoder.video import VideoError
from tests.app.fakes import FakeChat


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line()
    yield line
    line.close()


def read(session: Session, name: str) -> list:
    return [event for event in session.open(Path(name)) if not isinstance(event, Place)]


def answer(session: Session, question: str) -> str:
    return [event for event in session.ask(question) if not isinstance(event, Place)][-1]


def test_a_video_is_read_and_questions_about_it_are_answered(line: Line) -> None:
    session = Session(FakeChat(), line)
    (frames,) = read(session, "belt.mp4")
    assert frames.times.tolist() == [0.0, 1.25, 2.5, 3.75]
    assert answer(session, "what?").startswith("belt what? ")
    assert answer(session, "and then?").startswith("belt and then? ")
    assert [message["role"] for message in session.messages] == ["user", "assistant"] * 2
    assert session.last.finish == "end"


def test_asking_without_a_video_is_refused(line: Line) -> None:
    with pytest.raises(NoVideoError, match="Add a video"):
        answer(Session(FakeChat(), line), "what?")


@pytest.mark.parametrize(
    ("name", "message"), [("broken.mp4", "not a video"), ("long.mp4", "15 minutes long.*1 min 40 s")]
)
def test_a_file_that_is_refused_leaves_the_earlier_one_open_and_the_next_one_works(
    line: Line, name: str, message: str
) -> None:
    session = Session(FakeChat(), line, max_seconds=100.0)
    (frames,) = read(session, "belt.mp4")
    answer(session, "what?")
    with pytest.raises(VideoError, match=message):
        read(session, name)
    assert session.frames is frames
    assert session.name == "belt.mp4"
    assert len(session.messages) == 2
    assert answer(session, "and then?").startswith("belt ")
    read(session, "hall.mp4")
    assert session.name == "hall.mp4"
    assert answer(session, "what?").startswith("hall ")


def test_a_question_about_a_file_that_is_then_refused_is_not_answered_about_the_earlier_one(line: Line) -> None:
    session = Session(FakeChat(), line)
    read(session, "belt.mp4")
    gate = threading.Event()
    line.submit(lambda stop: [gate.wait(5)])
    opening = session.open(Path("broken.mp4"))
    question = session.ask("what?")
    assert next(question) == Place(ahead=2, running=False)
    gate.set()
    with pytest.raises(VideoError):
        list(opening)
    with pytest.raises(NoVideoError, match="could not be opened"):
        list(question)
    assert answer(session, "what?").startswith("belt ")


def test_stop_ends_the_answer_and_keeps_it_as_far_as_it_got(line: Line) -> None:
    session = Session(FakeChat(words=10_000, pause=0.002), line)
    read(session, "belt.mp4")
    pieces = []
    for event in session.ask("what?"):
        if not isinstance(event, Place):
            pieces.append(event)
            session.stop()
    assert session.last.finish == "stopped"
    assert session.last.new_tokens < 10_000
    assert session.messages[-1]["content"] == pieces[-1]


def test_a_second_question_while_the_first_is_answered_is_refused(line: Line) -> None:
    session = Session(FakeChat(words=10_000, pause=0.002), line)
    read(session, "belt.mp4")
    first = session.ask("what?")
    next(event for event in first if not isinstance(event, Place))
    with pytest.raises(BusyError, match="press Stop"):
        next(session.ask("and?"))
    first.close()


def test_a_question_asked_while_the_video_is_read_is_answered_about_it(line: Line) -> None:
    session = Session(FakeChat(), line)
    gate = threading.Event()
    line.submit(lambda stop: [gate.wait(5)])
    opening = session.open(Path("belt.mp4"))
    assert next(opening) == Place(ahead=1, running=False)
    assert session.reading
    question = session.ask("what?")
    assert next(question) == Place(ahead=2, running=False)
    gate.set()
    assert len([event for event in opening if not isinstance(event, Place)]) == 1
    assert [event for event in question if not isinstance(event, Place)][-1].startswith("belt what?")


def test_a_new_video_stops_the_answer_about_the_old_one(line: Line) -> None:
    session = Session(FakeChat(words=10_000, pause=0.002), line)
    read(session, "belt.mp4")
    old = session.ask("what?")
    next(event for event in old if not isinstance(event, Place))
    read(session, "hall.mp4")
    assert session.messages == []
    assert [event for event in old if not isinstance(event, Place)] != []
    assert not session.answering


def test_the_conversation_is_empty_while_it_is_being_cleared(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    chat, gate = FakeChat(), threading.Event()
    session = Session(chat, line)
    read(session, "belt.mp4")
    answer(session, "what?")
    monkeypatch.setattr(chat, "clear", lambda: gate.wait(5) and FakeChat.clear(chat))
    number, clearing = session.conversation, threading.Thread(target=session.clear)
    clearing.start()
    while session.conversation == number:
        time.sleep(0.001)
    assert chat.messages != []
    assert session.messages == []
    gate.set()
    clearing.join()
    assert chat.messages == []


def test_clearing_forgets_the_conversation_and_keeps_the_video(line: Line) -> None:
    session = Session(FakeChat(), line)
    read(session, "belt.mp4")
    answer(session, "what?")
    session.clear()
    assert session.messages == []
    assert answer(session, "again?").startswith("belt again?")


def test_two_tabs_take_turns_and_never_mix(line: Line) -> None:
    FakeChat.most_inside = 0
    sessions = {name: Session(FakeChat(words=40, pause=0.001), line) for name in ("belt", "hall", "bird")}
    for name, session in sessions.items():
        read(session, f"{name}.mp4")
    answers: dict[str, str] = {}
    threads = [
        threading.Thread(target=lambda name=name, session=session: answers.update({name: answer(session, f"{name}?")}))
        for name, session in sessions.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(answers[name].startswith(f"{name} {name}? ") for name in sessions)
    assert FakeChat.most_inside == 1


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def chats() -> list[FakeChat]:
    return []


@pytest.fixture
def sessions(line: Line, clock: Clock, chats: list[FakeChat]) -> Sessions:
    def new_session() -> Session:
        chats.append(FakeChat())
        return Session(chats[-1], line)

    return Sessions(new_session, capacity=2, time_to_live=100.0, clock=clock)


def test_a_tab_finds_its_own_conversation_again(sessions: Sessions) -> None:
    assert sessions.enter("a") is sessions.enter("a")
    assert sessions.enter("a") is not sessions.enter("b")
    assert sessions.find("c") is None


def test_the_least_recently_used_conversation_leaves_first(sessions: Sessions, chats: list[FakeChat]) -> None:
    for tab in ("a", "b", "a", "c"):
        sessions.enter(tab)
    assert len(sessions) == 2
    assert sessions.find("b") is None
    assert [chat.closed for chat in chats] == [0, 1, 0]


def test_a_conversation_that_somebody_waits_for_does_not_leave(sessions: Sessions, line: Line) -> None:
    gate = threading.Event()
    line.submit(lambda stop: [gate.wait(5)])
    opening = sessions.enter("a").open(Path("belt.mp4"))
    next(opening)
    for tab in ("b", "c", "d"):
        sessions.enter(tab)
    assert sessions.find("a") is not None
    assert len(sessions) == 2
    gate.set()
    assert len([event for event in opening if not isinstance(event, Place)]) == 1


def test_an_unused_conversation_is_forgotten_after_its_time(
    sessions: Sessions, clock: Clock, chats: list[FakeChat]
) -> None:
    sessions.enter("a")
    clock.now = 60.0
    sessions.enter("b")
    clock.now = 110.0
    sessions.sweep()
    assert sessions.find("a") is None
    assert sessions.find("b") is not None
    assert [chat.closed for chat in chats] == [1, 0]


def test_a_closed_tab_is_forgotten_soon_unless_it_comes_back(sessions: Sessions, clock: Clock) -> None:
    sessions = Sessions(sessions._new_session, time_to_live=10 * GRACE, clock=clock)
    for tab in ("gone", "asleep"):
        sessions.enter(tab)
        sessions.leave(tab)
    clock.now = GRACE / 2
    sessions.enter("asleep")
    clock.now = GRACE * 1.5
    sessions.sweep()
    assert sessions.find("gone") is None
    assert sessions.find("asleep") is not None


def test_closing_a_tab_stops_its_answer(line: Line) -> None:
    sessions = Sessions(lambda: Session(FakeChat(words=10_000, pause=0.002), line))
    session = sessions.enter("a")
    read(session, "belt.mp4")
    events = session.ask("what?")
    next(event for event in events if not isinstance(event, Place))
    sessions.leave("a")
    list(events)
    assert session.last.finish == "stopped"


@pytest.mark.parametrize(("seconds", "words"), [(45.2, "45 seconds"), (600, "10 minutes"), (754, "12 min 34 s")])
def test_lengths_of_time_are_given_in_words(seconds: float, words: str) -> None:
    assert minutes(seconds) == words
