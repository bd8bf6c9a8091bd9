"""Videos with a class in their owners' files: what is read of a miniature of each layout, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from training.data.datasets import hmdb51, kinetics400, ours, ssv2, ucf101
from training.data.datasets.clips import LabelledVideo
from training.data.jsonl import DataError

Golden = Callable[..., Path]
Touch = Callable[..., None]


# ---- Kinetics-400


def test_kinetics_names_files_by_their_seconds(golden: Golden, touch: Touch) -> None:
    root = golden("kinetics400")
    touch(root, "val/air_drumming/_dbcJuKJQNs_000040_000050.mp4", "videos/0123456789a_000000_000010.mkv")
    found = kinetics400.read(root)
    assert found.classes == ("abseiling", "air drumming", "playing cards, poker", "zumba"), "of all tables"
    assert found.videos == (
        LabelledVideo(
            video="val/-3B32lodo2M_000059_000069.mp4", label="abseiling", split="val", source="-3B32lodo2M"
        ),
        LabelledVideo(
            video="val/air_drumming/_dbcJuKJQNs_000040_000050.mp4", label="air drumming", split="val",
            source="_dbcJuKJQNs",
        ),
        LabelledVideo(
            video="videos/0123456789a_000000_000010.mkv", label="playing cards, poker", split="val",
            source="0123456789a",
        ),
    )  # fmt: skip
    assert [video.video for video in kinetics400.read(root, "train").videos] == [
        "train/---QUuC4vJs_000084_000094.mp4", "train/4bykO3BeJDU_000120_000130.mp4"
    ]  # fmt: skip


def test_kinetics_in_its_list_form(golden: Golden) -> None:
    found = kinetics400.read(golden("kinetics400_list"))
    assert found.classes == ("air drumming", "abseiling", "zumba")
    assert [(video.video, video.label) for video in found.videos] == [
        ("videos_val/jf7RDuUTrsQ_000325_000335.mp4", "abseiling"),
        ("videos_val/air drumming/JTlatknwOrY_000301_000311.mp4", "air drumming"),
    ]


@pytest.mark.parametrize(
    ("layout", "file", "change", "message"),
    [
        ("kinetics400", "val.csv", (",59,69,", ",x,69,"), r"val\.csv:2: expected a number in 'time_start', got 'x'"),
        ("kinetics400", "val.csv", ("validate", "train"), r"val\.csv:3: expected one of val, validate in 'split', got 'train'"),
        ("kinetics400", "val.csv", ("abseiling", " "), r"val\.csv:2: expected text in 'label'"),
        ("kinetics400", "val.csv", ("label,", "class,"), r"val\.csv:1: missing \['label'\]"),
        ("kinetics400", "val.csv", None, r"/val\.csv: no such file, nor annotations/val\.csv"),
        ("kinetics400_list", "kinetics400_val_list_videos.txt", ("mp4 1", "mp4 3"), r"videos\.txt:1: expected 'path index' with an index from 0 to 2"),
        ("kinetics400_list", "kinetics400_val_list_videos.txt", ("mp4 0", "mp4"), r"videos\.txt:2: expected 'path index'"),
        ("kinetics400_list", "label_map_k400.txt", ("zumba", "abseiling"), r"the class 'abseiling' comes twice"),
    ],
)  # fmt: skip
def test_broken_kinetics(golden: Golden, layout: str, file: str, change: tuple[str, str] | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        kinetics400.read(golden(layout, {file: change}))


# ---- Something-Something V2


def test_ssv2_takes_the_brackets_out_of_templates(golden: Golden) -> None:
    """Classes stand in the order of their indices, which is not that of the file."""
    root = golden("ssv2")
    found = ssv2.read(root)
    assert found.classes == (
        "Approaching something with your camera",
        "Pretending to pour something out of something, but something is empty",
        "Putting something next to something",
    )
    assert found.videos == (
        LabelledVideo(
            video="20bn-something-something-v2/74225.webm", label=found.classes[2], split="validation",
            captions=("putting spoon next to mug",),
        ),
        LabelledVideo(
            video="20bn-something-something-v2/116154.webm", label=found.classes[1], split="validation",
            captions=("pretending to pour water out of a bottle, but bottle is empty",),
        ),
    )  # fmt: skip
    assert [video.label for video in ssv2.read(root, "train").videos] == ["Approaching something with your camera"]


def test_ssv2_under_its_older_names(golden: Golden, touch: Touch) -> None:
    root = golden("ssv2")
    for part in ("labels", "validation"):
        (root / f"labels/{part}.json").rename(root / f"something-something-v2-{part}.json")
    touch(root, "videos/74225.mp4")
    assert [video.video for video in ssv2.read(root).videos][0] == "videos/74225.mp4"


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("labels/validation.json", ("Putting [something]", "Placing [something]"), r"validation\.json:2: row 1: expected brackets around some words of a class"),
        ("labels/validation.json", ('"116154"', '"74225"'), r"the video '20bn-something-something-v2/74225\.webm' comes twice"),
        ("labels/validation.json", ('"template": "Pre', '"form": "Pre'), r"validation\.json:11: row 2: missing \['template'\]"),
        ("labels/labels.json", ('"2"', '"3"'), r"labels\.json:1: expected every index from 0 to 2 once, got \['2', '3'\]"),
        ("labels/labels.json", None, r"labels/labels\.json: no such file, nor something-something-v2-labels\.json"),
    ],
)  # fmt: skip
def test_broken_ssv2(golden: Golden, file: str, change: tuple[str, str] | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ssv2.read(golden("ssv2", {file: change}))


# ---- HMDB-51


def test_hmdb_marks_train_1_and_test_2_in_three_splits(golden: Golden, touch: Touch) -> None:
    root = golden("hmdb51")
    touch(root, "wave/21_wave_u_nm_np1_fr_goo_5.avi")
    found = hmdb51.read(root)
    assert found.classes == ("brush_hair", "wave")
    first = LabelledVideo(
        video="videos/brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_1.avi", label="brush_hair", split="test",
        source="brush_hair/April_09",
    )  # fmt: skip
    assert found.videos[0] == first
    assert [(video.video, video.source) for video in found.videos[1:]] == [
        ("videos/brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_2.avi", first.source),
        ("wave/21_wave_u_nm_np1_fr_goo_5.avi", "wave/21"),
    ]
    assert [Path(video.video).name for video in hmdb51.read(root, "train").videos] == [
        "April_09_brush_hair_u_nm_np1_ba_goo_0.avi", "winKen_#2_wave_u_cm_np1_fr_med_1.avi"
    ]  # fmt: skip
    assert [Path(video.video).name for video in hmdb51.read(root, fold=2).videos] == [
        "April_09_brush_hair_u_nm_np1_ba_goo_0.avi",
        "brush_my_hair_without_wearing_the_glasses_brush_hair_u_nm_np1_fr_goo_0.avi",
        "winKen_#2_wave_u_cm_np1_fr_med_1.avi",
    ]


def test_broken_hmdb(golden: Golden) -> None:
    wave = "testTrainMulti_7030_splits/wave_test_split1.txt"
    with pytest.raises(DataError, match=r"wave_test_split1\.txt:2: expected 'name\.avi 0\|1\|2', got 'winKen.*avi 3'"):
        hmdb51.read(golden("hmdb51", {wave: ("med_1.avi 1", "med_1.avi 3")}))
    with pytest.raises(DataError, match=r"expected files \*_test_split3\.txt there or in splits, found none"):
        hmdb51.read(Path(__file__).parent / "hmdb51", fold=3)
    with pytest.raises(ValueError, match=r"unknown split '4'\. Known splits: 1, 2, 3"):
        hmdb51.read(Path(__file__).parent / "hmdb51", fold=4)


# ---- UCF-101


def test_ucf_counts_classes_from_one_and_names_groups(golden: Golden, touch: Touch) -> None:
    """The files of one class spell it otherwise than its folder."""
    root = golden("ucf101")
    touch(root, "UCF-101/HandstandPushups/v_HandStandPushups_g01_c01.avi")
    found = ucf101.read(root)
    assert found.classes == ("ApplyEyeMakeup", "HandstandPushups", "YoYo")
    assert found.videos == (
        LabelledVideo(
            video="videos/ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi", label="ApplyEyeMakeup", split="test",
            source="ApplyEyeMakeup/v_ApplyEyeMakeup_g01",
        ),
        LabelledVideo(
            video="videos/ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c02.avi", label="ApplyEyeMakeup", split="test",
            source="ApplyEyeMakeup/v_ApplyEyeMakeup_g01",
        ),
        LabelledVideo(
            video="UCF-101/HandstandPushups/v_HandStandPushups_g01_c01.avi", label="HandstandPushups", split="test",
            source="HandstandPushups/v_HandStandPushups_g01",
        ),
    )  # fmt: skip
    assert [video.label for video in ucf101.read(root, "train").videos] == ["ApplyEyeMakeup", "HandstandPushups"]
    assert [video.label for video in ucf101.read(root, fold=3).videos] == ["YoYo"]


@pytest.mark.parametrize(
    ("split", "file", "change", "message"),
    [
        ("train", "trainlist01.txt", ("c02.avi 2", "c02.avi 1"), r"trainlist01\.txt:2: expected the number 2 of HandstandPushups"),
        ("train", "trainlist01.txt", ("c01.avi 1", "c01.avi"), r"trainlist01\.txt:1: expected the number 1 of ApplyEyeMakeup"),
        ("test", "testlist01.txt", ("HandstandPushups/", "Handstand/"), r"testlist01\.txt:3: expected the folder of a class in classInd\.txt"),
        ("test", "testlist01.txt", ("g01_c02", "g01_c01"), r"the video 'videos/ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01\.avi' comes twice"),
        ("test", "classInd.txt", ("2 Hand", "0 Hand"), r"classInd\.txt:2: expected '2 ' and the name of a new class"),
        ("test", "classInd.txt", None, r"classInd\.txt: no such file"),
    ],
)  # fmt: skip
def test_broken_ucf(golden: Golden, split: str, file: str, change: tuple[str, str] | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ucf101.read(golden("ucf101", {f"ucfTrainTestlist/{file}": change}), split)


# ---- our JSONL


def write(folder: Path, *rows: dict) -> Path:
    path = folder / "labels.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_our_labels(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"video": "./fight/a.mp4", "label": "fight", "set": "fight", "split": "test"},
        {"image": "b.png", "label": "calm", "caption": "Nothing.", "split": "test"},
        {"video": "fight/a.mp4", "label": "calm", "start": 1, "end": 2.5, "split": "test"},
    )
    found = ours.read(path)
    assert found.classes == ("calm", "fight")
    assert found.videos == (
        LabelledVideo(video="fight/a.mp4", label="fight", split="test"),
        LabelledVideo(video="b.png", label="calm", split="test"),
        LabelledVideo(video="fight/a.mp4", label="calm", split="test", start=1.0, end=2.5),
    )
    assert len({video.name for video in found.videos}) == 3


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"video": "a.mp4"}, "expected text in 'label', got None"),
        ({"video": "a.mp4", "label": " "}, "expected text in 'label', got ' '"),
        ({"label": "x"}, "expected one of image, video, got neither"),
        ({"video": "a.mp4", "label": "x", "class": 1}, r"unknown \['class'\]"),
        ({"video": "a.mp4", "label": "x", "split": "test"}, "expected one split in a file, got 'test' after 'train'"),
        ({"video": "a.mp4", "label": "x", "start": 3, "end": 2}, "expected 0 <= start < end, got start 3.0 and end 2.0"),
        ({"video": "a.mp4", "label": "x", "start": "soon"}, "expected a number in 'start', got 'soon'"),
    ],
)  # fmt: skip
def test_broken_labels(tmp_path: Path, row: dict, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        ours.read(write(tmp_path, {"video": "b.mp4", "label": "y"}, row))
    assert "labels.jsonl:2: " in str(error.value)


def test_labels_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a JSONL file of labels, found a folder"):
        ours.read(tmp_path)
    with pytest.raises(DataError, match="expected at least one video, got none"):
        ours.read(write(tmp_path))
    with pytest.raises(DataError, match=r"the video 'a\.mp4' comes twice"):
        ours.read(write(tmp_path, {"video": "a.mp4", "label": "x"}, {"video": "./a.mp4", "label": "y"}))
