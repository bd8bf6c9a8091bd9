"""The benchmark on files, with an encoder of toy size: ranks are those that a hand computes from its features."""

import itertools
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.clip import write_clip
from bridge.checkpoint import CheckpointConfig, LLMPart, ProjectorPart, read_config, save_checkpoint
from bridge.runtime import Runtime
from encoder.backbones.wheel_weights import text_tokenizer
from encoder.checkpoints import EncoderPart, save_encoder
from encoder.model import MugSTAN, VideoFeatures
from encoder.mug import MODES
from encoder.presets import ENCODERS, TOKENIZERS, clip_encoder
from encoder.video import read_frames
from tests.training.evaluation.tiny import tiny_encoder
from training.data.jsonl import DataError
from training.evaluation import retriever
from training.evaluation.retrieval import RetrievalConfig, RetrievalSummary, run, table
from training.evaluation.retriever import EncoderError, Retriever, load_retriever

ROWS = [
    {"video": "wide.mp4", "captions": ["A technician on a red lift.", "Mirrors of a telescope stand in a hall."]},
    {"video": "high.mp4", "caption": "Golden hexagons."},
    {"video": "red.png", "caption": "A red wall."},
    {
        "video": "noise.png",
        "captions": ["Nothing but noise.", "A telescope.", "Grains of many colours, red and green."],
    },
]


once_read = cache(read_frames)
"""Decoding takes most of the time here, and the same files come in most tests."""


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENCODERS, "tiny", tiny_encoder)
    monkeypatch.setitem(TOKENIZERS, "tiny", TOKENIZERS["mini"])
    monkeypatch.setattr(retriever, "find_runtime", Runtime)
    monkeypatch.setattr(retriever, "read_frames", once_read)


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips and two pictures, and a file that is neither."""
    folder = tmp_path_factory.mktemp("media")
    write_clip(folder / "wide.mp4", seconds=1.0, width=160, height=64)
    write_clip(folder / "high.mp4", seconds=0.3, width=64, height=96)
    Image.new("RGB", (60, 60), (200, 30, 30)).save(folder / "red.png")
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    (folder / "broken.mp4").write_text("not a video")
    return folder


@pytest.fixture
def examine(media: Path, tmp_path: Path) -> Callable[..., tuple[RetrievalSummary, list[dict], dict]]:
    """Run the benchmark on rows about `media`, always in a new folder: what it returns, its rows, its summary.json."""
    count = itertools.count()

    def examined(rows: list[dict], **settings: object) -> tuple[RetrievalSummary, list[dict], dict]:
        data, output = media / f"{tmp_path.name}.jsonl", tmp_path / f"run{next(count)}"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        summary = run(RetrievalConfig(**{"data": data, "model": "tiny", "output": output, **settings}))
        lines = (output / "ranks.jsonl").read_text().splitlines()
        return summary, [json.loads(line) for line in lines], json.loads((output / "summary.json").read_text())

    return examined


def captions_of(row: dict) -> list[str]:
    return row.get("captions") or [row["caption"]]


@torch.no_grad()
def scores_by_hand(media: Path, rows: list[dict], mode: str) -> np.ndarray:
    """(A, B) from the encoder's own features, one pair after the other."""
    encoder, tokenizer = tiny_encoder(), text_tokenizer()
    videos = []
    for row in rows:
        pixels = once_read(media / row["video"], 8).pixels
        videos.append(encoder.encode_video(encoder.backbone.transform(pixels)[None]))
    texts = []
    for caption in (caption for row in rows for caption in captions_of(row)):
        batch = tokenizer([caption], return_tensors="pt")
        texts.append(encoder.encode_text(batch["input_ids"], batch["attention_mask"]))
    return np.array([[encoder.similarity(text, video, mode).item() for video in videos] for text in texts])


