"""The embedded default: its towers against the files they come from, and what a fresh branch does to them."""

import copy
from collections.abc import Callable

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor
from transformers import BertModel

from encoder.backbones.mini import text_moments
from encoder.backbones.wheel_weights import TEXT_WHEEL, VISION_WHEEL, onnx_vit_weights, text_tokenizer
from encoder.model import MugSTAN
from encoder.presets import create_encoder, fresh_branch
from encoder.runtime import wheel_file

ONNX_LAYERNORM = "/backbone/layernorm/Add_1_output_0"


@pytest.fixture(scope="module")
def mini() -> MugSTAN:
    """The preset; tests do not change it."""
    return create_encoder("mini")


@pytest.fixture(scope="module")
def clip(mini: MugSTAN, frame: Tensor) -> Tensor:
    """Three different real pictures as one normalised clip (1, 3, 3, 224, 224)."""
    height, width = frame.shape[-2:]
    pieces = [frame, frame[..., : width // 2], frame[..., height // 3 :, width // 2 :]]
    return torch.cat([mini.backbone.transform(piece) for piece in pieces])[None]


@pytest.fixture(scope="module")
def states(mini: MugSTAN, clip: Tensor) -> Tensor:
    with torch.no_grad():
        return mini.video_states(clip)


@torch.no_grad()
def test_vision_tower_equals_onnx_runtime_on_a_real_frame(mini: MugSTAN, clip: Tensor) -> None:
    model = onnx.load(str(wheel_file(*VISION_WHEEL)))
    model.graph.output.append(onnx.ValueInfoProto(name=ONNX_LAYERNORM))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (expected,) = session.run([ONNX_LAYERNORM], {"input_image": clip[0, :1].numpy()})
    got = mini.backbone.vision(clip[0, :1]).last_hidden_state
    assert got.shape == (1, 1 + 16 * 16, 384)
    torch.testing.assert_close(got, torch.from_numpy(expected), rtol=0, atol=1e-4)


def test_cached_weights_are_those_of_the_wheel(mini: MugSTAN) -> None:
    weights = onnx_vit_weights(wheel_file(*VISION_WHEEL))
    loaded = mini.backbone.vision.state_dict()
    assert weights.keys() == loaded.keys()
    assert all(torch.equal(weights[name], loaded[name]) for name in weights)


@torch.no_grad()
def test_text_tower_is_the_published_minilm(mini: MugSTAN) -> None:
    batch = text_tokenizer()(["a man rides a horse", "snow"], padding=True, return_tensors="pt")
    theirs = BertModel.from_pretrained(str(wheel_file(*TEXT_WHEEL)), add_pooling_layer=False).eval()
    hidden = theirs(**batch).last_hidden_state
    text = mini.encode_text(batch["input_ids"], batch["attention_mask"])
    torch.testing.assert_close(text.tokens, mini.backbone.text_head(hidden), rtol=0, atol=1e-5)
    mean = torch.stack([hidden[0].mean(0), hidden[1, : batch["attention_mask"][1].sum()].mean(0)])
    torch.testing.assert_close(text.sentence, mini.backbone.text_head(mean), rtol=0, atol=1e-5)
    assert torch.equal(text.mask, batch["attention_mask"].bool())
    assert not text.mask.all()


@torch.no_grad()
def test_the_second_mean_of_words_turns_round_with_their_order() -> None:
    hidden = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0], [1, 0, 0, 0, 0]])
    mean, turn = text_moments(hidden, mask)
    torch.testing.assert_close(mean, torch.stack([hidden[0].mean(0), hidden[1, :4].mean(0), hidden[2, 0]]))
    torch.testing.assert_close(turn[1], (hidden[1, 3] - hidden[1, 0] + (hidden[1, 2] - hidden[1, 1]) / 3) / 4)
    assert not turn[2].any(), "one word alone has no order"
    back_mean, back_turn = text_moments(hidden.flip(1)[:1], mask[:1])
    torch.testing.assert_close(back_mean, mean[:1])
    torch.testing.assert_close(back_turn, -turn[:1])
    padding = torch.cat([hidden, torch.full((3, 2, 8), 7.0)], dim=1), torch.cat([mask, torch.zeros(3, 2)], dim=1)
    torch.testing.assert_close(text_moments(*padding), (mean, turn))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(text_moments(hidden, mask)[0], mean), "autocast leaves the means as they are"


@torch.no_grad()
def test_word_order_reaches_a_sentence_through_its_own_map_alone(mini: MugSTAN) -> None:
    backbone = copy.deepcopy(mini.backbone)
    batch = text_tokenizer()(["First a dog barks, then snow falls.", "snow"], padding=True, return_tensors="pt")
    ids, mask = batch["input_ids"], batch["attention_mask"]
    before = backbone.encode_text(ids, mask)
    torch.nn.init.normal_(backbone.text_order.weight)
    after = backbone.encode_text(ids, mask)
    assert torch.equal(before.tokens, after.tokens), "words stay as they are"
    assert not torch.allclose(before.sentence, after.sentence, atol=1e-2)


