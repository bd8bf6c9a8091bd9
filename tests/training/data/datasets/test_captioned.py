"""Videos with captions in their owners' files: what is read of a miniature of each layout, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from training.data.datasets import didemo, lsmdc, msrvtt, webvid
from training.data.datasets.clips import missing_media
from training.data.jsonl import DataError
from training.data.retrieval import CaptionedVideo

Golden = Callable[..., Path]
Touch = Callable[..., None]
VIDEO0 = ("a car is shown", "a group is dancing")
VIDEO1 = ("a man drives a vehicle", "a silver car , on a road")


def told(videos: list[CaptionedVideo]) -> dict[str, tuple[str, ...]]:
    return {video.video: video.captions for video in videos}


# ---- MSR-VTT


@pytest.mark.parametrize("layout", ["msrvtt", "msrvtt_official"])
def test_msrvtt_test_has_one_caption_a_video(golden: Golden, layout: str) -> None:
    """The sentence of the list, not those of the annotations."""
    assert msrvtt.read(golden(layout)) == [
        CaptionedVideo(
            video="videos/all/video7020.mp4", captions=("a woman creating a fondant baby and flower",), split="test_1ka"
        ),
        CaptionedVideo(
            video="videos/all/video9999.mp4", captions=("a man is running, then he stops",), split="test_1ka"
        ),
    ]


def test_msrvtt_training_splits_follow_their_lists(golden: Golden) -> None:
    root = golden("msrvtt")
    nine = msrvtt.read(root, "train_9k")
    assert told(nine) == {
        "videos/all/video0.mp4": VIDEO0,
        "videos/all/video7010.mp4": ('a girl shows a "trick"',),
        "videos/all/video6513.mp4": ("a family is having conversation",),
        "videos/all/video1.mp4": VIDEO1,
    }
    assert {video.split for video in nine} == {"train_9k"}
    seven = msrvtt.read(root, "train_7k")
    assert [video.video for video in seven] == [f"videos/all/video{n}.mp4" for n in (0, 1, 6513)]


@pytest.mark.parametrize("layout", ["msrvtt", "msrvtt_official"])
def test_msrvtt_training_splits_without_their_lists_are_the_same(golden: Golden, layout: str) -> None:
    root = golden(layout)
    for split in ("9k", "7k"):
        (root / f"MSRVTT_train.{split}.csv").unlink(missing_ok=True)
    nine, seven = (told(msrvtt.read(root, split)) for split in ("train_9k", "train_7k"))
    assert nine.keys() == {f"videos/all/video{n}.mp4" for n in (0, 1, 6513, 7010)}
    assert seven.keys() == {f"videos/all/video{n}.mp4" for n in (0, 1, 6513)}
    assert nine["videos/all/video1.mp4"] == VIDEO1


def test_msrvtt_9k_is_not_made_up_of_the_7k(golden: Golden) -> None:
    root = golden("msrvtt_official", {"test_videodatainfo.json": None})
    assert len(msrvtt.read(root, "train_7k")) == 3
    with pytest.raises(DataError, match=r"train\.9k\.csv: no such file, nor test_videodatainfo\.json"):
        msrvtt.read(root, "train_9k")


def test_msrvtt_as_stan_reads_it(golden: Golden) -> None:
    root = golden("msrvtt_stan")
    assert told(msrvtt.read(root, "train_9k")) == {
        "videos/all/video0.mp4": VIDEO0,
        "videos/all/video1.mp4": ("a man drives a vehicle",),
    }
    assert told(msrvtt.read(root)) == {"videos/all/video7020.mp4": ("a woman creating a fondant baby and flower",)}


def test_msrvtt_videos_are_found_where_they_lie(golden: Golden, touch: Touch) -> None:
    root = golden("msrvtt")
    touch(root, "TestVideo/video9999.mp4", "videos/video7020.mp4")
    videos = msrvtt.read(root)
    assert [video.video for video in videos] == ["videos/video7020.mp4", "TestVideo/video9999.mp4"]
    assert missing_media(root, videos) == []


@pytest.mark.parametrize(
    ("layout", "file", "change", "message"),
    [
        ("msrvtt", "MSRVTT_train.9k.csv", ("video7010", "video7011"), r"9k\.csv:3: expected a video with captions in MSRVTT_data\.json, got 'video7011'"),
        ("msrvtt", "MSRVTT_data.json", ('"a car is shown"', '""'), r"data\.json:1: sentences 2: expected text in 'caption', got ''"),
        ("msrvtt", "MSRVTT_data.json", ('"caption": "a car', '"said": "a car'), r"data\.json:1: sentences 2: missing \['caption'\]"),
        ("msrvtt", "MSRVTT_data.json", ('"sentences": [', '"sentences": [7, '), r"data\.json:1: sentences 1: expected an object, got '7'"),
        ("msrvtt", "MSRVTT_data.json", ('"sentences"', '"words"'), r"data\.json:1: expected a list in 'sentences'"),
        ("msrvtt", "MSRVTT_data.json", None, r"MSRVTT_data\.json: no such file, nor train_val_videodatainfo\.json"),
        ("msrvtt_official", "train_val_videodatainfo.json", ('"a man drives a vehicle"', "3"), r"info\.json:49: sentences 3: expected text in 'caption', got 3"),
        ("msrvtt_stan", "train_9k.json", ('"a man drives a vehicle"', "3"), r"train_9k\.json:1: expected text under 'video1\.mp4', got \[3\]"),
    ],
)  # fmt: skip
def test_broken_msrvtt(golden: Golden, layout: str, file: str, change: tuple[str, str] | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        msrvtt.read(golden(layout, {file: change}), "train_9k")


def test_a_broken_test_list_of_msrvtt(golden: Golden) -> None:
    root = golden("msrvtt", {"MSRVTT_JSFUSION_test.csv": (",a woman creating a fondant baby and flower", ",")})
    with pytest.raises(DataError, match=r"test\.csv:2: expected text in 'sentence', got ''"):
        msrvtt.read(root)


# ---- DiDeMo


def test_didemo_joins_the_sentences_of_the_listed_videos(golden: Golden, touch: Touch) -> None:
    """In the order of the annotations, with a space between; only the first 30 seconds were annotated."""
    root = golden("didemo")
    touch(root, "videos/12090392@N02_13482799053_87ef417396.mp4")
    assert didemo.read(root) == [
        CaptionedVideo(
            video="videos/54322086@N00_2408598493_274c77d26a.avi",
            captions=("the tortoise moves its head. tortoise looks up",), split="test", end=30.0,
        ),
        CaptionedVideo(
            video="videos/12090392@N02_13482799053_87ef417396.mp4",
            captions=("a child in red waves the camera pans to the sky",), split="test", end=30.0,
        ),
    ]  # fmt: skip
    (root / "test_list.txt").unlink()
    assert len(didemo.read(root)) == 3


def test_didemo_as_stan_reads_it(golden: Golden) -> None:
    assert told(didemo.read(golden("didemo"), "val")) == {
        "videos/54322086@N00_2408598493_274c77d26a.avi": ("the tortoise moves its head tortoise looks up",),
        "videos/12090392@N02_13482799053_87ef417396.mov": ("a child in red waves",),
    }


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("test_list.txt", ("87ef417396.mov", "000.mov"), r"test_list\.txt:1: expected a video with sentences in test_data\.json"),
        ("test_data.json", ('"a child in red waves"', "[]"), r"test_data\.json:1: row 2: expected text in 'description', got \[\]"),
        ("test_data.json", None, r"test_data\.json: no such file"),
    ],
)  # fmt: skip
def test_broken_didemo(golden: Golden, file: str, change: tuple[str, str] | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        didemo.read(golden("didemo", {file: change}))


# ---- LSMDC


def test_lsmdc_reads_tabs_and_no_quotes(golden: Golden, touch: Touch) -> None:
    root = golden("lsmdc")
    touch(root, "videos/1004_Juno_00.00.32.631-00.00.37.522.mp4")
    assert lsmdc.read(root, "train") == [
        CaptionedVideo(
            video="videos/0001_American_Beauty/0001_American_Beauty_00.00.51.926-00.00.54.129.avi",
            captions=('SOMEONE lies on a bed, "asleep', "He turns."), split="train",
        ),
        CaptionedVideo(
            video="videos/1004_Juno_00.00.32.631-00.00.37.522.mp4", captions=('SOMEONE walks past "The Chair".',),
            split="train",
        ),
    ]  # fmt: skip
    assert told(lsmdc.read(root)) == {
        "videos/3009_BATTLE_LOS_ANGELES/3009_BATTLE_LOS_ANGELES_00.45.12.331-00.45.15.007.avi": ("The soldiers run.",),
        "videos/1010_TITANIC/1010_TITANIC_00.41.32.072-00.41.40.196.avi": ("In the cabin, SOMEONE draws.",),
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("\tThe soldiers run.", ""), r"publictect\.csv:1: expected 6 columns, the first and last not empty, got \['3009_"),
        (("In the cabin, SOMEONE", "In the cabin,\tSOMEONE"), r"publictect\.csv:2: expected 6 columns"),
        (("In the cabin, SOMEONE draws.", ""), r"publictect\.csv:2: expected 6 columns"),
        (None, "no such file"),
    ],
)  # fmt: skip
def test_broken_lsmdc(golden: Golden, change: tuple[str, str] | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        lsmdc.read(golden("lsmdc", {"LSMDC16_challenge_1000_publictect.csv": change}))


# ---- WebVid


def test_webvid_is_read_by_names_and_by_places_only_without_them(golden: Golden) -> None:
    root = golden("webvid")
    assert webvid.read(root, "train_2m") == [
        CaptionedVideo(
            video="videos/006001_006050/21179416.mp4", captions=("Aerial shot winter forest",), split="train_2m"
        ),
        CaptionedVideo(
            video="videos/071501_071550/5629184.mp4",
            captions=("Senior couple, looking through binoculars on sailboat",), split="train_2m",
        ),
    ]  # fmt: skip
    assert told(webvid.read(root, "train_10m")) == {"videos/007401_007450/1066674784.mp4": ('Frozen fields and "ice"',)}
    assert told(webvid.read(root, "val_10m")) == {"videos/029001_029050/2664146.mp4": ("Travel blue sky nature scene",)}


@pytest.mark.parametrize(
    ("split", "file", "change", "message"),
    [
        ("train_2m", "results_2M_train.csv", ("Aerial shot winter forest", ""), r"train\.csv:2: expected text in 'name', got ''"),
        ("train_2m", "results_2M_train.csv", (",name,", ",said,"), r"train\.csv:1: missing \['name'\]"),
        ("train_2m", "results_2M_train.csv", ("Aerial shot", "Aerial, shot"), r"train\.csv:2: expected 6 columns, got 7"),
        ("val_10m", "results_10M_val.csv", ("PT00H00M12S,", ""), r"val\.csv:1: expected 5 columns, got 4"),
        ("val_10m", "results_10M_val.csv", None, r"val\.csv: no such file"),
    ],
)  # fmt: skip
def test_broken_webvid(golden: Golden, split: str, file: str, change: tuple[str, str] | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        webvid.read(golden("webvid", {file: change}), split)


# ---- all


def test_how_stans_file_is_spaced_does_not_matter(golden: Golden) -> None:
    root = golden("didemo")
    expected = didemo.read(root, "val")
    path = root / "val_data.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=2))
    assert didemo.read(root, "val") == expected


@pytest.mark.parametrize("reader", [msrvtt, didemo, lsmdc, webvid], ids=lambda reader: reader.__name__)
def test_an_unknown_split_is_refused_with_the_known_ones(reader: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"unknown split 'x'\. Known splits: {', '.join(reader.SPLITS)}\."):
        reader.read(tmp_path, "x")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test_data.json").write_text(json.dumps([]))
    with pytest.raises(DataError, match=r"test_data\.json: expected at least one video with a caption, got none"):
        didemo.read(tmp_path)


def test_missing_media_are_counted_and_named(tmp_path: Path, touch: Touch, caplog: pytest.LogCaptureFixture) -> None:
    videos = [CaptionedVideo(video=f"{n}.mp4", captions=("x",)) for n in (*range(14), 3)]
    touch(tmp_path, "2.mp4")
    assert missing_media(tmp_path, videos) == [f"{n}.mp4" for n in range(14) if n != 2]
    assert f"13 of 14 videos are missing in {tmp_path}: 0.mp4, 1.mp4, 3.mp4, " in caplog.text
    assert "10.mp4 and 3 more" in caplog.text
