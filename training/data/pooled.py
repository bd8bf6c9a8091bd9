"""Media as the projector receives them: tokens of the finished encoder, pooled once and kept in memory."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from bridge.projectors import SpatioTemporalPooling
from encoder.checkpoints import trained_state_dict
from encoder.model import MugSTAN
from training.data.features import FeatureCache
from training.data.jsonl import Sample


@dataclass(frozen=True)
class PooledMedium:
    """pooled (M, D + E) fp16, and what is said about the medium."""

    pooled: Tensor
    captions: tuple[str, ...]
    qa: tuple[tuple[str, str], ...]
    is_video: bool


@torch.inference_mode()
def pool_media(
    samples: list[Sample],
    files: dict[int, Path],
    encoder: MugSTAN,
    pooling: SpatioTemporalPooling,
    folder: Path,
    on_progress: Callable[[int], None] = lambda done: None,
) -> list[PooledMedium]:
    """Cached tower states -> pooled tokens of every sample in `files`; kept under the hash of encoder and samples."""
    digest = hashlib.sha256(f"{pooling.grid}".encode())
    for name, tensor in sorted(trained_state_dict(encoder).items()):
        digest.update(name.encode() + tensor.float().contiguous().numpy().tobytes())
    for index in sorted(files):
        digest.update(files[index].name.encode())
    path = folder / f"pooled-{digest.hexdigest()[:16]}.safetensors"
    if not path.exists():
        pooled = {}
        for index in sorted(files):
            with torch.autocast("cpu", torch.bfloat16):
                features = encoder.encode_states(FeatureCache.load(files[index])[:, None].float())
            pooled[str(index)] = pooling(features)[0].to(torch.float16).contiguous()
            on_progress(1)
        partial = path.with_suffix(".partial")
        save_file(pooled, partial)
        partial.replace(path)
    with safe_open(str(path), "pt") as file:
        return [
            PooledMedium(file.get_tensor(str(i)), samples[i].captions, samples[i].qa, samples[i].is_video)
            for i in sorted(files)
        ]
