"""An encoder that looks at videos and reads captions: of a chat model, of a preset, or of a folder of its own.

Axes: A texts, W words, B videos, T frames, E joint space.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor
from tqdm import tqdm

from bridge.checkpoint import read_config
from bridge.presets import CHAT_MODELS, model_folder
from bridge.runtime import find_runtime, use_threads
from encoder.backbones.base import TextFeatures
from encoder.checkpoints import CONFIG_FILE, EncoderPart, load_encoder, read_encoder_config
from encoder.model import MugSTAN, VideoFeatures
from encoder.presets import ENCODERS, create_encoder, create_tokenizer
from encoder.video import VideoError, read_frames
from training.evaluation.chunked_similarity import similarity

log = logging.getLogger(__name__)

Value = TypeVar("Value")
NUM_FRAMES = 8
"""Where only an encoder is given, whose folder does not say: what ours are trained with."""
MAX_WORDS = 64
"""Word pieces that are read of a caption."""
CAPTIONS_AT_ONCE = 64


class EncoderError(ValueError):
    """An encoder cannot be loaded, or cannot compare captions with videos; the message says why."""


@dataclass(kw_only=True)
class Retriever:
    """An encoder with all it needs to look and to read."""

    encoder: MugSTAN
    tokenize: Callable[..., Any]
    """A transformers tokenizer."""
    num_frames: int
    retrieval_mode: str
    dtype: torch.dtype = torch.float32
    """Of the matrix products on frames; captions are read in fp32."""

    def fingerprint(self) -> str:
        """SHA-256 over the names and numbers of all weights of the encoder."""
        digest = hashlib.sha256()
        for name, weights in sorted(self.encoder.state_dict().items()):
            digest.update(f"{name}|{weights.dtype}|{tuple(weights.shape)}|".encode())
            digest.update(weights.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()

    def precision(self) -> str:
        """Device and dtype, in words."""
        return f"{next(self.encoder.parameters()).device}, encoder {self.dtype}"

    def watch(self, path: Path, *, end: float | None = None) -> Tensor:
        """Frame features fp32 (T, E) of a video up to `end` seconds; those of a picture stand T times. Raises VideoError."""
        return self.look(read_frames(path, self.num_frames, end=end).pixels).expand(self.num_frames, -1)

    @torch.inference_mode()
    def look(self, pixels: Tensor, *, branch: bool = True) -> Tensor:
        """Frames uint8 (T, 3, H, W) -> their features fp32 (T, E), on the CPU. Raises VideoError where not finite."""
        parameter = next(self.encoder.backbone.parameters())
        video = self.encoder.backbone.transform(pixels.to(parameter.device))[None].to(parameter.dtype)
        with torch.autocast(parameter.device.type, self.dtype, enabled=self.dtype != parameter.dtype):
            frames = self.encoder.encode_video(video, branch=branch).frames[0]
        if not torch.isfinite(frames).all():
            raise VideoError(f"The encoder's features of this video are not finite (computed in {self.dtype}).")
        return frames.float().cpu()

    def read(self, captions: list[str]) -> TextFeatures:
        """fp32 features of captions, on the CPU. Raises EncoderError where they are not finite."""
        parts = list(self._read(captions))
        text = TextFeatures(
            tokens=torch.cat([part.tokens for part in parts]),
            sentence=torch.cat([part.sentence for part in parts]),
            mask=torch.cat([part.mask for part in parts]),
        )
        finite = torch.isfinite(text.sentence).all(-1) & torch.isfinite(text.tokens).all(-1).all(-1)
        _check_finite(finite, captions)
        return text

    def read_sentences(self, captions: list[str]) -> Tensor:
        """fp32 features (A, E) of whole captions alone, which are small. Raises EncoderError where they are not finite."""
        sentences = torch.cat([part.sentence for part in self._read(captions)])
        _check_finite(torch.isfinite(sentences).all(-1), captions)
        return sentences

    @torch.inference_mode()
    def _read(self, captions: list[str]) -> Iterator[TextFeatures]:
        """fp32 features on the CPU of a few captions at a time, padded to the longest of all."""
        if long := sum(len(ids) > MAX_WORDS for ids in self.tokenize(captions)["input_ids"]):
            log.warning("%d of %d captions are cut after %d word pieces", long, len(captions), MAX_WORDS)
        device = next(self.encoder.backbone.parameters()).device
        batch = self.tokenize(captions, padding=True, truncation=True, max_length=MAX_WORDS, return_tensors="pt")
        for first in tqdm(range(0, len(captions), CAPTIONS_AT_ONCE), desc="captions", unit="batch", dynamic_ncols=True):
            some = slice(first, first + CAPTIONS_AT_ONCE)
            ids, mask = batch["input_ids"][some].to(device), batch["attention_mask"][some].to(device)
            part = self.encoder.encode_text(ids, mask)
            yield TextFeatures(
                tokens=part.tokens.float().cpu(), sentence=part.sentence.float().cpu(), mask=part.mask.cpu()
            )  # fmt: skip

    @torch.inference_mode()
    def similarity(self, captions: list[str], frames: list[Tensor], mode: str) -> np.ndarray:
        """Captions and videos as frames (T, E) -> similarities fp32 (A, B).

        Captions of the same words and videos of the same features are compared once: rounding differs with the place
        in a matrix, and what is equal must tie.
        """
        texts, text_of = _distinct(captions, captions)
        different, video_of = _distinct([video.numpy().tobytes() for video in frames], frames)
        stacked = torch.stack(different)
        video = VideoFeatures(tokens=stacked.new_empty(len(stacked), 0), frames=stacked, video=stacked.mean(1))
        device = next(self.encoder.backbone.parameters()).device
        with tqdm(total=len(texts) * len(stacked), desc="similarity", unit="pair", dynamic_ncols=True) as bar:
            scores = similarity(
                self.encoder.similarity, self.read(texts), video, mode, device=device, on_progress=bar.update
            )
        return scores.numpy()[np.ix_(text_of, video_of)]


def load_retriever(name: str) -> Retriever:
    """The encoder of a chat model, or an encoder alone, by name or folder. Sets torch's number of threads.

    A name that both have is the chat model's, whose encoder is trained. Raises EncoderError.
    """
    try:
        encoder, part, num_frames = _load(name)
        tokenize = caption_tokenizer(part.preset)
    except EncoderError:
        raise
    except KeyError as error:
        raise EncoderError(str(error.args[0])) from error
    except (ValueError, OSError, SafetensorError) as error:  # does not fit, is missing, is cut off
        raise EncoderError(f"cannot load the model '{name}': {error}") from error
    runtime = find_runtime()
    use_threads(runtime)
    return Retriever(
        encoder=encoder.to(runtime.device), tokenize=tokenize, num_frames=num_frames, dtype=runtime.encoder_dtype,
        retrieval_mode=part.retrieval_mode,
    )  # fmt: skip


def _load(name: str) -> tuple[MugSTAN, EncoderPart, int]:
    """Encoder, what its config says of it, and number of frames."""
    if name in ENCODERS and name not in CHAT_MODELS:
        return create_encoder(name), EncoderPart(preset=name), NUM_FRAMES
    folder = model_folder(name)
    file = folder / CONFIG_FILE
    if file.exists() and _names_llm(file):
        config = read_config(folder)
        encoder = load_encoder(folder) if "encoder" in config.parts else create_encoder(config.encoder.preset)
        return encoder, config.encoder, config.num_frames
    encoder, part = load_encoder(folder), read_encoder_config(file)
    return encoder, part, part.num_frames or NUM_FRAMES


def _names_llm(file: Path) -> bool:
    """Whether a config.json is that of a chat model."""
    whole = json.loads(file.read_text(encoding="utf-8"))
    return isinstance(whole, dict) and "llm" in whole


def caption_tokenizer(preset: str) -> Callable[..., Any]:
    """The tokenizer of a preset's text tower. Raises EncoderError for a preset without one."""
    try:
        return create_tokenizer(preset)
    except KeyError as error:
        raise EncoderError(f"captions cannot be read: {error.args[0]} Choose another --model.") from error


def _check_finite(finite: Tensor, captions: Sequence[str]) -> None:
    """Raise EncoderError unless all captions' features are: `finite` (A,) bool."""
    if not finite.all():
        broken = captions[int((~finite).nonzero()[0])]
        raise EncoderError(f"the encoder's features of {int((~finite).sum())} captions are not finite: '{broken:.80}'.")


def _distinct(keys: Sequence[Hashable], values: Sequence[Value]) -> tuple[list[Value], list[int]]:
    """One value of each different key, in the order of their first places; and which of them stands at each place."""
    different = dict(zip(keys, values, strict=True))
    number = {key: i for i, key in enumerate(different)}
    return list(different.values()), [number[key] for key in keys]
