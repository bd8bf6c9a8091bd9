"""The commands of docs/REPRODUCTION.md on a data folder of the same layout, in toy size, with mini itself."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.clip import write_clip
from training import recipe
from training.reproduction.__main__ import main
from training.reproduction.variants import CLAIMS, MISALIGNED

COLOURS = ("red", "green", "blue", "yellow", "white", "black")
SHRUNK = {
    "head_steps": "2", "head_batch": "4", "branch_steps": "5", "branch_batch": "4", "filmed_pictures": "2",
    "branch_accumulate": "2", "num_frames": "4",
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the claims read."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)

    def pictures(file: str, splits: list[str]) -> None:
        folder = (root / file).parent
        folder.mkdir(parents=True, exist_ok=True)
        rows = []
        for number, split in enumerate(splits):
            colour = COLOURS[number % len(COLOURS)]
            noise = rng.integers(0, 255, (64, 64, 3)).astype(np.uint8)
            Image.fromarray(noise).save(folder / f"{number}.png")
            rows.append(
                {"image": f"{number}.png", "captions": [f"a {colour} wall", f"wall in {colour}"], "split": split}
            )
        (root / file).write_text("".join(json.dumps(row) + "\n" for row in rows))

    pictures("flickr8k/captions.jsonl", ["train"] * 4 + ["val"] * 2 + ["test"] * 4)
    pictures("coco/annotations.jsonl", ["train"] * 2)
    pictures("imagenet_samples/annotations.jsonl", ["train"] * 2)
    for folder in ("clips/web", "clips/fight", "clips/exercise_typing", "dev_clips"):
        (root / folder).mkdir(parents=True)
    for number, name in enumerate(["clips/web/0", "clips/web/1", "dev_clips/0", "dev_clips/1"]):
        write_clip(root / f"{name}.mp4", seconds=0.5, width=96 + 16 * number, height=64)
    rows("clips/web.jsonl", root, [{"video": f"web/{i}.mp4", "caption": f"Mirrors {i}.", "detail": "It turns."} for i in (0, 1)])  # fmt: skip
    labels = []
    for name, classes in (("fight", ("fight", "no fight")), ("exercise_typing", ("doing exercises", "typing"))):
        for number in range(10):
            video = f"{name}/{number % 2}_{10 * number:03d}.mp4"
            (root / "clips" / video).write_bytes((root / "clips" / "web" / f"{number % 2}.mp4").read_bytes())
            labels.append({"video": video, "label": classes[number % 2], "set": name})
    rows("clips/labels.jsonl", root, labels)
    rows("dev_clips/retrieval.jsonl", root, [{"video": f"{i}.mp4", "caption": f"Mirror {i}."} for i in (0, 1)])
    order = {"question": "What happens first?", "candidates": ["A dog runs.", "Snow falls."]}
    rows("dev_clips/order_2afc.jsonl", root, [{"id": str(i), "video": f"{i}.mp4", "answer": i} | order for i in (0, 1)])
    return root


def rows(file: str, root: Path, content: list[dict]) -> None:
    (root / file).write_text("".join(json.dumps(row) + "\n" for row in content))


@pytest.fixture(scope="module")
def runs(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All variants, trained for a few steps by their own recipes."""
    recipes = tmp_path_factory.mktemp("recipes")
    for variant in (*CLAIMS, *MISALIGNED):
        text = (recipe.RECIPES / f"{variant.recipe}.toml").read_text()
        for key, value in SHRUNK.items():
            text = re.sub(rf"^{key} = (?!0\b).*$", f"{key} = {value}", text, flags=re.MULTILINE)
        (recipes / f"{variant.recipe}.toml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "RECIPES", recipes)
        patch.setattr("training.reproduction.claims.NUM_FRAMES", 4)
        assert main(["train", *arguments(root, root / "runs")]) == 0
    return root / "runs"


def arguments(root: Path, runs: Path) -> list[str]:
    return ["--data", str(root), "--runs", str(runs), "--features", str(root / "features"), "--seeds", "0"]


@pytest.mark.parametrize("claim", ["order", "camera", "retrieval", "misalignment", "actions"])
def test_every_claim_becomes_a_table(
    claim: str, root: Path, runs: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.reproduction.claims.NUM_FRAMES", 4)
    capsys.readouterr()
    assert main([claim, *arguments(root, runs)]) == 0
    printed = capsys.readouterr().out
    assert printed == (runs / f"{claim}.md").read_text()
    variants = MISALIGNED if claim == "misalignment" else CLAIMS
    first, *others = variants
    titles = [line.split(" | ")[0].removeprefix("| ") for line in printed.splitlines() if line and "---" not in line]
    names = [variant.name for variant in variants]
    assert titles == ["", *names, "", *(f"{variant.name} - {first.name}" for variant in others)]
    for mean, low, high in re.findall(r"(?<![-+.\d])([.\d]+) \(([.\d]+)-([.\d]+)\)", printed):
        assert 0 <= float(low) <= float(mean) <= float(high) <= 1
    found = json.loads((runs / f"{claim}.json").read_text())
    assert list(found["runs"]) == [f"{variant.recipe}-0" for variant in variants]


def test_what_was_measured_makes_the_same_table_without_runs_and_data(
    root: Path, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.reproduction.claims.NUM_FRAMES", 4)
    assert main(["order", *arguments(root, runs)]) == 0
    (tmp_path / "order.json").write_bytes((runs / "order.json").read_bytes())
    capsys.readouterr()
    assert main(["order", *arguments(tmp_path / "nowhere", tmp_path)]) == 0
    assert capsys.readouterr().out == (runs / "order.md").read_text()
    assert main(["order", *arguments(tmp_path / "nowhere", tmp_path)[:-1], "1"]) == 1
    assert "expected a finished run" in capsys.readouterr().err


def test_the_cost_is_counted_and_timed(
    root: Path, runs: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.reproduction.cost.ROUNDS", 1)
    monkeypatch.setattr("training.reproduction.claims.NUM_FRAMES", 2)
    assert main(["cost", *arguments(root, runs)]) == 0
    found = json.loads((runs / "cost.json").read_text())
    assert 0 < found["branch"]["gflop"] < found["frame mean"]["gflop"]
    assert found["branch"]["parameters"] == pytest.approx(10e6, rel=0.1)


def test_finished_runs_are_left_alone_and_missing_ones_are_named(
    root: Path, runs: Path, capsys: pytest.CaptureFixture
) -> None:
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*.safetensors")}
    assert main(["train", *arguments(root, runs)]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in runs.rglob("*.safetensors")}
    capsys.readouterr()
    assert main(["order", *arguments(root, root / "elsewhere")]) == 1
    assert "error: " in capsys.readouterr().err
