"""STAN, the spatial-temporal auxiliary network beside an image tower (Liu et al. 2023, arXiv 2301.11116).

The branch reads the outputs of the tower's last d layers and never feeds back into the tower. Each branch layer is a
cross-frame module (attention over the T frames of one patch) followed by an intra-frame module (attention inside a
frame). Its state is one video-level CLS and the patches in patch-major order: token 1 + l*T + t is patch l of frame t.

Axes: B videos, T frames, L patches, D width, d branch depth.
"""

import logging

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from encoder.backbones.base import ShapeError

log = logging.getLogger(__name__)

ACTIVATIONS = {"quick_gelu": lambda x: x * torch.sigmoid(1.702 * x), "gelu": F.gelu}


class DropPath(nn.Module):
    """Drop whole rows of the first axis in training (stochastic depth) and rescale the rest."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        mask = torch.empty(x.shape[0], *[1] * (x.ndim - 1), dtype=x.dtype, device=x.device).bernoulli_(keep)
        return x * mask / keep


class SelfAttention(nn.Module):
    """Bidirectional multi-head self-attention, parameters named as in CLIP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """(N, S, D) -> (N, S, D)."""
        q, k, v = (
            rearrange(p(x), "n s (h c) -> n h s c", h=self.heads) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        attend = _attend_on_cpu if x.device.type == "cpu" else F.scaled_dot_product_attention
        return self.out_proj(rearrange(attend(q, k, v), "n h s c -> n s (h c)"))


def _attend_on_cpu(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention (N, h, S, c) by plain matrix products: on short sequences torch's own takes 2.5 times as long to train."""
    weights = torch.softmax((q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)).float(), dim=-1)
    return weights.to(v.dtype) @ v


class MLP(nn.Module):
    """fc2(activation(fc1(x)))."""

    def __init__(self, width: int, hidden: int, activation: str) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise KeyError(f"unknown activation '{activation}'. Known: {', '.join(sorted(ACTIVATIONS))}.")
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.activation(self.fc1(x)))


class CrossFrameModule(nn.Module):
    """Self-attention over the T frames of each patch. A fresh one is the identity: its last projection is zero."""

    def __init__(self, width: int, heads: int, *, eps: float, drop_path: float) -> None:
        super().__init__()
        self.self_attn = SelfAttention(width, heads)
        self.layer_norm1 = nn.LayerNorm(width, eps=eps)
        self.temporal_fc = nn.Linear(width, width)
        self.drop_path = DropPath(drop_path)
        nn.init.zeros_(self.temporal_fc.weight)
        nn.init.zeros_(self.temporal_fc.bias)

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        """(B, 1 + L*T, D) -> (B, 1 + L*T, D). CLS passes through unchanged."""
        cls, patches = x[:, :1], x[:, 1:]
        series = rearrange(patches, "b (l t) d -> (b l) t d", t=num_frames)
        moved = self.temporal_fc(self.drop_path(self.self_attn(self.layer_norm1(series))))
        return torch.cat([cls, patches + rearrange(moved, "(b l) t d -> b (l t) d", b=x.shape[0])], dim=1)


class IntraFrameModule(nn.Module):
    """A pre-norm transformer block inside each frame; the video's CLS joins every frame and comes back as the mean."""

    def __init__(self, width: int, heads: int, hidden: int, activation: str, *, eps: float, drop_path: float) -> None:
        super().__init__()
        self.self_attn = SelfAttention(width, heads)
        self.layer_norm1 = nn.LayerNorm(width, eps=eps)
        self.mlp = MLP(width, hidden, activation)
        self.layer_norm2 = nn.LayerNorm(width, eps=eps)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        """(B, 1 + L*T, D) -> (B, 1 + L*T, D)."""
        cls = repeat(x[:, :1], "b 1 d -> (b t) 1 d", t=num_frames)
        patches = rearrange(x[:, 1:], "b (l t) d -> (b t) l d", t=num_frames)
        moved = self.drop_path(self.self_attn(self.layer_norm1(torch.cat([cls, patches], dim=1))))
        moved = rearrange(moved, "(b t) n d -> b t n d", t=num_frames)
        h = x + torch.cat(
            [moved[:, :, 0].mean(1, keepdim=True), rearrange(moved[:, :, 1:], "b t l d -> b (l t) d")], dim=1
        )
        return h + self.mlp(self.layer_norm2(h))


class SumFusion(nn.Module):
    """backbone + branch, as STAN publishes it."""

    def forward(self, backbone: Tensor, branch: Tensor) -> Tensor:
        return backbone + branch


class GateFusion(nn.Module):
    """A nearly binary choice per channel (BT-Adapter, arXiv 2309.15785): g*backbone + (1-g)*branch, g = sigmoid(norm*balance)."""

    def __init__(self, width: int, norm: float) -> None:
        super().__init__()
        self.balance = nn.Parameter(torch.zeros(width))
        self.norm = norm

    def forward(self, backbone: Tensor, branch: Tensor) -> Tensor:
        gate = torch.sigmoid(self.norm * self.balance)
        return (1 - gate) * branch + gate * backbone


