"""OpenAI's CLIP as the hub gives it: transformers' own files, loaded to the bit, and clear words where they are missing."""

from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPModel

from encoder.backbones import hub
from encoder.checkpoints import load_encoder, save_encoder, trained_state_dict
from encoder.presets import CLIP_CONFIGS, ENCODERS, TOKENIZERS, create_encoder, create_tokenizer
from tests.training.towers import save_tiny_clip, tiny_clip_config, use_tiny_towers


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = save_tiny_clip(tmp_path / "hub")
    use_tiny_towers(monkeypatch, folder)
    return folder


def test_every_size_has_its_name_its_tower_and_its_tokenizer() -> None:
    assert hub.HUB_IDS.keys() == CLIP_CONFIGS.keys()
    assert ENCODERS.keys() == TOKENIZERS.keys() == {"mini", *CLIP_CONFIGS}


@torch.no_grad()
def test_a_preset_is_the_published_clip_under_a_fresh_branch(clip: Path) -> None:
    encoder, theirs = create_encoder("clip-b16"), CLIPModel.from_pretrained(clip).eval()
    tokens = create_tokenizer("clip-b16")(["a dog", "the road"], padding=True, return_tensors="pt")
    text = encoder.encode_text(tokens["input_ids"], tokens["attention_mask"])
    torch.testing.assert_close(text.sentence, theirs.get_text_features(**tokens).pooler_output, atol=1e-6, rtol=0)
    frames = torch.randn(2, 3, 32, 32)
    expected = theirs.get_image_features(frames).pooler_output
    assert torch.equal(encoder.encode_video(frames[None], branch=False).frames[0], expected)
    layer = encoder.backbone.branch_layer_weights(3)
    assert all(torch.equal(tensor, layer[name]) for name, tensor in encoder.branch.intra_frame[3].state_dict().items())


def test_a_saved_folder_asks_no_hub(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = create_encoder("clip-l14")
    save_encoder(tmp_path / "encoder", encoder, preset="clip-l14")

    def refuse(preset: str) -> None:
        raise AssertionError(preset)

    monkeypatch.setattr(hub, "clip_weights", refuse)
    back = trained_state_dict(load_encoder(tmp_path / "encoder"))
    assert back.keys() == encoder.state_dict().keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in encoder.state_dict().items())


@pytest.mark.parametrize(("make", "kind"), [(create_encoder, "weights"), (create_tokenizer, "tokenizer")])
def test_what_is_not_at_hand_is_named_with_the_place_and_the_way_to_get_it(
    clip: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[str], object], kind: str
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setitem(hub.HUB_IDS, "clip-b32", "nobody/no-clip")
    with pytest.raises(FileNotFoundError) as error:
        make("clip-b32")
    message = str(error.value)
    assert message.startswith(f"expected the {kind} of clip-b32, 'nobody/no-clip' of the Hugging Face hub, in ")
    assert hub.HF_HUB_CACHE in message
    assert "hf download nobody/no-clip" in message


def test_files_that_are_here_ask_no_hub(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    for kind in (hub.CLIPModel, hub.CLIPTokenizer):
        load = kind.from_pretrained

        def noted(name: str, *, load: Callable = load, **options: object) -> object:
            asked.append(options["local_files_only"])
            return load(name, **options)

        monkeypatch.setattr(kind, "from_pretrained", noted)
    create_encoder("clip-b32")
    create_tokenizer("clip-b32")
    assert asked == [True, True]


def test_a_tokenizer_without_words_is_no_tokenizer(clip: Path) -> None:
    """transformers would make one out of nothing."""
    (clip / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError, match="expected the tokenizer of clip-b16, "):
        create_tokenizer("clip-b16")


def test_weights_that_are_missing_are_not_made_up(clip: Path) -> None:
    weights = load_file(clip / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, clip / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(FileNotFoundError, match=r"1 are missing: \['text_projection.weight'\]"):
        create_encoder("clip-b32")


def test_an_encoder_without_a_tokenizer_says_so() -> None:
    with pytest.raises(KeyError, match="no tokenizer is known for the encoder 'tiny', but for clip-b16, clip-b32"):
        create_tokenizer("tiny")


def test_the_toy_is_of_the_published_shape() -> None:
    """What is tiny about it are numbers, not keys."""
    for part in ("vision_config", "text_config"):
        published = CLIP_CONFIGS["clip-b32"][part]
        assert set(published) <= set(tiny_clip_config()[part])
