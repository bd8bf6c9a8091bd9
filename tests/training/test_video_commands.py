"""Post-pretraining, retrieval and recognition as a user runs them, on small data sets in their owners' layouts."""

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bridge.runtime import Runtime
from encoder.backbones.hub import HUB_IDS
from encoder.checkpoints import load_encoder, read_encoder_config, save_encoder, trained_state_dict
from encoder.presets import CLIP_CONFIGS, ENCODERS, clip_encoder, create_encoder
from tests.training.layouts import COUNT
from tests.training.refusals import refused
from tests.training.shared_reader import SharedReader
from training import contrast, recognition
from training.__main__ import main
from training.contrast import ContrastRecipe
from training.dry_run import activation_bytes
from training.engine.run import Run
from training.evaluation import retriever
from training.evaluation.__main__ import main as evaluate
from training.recipe import RECIPES
from training.recognition import RecognitionRecipe
from training.tasks.video_text import VideoTextTask
from training.trainee import Trainee
from training.video_recipe import load_video_recipe

ON_VIDEOS = sorted(path.stem for path in RECIPES.glob("*.toml") if not path.stem.startswith("mini"))
SMALL = {"batch_size": 2, "epochs": 0.7, "warmup_epochs": 0, "val_videos": 2, "workers": 0}
"""Two steps of two videos."""
Small = Callable[..., None]
DataSet = Callable[[str], Path]


def command_of(recipe: str) -> str:
    return next(name for name in ("post-pretrain", "retrieval", "recognition") if recipe.startswith(name))


def loaded(recipe: str, tower: str | None = None) -> ContrastRecipe | RecognitionRecipe:
    kind = RecognitionRecipe if command_of(recipe) == "recognition" else ContrastRecipe
    return load_video_recipe(recipe, kind, tower)


def rows_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").open()]


@pytest.fixture
def small(tiny_towers: None, shared_reader: SharedReader, monkeypatch: pytest.MonkeyPatch) -> Small:
    """Towers are tiny and lengths those of SMALL, or others; all else is what the recipes say. Nothing is drawn."""

    def changed(**values: object) -> None:
        for module in (contrast, recognition):
            monkeypatch.setattr(
                module,
                "load_video_recipe",
                lambda *arguments: replace(load_video_recipe(*arguments), **{**SMALL, **values}),
            )

    changed()
    monkeypatch.setattr(Run, "draw_curves", lambda self: None)
    return changed


def run(recipe: str, data: Path, output: Path, *more: str) -> int:
    return main([command_of(recipe), "--recipe", recipe, "--data", str(data), "--output", str(output), *more])


# ---- recipes


@pytest.mark.parametrize(
    ("recipe", "tower"),
    [
        *((name, None) for name in ON_VIDEOS), ("retrieval-didemo", "mini"), ("recognition-hmdb51", "mini"),
        ("post-pretrain-webvid-2m", "clip-l14"),
    ],
)  # fmt: skip
def test_every_recipe_trains_and_what_it_writes_loads(
    small: Small, data_set: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str, tower: str | None
) -> None:
    """What is frozen is the preset's to the bit, the rest has moved, and no hub is asked for what the folder holds."""
    command, output, said = command_of(recipe), tmp_path / "run", loaded(recipe, tower)
    assert run(recipe, data_set(said.dataset), output, *(["--tower", tower] if tower else [])) == 0
    rows = rows_of(output / command)
    assert {row["step"] for row in rows} <= {2, 3, 4}
    names = {"top1", "top5"} if command == "recognition" else {"text_to_video_R@1", "video_to_text_R@1"}
    assert {f"val_{name}" for name in names} <= set().union(*rows)
    torch.manual_seed(said.seed)
    start = trained_state_dict(create_encoder(said.encoder))
    for name in HUB_IDS:
        monkeypatch.setitem(HUB_IDS, name, str(tmp_path / "nowhere"))
    part = read_encoder_config(output / "encoder/config.json")
    after = trained_state_dict(load_encoder(output / "encoder"))
    assert (part.preset, part.num_frames) == (said.encoder, said.num_frames)
    assert part.retrieval_mode == ("plain" if command == "recognition" else said.similarity)
    frozen = {name for name in start if name.startswith(tuple(f"{module}." for module in said.frozen))}
    assert all(torch.equal(start[name], after[name]) for name in frozen)
    moved = {name.split(".")[0] for name in start if not torch.equal(start[name], after[name])}
    assert moved == ({"branch"} if "backbone" in said.frozen else {"branch", "backbone"})
    linear = command == "recognition" and said.head == "linear"
    assert (output / "encoder/class_head.safetensors").exists() == linear
    assert not (output / "ledger.jsonl").exists()