@torch.no_grad()
def test_a_fresh_branch_leaves_frame_features_and_tokens_as_they_were(mini: MugSTAN, states: Tensor) -> None:
    tokens, frames = mini.backbone.finish(states[-1], states)
    video = mini.encode_states(states)
    assert video.tokens.shape == (1, 3, 64, 384)
    torch.testing.assert_close(video.tokens, tokens, rtol=0, atol=1e-6)
    torch.testing.assert_close(video.frames, frames, rtol=0, atol=1e-6)
    assert mini.branch.time_embedding.abs().max() == 0


@torch.no_grad()
def test_the_vision_head_reads_the_lower_layers_and_a_fresh_one_the_last_alone(mini: MugSTAN, states: Tensor) -> None:
    backbone = copy.deepcopy(mini.backbone)
    other = states + torch.randn(states.shape, generator=torch.Generator().manual_seed(0))
    other[-1] = states[-1]
    normed = backbone.vision.layernorm(states[-1])
    alone = backbone.vision_head(torch.cat([normed[..., 0, :], normed[..., 1:, :].mean(-2)], dim=-1))
    for lower in (states, other):
        torch.testing.assert_close(backbone.finish(states[-1], lower)[1], alone, rtol=0, atol=1e-5)
    torch.nn.init.normal_(backbone.vision_lower[1].weight)
    (tokens, frames), (other_tokens, other_frames) = (backbone.finish(states[-1], lower) for lower in (states, other))
    assert torch.equal(tokens, other_tokens), "tokens for the LLM are those of the last layer"
    assert not torch.allclose(frames, other_frames, atol=1e-2)
    torch.testing.assert_close(backbone.read_frames(backbone.moments(states)), frames, rtol=0, atol=1e-5)


@torch.no_grad()
def test_states_are_the_towers_own_under_pooled_patches(mini: MugSTAN, clip: Tensor, states: Tensor) -> None:
    hidden = mini.backbone.vision(clip[0], output_hidden_states=True).hidden_states
    assert states.shape == (4, 1, 3, 65, 384)
    for state, full in zip(states[:, 0], hidden[-4:], strict=True):
        torch.testing.assert_close(state[:, 0], full[:, 0], rtol=0, atol=1e-5)
        grid = full[:, 1:].unflatten(1, (16, 16))
        corner = (grid[:, 14, 2] + grid[:, 14, 3] + grid[:, 15, 2] + grid[:, 15, 3]) / 4
        torch.testing.assert_close(state[:, 1 + 7 * 8 + 1], corner, rtol=0, atol=1e-5)
    torch.testing.assert_close(
        mini.backbone.vision.layernorm(hidden[-1]), mini.backbone.vision(clip[0]).last_hidden_state, rtol=0, atol=1e-5
    )


@torch.no_grad()
def test_branch_layers_start_as_the_last_blocks_with_layer_scale_folded_in(mini: MugSTAN, states: Tensor) -> None:
    """Residuals are what the two must share: on a one-frame video nothing else is left."""
    one_frame = states[0, 0, :1]  # (1, 65, 384)
    for j, module in enumerate(mini.branch.intra_frame):
        block = mini.backbone.vision.encoder.layer[8 + j]
        torch.testing.assert_close(module(one_frame, 1), block(one_frame), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_branch_positions_are_the_towers_pooled(mini: MugSTAN) -> None:
    _, positions = mini.backbone.branch_positions()
    embeddings = mini.backbone.vision.embeddings
    full = embeddings.interpolate_pos_encoding(torch.zeros(1, 257, 384), 224, 224)[0]
    assert positions.shape == (65, 384)
    torch.testing.assert_close(positions[0], full[0])
    torch.testing.assert_close(positions[2], full[1 + torch.tensor([2, 3, 18, 19])].mean(0))


@torch.no_grad()
def test_a_trained_branch_sees_the_order_of_frames(mini: MugSTAN, states: Tensor, randomise: Callable) -> None:
    branch = fresh_branch(mini.backbone, depth=4, scaled=True)
    randomise(branch.cross_frame)
    branch.output_fusion.scale.fill_(1.0)
    model = MugSTAN(mini.backbone, branch).eval()
    straight, backwards = model.encode_states(states), model.encode_states(states.flip(2))
    torch.testing.assert_close(backwards.frames, straight.frames.flip(1), rtol=0, atol=1e-4)  # no time, no order
    torch.testing.assert_close(backwards.video, straight.video, rtol=0, atol=1e-4)
    branch.time_embedding.normal_(generator=torch.Generator().manual_seed(0))
    straight, backwards = model.encode_states(states), model.encode_states(states.flip(2))
    assert (straight.video - backwards.video).abs().max() > 1e-3
    assert (straight.tokens - backwards.tokens.flip(1)).abs().max() > 1e-2
