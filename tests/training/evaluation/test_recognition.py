"""Recognition with an encoder of toy size: scores are those that a hand computes from its features."""

import json
import shutil
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from benchmarks.clip import write_clip
from bridge.runtime import Runtime
from encoder.backbones.wheel_weights import text_tokenizer
from encoder.model import MugSTAN
from encoder.presets import ENCODERS, TOKENIZERS
from encoder.video import VideoFrames, read_frames
from tests.training.evaluation.tiny import tiny_encoder
from training.engine.files import ResumeError
from training.evaluation import recognition, retriever
from training.evaluation.__main__ import main
from training.evaluation.action_prompts import TEMPLATES, prompts, words
from training.evaluation.benchmarks import benchmark_by_name
from training.evaluation.recognition import ActionWatcher
from training.evaluation.report import Report
from training.evaluation.run import RunConfig, UsageError, run
from training.evaluation.statistics import cluster_bootstrap

DATASETS = Path(__file__).parents[1] / "data" / "datasets"
LABELS = ("climbing", "jump_rope", "RideHorse", "swim", "wave", "yawn", "zip up")
ROWS = [{"video": f"clip{i}.mp4", "label": label} for i, label in enumerate(LABELS)]
once_read = cache(read_frames)
Examine = Callable[..., tuple[Report, list[dict]]]


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENCODERS, "tiny", tiny_encoder)
    monkeypatch.setitem(TOKENIZERS, "tiny", TOKENIZERS["mini"])
    monkeypatch.setattr(retriever, "find_runtime", Runtime)
    for module in (retriever, recognition):
        monkeypatch.setattr(module, "read_frames", once_read)


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips that differ in shape and length, and a file that is no video."""
    folder = tmp_path_factory.mktemp("actions")
    for i in range(len(LABELS)):
        write_clip(folder / f"clip{i}.mp4", seconds=0.4 + 0.3 * i, width=64 + 32 * (i % 3), height=64 + 16 * (i % 2))
    (folder / "broken.mp4").write_text("not a video")
    return folder


@pytest.fixture
def examine(media: Path, tmp_path: Path) -> Examine:
    """Run on rows about `media` in tmp_path/run: the report and the rows of answers.jsonl."""

    def examined(rows: list[dict] = ROWS, *, views: int = 1, output: str = "run", **settings: object) -> tuple:
        data = media / f"{tmp_path.name}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        config = RunConfig(
            **{"data": data, "model": "tiny", "output": tmp_path / output, "controls": ("full",), **settings}
        )
        report = run(benchmark_by_name("recognition"), config, load=partial(ActionWatcher.load, views=views))
        return report, rows_of(tmp_path / output)

    return examined


def rows_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]


@torch.no_grad()
def by_hand(path: Path, classes: list[str], *, views: int = 1) -> dict[str, float]:
    """Class -> cosine, one prompt and one view after the other."""
    encoder, tokenizer = tiny_encoder(), text_tokenizer()
    pixels = once_read(path, 8 * views, start=None, end=None).pixels
    seen = [
        normalize(encoder.encode_video(encoder.backbone.transform(pixels[v * 8 : v * 8 + 8])[None]).video[0], dim=0)
        for v in range(views)
    ]
    scores = {}
    for name in classes:
        said = []
        for prompt in prompts(name):
            batch = tokenizer([prompt], return_tensors="pt")
            said.append(normalize(encoder.encode_text(batch["input_ids"], batch["attention_mask"]).sentence[0], dim=0))
        mean = normalize(torch.stack(said).mean(0), dim=0)
        scores[name] = sum(float(view @ mean) for view in seen) / views
    return scores


@pytest.mark.parametrize("views", [1, 3])
def test_scores_are_cosines_with_averaged_prompts_over_averaged_views(
    examine: Examine, media: Path, views: int
) -> None:
    report, rows = examine(views=views)
    assert {row["id"] for row in rows} == {row["video"] for row in ROWS}
    hits = {1: 0, 5: 0}
    for row in rows:
        scores = by_hand(media / row["video"], sorted(LABELS), views=views)
        order = sorted(scores, key=scores.__getitem__, reverse=True)
        assert list(row["top"]) == order[:5]
        assert list(row["top"].values()) == pytest.approx([scores[name] for name in order[:5]], abs=1e-5)
        assert (row["prediction"], row["status"], row["control"]) == (order[0], "ok", "full")
        assert row["rank"] == 1 + order.index(row["label"])
        for k in hits:
            hits[k] += row["rank"] <= k
    full = report.summaries["full"]
    assert (full["top1"], full["top5"]) == (pytest.approx(hits[1] / 7), pytest.approx(hits[5] / 7))
    assert 0 < hits[5] < 7, "some are found and some are not"
    assert (full["n"], full["failed"]) == (7, 0)
    assert set(full["ci95"]) == {"top1", "top5"}
    assert full["groups"]["class"]["mean"] == pytest.approx(full["top1"]), "of a video each"


def test_views_are_other_frames_of_the_video(examine: Examine) -> None:
    one, three = (examine(views=views, output=f"views{views}")[1] for views in (1, 3))
    assert [row["top"] for row in one] != [row["top"] for row in three]


def test_classes_that_are_said_alike_share_the_middle_rank(examine: Examine) -> None:
    """jump_rope, JumpRope and "jump rope" are one sentence: none is found rather than another."""
    rows = [{"video": f"clip{i}.mp4", "label": name} for i, name in enumerate(("jump_rope", "JumpRope", "jump rope"))]
    report, answers = examine(rows)
    assert [row["rank"] for row in answers] == [2.0] * 3
    assert report.summaries["full"]["top1"] == 0.0
    assert report.summaries["full"]["top5"] == 1.0


def test_a_failed_video_is_wrong_and_told_apart(examine: Examine) -> None:
    whole = examine(output="whole")[0].summaries["full"]
    rows = [*ROWS, {"video": "broken.mp4", "label": "wave"}, {"video": "gone.mp4", "label": "wave"}]
    report, answers = examine(rows)
    full = report.summaries["full"]
    assert (full["n"], full["failed"]) == (9, 2)
    assert full["top5"] == pytest.approx(whole["top5"] * 7 / 9)
    failed = [row for row in answers if row["status"] == "failed"]
    assert {row["id"] for row in failed} == {"broken.mp4", "gone.mp4"}
    assert all(row["reason"] and row["top"] == {} and row["prediction"] is None for row in failed)


def test_a_stopped_run_goes_on_and_ends_the_same(
    examine: Examine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = examine(output="whole")[1]
    watched: list[str] = []

    def stop_at_the_fourth(path: Path, count: int, **span: object) -> VideoFrames:
        watched.append(path.name)
        if len(watched) == 4:
            raise KeyboardInterrupt
        return once_read(path, count, **span)

    monkeypatch.setattr(recognition, "read_frames", stop_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        examine()
    assert rows_of(tmp_path / "run") == rows[:3]
    assert examine()[1] == rows, "bit for bit"
    assert len(watched) == 8, "the one in flight was watched twice, and no other"
    assert (tmp_path / "run/summary.json").read_bytes() == (tmp_path / "whole/summary.json").read_bytes()


def test_another_run_is_refused(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    examine()
    with pytest.raises(ResumeError, match="num_frames was 8, is 16"):
        examine(views=2)
    with pytest.raises(ResumeError, match="data_sha256 was"):
        examine([*ROWS[:-1], ROWS[-1] | {"label": "other"}])

    def other() -> MugSTAN:
        encoder = tiny_encoder()
        encoder.backbone.text_head.fc2.bias[0] += 1e-3
        return encoder

    monkeypatch.setitem(ENCODERS, "tiny", other)
    with pytest.raises(ResumeError, match="model_sha256 was"):
        examine()


def test_controls_change_what_is_seen(examine: Examine) -> None:
    controls = ("full", "single_frame", "reversed", "branch_off")
    report, rows = examine(controls=controls)
    assert list(report.summaries) == list(controls)
    top = {control: [row["top"] for row in rows if row["control"] == control] for control in controls}
    assert all(top["full"] != top[control] for control in controls[1:])
    with pytest.raises(UsageError, match="no_video leaves nothing to compare with the classes"):
        examine(controls=("full", "no_video"), output="blind")


def test_a_part_of_a_video_is_watched_alone(examine: Examine) -> None:
    whole = {"video": "clip6.mp4", "label": "swim"}
    _, rows = examine([whole, whole | {"start": 0.0, "end": 0.5, "label": "wave"}])
    top = {row["id"]: row["top"] for row in rows}
    assert top.keys() == {"clip6.mp4", "clip6.mp4:0.0-0.5"}
    assert len({json.dumps(scores) for scores in top.values()}) == 2


# ---- the commands, on their owners' files


def made(name: str, folder: Path, clip: Path) -> Path:
    """A copy of a miniature with a clip wherever its test split names a video."""
    shutil.copytree(DATASETS / name, folder)
    for item in benchmark_by_name(name).read(folder):
        (folder / item.video).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, folder / item.video)
    return folder


@pytest.mark.parametrize(("name", "number"), [("kinetics400", 3), ("ssv2", 2), ("hmdb51", 3), ("ucf101", 3)])
def test_the_command_of_a_data_set(
    name: str, number: int, media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = made(name, tmp_path / "data", media / "clip2.mp4")
    command = [name, "--data", str(data), "--model", "tiny", "--output", str(tmp_path / "run"), "--views", "2"]
    assert main(command) == 0
    table = capsys.readouterr().out
    assert table.startswith("| control | top1 (95 % interval) | top5 (95 % interval) | n | failed | unparsed |")
    full = json.loads((tmp_path / "run/summary.json").read_text())["full"]
    assert (full["n"], full["failed"]) == (number, 0)
    assert full["top5"] == 1.0, "of no more than five classes"
    assert (tmp_path / "run/confusion.png").read_bytes().startswith(b"\x89PNG")
    before = (tmp_path / "run/answers.jsonl").read_bytes()
    assert main(command) == 0
    assert (tmp_path / "run/answers.jsonl").read_bytes() == before
    assert capsys.readouterr().out == table


def test_intervals_resample_recordings(media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six clips of UCF-101 of one group and six of six; they look alike, so that all of one class are found."""
    names = [f"ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c0{i}.avi" for i in range(6)]
    names += [f"YoYo/v_YoYo_g0{i}_c01.avi" for i in range(6)]
    shutil.copytree(DATASETS / "ucf101", tmp_path / "data")
    (tmp_path / "data/ucfTrainTestlist/testlist01.txt").write_text("".join(f"{name}\n" for name in names))
    for name in names:
        (tmp_path / "data/videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data/videos" / name).write_text("a video")
    monkeypatch.setattr(recognition, "read_frames", lambda path, n, **span: once_read(media / "clip2.mp4", n, **span))
    data = tmp_path / "data"
    assert main(["ucf101", "--data", str(data), "--model", "tiny", "--output", str(tmp_path / "run")]) == 0
    full = json.loads((tmp_path / "run/summary.json").read_text())["full"]
    values = [float(row["rank"] <= 1) for row in rows_of(tmp_path / "run")]
    assert sum(values) == 6
    groups = [row["id"].rsplit("_", 1)[0] for row in rows_of(tmp_path / "run")]
    assert full["ci95"]["top1"] == pytest.approx(cluster_bootstrap(values, groups, seed=0))
    assert full["ci95"]["top1"] != pytest.approx(cluster_bootstrap(values, names, seed=0))