def by_hand(media: Path, rows: list[dict], mode: str, *, dual: bool = False) -> tuple[list[float], list[float]]:
    """Ranks of captions and of videos; similarities are different enough to leave no ties."""
    scores = scores_by_hand(media, rows, mode)
    owners = [index for index, row in enumerate(rows) for _ in captions_of(row)]
    weights = np.exp(100 * scores)
    over_texts, over_videos = (weights / weights.sum(axis, keepdims=True) if dual else 1.0 for axis in (0, 1))
    forward, backward = scores * over_texts, scores * over_videos
    by_text = [1.0 + sum(s > row[own] for s in row) for row, own in zip(forward, owners, strict=True)]
    by_video = []
    for index, column in enumerate(backward.T):
        best = max(s for s, own in zip(column, owners, strict=True) if own == index)
        by_video.append(1.0 + sum(s > best and own != index for s, own in zip(column, owners, strict=True)))
    return by_text, by_video


@pytest.mark.parametrize("mode", MODES)
def test_ranks_are_those_of_the_features(examine: Callable, media: Path, mode: str) -> None:
    """A picture is compared as a video of one frame, and a caption without the padding of longer ones."""
    summary, rows, written = examine(ROWS, mode=mode)
    by_text, by_video = by_hand(media, ROWS, mode)
    expected = [
        {"direction": "text_to_video", "video": row["video"], "caption": caption, "status": "ok"}
        for row in ROWS
        for caption in captions_of(row)
    ] + [{"direction": "video_to_text", "video": row["video"], "status": "ok"} for row in ROWS]
    assert [{key: value for key, value in row.items() if key != "rank"} for row in rows] == expected
    assert [row["rank"] for row in rows] == by_text + by_video
    assert len(set(by_text)) > 2, "ranks differ"

    assert list(written) == ["text_to_video", "video_to_text", "n", "failed", "mode", "dual_softmax"]
    assert (written["n"], written["failed"], written["mode"], written["dual_softmax"]) == (4, 0, mode, False)
    for direction, found in (("text_to_video", by_text), ("video_to_text", by_video)):
        part = written[direction]
        assert list(part) == ["R@1", "R@5", "R@10", "MdR", "MnR", "ci95"]
        assert part["R@1"] == pytest.approx(sum(rank <= 1 for rank in found) / len(found))
        assert part["R@5"] == pytest.approx(sum(rank <= 5 for rank in found) / len(found))
        assert part["MdR"] == np.median(found)
        assert part["MnR"] == pytest.approx(np.mean(found))
        assert 0 <= part["ci95"][0] <= part["R@1"] <= part["ci95"][1] <= 1
    assert summary.row() == written