@pytest.mark.parametrize("recipe", ON_VIDEOS)
def test_every_recipe_suits_every_tower_in_its_real_size(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen modules exist, batches can be shared, and what is expected is said."""
    for tower in sorted(ENCODERS.keys() - {"mini"}):
        said = loaded(recipe, tower)
        with torch.device("meta"):
            encoder = clip_encoder(CLIP_CONFIGS[tower])
        trainee = Trainee(encoder, frozen=said.frozen, autocast=None)
        assert trainee.parameter_groups(lr=said.lr, branch_lr=said.branch_lr, weight_decay=said.weight_decay)
        assert said.videos_at_once % 8 == 0
        assert said.expected
    first = (RECIPES / f"{recipe}.toml").read_text().splitlines()[0]
    assert f" -m training {command_of(recipe)} --recipe {recipe} --data " in first


def test_published_values_stand_in_the_recipes() -> None:
    """mugstan_msrvt_b32_hf, mugstan_msrvt_b16_hf, stan_msrvtt_l14_hf, mugstan_didemo_b32_hf, mugstan_lsmdc_b32_hf,
    mugstan_webvid10m_b32_pretrain, and BT-Adapter's webvid2m_btadaper; batches are of all GPUs."""

    def values(recipe: str, tower: str | None = None) -> tuple:
        r = loaded(recipe, tower)
        return (
            r.num_frames, r.caption_words, r.batch_size, r.lr, r.branch_lr, r.weight_decay, r.temperature, r.epochs,
            r.similarity, r.mask,
        )  # fmt: skip

    msrvtt = "retrieval-msrvtt-9k"
    assert values(msrvtt) == (12, 32, 128, 2e-6, 2e-5, 0.02, 0.01, 100, "mug_simple", 0.0)
    assert values(msrvtt, "clip-b16") == (12, 32, 64, 1e-6, 1e-5, 0.2, 0.02, 100, "mug_simple", 0.0)
    assert values(msrvtt, "clip-l14") == (12, 32, 128, 2e-6, 2e-5, 0.05, 0.01, 10, "plain", 0.0)
    assert values("retrieval-didemo") == (64, 77, 64, 2e-6, 2e-5, 0.01, 0.05, 20, "mug_simple", 0.0)
    assert values("retrieval-lsmdc") == (12, 32, 128, 2e-6, 1e-5, 0.1, 0.03, 100, "mug_simple", 0.0)
    webvid = "post-pretrain-webvid"
    assert values(f"{webvid}-10m") == (8, 64, 1152, 4e-6, 4e-5, 0.05, 0.01, 4, "mug_simple", 0.0)
    assert values(f"{webvid}-2m", "clip-l14") == (8, 64, 416, 2e-6, 2e-5, 0.05, 0.01, 1, "plain", 0.7)


# ---- going on


def weights_of(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "encoder" / "encoder.safetensors")


def told(output: Path) -> list[dict]:
    """All that a run says about itself, how fast it was excepted."""
    return [{k: v for k, v in row.items() if k != "tokens_per_second"} for row in rows_of(output / "retrieval")]


def test_a_run_goes_on_with_other_threads_to_the_same_bits(
    small: Small, data_set: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at five places, in the middle of epochs, with a clip that cannot be read; paths are dropped, patches hidden."""
    data, recipe = data_set("msrvtt"), "retrieval-msrvtt-9k"
    (data / "videos/all/video1.mp4").write_text("no video")
    lengths = {"batch_size": 6, "accumulate": 2, "epochs": 3, "save_every": 1, "mask": 0.4, "max_unreadable": 0.5}
    small(**lengths)
    assert run(recipe, data, tmp_path / "whole") == 0
    batches = 2 * told(tmp_path / "whole")[-1]["step"]
    loss = VideoTextTask.loss
    for place, stop in enumerate(sorted(random.Random(2).sample(range(1, batches), 5))):
        output = tmp_path / f"stopped-{stop}"

        def stopping(task: VideoTextTask, number: int, stop: int = stop) -> object:
            if number == stop:
                raise KeyboardInterrupt
            return loss(task, number)

        small(**lengths, workers=(0, 1, 3)[place % 3])
        with monkeypatch.context() as patch:
            patch.setattr(VideoTextTask, "loss", stopping)
            assert run(recipe, data, output) == 130
        assert not (output / "encoder").exists()
        small(**lengths, workers=(1, 3, 0)[place % 3])
        assert run(recipe, data, output, "--resume") == 0
        whole, again = weights_of(tmp_path / "whole"), weights_of(output)
        assert all(torch.equal(whole[name], again[name]) for name in whole)
        assert told(output) == told(tmp_path / "whole")
        assert (output / "ledger.jsonl").read_text() == (tmp_path / "whole/ledger.jsonl").read_text() != ""


def test_no_other_training_goes_on_in_the_folder(
    small: Small, data_set: DataSet, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data, recipe = data_set("msrvtt"), "retrieval-msrvtt-9k"
    assert run(recipe, data, tmp_path / "run") == 0
    before = (tmp_path / "run/recipe.json").read_text()
    refused(capsys, run(recipe, data, tmp_path / "run"), "holds a training already. Add --resume")
    small(lr=1.0, workers=1, log_every=3)
    refused(capsys, run(recipe, data, tmp_path / "run", "--resume"), "holds another training: lr was 2e-06, is 1.0. ")
    small()
    annotations = (data / "MSRVTT_data.json").read_text()
    (data / "MSRVTT_data.json").write_text(annotations.replace("a dog runs", "a dog walks"))
    refused(capsys, run(recipe, data, tmp_path / "run", "--resume"), "holds another training: data_sha256 was")
    assert (tmp_path / "run/recipe.json").read_text() == before


def test_classes_in_another_order_are_another_training(
    small: Small, data_set: DataSet, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The rows of a learned head stand in that order."""
    data, recipe = data_set("ssv2"), "recognition-ssv2"
    assert run(recipe, data, tmp_path / "run") == 0
    labels = json.loads((data / "labels/labels.json").read_text())
    (data / "labels/labels.json").write_text(json.dumps(dict(zip(labels, reversed(labels.values()), strict=True))))
    refused(capsys, run(recipe, data, tmp_path / "run", "--resume"), "holds another training: data_sha256 was")


def test_a_trained_encoder_is_a_start(
    small: Small, data_set: DataSet, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """With nothing to learn (rates of zero) the result is the start; another tower's is refused."""
    start = tmp_path / "start"
    torch.manual_seed(7)
    save_encoder(start, create_encoder("clip-b16"), preset="clip-b16")
    small(lr=0, branch_lr=0)
    arguments = ("--init", str(start), "--tower", "clip-b16")
    assert run("retrieval-lsmdc", data_set("lsmdc"), tmp_path / "run", *arguments) == 0
    before, after = load_file(start / "encoder.safetensors"), weights_of(tmp_path / "run")
    assert all(torch.equal(before[name], after[name]) for name in before)
    torch.manual_seed(8)
    save_encoder(start, create_encoder("clip-b16"), preset="clip-b16")
    code = run("retrieval-lsmdc", tmp_path / "lsmdc", tmp_path / "run", *arguments, "--resume")
    refused(capsys, code, "holds another training: start_sha256 was")
    code = run("retrieval-lsmdc", tmp_path / "lsmdc", tmp_path / "other", "--init", str(start))
    refused(
        capsys, code, "start holds a clip-b16, the recipe trains a clip-b32: choose another folder, or --tower clip"
    )
    code = run("retrieval-lsmdc", tmp_path / "lsmdc", tmp_path / "other", "--init", str(tmp_path))
    refused(capsys, code, "expected the folder of an encoder with config.json to start from")
    assert not (tmp_path / "other").exists()


# ---- what it is good for


def test_the_result_is_measured_as_it_was_trained(
    small: Small, data_set: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retrieval of the test set with the trained number of frames; and a linear head that the evaluation finds."""
    monkeypatch.setattr(retriever, "find_runtime", Runtime)
    data = data_set("msrvtt")
    assert run("retrieval-msrvtt-9k", data, tmp_path / "run") == 0
    command = ["--model", str(tmp_path / "run/encoder"), "--output", str(tmp_path / "measured")]
    assert evaluate(["msrvtt", "--data", str(data), *command]) == 0
    said = json.loads((tmp_path / "measured/run.json").read_text())
    assert (said["num_frames"], said["mode"]) == (12, "mug_simple")

    data = data_set("ucf101")
    small(head="linear", head_lr=0.01, epochs=3)
    assert run("recognition-ucf101", data, tmp_path / "classes") == 0
    head = load_file(tmp_path / "classes/encoder/class_head.safetensors")
    assert head["weight"].abs().max() > 0
    shutil.copy(data / "videos/YoYo/v_YoYo_g00_c01.avi", data / "videos/YoYo/v_YoYo_g99_c01.avi")
    command = ["--model", str(tmp_path / "classes/encoder"), "--output", str(tmp_path / "scores")]
    assert evaluate(["ucf101", "--data", str(data), *command]) == 0
    (row,) = [json.loads(line) for line in (tmp_path / "scores/answers.jsonl").open()]
    watcher = retriever.load_retriever(str(tmp_path / "classes/encoder"))
    seen = watcher.watch(data / "videos/YoYo/v_YoYo_g99_c01.avi").mean(0)
    scores = head["weight"] @ torch.nn.functional.normalize(seen, dim=0) + head["bias"]
    assert row["top"] == pytest.approx(dict(zip(("ApplyEyeMakeup", "YoYo"), scores.tolist(), strict=True)), abs=1e-5)


# ---- before it starts


def test_a_dry_run_tells_all_and_leaves_no_trace(
    small: Small, data_set: DataSet, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data = data_set("ucf101")
    before = sorted(tmp_path.rglob("*"))
    small(batch_size=4, accumulate=2, epochs=3)
    assert run("recognition-ucf101", data, tmp_path / "run", "--dry-run") == 0
    text = capsys.readouterr().out
    for line in (
        "training recognition, nothing is trained or written",
        '  head = "names"',
        f"data: ucf101, train in {data}",
        "  train: 4 videos with 4 texts",
        "  held out: 2 videos",
        "  classes: 2",
        "  missing: 0 of 6 videos that were looked for",
        "recognition: 3 steps of 2 x 2 media, 3.0 times all 4 to learn from",
        "encoder.backbone.text",
        "  memory: about",
    ):
        assert line in text, line
    (data / "videos/YoYo/v_YoYo_g00_c01.avi").unlink()
    before.remove(data / "videos/YoYo/v_YoYo_g00_c01.avi")
    assert run("recognition-ucf101", data, tmp_path / "run", "--dry-run") == 1
    text = capsys.readouterr().out
    assert (
        "missing: 1 of 6 videos that were looked for, the training would not start\n    videos/YoYo/v_YoYo_g00" in text
    )
    small(max_unreadable=0.2)
    assert run("recognition-ucf101", data, tmp_path / "run", "--dry-run") == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_what_a_recipe_says_reaches_whoever_does_it(small: Small, data_set: DataSet, tmp_path: Path) -> None:
    small(
        batch_size=6, accumulate=2, epochs=2, warmup_epochs=1.5, seed=3, gradient_checkpointing=True, autocast="", mask=0.4,
        crop_area=0.3, max_unreadable=0.25, caption_words=9, similarity="mug", temperature=0.2, max_grad_norm=0.7,
    )  # fmt: skip
    options = {"tower": None, "init": None}
    plan = contrast.plan_contrast("retrieval", "retrieval-msrvtt-9k", data_set("msrvtt"), tmp_path / "run", **options)
    trainee, task, batches, loop = plan.setup.trainee, plan.task, plan.task.batches, plan.setup.loop
    assert trainee.encoder.branch.recompute
    assert (trainee.autocast, trainee.mask, trainee.seed) == (None, 0.4, 3)
    assert (task.max_words, task.similarity, task.temperature) == (9, "mug", 0.2)
    assert (loop.steps, loop.warmup, loop.accumulate, loop.max_grad_norm, loop.seed) == (3, 2, 2, 0.7, 3), "of 8 texts"
    assert (batches.draw.count, batches.draw.batch_size, batches.draw.seed, batches.total) == (8, 3, 3, 6)
    assert (batches.frames.crop_area, task.held_out.frames.crop_area) == (0.3, 1.0)
    assert batches.unreadable.limit == 0.25
    assert {group["lr"] for group in task.groups} == {2e-6, 2e-5}
    small()
    plan = recognition.plan_recognition("recognition-ssv2", data_set("ssv2"), tmp_path / "run", **options)
    assert [group["lr"] for group in plan.task.groups] == [5e-6, 5e-6, 5e-5, 5e-5, 1e-3, 1e-3], (
        "the head's are the last"
    )


def test_activations_are_those_of_this_processs_share(small: Small, data_set: DataSet, tmp_path: Path) -> None:
    """Whatever the forward keeps once, such as weights in bf16, is not counted for each sample."""
    small(batch_size=50, num_frames=1)
    options = {"tower": None, "init": None}
    plan = recognition.plan_recognition("recognition-ucf101", data_set("ucf101"), tmp_path / "run", **options)
    setup = plan.setup
    assert setup.trainee.autocast == torch.bfloat16
    expected = activation_bytes(lambda: setup.trainee.watch(setup.blank(50)))
    assert plan.activations() == pytest.approx(expected, rel=0.05)


def test_missing_videos_stop_it_before_it_starts(
    small: Small, data_set: DataSet, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data = data_set("kinetics400")
    for path in data.glob("train/*"):
        path.unlink()
    code = run("recognition-kinetics400", data, tmp_path / "run")
    refused(capsys, code, f"6 of 6 videos that were looked for are missing in {data}, more than the share")
    assert not (tmp_path / "run").exists()


def test_our_own_files_are_data_too(small: Small, tmp_path: Path, clips: list[Path]) -> None:
    rows = [
        {"video": str(path), "captions": [f"Clip {i}.", "A wave."], "split": "train" if i < COUNT - 1 else "test"}
        for i, path in enumerate(clips)
    ]
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = [{"video": str(path), "label": "odd" if i % 2 else "even"} for i, path in enumerate(clips)]
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    small(dataset="jsonl", split="train")
    assert run("retrieval-msrvtt-9k", tmp_path / "captions.jsonl", tmp_path / "retrieval") == 0
    assert run("recognition-ucf101", tmp_path / "labels.jsonl", tmp_path / "recognition") == 0
