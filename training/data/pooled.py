"""Media as the projector receives them: tokens of the finished encoder, pooled once and kept in memory."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bridge.projectors import SpatioTemporalPooling
from encoder.checkpoints import trained_state_dict
from encoder.model import MugSTAN
from training.data.features import FeatureCache
from training.data.jsonl import Sample


@dataclass(frozen=True)
class PooledMedium:
    """pooled (M, D + E) fp16, and what is said about the medium. A video of a single frame counts as a picture.

    `name` is the path of the medium.
    """

    pooled: Tensor
    captions: tuple[str, ...]
    qa: tuple[tuple[str, str], ...]
    is_video: bool
    name: str = ""


@torch.inference_mode()
def pool_media(
    media: Sequence[tuple[Sample, Path]],
    encoder: MugSTAN,
    pooling: SpatioTemporalPooling,
    folder: Path,
    on_progress: Callable[[int], None] = lambda done: None,
) -> list[PooledMedium]:
    """Samples with the files of their cached tower states -> the samples with pooled tokens.

    Tokens are kept by the name of the states' file, under the hash of the encoder and of all those names.
    """
    files = {file.stem: file for _, file in media}
    digest = hashlib.sha256(f"{pooling.grid}".encode())
    for name, tensor in sorted(trained_state_dict(encoder).items()):
        digest.update(name.encode() + tensor.float().contiguous().numpy().tobytes())
    for name in sorted(files):
        digest.update(name.encode())
    path = folder / f"pooled-{digest.hexdigest()[:16]}.safetensors"
    if not path.exists():
        pooled = {}
        for name, file in files.items():
            with torch.autocast("cpu", torch.bfloat16):
                features = encoder.encode_states(FeatureCache.load(file)[:, None].float())
            pooled[name] = pooling(features)[0].to(torch.float16).contiguous()
            on_progress(1)
        partial = path.with_suffix(".partial")
        save_file(pooled, partial)
        partial.replace(path)
    tokens = load_file(path)
    return [
        PooledMedium(
            tokens[file.stem], sample.captions, sample.qa,
            is_video=sample.is_video and len(tokens[file.stem]) > pooling.num_tokens(1), name=str(sample.media),
        )
        for sample, file in media
    ]  # fmt: skip
