"""The feature cache: computed once, found again, and never for what nobody asks."""

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.clip import write_clip
from encoder.video.transform import Transform
from tests.encoder.video.conftest import children
from training.data.features import FeatureCache, cache_features
from training.data.jsonl import DataError, Sample
from training.media import cached_samples, feature_cache


class Tower(nn.Module):
    """Two states of one pixel a frame; every frame that it computes leaves its dtype in `seen`, copies' frames too."""

    transform = Transform(size=28, mean=(0.5,) * 3, std=(0.5,) * 3, mode="squash")
    seen: list[torch.dtype] = []  # noqa: RUF012 (shared by copies on purpose)

    def frame_states(self, frames: Tensor, depth: int) -> Tensor:
        self.seen.extend([frames.dtype] * len(frames))
        return frames[:, :, :1, 0].mT.expand(depth, -1, 1, 3)


@pytest.fixture
def encoder() -> Iterator[SimpleNamespace]:
    yield SimpleNamespace(backbone=Tower(), branch=SimpleNamespace(depth=2))
    Tower.seen.clear()


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(folder=tmp_path / "features", tower="tower-v1", num_frames=4)


def picture(path: Path, colour: int) -> Path:
    Image.fromarray(np.full((40, 40, 3), colour, dtype=np.uint8)).save(path)
    return path


def sample(media: Path, **changes: object) -> Sample:
    fields = {"is_video": media.suffix == ".mp4", "captions": ("A wall.",), "qa": (), "split": "train"}
    return Sample(media=media, **(fields | changes))


def test_features_are_computed_once(tmp_path: Path, cache: FeatureCache, encoder: SimpleNamespace) -> None:
    write_clip(tmp_path / "c.mp4", seconds=0.5, width=96, height=64)
    samples = [sample(picture(tmp_path / "a.png", 10)), sample(tmp_path / "c.mp4"), sample(tmp_path / "a.png")]
    progress = []
    files = cache_features(samples, cache, encoder, on_progress=progress.append)
    assert len(Tower.seen) == 1 + 4, "one row per caption: the picture is still one picture"
    assert files[0] == files[2] != files[1]
    assert [FeatureCache.load(files[i]).shape[1] for i in (0, 1)] == [1, 4]
    assert sum(progress) == len(samples)
    Tower.seen.clear()
    assert cache_features(samples, cache, encoder, on_progress=progress.append) == files
    assert Tower.seen == []
    assert sum(progress) == 2 * len(samples)


def test_a_changed_byte_is_a_miss(tmp_path: Path, cache: FeatureCache, encoder: SimpleNamespace) -> None:
    media = picture(tmp_path / "a.png", 10)
    before = cache_features([sample(media)], cache, encoder)[0]
    picture(media, 11)
    after = cache_features([sample(media)], cache, encoder)[0]
    assert before != after
    assert len(Tower.seen) == 2
    assert not torch.equal(FeatureCache.load(before), FeatureCache.load(after))


def test_the_span_the_frames_and_the_dtype_are_part_of_the_name(tmp_path: Path, cache: FeatureCache) -> None:
    media = picture(tmp_path / "a.png", 10)
    changes = [{}, {"is_video": True}, {"is_video": True, "start": 1.0}, {"is_video": True, "end": 1.0}]
    names = {cache.path(sample(media, **change)) for change in changes}
    other = FeatureCache(folder=cache.folder, tower="tower-v1", num_frames=4, dtype=torch.float32)
    assert len(names | {other.path(sample(media, **change)) for change in changes}) == 8


def test_the_names_of_features_in_the_usual_dtype_stay(tmp_path: Path) -> None:
    cache = FeatureCache(folder=tmp_path, tower="mini-v1", num_frames=8)
    media = picture(tmp_path / "a.png", 10)
    for changes, ending in (
        ({}, b"|mini-v1|1|None|None"),
        ({"is_video": True, "start": 1, "end": 2.5}, b"|mini-v1|8|1|2.5"),
    ):
        name = hashlib.sha256(media.read_bytes() + ending).hexdigest()
        assert cache.path(sample(media, **changes)) == tmp_path / name[:2] / f"{name}.safetensors"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_tower_computes_in_the_cache_s_dtype(tmp_path: Path, encoder: SimpleNamespace, dtype: torch.dtype) -> None:
    cache = FeatureCache(folder=tmp_path / "features", tower="tower-v1", num_frames=4, dtype=dtype)
    cache_features([sample(picture(tmp_path / "a.png", 10))], cache, encoder)
    assert Tower.seen == [dtype]


