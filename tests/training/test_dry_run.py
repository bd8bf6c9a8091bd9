"""--dry-run says what would happen, by the objects that would do it, and does nothing."""

import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.training.engine.toy import Regression
from training.__main__ import main
from training.dry_run import Stage, activation_bytes
from training.engine.loop import LoopConfig

MACHINE = 'threads = 1\nfeature_dtype = "float32"\n'


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five pictures, four clips, one of each held out, and two rows that nobody trains on. The files hold nothing."""
    rows = [{"image": f"{i}.png", "captions": ["A wall.", "A house."]} for i in range(5)]
    rows += [
        {"video": f"{i}.mp4", "caption": "A dog runs.", "qa": [{"question": "What?", "answer": "A dog."}]}
        for i in range(4)
    ]
    rows[0]["split"] = rows[-1]["split"] = "val"
    rows += [{"image": "5.png", "label": "wall"}, {"image": "6.png", "caption": "A wall.", "split": "test"}]
    for row in rows:
        (tmp_path / row.get("image", row.get("video"))).touch()
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def planned(capsys: pytest.CaptureFixture, data: Path, task: str, recipe: str, *more: str) -> tuple[int, str]:
    """Exit code and output, of a command that leaves no trace."""
    (data.parent / "r.toml").write_text(recipe + MACHINE)
    before = sorted(data.parent.rglob("*"))
    options = ["--recipe", str(data.parent / "r.toml"), "--data", str(data), "--output", str(data.parent / "run")]
    capsys.readouterr()
    code = main([task, *options, "--dry-run", *more])
    assert sorted(data.parent.rglob("*")) == before
    return code, capsys.readouterr().out


def test_what_is_trained_and_frozen_is_named_by_the_largest_modules() -> None:
    """A layer that is trained in part is split into its parts; equal layers share a line."""
    task = Regression()
    layers = nn.Sequential(*(nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 3)}) for _ in range(3)))
    tower = nn.ModuleDict({"layers": layers, "norm": nn.LayerNorm(2)})
    groups = [
        {
            "params": [
                *task.module.parameters(),
                *(p for layer in layers for p in layer["a"].parameters()),
                tower["norm"].bias,
            ]
        }
    ]
    task.parameter_groups = lambda: groups
    stage = Stage.of(
        "toy", task, {"tower": tower, "other": nn.Linear(4, 4)}, LoopConfig(steps=10, accumulate=2), batch=4, media=40,
        kept=5_000_000, activations=2_000_000,
    )  # fmt: skip
    assert stage.trained == {"tower.layers.*.a": 18, "tower.norm.bias": 2, "0": 40, "2": 9}
    assert stage.frozen == {"tower.layers.*.b": 27, "tower.norm.weight": 2, "other": 20}
    assert (stage.weights, stage.optimizer) == (4 * 118, 3 * 4 * 69)
    lines = list(stage.lines())
    assert lines[0] == "toy: 10 steps of 2 x 4 media, 2.0 times all 40 to learn from"
    assert lines[-1].startswith("  memory: about 7 MB beside")


def test_activations_are_counted_by_what_the_backward_needs() -> None:
    """Of Linear, GELU, Linear: the input of each layer, once; weights and frozen layers count for nothing."""
    net, x = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 1)), torch.zeros(16, 4)
    assert activation_bytes(lambda: net(x)) == 4 * 16 * (4 + 8 + 8)
    assert activation_bytes(lambda: net.requires_grad_(False)(x)) == 0


def test_align_is_planned(data: Path, capsys: pytest.CaptureFixture) -> None:
    recipe = "head_steps = 6\nhead_batch = 4\nbranch_steps = 5\nbranch_batch = 3\nbranch_accumulate = 7\n"
    code, text = planned(capsys, data, "align", recipe)
    assert code == 0
    for line in (
        "  branch_accumulate = 7",
        "  max_unreadable = 0.05",
        f"  {data}",
        "  train: 7 rows, 3 videos and 4 pictures with 11 captions and 3 questions",
        "  val: 2 rows, 1 videos and 1 pictures with 3 captions and 1 questions",
        "  left out: 2 rows, of another split or without captions",
        "heads: 6 steps of 1 x 4 media, 3.4 times all 7 to learn from",
        "branch: 5 steps of 7 x 3 media, 15.0 times all 7 to learn from",
    ):
        assert f"\n{line}\n" in text, line
    heads, branch = text[text.index("\nheads:") :].split("\nbranch:")
    parts = [re.findall(r"(trained|frozen):|\d  (\S+)", stage) for stage in (heads, branch)]
    found = [" ".join(kind or name for kind, name in part) for part in parts]
    towers = "encoder.backbone.vision encoder.backbone.text"
    trained = "trained encoder.backbone.vision_head encoder.backbone.vision_lower encoder.backbone.text_head"
    assert found == [
        f"{trained} temperature frozen {towers} encoder.backbone.text_order encoder.branch",
        f"{trained} encoder.backbone.text_order encoder.branch temperatures frozen {towers}",
    ]
    megabytes = [int(re.search(r"activations of a batch ([\d,]+)", s)[1].replace(",", "")) for s in (heads, branch)]
    assert megabytes[0] < 5
    assert 60 < megabytes[1] < 1000


def test_bridge_is_planned(data: Path, capsys: pytest.CaptureFixture) -> None:
    code, text = planned(
        capsys, data, "bridge", "steps = 6\nqa_from = 3\nbatch_size = 3\nlora_rank = 2\naccumulate = 2\n"
    )
    assert code == 0
    assert "\nwords: 800 steps of 1 x 7 media" in text
    assert "\nbridge: 6 steps of 2 x 3 media, 5.1 times all 7 to learn from\n" in text
    assert re.search(r"trained: .*\n +[\d,]+  projector\n(.*lora_[AB]\n){14}  frozen: .*\n +[\d,]+  encoder\n", text)
    assert re.search(r"frozen: (.*\n)+.*layers\.\*\.self_attn\.q_proj\.base_layer\n", text)


@pytest.mark.parametrize("task", ["align", "bridge"])
def test_all_missing_media_are_named_with_their_lines(data: Path, capsys: pytest.CaptureFixture, task: str) -> None:
    for name in ("1.png", "2.mp4"):
        (data.parent / name).unlink()
    code, text = planned(capsys, data, task, "")
    assert code == 1
    assert text.endswith(
        f"missing media: 2, the training would not start\n  {data}:2: image '1.png'\n  {data}:8: video '2.mp4'\n"
    )
    assert "trained" not in text.split("recipe:")[1]


def test_what_would_be_refused_is_refused(data: Path, capsys: pytest.CaptureFixture) -> None:
    code, text = planned(capsys, data, "align", "branch_accumulate = 0\n")
    assert (code, text) == (1, "")
    code, text = planned(capsys, data, "bridge", "", "--init", str(data.parent / "nothing"))
    assert (code, text) == (1, "")
    code, text = planned(capsys, data, "bridge", "", "--finish")
    assert (code, text) == (1, "")
    (data.parent / "0.png").touch()
    data.write_text(
        '{"image": "0.png", "caption": "A wall."}\n{"image": "0.png", "caption": "A wall.", "split": "val"}\n'
    )
    for task in ("align", "bridge"):
        assert planned(capsys, data, task, "") == (1, ""), "a single picture to learn from"