def test_another_split_is_an_option(
    media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    data = made("hmdb51", tmp_path / "data", media / "clip2.mp4")
    command = ["hmdb51", "--data", str(data), "--model", "tiny", "--output", str(tmp_path / "run"), "--split"]
    assert main([*command, "2"]) == 1, "its videos are not there"
    assert "3 of 3 videos are missing" in caplog.text
    assert json.loads((tmp_path / "run/run.json").read_text())["benchmark"] == "hmdb51_split2"
    assert main([*command, "1"]) == 1
    assert "benchmark was 'hmdb51_split2', is 'hmdb51'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command, "4"])


def test_shards_merge_and_runs_are_compared(
    media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = made("kinetics400", tmp_path / "data", media / "clip2.mp4")

    def command(output: str, *more: str) -> list[str]:
        return ["kinetics400", "--data", str(data), "--model", "tiny", "--output", str(tmp_path / output), *more]

    assert main(command("whole")) == 0
    table = capsys.readouterr().out
    assert [main(command(f"part{i}", "--shard", f"{i}/2")) for i in (1, 2)] == [0, 0]
    capsys.readouterr()
    assert main(["merge", *(str(tmp_path / f"part{i}") for i in (2, 1)), "--output", str(tmp_path / "merged")]) == 0
    assert capsys.readouterr().out == table

    def other() -> MugSTAN:
        encoder = tiny_encoder()
        encoder.backbone.text_head.fc2.weight.neg_()
        return encoder

    monkeypatch.setitem(ENCODERS, "tiny", other)
    assert main(command("other")) == 0
    capsys.readouterr()
    assert main(["compare", str(tmp_path / "whole"), str(tmp_path / "other")]) == 0
    assert capsys.readouterr().out.startswith("top1: ")


def test_controls_that_ask_in_words_are_no_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["ssv2", "--data", str(tmp_path), "--output", str(tmp_path / "run"), "--controls", "full,no_video"])
    assert "Known controls: full, single_frame, shuffled, reversed, branch_off" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["ssv2", "--data", str(tmp_path), "--output", str(tmp_path / "run"), "--views", "0"])
    assert "expected a number of 1 or more, got '0'" in capsys.readouterr().err


