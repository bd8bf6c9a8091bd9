"""Ours against the published STAN and BT-Adapter code, from the same weights."""

from collections.abc import Callable

import pytest
import torch

TOLERANCE = {"rtol": 0.0, "atol": 1e-5}


@pytest.mark.parametrize("name", ["stan_a", "stan_b", "btadapter_a"])
def test_frames_and_video_match_the_published_code(golden: Callable, name: str) -> None:
    data = golden(name)
    with torch.no_grad():
        video = data.imported().encode_video(data.io["video"])
    torch.testing.assert_close(video.frames, data.io["frame_features"], **TOLERANCE)
    torch.testing.assert_close(video.video, data.io["video_feature"], **TOLERANCE)
    vision = data.config["clip_config"]["vision_config"]
    patches = (vision["image_size"] // vision["patch_size"]) ** 2
    assert video.tokens.shape == (*data.io["video"].shape[:2], patches, vision["hidden_size"])


@pytest.mark.parametrize("name", ["stan_a", "stan_b"])
def test_text_matches_the_published_code(golden: Callable, name: str) -> None:
    data = golden(name)
    with torch.no_grad():
        text = data.imported().encode_text(data.io["input_ids"], data.io["text_mask"])
    torch.testing.assert_close(text.tokens, data.io["text_token_features"], **TOLERANCE)
    torch.testing.assert_close(text.sentence, data.io["text_feature"], **TOLERANCE)
    assert torch.equal(text.mask, data.io["text_mask"].bool())


@pytest.mark.parametrize("mode", ["mug", "mug_simple", "plain"])
@pytest.mark.parametrize("name", ["stan_a", "stan_b"])
def test_similarities_match_the_published_code(golden: Callable, name: str, mode: str) -> None:
    data = golden(name)
    model = data.imported()
    with torch.no_grad():
        text = model.encode_text(data.io["input_ids"], data.io["text_mask"])
        similarity = model.similarity(text, model.encode_video(data.io["video"]), mode)
    torch.testing.assert_close(similarity, data.io[f"similarity_{mode}"], **TOLERANCE)


def test_the_gates_matter(golden: Callable) -> None:
    """The golden gates are not what a plain sum would give: otherwise the parity above would prove little."""
    data = golden("btadapter_a")
    with torch.no_grad():
        for gates in (None, {"out_norm": 1e4, "middle_norm": None}, {"out_norm": None, "middle_norm": 1e2}):
            frames = data.imported(gates=gates).encode_video(data.io["video"]).frames
            assert (frames - data.io["frame_features"]).abs().max() > 1e-3
