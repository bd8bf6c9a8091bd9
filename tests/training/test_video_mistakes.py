"""Recipes and options that cannot be followed: a training on videos, and its dry run, say so in a line."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.refusals import refused
from training.__main__ import main
from training.recipe import RECIPES

DataSet = Callable[[str], Path]

TOWER_MINI = ("--tower", "mini")
MISTAKES = [
    ("retrieval", "num_frames", "frames", "unknown ['frames']. Known keys: accumulate, autocast, batch_size"),
    ("retrieval", "[towers.mini]", "[towers.mini]\nfames = 3", "towers.mini: unknown ['fames']. Known keys: accumulate"),
    ("retrieval", "[towers.mini]", "[towers.maxi]", "unknown table towers.maxi. Known towers: clip-b16, clip-b32"),
    ("retrieval", "lr", "lr", "expected an encoder of clip-b16, clip-b32, clip-l14, mini, got 'maxi'", "--tower", "maxi"),
    ("retrieval", "train_9k", "test_1ka", "unknown split 'test_1ka' of msrvtt to train on. Known splits: train_9k, train_7k"),
    ("retrieval", '"msrvtt"', '"msvd"', "unknown dataset 'msvd'. Known datasets: webvid, msrvtt, didemo, lsmdc, jsonl"),
    ("retrieval", '"mug_simple"', '"cosine"', "unknown similarity 'cosine'. Known: mug, mug_simple, plain"),
    ("retrieval", "= 128", "= 129\naccumulate = 2", "a batch_size that accumulate divides, got 129 and 2"),
    ("retrieval", "= 128", "= 2\naccumulate = 2", "expected two videos or more in a batch to tell apart, got 1"),
    ("retrieval", "= 128", '= "128"', "r.toml: expected batch_size to be a whole number, got '128'."),
    ("retrieval", "lr", 'frozen = "backbone.text"\nlr', "expected frozen to be a list of texts, got 'backbone.text'."),
    ("retrieval", "= 0.01", "= nan", "expected temperature to be a finite number, got nan."),
    ("retrieval", "= 12", "= 12.0", "expected num_frames to be a whole number, got 12.0."),
    ("retrieval", "lr", 'gradient_checkpointing = "no"\nlr', "expected gradient_checkpointing to be true or false, got 'no'."),
    ("retrieval", '"clip-b32"', '["clip-b32"]', "expected encoder to be a text, got ('clip-b32',)."),
    ("retrieval", "lr", "seed = -1\nlr", "expected seed of 0 or more, got -1."),
    ("retrieval", "= 32", "= 2", "expected caption_words of 3 or more, for a start, a word and an end, got 2."),
    ("retrieval", "= 32", "= 78", "expected caption_words of at most 77, which is what the text tower of clip-b32 reads, got 78."),
    ("retrieval", "= 0.08", "= 0", "a crop_area above 0 and up to 1, got 0"),
    ("retrieval", "lr", 'autocast = "float16"\nlr', "an autocast of bfloat16 or none at all, got 'float16'"),
    ("retrieval", "lr", 'frozen = ["backbone.words"]\nlr', "no module 'backbone.words': backbone has vision"),
    ("retrieval", "frozen", "# frozen", "in backbone.text, backbone.vision. Name these modules in 'frozen'", *TOWER_MINI),
    ("retrieval", "videos = 2", "videos = 5", "expected two videos or more to learn from, got 1, and 5 to measure on"),
    ("retrieval", "lr", 'frozen = ["backbone", "branch"]\nlr', "expected something to train, got none beside frozen"),
    ("recognition", '"names"', '"lineal"', "unknown head 'lineal'. Known heads: names, linear"),
    ("recognition", '"names"', '"linear"', "expected a head_lr above 0 for the head 'linear'"),
    ("recognition", "lr", "lr", "no such file", "--data", "nowhere"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "old", "new", "message", "more"), [(*m[:4], m[4:]) for m in MISTAKES])
def test_a_mistake_is_a_line_and_not_a_traceback(
    tiny_towers: None,
    data_set: DataSet,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    command: str,
    old: str,
    new: str,
    message: str,
    more: tuple[str, ...],
) -> None:
    """And a dry run makes the same of it."""
    name, data = {"retrieval": ("retrieval-msrvtt-9k", "msrvtt"), "recognition": ("recognition-ucf101", "ucf101")}[
        command
    ]
    text = re.sub(r"val_videos = \d+", "val_videos = 2", (RECIPES / f"{name}.toml").read_text())
    assert old in text
    (tmp_path / "r.toml").write_text(text.replace(old, new, 1))
    arguments = ["--recipe", str(tmp_path / "r.toml"), "--data", str(data_set(data)), "--output", str(tmp_path / "run")]
    for dry in ([], ["--dry-run"]):
        refused(capsys, main([command, *arguments, *more, *dry]), message)
    assert not (tmp_path / "run").exists()
