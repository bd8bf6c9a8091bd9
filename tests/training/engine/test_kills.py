"""kill -9 at random moments, many of them inside a save: the run goes on, loses nothing saved, and ends as if unbroken."""

import multiprocessing
import os
import random
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from safetensors import safe_open

from tests.training.engine.killed import events_file, train
from training.engine.run import STATE_FILE, Run

ROOT = Path(__file__).parents[3]
Start = Callable[[Path], BaseProcess]
INSIDE = ("saving", "writing", "written")
"""What a run was about to do when it was killed inside a save."""


@pytest.fixture(scope="module")
def start() -> Start:
    """Starts a run in a process forked from one that has imported all it needs, and so in no time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([train.__module__])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        first = context.Process(target=time.sleep, args=(0,))
        first.start()  # the server starts now, with this environment
        first.join()

    def begin(folder: Path) -> BaseProcess:
        process = context.Process(target=train, args=(folder,))
        process.start()
        return process

    return begin


def events(folder: Path) -> list[tuple[str, int, float]]:
    """(what, step, when) in their order."""
    path = events_file(folder)
    lines = path.read_text().splitlines() if path.exists() else []
    return [(what, int(step), float(when)) for what, step, when in map(str.split, lines)]


def result(folder: Path) -> tuple[dict[str, str], bytes, list[dict]]:
    """Step and hash of the final state, the ledger, and the metrics without the speed."""
    with safe_open(str(folder / STATE_FILE), "pt") as file:
        state = file.metadata()
    rows = [{k: v for k, v in row.items() if k != "tokens_per_second"} for row in Run(folder).metrics()]
    return state, (folder / "ledger.jsonl").read_bytes(), rows


@pytest.fixture(scope="module")
def whole(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody kills."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    process = start(folder)
    process.join()
    assert process.exitcode == 0
    return folder


def check_it_goes_on(start: Start, folder: Path, whole: Path) -> None:
    told = events(folder)
    saved = max((step for what, step, _ in told if what == "saved"), default=0)
    on_the_way = told[-1][1] if told[-1][0] in INSIDE else saved
    process = start(folder)
    process.join()
    assert process.exitcode == 0, "the state could not be loaded"
    begun = events(folder)[len(told)]
    assert begun[0] == "start"
    assert begun[1] in (saved, on_the_way), "saved steps were lost"
    assert result(folder) == result(whole)
    assert sorted(os.listdir(folder)) == sorted(os.listdir(whole)), "the kill left something behind"


def kill_at_a_random_moment(start: Start, folder: Path, whole: Path, seed: int) -> None:
    run = folder / f"run{seed}"
    process = start(run)
    while not events(run):
        time.sleep(0.001)
    time.sleep(random.Random(seed).uniform(0, events(whole)[-1][2] - events(whole)[0][2]))
    process.kill()
    process.join()
    check_it_goes_on(start, run, whole)


def kill_inside_a_save(start: Start, folder: Path, whole: Path, seed: int) -> None:
    """At a random moment of a random save, every second time while the file is being written.

    Where the save was faster than the kill, another run is tried.
    """
    rng = random.Random(seed)
    when = {(what, step): time for what, step, time in events(whole)}
    begin, end, inside = ("writing", "written", ("writing",)) if seed % 2 else ("saving", "saved", INSIDE)
    for attempt in range(30):
        run = folder / f"run{seed}-{attempt}"
        step = rng.choice([step for what, step in when if what == begin])
        process = start(run)
        while (begin, step) not in [event[:2] for event in events(run)]:
            time.sleep(0.0002)
        time.sleep(rng.uniform(0, when[end, step] - when[begin, step]))
        process.kill()
        process.join()
        if events(run)[-1][0] in inside:
            check_it_goes_on(start, run, whole)
            return
    pytest.fail("no kill fell into a save")


@pytest.mark.parametrize("seed", range(7))
def test_killed_at_a_random_moment(start: Start, tmp_path: Path, whole: Path, seed: int) -> None:
    kill_at_a_random_moment(start, tmp_path, whole, seed)


@pytest.mark.parametrize("seed", range(3))
def test_killed_inside_a_save(start: Start, tmp_path: Path, whole: Path, seed: int) -> None:
    kill_inside_a_save(start, tmp_path, whole, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(7, 70))
def test_killed_at_more_random_moments(start: Start, tmp_path: Path, whole: Path, seed: int) -> None:
    kill_at_a_random_moment(start, tmp_path, whole, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 30))
def test_killed_inside_more_saves(start: Start, tmp_path: Path, whole: Path, seed: int) -> None:
    kill_inside_a_save(start, tmp_path, whole, seed)
