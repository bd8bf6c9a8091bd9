"""The line in front of the model: one job at a time, in order of arrival, stoppable wherever it stands."""

import threading
import time
from collections.abc import Iterator

import pytest

from app.line import Line, Place


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line()
    yield line
    line.close()


class Gate:
    """Work that yields "begun", then waits for the test (or for its stop switch)."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.begun = threading.Event()
        self.stopped = False

    def __call__(self, stop: threading.Event) -> Iterator[str]:
        self.begun.set()
        yield "begun"
        while not self.open.wait(0.01):
            if stop.is_set():
                self.stopped = True
                return
        yield "ended"


def results(job_events: Iterator[Place | list[str]]) -> list[str]:
    return [item for event in job_events if isinstance(event, list) for item in event]


def test_jobs_run_one_after_another_as_they_came(line: Line) -> None:
    running, most, order = [], [], []

    def work(name: int) -> Iterator[int]:
        running.append(name)
        most.append(len(running))
        time.sleep(0.01)
        order.append(name)
        running.remove(name)
        yield name

    jobs = [line.submit(lambda stop, name=name: work(name)) for name in range(8)]
    assert [results(job.events()) for job in jobs] == [[name] for name in range(8)]
    assert order == list(range(8))
    assert max(most) == 1


def test_a_waiting_job_is_told_how_many_come_first(line: Line) -> None:
    first, second, third = Gate(), Gate(), Gate()
    jobs = [line.submit(gate) for gate in (first, second, third)]
    first.begun.wait(5)
    readers = [job.events() for job in jobs[1:]]
    assert [next(reader) for reader in readers] == [Place(ahead=1, running=False), Place(ahead=2, running=False)]


def test_the_place_moves_up_when_someone_ahead_gives_up(line: Line) -> None:
    first, second, third = Gate(), Gate(), Gate()
    jobs = [line.submit(gate) for gate in (first, second, third)]
    first.begun.wait(5)
    jobs[1].cancel()
    assert line.place(jobs[2]) == Place(ahead=1, running=False)
    first.open.set()
    assert third.begun.wait(5)
    assert not second.begun.is_set()
    assert line.place(jobs[2]) == Place(ahead=0, running=True)


def test_a_cancelled_job_that_waits_ends_at_once_and_never_runs(line: Line) -> None:
    first, second = Gate(), Gate()
    line.submit(first)
    waiting = line.submit(second)
    first.begun.wait(5)
    waiting.cancel()
    assert waiting.done.is_set()
    assert results(waiting.events()) == []
    assert not second.begun.is_set()


def test_a_reader_that_goes_away_stops_its_job_and_the_next_one_begins(line: Line) -> None:
    first, second = Gate(), Gate()
    events = line.submit(first).events()
    after = line.submit(second)
    assert "begun" in next(event for event in events if isinstance(event, list))
    events.close()
    assert second.begun.wait(5)
    assert first.stopped
    second.open.set()
    assert results(after.events()) == ["begun", "ended"]


def test_an_error_reaches_the_reader_and_the_line_goes_on(line: Line) -> None:
    def fail(stop: threading.Event) -> Iterator[str]:
        yield "half"
        time.sleep(0.05)
        raise ValueError("no such thing")

    events = line.submit(fail).events()
    assert next(event for event in events if isinstance(event, list)) == ["half"]
    with pytest.raises(ValueError, match="no such thing"):
        list(events)
    assert results(line.submit(lambda stop: ["next"]).events()) == ["next"]


def test_closing_the_line_stops_what_runs_and_drops_what_waits() -> None:
    line, first, second = Line(), Gate(), Gate()
    running, waiting = line.submit(first), line.submit(second)
    first.begun.wait(5)
    line.close()
    assert running.done.wait(5)
    assert waiting.done.wait(5)
    assert first.stopped
    assert not second.begun.is_set()
    with pytest.raises(RuntimeError, match="closed"):
        line.submit(second)
