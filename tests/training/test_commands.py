"""The two training commands as a user runs them: on files, killed with SIGKILL on the way, and gone on with."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from benchmarks.clip import write_clip
from bridge.checkpoint import load_checkpoint, read_config
from training.__main__ import main

ALIGN = "head_steps = 6\nhead_batch = 4\nbranch_steps = 3\nbranch_batch = 2\nthreads = 1\n"
BRIDGE = (
    "word_steps = 3\nword_batch = 4\nsteps = 6\nbatch_size = 3\nsave_every = 2\nvalidate_every = 6\nqa_from = 3\n"
    "lora_rank = 2\nthreads = 1\n"
)
COLOURS = {"red": (200, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 200), "yellow": (220, 210, 40)}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures and two clips to learn from, one clip held out."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    rows = []
    for i, (name, colour) in enumerate([*COLOURS.items()][:3] * 2):
        noise = rng.integers(0, 50, (224, 224, 3))
        Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(folder / f"{i}.png")
        qa = [{"question": "What colour is it?", "answer": name}]
        rows.append({"image": f"{i}.png", "captions": [f"a {name} wall .", f"A wall painted {name}"], "qa": qa})
    for i, split in enumerate(["train", "train", "val"]):
        write_clip(folder / f"{i}.mp4", seconds=1.0, width=160 + 16 * i, height=96)
        rows.append(
            {"video": f"{i}.mp4", "caption": "A technician on a red lift stands before mirrors.", "split": split}
        )
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "align.toml").write_text(ALIGN)
    (folder / "bridge.toml").write_text(BRIDGE)
    return folder


@pytest.fixture(scope="module")
def encoder(data: Path) -> Path:
    """What align writes."""
    arguments = ["--recipe", str(data / "align.toml"), "--output", str(data / "align")]
    assert main(["align", *arguments, *common(data)]) == 0
    return data / "align" / "encoder"


def common(data: Path) -> list[str]:
    return ["--data", str(data / "data.jsonl"), "--features", str(data / "features")]


def bridge_arguments(data: Path, encoder: Path, output: Path) -> list[str]:
    recipe = str(data / "bridge.toml")
    return ["bridge", "--recipe", recipe, "--encoder", str(encoder), "--output", str(output), *common(data)]


def test_align_trains_heads_and_branch(data: Path, encoder: Path) -> None:
    weights = load_file(encoder / "encoder.safetensors")
    assert {name.split(".")[1] for name in weights if name.startswith("backbone.")} == {"vision_head", "text_head"}
    assert weights["branch.output_fusion.scale"].abs().max() > 0
    for part in ("heads", "branch"):
        assert (data / "align" / part / "curves.png").exists()


def test_a_killed_bridge_goes_on_to_the_same_weights(data: Path, encoder: Path) -> None:
    whole, killed = data / "whole", data / "killed"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "training"]
    subprocess.run(
        [*command, *bridge_arguments(data, encoder, whole)], env=environment, check=True, capture_output=True
    )

    process = subprocess.Popen(
        [*command, *bridge_arguments(data, encoder, killed)], env=environment, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 200
    while not (killed / "bridge" / "state.safetensors").exists():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "no state was saved in time"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (killed / "checkpoint").exists()

    resumed = [*command, *bridge_arguments(data, encoder, killed), "--resume"]
    subprocess.run(resumed, env=environment, check=True, capture_output=True)
    for file in ("bridge.safetensors", "adapter/adapter_model.safetensors"):
        a, b = (load_file(run / "checkpoint" / file) for run in (whole, killed))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a), file
    losses = [
        {
            row["step"]: row["loss"]
            for row in map(json.loads, (run / "bridge" / "metrics.jsonl").open())
            if "loss" in row
        }
        for run in (whole, killed)
    ]
    assert losses[0] == losses[1] != {}
    assert (read_config(killed / "checkpoint").step, read_config(killed / "checkpoint").preset) == (6, "mini")


def test_the_result_opens_as_a_chat_model(data: Path, encoder: Path) -> None:
    output = data / "whole"
    if not (output / "checkpoint").exists():
        assert main(bridge_arguments(data, encoder, output)) == 0
    model = load_checkpoint(output / "checkpoint")
    assert model.encode(torch.zeros(8, 3, 96, 160, dtype=torch.uint8)).shape == (1, 8 + 9, 576)


def test_training_goes_on_from_a_chat_model(data: Path, encoder: Path, tmp_path: Path) -> None:
    """With nothing to learn (learning rates of zero) the result is the model it started from; else it is another."""
    start = data / "whole" / "checkpoint"
    if not start.exists():
        assert main(bridge_arguments(data, encoder, data / "whole")) == 0
    files = ("encoder.safetensors", "bridge.safetensors", "adapter/adapter_model.safetensors")
    before = {file: load_file(start / file) for file in files}
    for rate in (0.0, 1e-3):
        recipe = tmp_path / f"{rate}.toml"
        recipe.write_text(BRIDGE.replace("qa_from = 3", "qa_from = 0") + f"projector_lr = {rate}\nlora_lr = {rate}\n")
        output = tmp_path / f"run-{rate}"
        arguments = ["--recipe", str(recipe), "--init", str(start), "--output", str(output)]
        assert main(["bridge", *arguments, *common(data)]) == 0
        assert not (output / "words").exists()
        for file in files:
            after = load_file(output / "checkpoint" / file)
            same = all(torch.equal(after[name], before[file][name]) for name in before[file])
            assert same == (rate == 0 or file == "encoder.safetensors"), file


def test_a_chat_model_of_another_kind_is_no_start(data: Path, encoder: Path, tmp_path: Path) -> None:
    if not (data / "whole" / "checkpoint").exists():
        assert main(bridge_arguments(data, encoder, data / "whole")) == 0
    (tmp_path / "r.toml").write_text(BRIDGE + "grid = 4\n")
    arguments = ["--recipe", str(tmp_path / "r.toml"), "--init", str(data / "whole" / "checkpoint")]
    with pytest.raises(ValueError, match="grid is 3 there, 4 in the recipe"):
        main(["bridge", *arguments, "--output", str(tmp_path / "run"), *common(data)])


def test_nothing_can_be_finished_that_was_never_started(data: Path, encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Start without --finish"):
        main([*bridge_arguments(data, encoder, tmp_path / "none"), "--finish"])


def test_an_unknown_key_of_a_recipe_lists_the_known_ones(data: Path, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text("lerning_rate = 1\n")
    with pytest.raises(KeyError, match=r"lerning_rate.*head_lr"):
        main(["align", "--recipe", str(tmp_path / "r.toml"), "--output", str(tmp_path / "run"), *common(data)])