class ScaleFusion(nn.Module):
    """backbone + scale*branch with a learned scale per channel that starts at zero: a fresh branch changes nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(width))

    def forward(self, backbone: Tensor, branch: Tensor) -> Tensor:
        return backbone + self.scale * branch


class STANBranch(nn.Module):
    """d layers of cross-frame and intra-frame modules; `layer_fusion` feeds the tower in, `output_fusion` joins the result.

    `own_cls` seeds the video's CLS from a learned token (BT-Adapter) instead of the tower's class embedding.
    """

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        mlp_width: int,
        activation: str,
        eps: float,
        depth: int,
        max_frames: int = 64,
        drop_path: float = 0.1,
        layer_fusion: nn.Module,
        output_fusion: nn.Module,
        own_cls: bool = False,
    ) -> None:
        super().__init__()
        if depth < 1 or max_frames < 1:
            raise ValueError(f"depth and max_frames must be at least 1, got {depth} and {max_frames}.")
        rates = [drop_path * j / max(depth - 1, 1) for j in range(depth)]
        self.cross_frame = nn.ModuleList(CrossFrameModule(width, heads, eps=eps, drop_path=p) for p in rates)
        self.intra_frame = nn.ModuleList(
            IntraFrameModule(width, heads, mlp_width, activation, eps=eps, drop_path=p) for p in rates
        )
        self.time_embedding = nn.Parameter(torch.zeros(max_frames, width))
        self.cls_token = nn.Parameter(torch.zeros(width)) if own_cls else None
        self.layer_fusion = layer_fusion
        self.output_fusion = output_fusion
        self.recompute = False
        """Keep only what goes into each layer in training, and compute the layer again in the backward."""
        self._warned = False  # about interpolated time embeddings: say it once, not in every forward

    @property
    def depth(self) -> int:
        return len(self.cross_frame)

    def forward(self, states: Tensor, class_embedding: Tensor, positions: Tensor) -> Tensor:
        """Tower states (d, B, T, 1 + L, D), class embedding (D,), positions (1 + L, D) -> fused (B, T, 1 + L, D)."""
        if states.ndim != 5 or states.shape[0] != self.depth:
            raise ShapeError(f"expected states (d={self.depth}, B, T, 1 + L, D), got {tuple(states.shape)}.")
        if positions.shape != states.shape[3:]:
            raise ShapeError(
                f"expected positions {tuple(states.shape[3:])} as in states, got {tuple(positions.shape)}."
            )
        num_frames = states.shape[2]
        x = self._seed(states[0], class_embedding, positions)
        for j in range(self.depth):
            if j:
                x = self.layer_fusion(_video_tokens(states[j]), x)
            if self.recompute and self.training:
                x = checkpoint(self._layer, j, x, num_frames, use_reentrant=False)
            else:
                x = self._layer(j, x, num_frames)
        patches = rearrange(x[:, 1:], "b (l t) d -> b t l d", t=num_frames)
        branch = torch.cat([repeat(x[:, :1], "b 1 d -> b t 1 d", t=num_frames), patches], dim=2)
        return self.output_fusion(states[-1], branch)

    def _layer(self, j: int, x: Tensor, num_frames: int) -> Tensor:
        return self.intra_frame[j](self.cross_frame[j](x, num_frames), num_frames)

    def _seed(self, first: Tensor, class_embedding: Tensor, positions: Tensor) -> Tensor:
        """(B, T, 1 + L, D) -> (B, 1 + L*T, D): positions are added a second time, as published; CLS gets no time."""
        time = self._time(first.shape[1])
        patches = first[:, :, 1:] + positions[1:] + time[:, None]
        token = class_embedding if self.cls_token is None else self.cls_token
        cls = (first[:, :, 0].mean(1) + token + positions[0]) / 2
        return torch.cat([cls[:, None], rearrange(patches, "b t l d -> b (l t) d")], dim=1)

    def _time(self, num_frames: int) -> Tensor:
        """(T, D) time embeddings; more frames than stored ones are interpolated linearly."""
        stored = self.time_embedding
        if num_frames <= stored.shape[0]:
            return stored[:num_frames]
        if not self._warned:
            log.warning("%d frames, but %d stored time embeddings: interpolating them.", num_frames, stored.shape[0])
            self._warned = True
        return F.interpolate(stored.T[None], size=num_frames, mode="linear", align_corners=True)[0].T


def _video_tokens(states: Tensor) -> Tensor:
    """(B, T, 1 + L, D) -> (B, 1 + L*T, D): CLS averaged over time, patches patch-major."""
    return torch.cat(
        [states[:, :, 0].mean(1, keepdim=True), rearrange(states[:, :, 1:], "b t l d -> b (l t) d")], dim=1
    )