def test_an_unreadable_medium_is_left_out_and_named(
    tmp_path: Path, cache: FeatureCache, encoder: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    samples = [
        sample(tmp_path / "broken.mp4"),
        sample(picture(tmp_path / "a.png", 10)),
        sample(tmp_path / "broken.mp4"),
    ]
    progress = []
    with caplog.at_level(logging.WARNING):
        files = cache_features(samples, cache, encoder, on_progress=progress.append)
    assert list(files) == [1]
    assert sum(progress) == 3
    assert [record.getMessage().split(" left out: ")[0] for record in caplog.records] == [str(tmp_path / "broken.mp4")]


def test_a_moving_picture_in_an_image_row_gives_one_frame(
    tmp_path: Path, cache: FeatureCache, encoder: SimpleNamespace
) -> None:
    write_clip(tmp_path / "c.mp4", seconds=0.5, width=96, height=64)
    files = cache_features([sample(tmp_path / "c.mp4", is_video=False)], cache, encoder)
    assert FeatureCache.load(files[0]).shape[1] == 1


def write_rows(folder: Path, rows: list[dict]) -> Path:
    for row in rows:
        if not (folder / row["image"]).exists():
            picture(folder / row["image"], len(list(folder.iterdir())))
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "data.jsonl"


def test_nothing_is_computed_for_samples_that_nobody_trains_on(tmp_path: Path, encoder: SimpleNamespace) -> None:
    data = write_rows(tmp_path, [
        {"image": "a.png", "caption": "A."}, {"image": "b.png", "caption": "B.", "split": "val"},
        {"image": "c.png", "caption": "C.", "split": "test"}, {"image": "d.png", "label": "wall"},
        {"image": "e.png", "caption": "E."},
    ])  # fmt: skip
    media = cached_samples(
        [data], encoder, feature_cache("tower", 4, tmp_path / "features"), output=tmp_path, max_unreadable=0.0
    )
    names = {split: [sample.media.name for sample, _ in chosen] for split, chosen in media.items()}
    assert names == {"train": ["a.png", "e.png"], "val": ["b.png"]}
    assert len(Tower.seen) == 3


def test_too_few_samples_are_counted_by_what_they_lack(tmp_path: Path, encoder: SimpleNamespace) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    data = write_rows(tmp_path, [
        {"image": "a.png", "caption": "A."}, {"image": "b.png", "label": "wall"}, {"image": "c.png", "label": "wall"},
        {"image": "broken.png", "caption": "B."}, {"image": "d.png", "caption": "D.", "split": "val"},
    ])  # fmt: skip
    with pytest.raises(DataError, match=r"got 1: of 5 rows 4 are of .* 2 of these have no captions, and 1 could not"):
        cached_samples(
            [data], encoder, feature_cache("tower", 4, tmp_path / "features"), output=tmp_path, max_unreadable=1.0
        )


def test_unreadable_media_go_to_the_ledger_and_too_many_stop_the_run(tmp_path: Path, encoder: SimpleNamespace) -> None:
    """Two broken files of equal content are two media, and a row more about one of them is no third."""
    rows = [{"image": f"{i}.png", "caption": "A."} for i in range(6)]
    for i in (1, 4):
        (tmp_path / f"{i}.png").write_bytes(b"no picture")
    data = write_rows(tmp_path, [*rows, {"image": "4.png", "caption": "Again."}])
    arguments = ([data], encoder, feature_cache("tower", 4, tmp_path / "features"))
    with pytest.raises(DataError, match=r"2 of 6 media could not be read, .* max_unreadable = 0.33 of") as caught:
        cached_samples(*arguments, output=tmp_path, max_unreadable=0.33)
    ledger = tmp_path / "ledger.jsonl"
    noted = [json.loads(line) for line in ledger.open()]
    assert [row["path"] for row in noted] == [str(tmp_path / "1.png"), str(tmp_path / "4.png")]
    assert all(row["path"] in str(caught.value) and row["reason"].rstrip(".") in str(caught.value) for row in noted)
    media = cached_samples(*arguments, output=tmp_path, max_unreadable=0.34)
    assert [sample.media.name for sample, _ in media["train"]] == ["0.png", "2.png", "3.png", "5.png"]
    assert [json.loads(line) for line in ledger.open()] == noted
    for i in (1, 4):
        picture(tmp_path / f"{i}.png", 200 + i)
    assert len(cached_samples(*arguments, output=tmp_path, max_unreadable=0.0)["train"]) == 7
    assert not ledger.exists(), "what was repaired is not blamed any longer"


def test_readers_end_with_the_work(tmp_path: Path, cache: FeatureCache, encoder: SimpleNamespace) -> None:
    """At the end, and when the tower fails in the middle of it."""
    before = children()
    samples = [sample(picture(tmp_path / f"{i}.png", i)) for i in range(20)]
    cache_features(samples[:4], cache, encoder)
    assert children() == before
    encoder.backbone.frame_states = lambda frames, depth: 1 / 0
    with pytest.raises(ZeroDivisionError):
        cache_features(samples, cache, encoder)
    assert children() == before
