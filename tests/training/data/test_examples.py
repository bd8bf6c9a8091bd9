"""What is learned from and what is held out, which part of a picture is seen, and who reads which split."""

import json
import random
from pathlib import Path

import pytest
import torch

from training.data.crop import random_crop
from training.data.examples import Clip, Examples, digest, hold_out
from training.data.jsonl import DataError
from training.data.train_sets import CAPTIONED, LABELLED, check_split

CLIPS = [Clip(f"{i}.mp4", ("a", "b")[: 1 + i % 2], recording=f"film {i // 3}") for i in range(30)]


def test_every_text_of_every_clip_is_an_example() -> None:
    examples = Examples(CLIPS[:4])
    assert [examples[i] for i in range(len(examples))] == [(0, "a"), (1, "a"), (1, "b"), (2, "a"), (3, "a"), (3, "b")]
    assert len(Examples([])) == 0


@pytest.mark.parametrize("seed", range(5))
def test_recordings_are_held_out_as_a_whole(seed: int) -> None:
    learned, held_out = hold_out(CLIPS, 7, seed)
    assert len(held_out) == 9, "three films of three clips"
    assert not {clip.recording for clip in learned} & {clip.recording for clip in held_out}
    assert sorted([*learned, *held_out], key=CLIPS.index) == CLIPS
    assert learned == sorted(learned, key=CLIPS.index)
    assert hold_out(CLIPS, 7, seed) == (learned, held_out)
    assert hold_out(CLIPS, 7, seed + 1) != (learned, held_out)


def test_none_are_held_out_or_all() -> None:
    assert hold_out(CLIPS, 0, 0) == (CLIPS, [])
    assert hold_out(CLIPS, 1000, 0) == ([], CLIPS)


def test_a_digest_is_of_all_that_is_said() -> None:
    others = [
        Clip("x.mp4", ("a",), "film 0"), Clip("0.mp4", ("c",), "film 0"), Clip("0.mp4", ("a",), "film 0", end=3.0),
    ]  # fmt: skip
    assert len({digest(CLIPS), digest(CLIPS[::-1]), *(digest([other, *CLIPS[1:]]) for other in others)}) == 5
    assert len({digest(CLIPS), digest(CLIPS, ("a", "b")), digest(CLIPS, ("b", "a"))}) == 3
    assert others[2].name == "0.mp4:None-3.0"


def test_a_random_part_is_large_enough_inside_and_the_same_in_all_frames() -> None:
    pixels = torch.arange(40 * 60).reshape(40, 60).expand(5, 3, -1, -1)
    shares, corners = [], set()
    for seed in range(300):
        part = random_crop(pixels, 0.2, random.Random(seed))
        assert torch.equal(part[0], part[4])
        rows, columns = part[0, 0].diff(dim=0), part[0, 0].diff(dim=1)
        assert (rows == 60).all()
        assert (columns == 1).all()
        height, width = part.shape[-2:]
        assert 0.7 < width / height < 1.4
        shares.append(height * width / 2400)
        corners.add(int(part[0, 0, 0, 0]))
    assert 0.18 < min(shares) < 0.25
    assert max(shares) > 0.8
    assert len(corners) > 150
    assert random_crop(pixels, 1.0, random.Random(0)).shape[-2:] == (40, 40), "no such part: the middle square"


def test_nothing_is_trained_on_what_results_are_published_on() -> None:
    assert {name: set(splits) for name, splits in CAPTIONED.items()} == {
        "webvid": {"train_2m", "train_10m"}, "msrvtt": {"train_9k", "train_7k"}, "didemo": {"train"}, "lsmdc": {"train"},
        "jsonl": {"train"},
    }  # fmt: skip
    folds = {"train", "train_split2", "train_split3"}
    assert {name: set(splits) for name, splits in LABELLED.items()} == {
        "kinetics400": {"train"}, "ssv2": {"train"}, "hmdb51": folds, "ucf101": folds, "jsonl": {"train"},
    }  # fmt: skip
    with pytest.raises(ValueError, match="unknown split 'val' of kinetics400 to train on. Known splits: train"):
        check_split("kinetics400", "val", LABELLED)


def test_of_our_own_files_only_the_train_split_is_learned_from(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    rows = [
        {"video": "a.mp4", "caption": "A dog.", "start": 1, "end": 2},
        {"video": "a.mp4", "caption": "It runs.", "start": 1, "end": 2},
        {"video": "a.mp4", "caption": "It is night."},
        {"video": "a.mp4", "caption": "A cat.", "split": "test"},
        {"video": "a.mp4", "label": "dog"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = CAPTIONED["jsonl"]["train"](path)
    assert (found.root, found.classes) == (tmp_path, ())
    assert found.clips == [
        Clip("a.mp4", ("A dog.", "It runs."), recording="a.mp4", start=1, end=2),
        Clip("a.mp4", ("It is night.",), recording="a.mp4"),
    ]
    path.write_text(json.dumps({"video": "a.mp4", "label": "dog", "split": "val"}))
    with pytest.raises(DataError, match="expected rows of the train split, got 'val'"):
        LABELLED["jsonl"]["train"](path)
    for known in (CAPTIONED, LABELLED):
        with pytest.raises(DataError, match="no such file. For dataset = .jsonl. the data are a file of our JSONL"):
            known["jsonl"]["train"](tmp_path)
    path.write_text(json.dumps({"video": "a.mp4", "label": "dog"}))
    assert LABELLED["jsonl"]["train"](path).classes == ("dog",)
