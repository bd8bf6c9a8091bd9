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
from bridge import runtime
from bridge.checkpoint import load_checkpoint, read_config
from training.__main__ import main
from training.align import AlignRecipe
from training.engine import distributed
from training.recipe import settled

MACHINE = 'threads = 1\nfeature_dtype = "float32"\n'
ALIGN = "head_steps = 6\nhead_batch = 4\nbranch_steps = 5\nbranch_batch = 4\nfilmed_pictures = 3\n" + MACHINE
BRIDGE = (
    "word_steps = 3\nword_batch = 4\nsteps = 6\nbatch_size = 3\nsave_every = 2\nvalidate_every = 6\nqa_from = 3\n"
    "lora_rank = 2\n" + MACHINE
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
    parts = {name.split(".")[1] for name in weights if name.startswith("backbone.")}
    assert parts == {"vision_head", "vision_lower", "text_head", "text_order"}
    assert weights["backbone.vision_lower.1.weight"].abs().max() > 0
    assert weights["backbone.text_order.weight"].abs().max() > 0
    assert weights["branch.cross_frame.0.temporal_fc.weight"].abs().max() > 0
    for part in ("heads", "branch"):
        assert (data / "align" / part / "curves.png").exists()


@pytest.mark.slow
def test_two_processes_train_as_one(data: Path, encoder: Path) -> None:
    """Heads to rounding, the branch in bf16 and with paths dropped at random; what is written is written once."""
    output = data / "two"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "training"]
    done = subprocess.run(
        [*command, "align", "--recipe", str(data / "align.toml"), "--output", str(output), *common(data)],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    one, two = (
        {part: [row["loss"] for row in rows_of(folder / part) if "loss" in row] for part in ("heads", "branch")}
        for folder in (encoder.parent, output)
    )
    assert two["heads"] == pytest.approx(one["heads"], abs=1e-4)
    assert len(two["branch"]) == len(one["branch"]) == 1
    assert two["branch"] == pytest.approx(one["branch"], abs=0.5)
    a, b = (load_file(folder / "encoder" / "encoder.safetensors") for folder in (encoder.parent, output))
    assert a.keys() == b.keys()
    assert len(json.loads((output / "environment.json").read_text())["sessions"]) == 1
    assert not list(output.rglob("*.partial"))


def test_a_command_for_one_process_says_so(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    message = "training bridge runs in one process, got 2. Start it without torchrun."
    refused(capsys, ["bridge", "--output", str(tmp_path / "run"), *common(data)], message)
    assert not (tmp_path / "run").exists()


def rows_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").open()]


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
    losses = [{row["step"]: row["loss"] for row in rows_of(run / "bridge") if "loss" in row} for run in (whole, killed)]
    assert losses[0] == losses[1] != {}
    starts = [len(json.loads((run / "environment.json").read_text())["sessions"]) for run in (whole, killed)]
    assert starts == [1, 2]
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


def test_a_chat_model_of_another_kind_is_no_start(
    data: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    if not (data / "whole" / "checkpoint").exists():
        assert main(bridge_arguments(data, encoder, data / "whole")) == 0
    (tmp_path / "r.toml").write_text(BRIDGE + "grid = 4\n")
    arguments = ["--recipe", str(tmp_path / "r.toml"), "--init", str(data / "whole" / "checkpoint")]
    refused(capsys, ["bridge", *arguments, "--output", str(tmp_path / "run"), *common(data)], "grid is 3 there, 4 in")


def refused(capsys: pytest.CaptureFixture, arguments: list[str], message: str) -> None:
    """A mistake of the user is one line that says what is wrong, and an exit code."""
    capsys.readouterr()
    assert main(arguments) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last


def test_a_mistake_is_a_line_and_not_a_traceback(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def command(
        task: str, *, recipe: str = "threads = 1\n", rows: str | None = None, more: tuple[str, ...] = ()
    ) -> list:
        (tmp_path / "r.toml").write_text(recipe + 'feature_dtype = "float32"\n')
        file = data / "data.jsonl"
        if rows is not None:
            file = tmp_path / "rows.jsonl"
            file.write_text(rows)
        options = ["--recipe", str(tmp_path / "r.toml"), "--output", str(tmp_path / "run"), "--data", str(file)]
        return [task, *options, *more]

    row = json.dumps({"image": str(data / "0.png"), "caption": "A wall.", "split": "valid"})
    missing = str(tmp_path / "missing")
    refused(
        capsys, command("align", recipe="lerning_rate = 1\n"), "unknown ['lerning_rate']. Known keys: branch_accumulate"
    )
    refused(capsys, command("align", recipe="head_lr 1\n"), "r.toml: ")
    refused(capsys, command("align", recipe='num_frames = "8"\n'), "r.toml: ")
    refused(capsys, command("align", recipe="num_frames = 3\n"), "r.toml: expected num_frames of 4 or more, got 3")
    refused(capsys, command("bridge", recipe='projector = "x"\n'), "unknown projector 'x'. Known projectors: linear")
    refused(capsys, command("align", more=("--recipe", missing)), "Known recipes: mini-align")
    refused(capsys, command("align", more=("--data", missing)), f"No such file or directory: '{missing}'")
    refused(capsys, command("align", rows=row), "rows.jsonl:1: expected a split of train, val, test, got 'valid'")
    refused(capsys, command("bridge", more=("--init", missing)), "expected a checkpoint folder with config.json")
    refused(capsys, command("bridge", more=("--encoder", missing)), "a folder with config.json")
    refused(capsys, command("bridge", more=("--finish",)), "Start without --finish")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    broken = "".join(
        json.dumps({"image": image, "caption": "A wall."}) + "\n"
        for image in (str(data / "0.png"), "broken.png", str(data / "1.png"))
    )
    refused(
        capsys,
        command("align", recipe="threads = 1\nmax_unreadable = 0.3\n", rows=broken, more=common(data)[2:]),
        f"1 of 3 media could not be read, more than the share max_unreadable = 0.3 of the recipe: {tmp_path}/broken.png (",
    )
    assert json.loads((tmp_path / "run" / "ledger.jsonl").read_text())["path"] == str(tmp_path / "broken.png")
    (tmp_path / "config.json").write_text('{"encoder": {"preset": "maxi"}}')
    refused(
        capsys, command("bridge", more=("--encoder", str(tmp_path))), "no checkpoint to start from: unknown encoder"
    )


def test_a_second_start_in_a_used_folder_destroys_nothing(
    data: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = encoder.parent
    before = (output / "recipe.json").read_text()
    assert json.loads(before) | {"task": "align", "head_steps": 6, "threads": 1} == json.loads(before)
    (tmp_path / "r.toml").write_text(ALIGN + "head_lr = 0.5\n")
    arguments = ["align", "--recipe", str(tmp_path / "r.toml"), "--output", str(output), *common(data)]
    refused(capsys, arguments, "holds a training already. Add --resume")
    refused(capsys, [*arguments, "--resume"], "holds another training: head_lr was 0.0015, is 0.5.")
    assert (output / "recipe.json").read_text() == before


def test_on_a_machine_with_a_gpu_the_cpu_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a recipe leaves open is measured where training computes; what it says, or a training that goes on, stays."""
    speeds = [
        runtime.Speed(dtype=dtype, threads=3, encode=seconds, prefill=seconds, decode=seconds)
        for dtype, seconds in (("float32", 1.0), ("bfloat16", 2.0))
    ]
    monkeypatch.setenv("MUGSTAN_CACHE", str(tmp_path))
    monkeypatch.setattr(runtime, "default_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(runtime, "measure", lambda counts: speeds)
    recipe = settled(AlignRecipe(), {})
    assert (recipe.threads, recipe.feature_dtype) == (3, "float32")
    recipe = settled(AlignRecipe(), {"threads": 7, "feature_dtype": "float32"})
    assert (recipe.threads, recipe.feature_dtype) == (7, "float32")
    recipe = settled(AlignRecipe(threads=1), {"threads": 2, "feature_dtype": "bfloat16"})
    assert (recipe.threads, recipe.feature_dtype) == (1, "bfloat16")
    recipe = settled(AlignRecipe(feature_dtype="float32"), {"feature_dtype": "bfloat16"})
    assert (recipe.threads, recipe.feature_dtype) == (3, "float32")
