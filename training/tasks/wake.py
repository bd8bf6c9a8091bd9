"""What a branch starts its training with: a sense of time, and eyes for what changes and for what moves.

A fresh branch hardly tells a clip from its reverse: time embeddings and the last projections of the cross-frame modules
are zero. From where these functions leave it, a few hundred steps teach it what takes a fresh one very long.

Axes: N frames, T times, L patches, D width, h heads.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoder.model import MugSTAN
from encoder.stan import CrossFrameModule, SelfAttention, STANBranch

SHARPNESS = 35.0
"""Attention logit of a patch and itself: the best match takes nearly all."""
LOUDNESS = 3.7
"""Length of what the motion heads say, relative to that of a time embedding."""


@torch.no_grad()
def wake(branch: STANBranch, generator: torch.Generator) -> None:
    """Give a fresh branch times to tell apart, eyes for what changes in time, and a voice.

    The times become sinusoids of unit mean square, of wavelengths from 4 to 256 frames, on channels in random order; what
    the cross-frame modules add is the difference between the latest and the earliest frames of a patch; and the branch's
    result joins the tower's with a weight of 1.
    """
    frames, width = branch.time_embedding.shape
    wavelengths = torch.logspace(math.log10(4), math.log10(256), width // 2)
    angles = 2 * math.pi * torch.arange(frames)[:, None] / wavelengths
    waves = math.sqrt(2) * torch.cat([angles.sin(), angles.cos()], dim=1)  # (T, D)
    times = waves[:, torch.randperm(width, generator=generator)]
    branch.time_embedding.copy_(times)
    branch.output_fusion.scale.fill_(1.0)
    for module in branch.cross_frame:
        _look_at_both_ends(module, rising(times), generator)


@torch.no_grad()
def follow_motion(encoder: MugSTAN, frames: Tensor, generator: torch.Generator) -> None:
    """Let the first layer of a woken branch say where things of now were at the start: with it, camera moves are learned.

    Its cross-frame module writes what each patch showed at the start beside what it shows now. In its intra-frame module
    a patch looks for itself among all patches as they were then, and takes their place in the picture: the column, the
    row, and the squared distance from the middle. Their means over all patches tell a pan from its opposite, and a zoom.
    How the first states, (N, 1 + L, D) of any `frames`, hold a place is found by ridge regression.
    """
    branch = encoder.branch
    _, positions = encoder.backbone.branch_positions()
    times, width = branch.time_embedding, branch.time_embedding.shape[1]
    free = _apart_from(times, generator)  # (n, D)
    now, then = free.chunk(2)
    cross, intra = branch.cross_frame[0], branch.intra_frame[0]
    tokens = (frames + positions)[:, 1:] + times[min(4, len(times) - 1)]
    normed = F.layer_norm(tokens, (width,), eps=intra.layer_norm1.eps)  # (N, L, D)
    mean = normed.mean((0, 1))
    spread = (normed - mean).square().mean().sqrt()

    attention = _silenced(cross.self_attn)
    _attend_by_time(attention, rising(times), torch.full((attention.heads,), -1.0))
    attention.v_proj.weight[: len(now)] = now  # by whichever heads: all of them look at the same frames
    attention.v_proj.bias[: len(now)] = -now @ mean
    attention.out_proj.weight[:, : len(then)] = then.T

    nn.init.ones_(intra.layer_norm1.weight)
    nn.init.zeros_(intra.layer_norm1.bias)
    attention = _silenced(intra.self_attn)
    channels = width // attention.heads
    compared = min(channels, len(now))
    sharp = math.sqrt(SHARPNESS * math.sqrt(channels) / compared) / spread
    places, offset = _read_places(normed, free)  # (3, D), (3,)
    said = torch.linalg.qr(torch.randn(width, len(places), generator=generator)).Q
    for head in range(attention.heads):
        some = torch.randperm(len(now), generator=generator)[:compared]
        rows = slice(head * channels, head * channels + compared)
        attention.q_proj.weight[rows] = sharp * now[some]
        attention.q_proj.bias[rows] = -sharp * now[some] @ mean
        attention.k_proj.weight[rows] = sharp * then[some]
        values = slice(head * channels, head * channels + len(places))
        attention.v_proj.weight[values] = places
        attention.v_proj.bias[values] = offset
        attention.out_proj.weight[:, values] = LOUDNESS * math.sqrt(width) / attention.heads * said


def rising(times: Tensor) -> Tensor:
    """A direction (D,) in which the first sixteen times (T, D) rise by about one a frame: ridge regression."""
    first = times[:16] - times[:16].mean(0)
    frame = torch.arange(len(first), dtype=first.dtype)
    direction = first.T @ torch.linalg.solve(first @ first.T + 5.0 * torch.eye(len(first)), frame - frame.mean())
    return direction / (first @ direction).diff().mean()


def _look_at_both_ends(module: CrossFrameModule, rise: Tensor, generator: torch.Generator) -> None:
    """Half of the heads look at the latest frames, half at the earliest; what they see is subtracted."""
    attention, width = _silenced(module.self_attn), len(rise)
    half = width // 2
    seen = torch.linalg.qr(torch.randn(width, width, generator=generator)).Q[:half]
    _attend_by_time(attention, rise, torch.where(torch.arange(attention.heads) < attention.heads // 2, 1.0, -1.0))
    attention.v_proj.weight.copy_(torch.cat([seen, seen]))
    attention.out_proj.weight.copy_(torch.cat([seen, -seen]).T)
    nn.init.eye_(module.temporal_fc.weight)


def _silenced(attention: SelfAttention) -> SelfAttention:
    for projection in (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj):
        nn.init.zeros_(projection.weight)
        nn.init.zeros_(projection.bias)
    return attention


def _attend_by_time(attention: SelfAttention, rise: Tensor, sign: Tensor) -> None:
    """Heads look at the latest frames where their `sign` (h,) is 1, at the earliest where it is -1."""
    channels = len(rise) // attention.heads
    first = torch.arange(attention.heads) * channels
    attention.q_proj.bias[first] = 3.0 * math.sqrt(channels) * sign  # logits rise by 3 a frame
    attention.k_proj.weight[first] = rise


def _apart_from(times: Tensor, generator: torch.Generator) -> Tensor:
    """(n, D) with n even: orthonormal directions, in random order, in which times (T, D) hardly differ."""
    width = times.shape[1]
    directions = torch.linalg.svd(times.T).U[:, width // 8 :]
    turned = torch.linalg.qr(torch.randn(2 * [directions.shape[1]], generator=generator)).Q
    return (directions @ turned).T[: directions.shape[1] // 2 * 2]


def _read_places(tokens: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens (N, L, D) of a square grid -> weights (3, D) and biases (3,) that read column, row and distance from them.

    Columns and rows go from -1 to 1, and the squared distance from the middle has a mean of 0, too. Ridge regression, along the `directions` (n, D) alone.
    """
    side = math.isqrt(tokens.shape[1])
    along = torch.linspace(-1, 1, side)
    rows, columns = torch.meshgrid(along, along, indexing="ij")
    distances = rows.square() + columns.square()
    places = torch.stack([columns, rows, distances - distances.mean()], dim=-1).flatten(0, 1)  # (L, 3)
    seen = (tokens @ directions.T).flatten(0, 1)  # (N*L, n)
    mean = seen.mean(0)
    gram = (seen - mean).T @ (seen - mean)
    ridge = 1e-3 * gram.diagonal().mean() * torch.eye(len(gram))
    weights = torch.linalg.solve(gram + ridge, (seen - mean).T @ places.repeat(len(tokens), 1)).T
    return weights @ directions, -weights @ mean
