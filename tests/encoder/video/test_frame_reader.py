"""One worker for many files: the same answers as one for each, and no file has a hand in the answer about another."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from encoder.video import FrameReader, VideoError, process, read_frames
from tests.encoder.video.conftest import children

Faulty = Callable[[str], Path]
Numbers = Callable[[torch.Tensor], list[int]]


def outcome(read: Callable[..., Any], path: Path, *args: Any, **kwargs: Any) -> list:
    """What reading gives, as plain data: pixels, times and facts, or a message."""
    try:
        frames = read(path, *args, **kwargs)
    except VideoError as error:
        return [str(error)]
    return [frames.pixels.tolist(), frames.times.tolist(), frames.info]


@pytest.fixture
def files(clip: Path, make_clip: Callable[..., Path], tmp_path: Path) -> list[Path]:
    """Good ones, and between them what cannot be read."""
    pictures = [Image.new("RGB", (64, 48), (40 * i, 0, 0)) for i in range(3)]
    pictures[1].save(tmp_path / "still.jpg")
    pictures[0].save(tmp_path / "moving.webp", save_all=True, append_images=pictures[1:], duration=100)
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "still.jpg").read_bytes()[:300])
    (tmp_path / "cut.mp4").write_bytes(clip.read_bytes()[:2000])
    (tmp_path / "empty.mp4").touch()
    names = ["still.jpg", "cut.jpg", "moving.webp", "missing.mp4", "clip.mp4", "cut.mp4", "b.mkv", "empty.mp4", "."]
    make_clip("b.mkv", 12)
    return [tmp_path / name for name in names]


def test_it_gives_what_read_frames_gives(files: list[Path], started: list[int]) -> None:
    expected = [outcome(read_frames, path, 4) for path in files]
    assert [len(parts) for parts in expected] == [3, 1, 3, 1, 3, 1, 3, 1, 1]
    started.clear()
    with FrameReader() as reader:
        for _ in range(2):
            assert [outcome(reader.read, path, 4) for path in files] == expected
        assert len(started) == 1


def test_every_argument_arrives(clip: Path) -> None:
    with FrameReader() as reader:
        for arguments in ({"start": 1.0, "end": 2.0}, {"short_side": 40}, {"places": [0.0, 0.9, 0.25]}, {}):
            assert outcome(reader.read, clip, 3, **arguments) == outcome(read_frames, clip, 3, **arguments)
        with pytest.raises(VideoError, match="longer than 0 seconds"):
            reader.read(clip, 3, timeout=0.0)
        with pytest.raises(ValueError, match="at least 1, got 0"):
            reader.read(clip, 0)


@pytest.mark.parametrize("fault", ["abort_if_used", "no_memory_if_used"])
def test_a_file_is_not_blamed_for_what_a_used_worker_does(
    fault: str, faulty: Faulty, clip: Path, started: list[int]
) -> None:
    with FrameReader() as reader:
        expected = outcome(reader.read, clip, 3)
        assert outcome(reader.read, faulty(fault), 3) == expected
        assert outcome(reader.read, clip, 3) == expected
        assert len(started) == 2


def test_a_worker_killed_between_requests_is_replaced(clip: Path, started: list[int]) -> None:
    with FrameReader() as reader:
        expected = outcome(reader.read, clip, 3)
        os.kill(started[0], signal.SIGKILL)
        assert outcome(reader.read, clip, 3) == expected
        assert len(started) == 2


def test_what_hangs_after_an_answer_is_not_held_against_the_next_file(
    faulty: Faulty, clip: Path, started: list[int]
) -> None:
    """The destructors of a decoder, for one."""
    with FrameReader() as reader:
        expected = outcome(reader.read, faulty("hang_afterwards"), 3)
        assert outcome(reader.read, clip, 3, timeout=4.0) == expected
        assert len(started) == 2


@pytest.mark.parametrize(
    ("fault", "message", "tries"),
    [
        ("abort", "crashed the decoder", 2),
        ("greedy", "needs too much memory, so it was stopped", 2),
        ("no_memory", "needs too much memory. A version", 2),
        ("hang", "took longer than 2 seconds", 1),
    ],
)
def test_a_file_that_ends_its_worker_is_blamed_alone(
    fault: str, message: str, tries: int, faulty: Faulty, clip: Path, started: list[int]
) -> None:
    """A fresh worker tries it too, unless its time is over."""
    before = children()
    with FrameReader() as reader:
        expected = outcome(reader.read, clip, 3)
        begin = time.monotonic()
        with pytest.raises(VideoError, match=message):
            reader.read(faulty(fault), 3, timeout=2.0 if fault == "hang" else 15.0)
        assert fault != "hang" or time.monotonic() - begin < 4
        assert children() == before
        assert outcome(reader.read, clip, 3) == expected
        assert len(started) == tries + 1


def test_decord_that_fails_costs_one_file_a_second_try(faulty: Faulty, clip: Path, started: list[int]) -> None:
    with FrameReader() as reader:
        expected = outcome(reader.read, clip, 3)
        for tries in (1, 2):
            assert outcome(reader.read, faulty("abort_in_decord"), 3) == expected
            assert outcome(reader.read, clip, 3) == expected
            assert len(started) == 1 + tries, "the next file may use decord again"


def test_workers_are_replaced_in_time_and_one_is_there_at_most(clip: Path, started: list[int]) -> None:
    before = children()
    with FrameReader(requests_each=2) as reader:
        for done in range(1, 6):
            reader.read(clip, 1)
            assert len(children() - before) == done % 2
    assert len(started) == 3
    assert children() == before
    with pytest.raises(ValueError, match="requests_each must be at least 1, got 0"):
        FrameReader(requests_each=0)


def test_nothing_piles_up_in_a_worker(clip: Path, tmp_path: Path, started: list[int]) -> None:
    """Neither descriptors nor the threads of decoders, which only the collector of circles ends."""
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff" + bytes(range(200)))
    with FrameReader() as reader:
        for path in [clip, tmp_path, tmp_path / "cut.jpg", tmp_path / "missing.mp4"] * 6:
            outcome(reader.read, path, 2)
        outcome(reader.read, tmp_path / "missing.mp4", 2)  # what the last but one left is collected now
        worker = Path(f"/proc/{started[0]}")
        assert len(list((worker / "fd").iterdir())) == 4
        assert len(list((worker / "task").iterdir())) == 2
        assert len(started) == 1


def test_no_process_or_descriptor_stays(faulty: Faulty, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_frames(clip, 1)
    before = children(), len(os.listdir("/proc/self/fd"))
    reader = FrameReader()
    reader.close()
    with pytest.raises(ValueError, match="got a closed one for .*clip.mp4"):
        reader.read(clip, 1)
    with pytest.raises(KeyError, match="elsewhere"), FrameReader() as reader:
        raise KeyError(f"elsewhere, after {len(reader.read(clip, 1).pixels)} frame")
    assert (children(), len(os.listdir("/proc/self/fd"))) == before

    with FrameReader() as reader:
        expected = outcome(reader.read, clip, 1)
        with monkeypatch.context() as patch:
            patch.setattr(process, "_resident_bytes", interrupt)
            with pytest.raises(KeyboardInterrupt):
                reader.read(faulty("hang"), 1)
        assert children() == before[0]
        assert outcome(reader.read, clip, 1) == expected, "nothing of the broken answer is left"
    assert (children(), len(os.listdir("/proc/self/fd"))) == before


def interrupt(_: int) -> int:
    raise KeyboardInterrupt


def test_places_choose_the_frames(clip: Path, tmp_path: Path, numbers: Numbers, started: list[int]) -> None:
    still = tmp_path / "still.png"
    Image.new("RGB", (64, 48)).save(still)
    with FrameReader() as reader:
        for places, expected in [
            (None, [5, 15, 25]),
            ([0.5, 0.5, 0.5], [5, 15, 25]),
            ([0.0, 0.0, 0.0], [0, 10, 20]),
            ([0.99, 0.25, 0.75], [9, 12, 27]),
        ]:
            frames = reader.read(clip, 3, places=places)
            assert numbers(frames.pixels) == expected
            assert frames.times.tolist() == pytest.approx([n / 10 for n in expected])
        assert numbers(reader.read(clip, 2, start=1.0, end=1.9, places=[0.0, 0.9]).pixels) == [10, 19]
        assert reader.read(still, 3, places=[0.1, 0.2, 0.3]).pixels.shape[0] == 1
    started.clear()
    for read in (read_frames, FrameReader().read):
        with pytest.raises(ValueError, match="each of the 3 frames, got 2"):
            read(still, 3, places=[0.5, 0.5])
        with pytest.raises(ValueError, match="less than 1, got 1.0"):
            read(still, 1, places=[1.0])
    assert not started, "what is asked in vain starts no worker"
