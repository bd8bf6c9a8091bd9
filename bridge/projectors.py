"""From the encoder's features to tokens of the LLM.

Axes: B videos, T frames, L = h*h patches, D width, E joint space, g side of the pooled grid, M = T + g*g video tokens.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from encoder.model import VideoFeatures

PROJECTORS: dict[str, Callable[[int, int], nn.Module]] = {
    "linear": lambda width, llm_dim: nn.Linear(width, llm_dim),
    "mlp2x_gelu": lambda width, llm_dim: nn.Sequential(
        nn.Linear(width, llm_dim), nn.GELU(), nn.Linear(llm_dim, llm_dim)
    ),
}


class SpatioTemporalPooling(nn.Module):
    """T frame tokens (patches averaged inside a frame) and g*g space tokens (patches averaged over time).

    Each token carries, beside its patches, the joint embedding of what it summarises: the frame, or the whole video.
    It already agrees with text, which spares the LLM most of the way (video tokens of Video-ChatGPT, arXiv 2306.05424).
    """

    def __init__(self, grid: int) -> None:
        super().__init__()
        self.grid = grid

    def num_tokens(self, num_frames: int) -> int:
        """M for a video of `num_frames` frames."""
        return num_frames + self.grid**2

    def forward(self, features: VideoFeatures) -> Tensor:
        """VideoFeatures -> (B, M, D + E), frame tokens first."""
        side = round(features.tokens.shape[2] ** 0.5)
        frame = features.tokens.mean(2)  # (B, T, D)
        plane = rearrange(features.tokens.mean(1), "b (h w) d -> b d h w", h=side)
        space = rearrange(F.adaptive_avg_pool2d(plane, self.grid), "b d h w -> b (h w) d")
        joint = torch.cat([features.frames, features.video[:, None].expand(-1, self.grid**2, -1)], dim=1)
        joint = F.normalize(joint, dim=-1) * joint.shape[-1] ** 0.5  # unit variance, like normed patches
        return torch.cat([torch.cat([frame, space], dim=1), joint], dim=-1)


class Projector(nn.Module):
    """Pooling, then a network on every token, then a place among the LLM's word embeddings.

    `net` is a name of PROJECTORS. Outputs lie on a sphere of learned radius around a learned centre; `place_among` sets both to those of
    the LLM's words, so that an untrained projector already speaks at the right loudness.
    """

    def __init__(self, *, net: str, grid: int, width: int, embed_dim: int, llm_dim: int) -> None:
        super().__init__()
        if net not in PROJECTORS:
            raise KeyError(f"unknown projector '{net}'. Known projectors: {', '.join(sorted(PROJECTORS))}.")
        self.pooling = SpatioTemporalPooling(grid)
        self.norm = nn.LayerNorm(width + embed_dim)
        self.net = PROJECTORS[net](width + embed_dim, llm_dim)
        self.center = nn.Parameter(torch.zeros(llm_dim))
        self.radius = nn.Parameter(torch.ones(()))

    def num_tokens(self, num_frames: int) -> int:
        """M for a video of `num_frames` frames, known before anything runs."""
        return self.pooling.num_tokens(num_frames)

    @torch.no_grad()
    def place_among(self, embeddings: Tensor) -> None:
        """Take centre and radius from the word embeddings (V, llm_dim)."""
        self.center.copy_(embeddings.float().mean(0))
        self.radius.copy_((embeddings.float() - self.center).norm(dim=-1).mean())

    def forward(self, features: VideoFeatures) -> Tensor:
        """VideoFeatures -> (B, M, llm_dim)."""
        return self.project(self.pooling(features))

    def project(self, pooled: Tensor) -> Tensor:
        """Pooled tokens (B, M, D + E) -> (B, M, llm_dim): the trained part, for features pooled once and cached."""
        return self.center + self.radius * F.normalize(self.net(self.norm(pooled)), dim=-1)