# ---- the sentences


def test_templates_are_different_sentences_about_the_name() -> None:
    assert len(set(TEMPLATES)) == len(TEMPLATES) > 8
    assert all(template.count("{}") == 1 for template in TEMPLATES)
    assert [prompt.replace("brush hair", "{}") for prompt in prompts("brush_hair")] == list(TEMPLATES)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ApplyEyeMakeup", "apply eye makeup"), ("YoYo", "yo yo"), ("brush_hair", "brush hair"),
        ("massaging person's head", "massaging person's head"), ("Putting [x] on a surface", "putting [x] on a surface"),
        ("using remote controller (not gaming)", "using remote controller (not gaming)"), ("A  b", "a b"),
    ],
)  # fmt: skip
def test_names_of_classes_in_words(name: str, said: str) -> None:
    assert words(name) == said


def test_a_damaged_class_head_is_an_error_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.evaluation.recognition.load_retriever", lambda _: None)
    assert ActionWatcher.load(str(tmp_path)).head is None
    (tmp_path / "class_head.safetensors").write_bytes(b"no tensors")
    with pytest.raises(
        retriever.EncoderError, match=r"cannot load .*class_head\.safetensors: .*Train it anew, or delete it\."
    ):
        ActionWatcher.load(str(tmp_path))
