"""VideoLanguageModel: frames -> encoder -> projector -> the LLM's slots -> logits.

Axes: B videos, T frames, M video tokens, S prompt tokens, V vocabulary.
"""

import torch
from torch import Tensor, nn

from bridge.language_model import LanguageModel
from bridge.projectors import Projector
from bridge.prompt import Prompt, render, splice_video_tokens
from encoder.model import MugSTAN, VideoFeatures


class VideoLanguageModel(nn.Module):
    """The three parts of a chat model. Weights only: conversations live in VideoChat."""

    def __init__(
        self,
        *,
        name: str,
        encoder: MugSTAN,
        projector: Projector,
        language_model: LanguageModel,
        num_frames: int,
        system: str,
        encoder_dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.name = name
        self.encoder = encoder
        self.projector = projector
        self.llm = language_model.model
        self.tokenizer = language_model.tokenizer
        self.num_frames = num_frames
        self.system = system
        self.encoder_dtype = encoder_dtype  # of the encoder's matrix products; its weights keep their own
        self.context_length = language_model.context_length

    def prompt(self, messages: list[dict[str, str]], *, num_slots: int, add_generation_prompt: bool = True) -> Prompt:
        """The messages as this LLM reads them; see bridge.prompt.render."""
        return render(
            self.tokenizer,
            messages,
            num_slots=num_slots,
            system=self.system,
            add_generation_prompt=add_generation_prompt,
        )

    @torch.inference_mode()
    def encode(self, pixels: Tensor, *, branch: bool = True) -> Tensor:
        """Frames uint8 (T, 3, H, W) -> video tokens (1, M, llm_dim)."""
        parameter = next(self.encoder.backbone.parameters())
        video = self.encoder.backbone.transform(pixels.to(parameter.device))[None].to(parameter.dtype)
        reduced = self.encoder_dtype != parameter.dtype
        with torch.autocast(parameter.device.type, self.encoder_dtype, enabled=reduced):
            features = self.encoder.encode_video(video, branch=branch)
        return self.projector(VideoFeatures(*(f.to(self.projector.center.dtype) for f in vars(features).values())))

    def embed(self, prompt: Prompt, video: Tensor | None) -> Tensor:
        """A prompt and its video tokens (1, M, llm_dim), or None for a prompt without slots -> (1, S, llm_dim)."""
        table = self.llm.get_input_embeddings()
        embeds = table(prompt.input_ids[None].to(table.weight.device))
        if video is None:
            video = embeds.new_zeros(1, 0, embeds.shape[-1])
        return splice_video_tokens(embeds, video, prompt.is_video[None].to(embeds.device))
