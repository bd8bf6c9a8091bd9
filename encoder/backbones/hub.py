"""OpenAI's CLIP (Radford et al. 2021, arXiv 2103.00020): this machine's copy of what the model hub has, else the hub's."""

from collections.abc import Callable
from typing import TypeVar

import torch
from huggingface_hub.constants import HF_HUB_CACHE
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer, PreTrainedTokenizerBase
from transformers.utils import cached_file

HUB_IDS = {
    "clip-b32": "openai/clip-vit-base-patch32",
    "clip-b16": "openai/clip-vit-base-patch16",
    "clip-l14": "openai/clip-vit-large-patch14",
}
"""Preset -> name on the hub; a folder with the same files will do."""
T = TypeVar("T")


def clip_weights(preset: str) -> dict[str, Tensor]:
    """Weights of a preset, fp32, under the names of CLIPBackbone.

    Raises FileNotFoundError where they are neither here nor to be had, or where some of them are missing.
    """
    name = HUB_IDS[preset]
    model, found = _from_here_or_hub(
        preset, "weights",
        lambda only_here: CLIPModel.from_pretrained(
            name, dtype=torch.float32, local_files_only=only_here, output_loading_info=True
        ),
    )  # fmt: skip
    if missing := sorted(found["missing_keys"]):  # transformers would go on with random ones
        raise FileNotFoundError(f"expected all weights of CLIP in '{name}', {len(missing)} are missing: {missing[:5]}.")
    weights = model.state_dict()
    del weights["logit_scale"]  # of CLIP's own training
    return {
        key.replace("vision_model.", "vision.").replace("text_model.", "text."): tensor
        for key, tensor in weights.items()
    }


def clip_tokenizer(preset: str) -> PreTrainedTokenizerBase:
    """CLIP's tokenizer. Its end token has the largest id; truncation keeps it, and what pads a text stands after it.

    Raises FileNotFoundError where it is neither here nor to be had.
    """
    name = HUB_IDS[preset]

    def load(only_here: bool) -> PreTrainedTokenizerBase:
        cached_file(name, "tokenizer.json", local_files_only=only_here)  # without it there would be one without words
        return CLIPTokenizer.from_pretrained(name, local_files_only=only_here)

    return _from_here_or_hub(preset, "tokenizer", load)


def _from_here_or_hub(preset: str, what: str, load: Callable[[bool], T]) -> T:
    """What `load` gives when it may look only here, else when it may ask the hub: who has the files needs no network."""
    try:
        return load(True)
    except OSError:
        pass
    try:
        return load(False)
    except OSError as error:
        name = HUB_IDS[preset]
        raise FileNotFoundError(
            f"expected the {what} of {preset}, '{name}' of the Hugging Face hub, in {HF_HUB_CACHE}, and could not get them "
            f"from the hub ({str(error).splitlines()[0]}). Where there is a network: hf download {name}. Copy what that "
            "fetches to here, or name its place by HF_HUB_CACHE."
        ) from error
