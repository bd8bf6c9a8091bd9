"""What is in a batch is decided by its number and the seed: not by who reads it, nor by where a run goes on."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import torch

from encoder.video import VideoError
from encoder.video.transform import Transform
from tests.training.shared_reader import SharedReader
from training.data import held_out
from training.data.batches import MAX_ATTEMPTS, Batch, Batches
from training.data.clip_frames import ClipFrames
from training.data.draw import Draw
from training.data.examples import Clip, Examples
from training.data.held_out import HeldOut
from training.data.jsonl import DataError
from training.data.reader_threads import ReaderThreads
from training.data.unreadable import Unreadable
from training.engine.files import read_rows

TRANSFORM = Transform(size=16, mean=(0.5,) * 3, std=(0.25,) * 3, mode="crop")


@pytest.fixture
def root(tmp_path: Path, clips: list[Path]) -> Path:
    for clip in clips:
        (tmp_path / clip.name).symlink_to(clip)
    return tmp_path


def clips_of(root: Path) -> list[Clip]:
    names = sorted(path.name for path in root.glob("*.mp4"))
    return [Clip(name, (f"{name}, first", f"{name}, second"), recording=name) for name in names]


@contextmanager
def reading(
    root: Path,
    *,
    workers: int,
    seed: int = 3,
    limit: float = 1.0,
    size: int = 5,
    ledger: str = "ledger.jsonl",
    crop: float = 0.3,
) -> Iterator[Batches]:
    frames = ClipFrames(root=root, transform=TRANSFORM, num_frames=3, crop_area=crop)
    clips = clips_of(root)
    unreadable = Unreadable(root / ledger, limit=limit, total=len(clips))
    with ReaderThreads(workers) as threads:
        yield Batches(Examples(clips), frames, threads, unreadable, batch_size=size, total=12, seed=seed)


def same(a: Batch, b: Batch) -> bool:
    return torch.equal(a.frames, b.frames) and (a.clips, a.texts, a.names) == (b.clips, b.texts, b.names)


@pytest.fixture
def expected(root: Path, shared_reader: SharedReader) -> list[Batch]:
    """Twelve batches of five out of twelve examples: five epochs, which end inside batches."""
    with reading(root, workers=0) as batches:
        return [batches.batch(number) for number in range(12)]


def test_epochs_are_permutations(root: Path, expected: list[Batch]) -> None:
    drawn = [text for batch in expected for text in batch.texts]
    epochs = [drawn[first : first + 12] for first in range(0, 60, 12)]
    everything = sorted(text for clip in clips_of(root) for text in clip.said)
    assert all(sorted(epoch) == everything for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 5
    assert all(text.startswith(name) for batch in expected for text, name in zip(batch.texts, batch.names, strict=True))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_run_that_stops_anywhere_goes_on_with_the_same_batches(
    root: Path, expected: list[Batch], workers: int
) -> None:
    for stop in random.Random(workers).sample(range(12), 5):
        with reading(root, workers=workers) as batches:
            assert all(same(batches.batch(number), expected[number]) for number in range(stop, 12)), stop


def test_seed_and_number_decide_examples_frames_and_crops(root: Path, expected: list[Batch]) -> None:
    with reading(root, workers=0, seed=4) as batches:
        assert batches.batch(0).texts != expected[0].texts
    again = [
        (a, b, row)
        for b, later in enumerate(expected)
        for a, earlier in enumerate(expected[:b])
        for row in range(5)
        if earlier.clips[row] == later.clips[row]
    ]
    assert len(again) > 10, "a clip comes back to the same row"
    assert not any(torch.equal(expected[a].frames[row], expected[b].frames[row]) for a, b, row in again)


def test_what_decodes_for_real_is_the_same(root: Path) -> None:
    """With processes of their own, in as many threads as there are."""
    before, found = psutil.Process().children(), []
    for workers in (0, 3):
        with reading(root, workers=workers, size=4) as batches:
            found.append([batches.batch(number) for number in range(2)])
    assert all(same(a, b) for a, b in zip(*found, strict=True))
    assert psutil.Process().children() == before


def test_without_crops_training_sees_what_the_evaluation_sees_at_other_times(
    root: Path, shared_reader: SharedReader
) -> None:
    frames = ClipFrames(root=root, transform=TRANSFORM, num_frames=2)
    clip = clips_of(root)[0]

    class Middle(random.Random):
        def random(self) -> float:
            return 0.5

    assert torch.equal(frames.for_training(shared_reader, clip, Middle()), frames.for_measuring(shared_reader, clip))
    other = frames.for_training(shared_reader, clip, random.Random(0))
    assert not torch.equal(other, frames.for_measuring(shared_reader, clip))


def test_nothing_is_seen_of_a_video_outside_its_part(root: Path, shared_reader: SharedReader) -> None:
    """Of 23 frames the part is one: it stands in every segment."""
    frames = ClipFrames(root=root, transform=TRANSFORM, num_frames=3)
    for start in (None, 0.4):
        clip = Clip("5.mp4", ("a wave",), recording="5.mp4", start=start, end=start)
        for seen in (
            frames.for_training(shared_reader, clip, random.Random(0)),
            frames.for_measuring(shared_reader, clip),
        ):
            assert torch.equal(seen[0], seen[1]) == torch.equal(seen[1], seen[2]) == (start is not None)


def test_random_parts_are_taken_from_frames_of_256_rows_as_published(root: Path) -> None:
    asked = []

    class Noting:
        def read(self, path: Path, num_frames: int, **options: object) -> None:
            asked.append(options["short_side"])
            raise VideoError("noted")

    frames = ClipFrames(root=root, transform=TRANSFORM, num_frames=3, crop_area=0.08)
    with pytest.raises(VideoError, match="noted"):
        frames.for_training(Noting(), clips_of(root)[0], random.Random(0))
    assert asked == [256]


def break_some(root: Path) -> None:
    (root / "2.mp4").unlink()
    (root / "4.mp4").unlink()
    (root / "2.mp4").write_bytes(b"no video")
    (root / "4.mp4").symlink_to("/nowhere")


@pytest.mark.parametrize("workers", [0, 3])
def test_what_cannot_be_read_is_replaced_by_the_seed_and_noted(
    root: Path, shared_reader: SharedReader, expected: list[Batch], workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    break_some(root)
    with reading(root, workers=0) as batches:
        unbroken = [batches.batch(number) for number in range(12)]
    assert sorted(record.args[0] for record in caplog.records) == ["2.mp4", "4.mp4"]
    ledger = (root / "ledger.jsonl").read_text()
    rows = read_rows(root / "ledger.jsonl")
    assert sorted(row["path"] for row in rows) == ["2.mp4", "4.mp4"]
    assert {row["path"]: row["reason"] for row in rows}["2.mp4"] == "This is a text file, not a video."
    for row in rows:
        assert unbroken[row["batch"]].names[row["row"]] == row["replacement"] not in ("2.mp4", "4.mp4")
    for a, b in zip(unbroken, expected, strict=True):
        for row, name in enumerate(b.names):
            if name in ("2.mp4", "4.mp4"):
                assert a.names[row] not in ("2.mp4", "4.mp4")
            else:
                assert torch.equal(a.frames[row], b.frames[row])
    for stop in (0, 3, 7):
        with reading(root, workers=workers) as batches:
            assert all(same(batches.batch(number), unbroken[number]) for number in range(stop, 12))
        assert (root / "ledger.jsonl").read_text() == ledger


def test_too_many_unreadable_clips_stop_the_run_and_are_listed(root: Path, shared_reader: SharedReader) -> None:
    break_some(root)
    with reading(root, workers=1, limit=0.2) as batches, pytest.raises(DataError) as error:
        [batches.batch(number) for number in range(12)]
    message = str(error.value)
    assert message.startswith("2 videos could not be read, more than the share max_unreadable = 0.2 of the first 6: ")
    assert "2.mp4 (This is a text file, not a video)" in message
    assert "4.mp4 (" in message
    assert str(root / "ledger.jsonl") in message
    with reading(root, workers=1, limit=0.34) as batches:
        for number in range(12):
            batches.batch(number)


def test_without_any_video_the_run_ends(root: Path, shared_reader: SharedReader) -> None:
    for path in root.glob("*.mp4"):
        path.unlink()
        path.symlink_to("/nowhere")
    with (
        reading(root, workers=2) as batches,
        pytest.raises(DataError, match=f"batch 0: {MAX_ATTEMPTS} videos, one after"),
    ):
        batches.batch(0)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_failure_leaves_no_process_and_no_thread(root: Path, workers: int) -> None:
    processes, threads = psutil.Process().children(), threading.active_count()

    def fail() -> None:
        with reading(root, workers=workers) as batches:
            batches.batch(0)
            assert len(psutil.Process().children()) > len(processes)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert psutil.Process().children() == processes
    assert threading.active_count() == threads


def test_held_out_clips_that_cannot_be_read_are_left_out(
    root: Path, shared_reader: SharedReader, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And named once, those of other processes too."""
    break_some(root)
    monkeypatch.setattr(held_out, "gather_objects", lambda mine: [mine, {"other.mp4": "It is gone."}])
    clips = clips_of(root)
    frames = ClipFrames(root=root, transform=TRANSFORM, num_frames=2)
    with ReaderThreads(2) as threads:
        to_measure = HeldOut(clips, frames, threads)
        for _ in range(2):
            found, features = to_measure.watched(lambda frames: frames.mean((2, 3, 4))[..., None])
            assert [clip.video for clip in found] == ["0.mp4", "1.mp4", "3.mp4", "5.mp4"]
            assert features.shape == (4, 2, 1)
            expected = frames.for_measuring(shared_reader, found[2]).mean((1, 2, 3))
            torch.testing.assert_close(features[2, :, 0], expected)
    assert [record.args[0] for record in caplog.records] == ["2.mp4", "4.mp4", "other.mp4"]


def test_a_draw_of_millions_is_a_permutation_too() -> None:
    draw = Draw(count=1_000_003, batch_size=4, seed=1)
    assert len({draw.example(number, row) for number in range(250_000) for row in range(4)}) == 1_000_000