def test_every_video_is_encoded_once_and_a_rerun_is_the_same(
    examine: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(
        retriever, "read_frames", lambda path, n, end: seen.append(path.name) or once_read(path, n, end=end)
    )
    rows = [{"video": row["video"], "caption": caption} for row in ROWS for caption in captions_of(row)]
    first = examine(rows)
    assert seen == [row["video"] for row in ROWS]
    assert examine(rows) == first
    assert examine(ROWS)[1] == first[1], "rows of one video join"


def test_a_run_stopped_in_the_middle_ends_bit_for_bit_the_same(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the features of a real encoder, a picture's among them."""
    data = media / f"{tmp_path.name}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    compared: list[list[bytes]] = []
    similarity = Retriever.similarity

    def noted(self: Retriever, captions: list[str], frames: list[torch.Tensor], mode: str) -> np.ndarray:
        compared.append([video.numpy().tobytes() for video in frames])
        return similarity(self, captions, frames, mode)

    monkeypatch.setattr(Retriever, "similarity", noted)
    run(RetrievalConfig(data=data, model="tiny", output=tmp_path / "whole", mode="mug"))
    watched = []

    def stop_at_the_last(path: Path, n: int, end: float | None) -> object:
        watched.append(path.name)
        if len(watched) == 4:
            raise KeyboardInterrupt
        return once_read(path, n, end=end)

    monkeypatch.setattr(retriever, "read_frames", stop_at_the_last)
    config = RetrievalConfig(data=data, model="tiny", output=tmp_path / "stopped", mode="mug")
    with pytest.raises(KeyboardInterrupt):
        run(config)
    run(config)
    assert watched == ["wide.mp4", "high.mp4", "red.png", "noise.png", "noise.png"]
    assert compared[1] == compared[0]
    for name in ("ranks.jsonl", "summary.json"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_broken_video_is_one_failed_item_and_never_a_hit(examine: Callable, media: Path) -> None:
    """Of five videos the worst rank is 6 and of nine captions 10; R@10 does not take them for hits."""
    broken = {"video": "broken.mp4", "captions": ["A broken thing.", "A red wall."]}
    summary, rows, written = examine([ROWS[0], broken, *ROWS[1:]], mode="plain")
    assert (written["n"], written["failed"]) == (5, 1)
    failed = [row for row in rows if row["status"] == "failed"]
    assert [row["rank"] for row in failed] == [6.0, 6.0, 10.0]
    assert {row["video"] for row in failed} == {"broken.mp4"}
    assert all("video" in row["reason"] for row in failed)
    assert not any("reason" in row for row in rows if row["status"] == "ok")
    by_text, _ = by_hand(media, ROWS, "plain")
    whole = [row["rank"] for row in rows if row["direction"] == "text_to_video" and row["status"] == "ok"]
    assert whole == by_text, "the other captions choose among the videos that could be read"
    assert written["text_to_video"]["R@10"] == pytest.approx(7 / 9)
    assert written["text_to_video"]["MnR"] == pytest.approx((sum(by_text) + 12) / 9)
    assert summary.video_to_text.recall[10] == pytest.approx(4 / 5)


def test_captions_of_a_broken_video_still_compete(examine: Callable) -> None:
    """They were read: the same words on a broken video tie with the right caption of another."""
    alone = examine([ROWS[2], ROWS[1]], mode="plain")[1]
    beside = examine([ROWS[2], ROWS[1], {"video": "broken.mp4", "caption": "A red wall."}], mode="plain")[1]

    def rank(rows: list[dict]) -> float:
        return next(row["rank"] for row in rows if row["direction"] == "video_to_text" and row["video"] == "red.png")

    assert rank(beside) == rank(alone) + 0.5


def test_without_a_single_readable_video_all_fail(examine: Callable) -> None:
    rows = [{"video": "broken.mp4", "caption": "One."}, {"video": "missing.mp4", "caption": "Two."}]
    _, ranks, written = examine(rows)
    assert (written["n"], written["failed"]) == (2, 2)
    assert [row["rank"] for row in ranks] == [3.0] * 4
    for direction in ("text_to_video", "video_to_text"):
        assert [written[direction][f"R@{k}"] for k in (1, 5, 10)] == [0.0] * 3
        assert written[direction]["ci95"] == pytest.approx([0.0, 0.658], abs=1e-3), "of two videos"


@pytest.mark.parametrize("mode", MODES)
def test_identical_clips_share_the_middle_rank(examine: Callable, media: Path, mode: str) -> None:
    """Byte for byte the same clip under seven names: nobody finds one rather than another."""
    rows = []
    for i in range(7):
        (media / f"copy{i}.mp4").write_bytes((media / "wide.mp4").read_bytes())
        rows.append({"video": f"copy{i}.mp4", "caption": f"Clip number {i}."})
    _, ranks, written = examine(rows, mode=mode)
    assert [row["rank"] for row in ranks if row["direction"] == "text_to_video"] == [4.0] * 7
    assert written["text_to_video"]["R@1"] == 0.0
    rows = [row | {"caption": "A hall of mirrors."} for row in rows]
    _, ranks, _ = examine(rows, mode=mode)
    assert [row["rank"] for row in ranks] == [4.0] * 14, "nor one caption of the same words"


def test_features_that_are_not_finite_are_a_failure(examine: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a video: that video fails. Of captions: the encoder is of no use."""
    encode = MugSTAN.encode_video

    def broken_on_pictures(self: MugSTAN, video: torch.Tensor, *, branch: bool) -> VideoFeatures:
        features = encode(self, video, branch=branch)
        return features if video.shape[1] > 1 else VideoFeatures(*(f * float("nan") for f in vars(features).values()))

    monkeypatch.setattr(MugSTAN, "encode_video", broken_on_pictures)
    _, rows, written = examine(ROWS)
    assert (written["n"], written["failed"]) == (4, 2)
    assert {row["video"] for row in rows if row["status"] == "failed"} == {"red.png", "noise.png"}
    assert all("not finite" in row["reason"] for row in rows if row["status"] == "failed")

    def without_words() -> MugSTAN:
        encoder = tiny_encoder()
        encoder.backbone.text_head.fc2.bias.fill_(float("inf"))
        return encoder

    monkeypatch.setitem(ENCODERS, "tiny", without_words)
    with pytest.raises(EncoderError, match="features of 7 captions are not finite: 'A technician"):
        examine(ROWS)


def test_dual_softmax_has_its_flag_and_its_name(examine: Callable, media: Path) -> None:
    """Captions compete for a video where a caption asks, videos for a caption where a video asks."""
    plain, _, _ = examine(ROWS, mode="plain")
    dual, rows, written = examine(ROWS, mode="plain", dual_softmax=True)
    assert written["dual_softmax"] is True
    by_text, by_video = by_hand(media, ROWS, "plain", dual=True)
    assert [row["rank"] for row in rows] == by_text + by_video
    assert (by_text, by_video) != by_hand(media, ROWS, "plain")
    assert table(dual).startswith("plain + dual softmax ")
    assert table(plain).startswith("plain  ")


def test_the_table_has_a_line_for_each_direction(examine: Callable) -> None:
    summary, _, written = examine(ROWS, mode="mug")
    head, *lines = table(summary).splitlines()
    assert head.split() == ["mug", "R@1", "95", "%", "interval", "R@5", "R@10", "MdR", "MnR", "n", "failed"]
    assert [line.split()[:2] for line in lines] == [
        [name, f"{written[name]['R@1']:.3f}"] for name in ("text_to_video", "video_to_text")
    ]
    assert {line.index(" to ") for line in lines} == {head.index("95 % interval") + 5}


def test_long_captions_are_cut_and_it_is_said(examine: Callable, caplog: pytest.LogCaptureFixture) -> None:
    _, rows, _ = examine([ROWS[2], {"video": "noise.png", "caption": "red and green and " * 40}])
    assert len(rows) == 4
    assert "1 of 2 captions are cut after 64 word pieces" in caplog.text


# ---- which encoder, which mode


def chat_checkpoint(folder: Path, **encoder: str) -> Path:
    """A chat model's folder with a trained encoder; retrieval needs nothing else of it."""
    config = CheckpointConfig(
        preset="tiny", encoder=EncoderPart(preset="tiny", **encoder), projector=ProjectorPart(net="linear", grid=2),
        llm=LLMPart(name="none-here"), num_frames=4, system="", step=1,
    )  # fmt: skip
    model = tiny_encoder()
    model.branch.time_embedding.fill_(0.5)
    save_checkpoint(folder, config=config, encoder=model, projector=None, adapter=None)
    return folder


def test_the_checkpoint_names_the_mode_unless_one_is_asked_for(examine: Callable, tmp_path: Path) -> None:
    folder = chat_checkpoint(tmp_path / "chat", retrieval_mode="mug_simple")
    assert examine(ROWS, model=str(folder))[2]["mode"] == "mug_simple"
    assert examine(ROWS, model=str(folder), mode="mug")[2]["mode"] == "mug"
    assert examine(ROWS)[2]["mode"] == "plain", "a preset of fresh weights"
    save_encoder(tmp_path / "encoder", tiny_encoder(), preset="tiny", retrieval_mode="mug")
    assert examine(ROWS, model=str(tmp_path / "encoder"))[2]["mode"] == "mug"


def test_the_encoder_of_a_chat_model_is_the_trained_one(tmp_path: Path) -> None:
    folder = chat_checkpoint(tmp_path / "chat")
    loaded = load_retriever(str(folder))
    assert loaded.num_frames == 4
    assert loaded.encoder.branch.time_embedding.unique().tolist() == [0.5]
    (folder / "encoder.safetensors").unlink()
    config = json.loads((folder / "config.json").read_text()) | {"parts": []}
    (folder / "config.json").write_text(json.dumps(config))
    fresh = load_retriever(str(folder)).encoder.branch.time_embedding
    assert torch.equal(fresh, tiny_encoder().branch.time_embedding), "a part that was not trained comes from the preset"


def test_the_fingerprint_is_of_every_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_retriever("tiny").fingerprint()
    assert load_retriever("tiny").fingerprint() == first
    for name in ("branch.time_embedding", "backbone.text_head.fc2.bias"):

        def other(name: str = name) -> MugSTAN:
            encoder = tiny_encoder()
            encoder.state_dict()[name].view(-1)[-1] += 1e-3
            return encoder

        monkeypatch.setitem(ENCODERS, "tiny", other)
        assert load_retriever("tiny").fingerprint() != first, name


def test_checkpoints_without_a_retrieval_mode_stay_readable(tmp_path: Path) -> None:
    folder = chat_checkpoint(tmp_path / "chat", retrieval_mode="mug")
    assert read_config(folder).encoder.retrieval_mode == "mug"
    config = json.loads((folder / "config.json").read_text())
    del config["encoder"]["retrieval_mode"]
    (folder / "config.json").write_text(json.dumps(config))
    assert read_config(folder).encoder.retrieval_mode == "plain"
    assert load_retriever(str(folder)).retrieval_mode == "plain"


def test_an_unknown_mode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mode must be one of mug, mug_simple, plain, got 'cosine'"):
        RetrievalConfig(data=tmp_path, output=tmp_path, mode="cosine")
    with pytest.raises(KeyError, match="unknown retrieval_mode 'cosine'. Known modes: mug, mug_simple, plain"):
        EncoderPart(preset="tiny", retrieval_mode="cosine")
    folder = chat_checkpoint(tmp_path / "chat")
    config = json.loads((folder / "config.json").read_text())
    config["encoder"]["retrieval_mode"] = "cosine"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(EncoderError, match="unknown retrieval_mode 'cosine'"):
        load_retriever(str(folder))


def test_a_model_that_cannot_be_used_is_told_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EncoderError, match="unknown model 'nothing'. Known models: mini"):
        load_retriever("nothing")
    with pytest.raises(EncoderError, match=r"or a folder with config.json, got"):
        load_retriever(str(tmp_path))
    for damaged in ('{"encoder": ', "3", '{"encoder": {"preset": 3}}', '{"encoder": {"preset": "tiny"}}'):
        (tmp_path / "config.json").write_text(damaged)
        (tmp_path / "encoder.safetensors").write_text("cut off")
        with pytest.raises(EncoderError, match=str(tmp_path)):
            load_retriever(str(tmp_path))
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = {"projection_dim": 24, "vision_config": {**tower, "image_size": 32, "patch_size": 8}}
    monkeypatch.setitem(ENCODERS, "tiny-clip", lambda: clip_encoder(config, depth=2))
    with pytest.raises(
        EncoderError,
        match="no tokenizer is known for the encoder 'tiny-clip', but for clip-b16, .* Choose another --model",
    ):
        load_retriever("tiny-clip")


def test_unusable_data_are_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    def load(name: str) -> Retriever:
        raise AssertionError("loaded")

    with pytest.raises(DataError, match="no such file"):
        run(RetrievalConfig(data=tmp_path / "none.jsonl", output=tmp_path / "run"), load=load)
    assert not (tmp_path / "run").exists()
