"""What a branch starts with: it tells times apart, sees what changes, and follows what moves."""

import torch
import torch.nn.functional as F

from encoder.model import MugSTAN
from encoder.presets import create_encoder
from tests.bridge.conftest import tiny_encoder
from training.tasks.wake import follow_motion, rising, wake


def test_a_woken_branch_tells_times_apart() -> None:
    branch = tiny_encoder().branch
    wake(branch, torch.Generator().manual_seed(1))
    times = branch.time_embedding
    torch.testing.assert_close(times.square().mean(), torch.tensor(1.0), rtol=0.02, atol=0)
    assert torch.pdist(times.detach()).min() > 0.5, "no two moments are alike"
    assert (branch.output_fusion.scale == 1.0).all()
    other = tiny_encoder().branch
    wake(other, torch.Generator().manual_seed(2))
    assert not torch.equal(times, other.time_embedding)
    mini = create_encoder("mini").branch
    wake(mini, torch.Generator().manual_seed(0))
    rise = mini.time_embedding.detach() @ rising(mini.time_embedding.detach())
    assert (rise[:16].diff() > 0.5).all()


@torch.no_grad()
def test_a_woken_branch_sees_what_changes_in_time() -> None:
    """To all stills it adds about the same; to a clip what tells it from its reverse, far more than a fresh one does."""
    mini = create_encoder("mini")
    clip = torch.randn(4, 1, 8, 65, 384, generator=torch.Generator().manual_seed(0))
    fresh = reversal(mini, clip)
    wake(mini.branch, torch.Generator().manual_seed(0))
    module = mini.branch.cross_frame[0]
    tokens = torch.randn(1, 1 + 2 * 8, 384, generator=torch.Generator().manual_seed(1))
    timed = tokens.clone()
    timed[:, 1:] += mini.branch.time_embedding[:8].repeat(2, 1)
    still = tokens[:, 1::8].repeat_interleave(8, dim=1) + mini.branch.time_embedding[:8].repeat(2, 1)
    one, other = (module(timed, 8) - timed)[0, 1:].split(8)
    still_one, still_other = (module(torch.cat([tokens[:, :1], still], dim=1), 8)[:, 1:] - still)[0].split(8)
    assert (one - other).norm() > 3 * (still_one - still_other).norm()
    assert reversal(mini, clip) > 5 * fresh


def reversal(encoder: MugSTAN, clip: torch.Tensor) -> float:
    """How far a clip's feature lies from that of its reverse, relative to its length, with the branch's full weight."""
    encoder.branch.output_fusion.scale.fill_(0.3)
    forth, back = (encoder.encode_states(states).video for states in (clip, clip.flip(2)))
    return ((forth - back).norm() / forth.norm()).item()


@torch.no_grad()
def test_a_branch_that_follows_motion_tells_a_pan_from_its_reverse() -> None:
    """Whatever is shown: what it adds to pans over different pictures differs from their reverses in the same way."""
    mini = create_encoder("mini")
    wake(mini.branch, torch.Generator().manual_seed(0))
    clips = torch.cat([pan(seed) for seed in range(100, 106)], dim=1)
    before = agreement(turned(mini, clips))
    looked_at = torch.cat([pan(seed)[0, :, 0] for seed in range(100)])
    follow_motion(mini, looked_at, torch.Generator().manual_seed(0))
    after = agreement(turned(mini, clips))
    assert after > 0.5 > before


def test_whoever_follows_motion_still_tells_changes_in_time() -> None:
    encoder = tiny_encoder()
    wake(encoder.branch, torch.Generator().manual_seed(0))
    clip = torch.randn(2, 1, 8, 5, 32, generator=torch.Generator().manual_seed(0))
    follow_motion(encoder, clip[0, :, 0], torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert reversal(encoder, clip) > 0.01
    assert all(p.isfinite().all() for p in encoder.branch.parameters())


def pan(seed: int) -> torch.Tensor:
    """States (4, 1, 8, 65, 384) of a picture that moves by a column every second frame, and hold where patches lie."""
    generator = torch.Generator().manual_seed(seed)
    picture = 0.17 * torch.randn(8, 12, 384, generator=generator)
    places = 0.05 * torch.randn(8, 8, 384, generator=torch.Generator().manual_seed(1000))
    frames = torch.stack([picture[:, frame // 2 : frame // 2 + 8] + places for frame in range(8)])
    states = torch.cat([frames.mean((1, 2))[:, None], frames.flatten(1, 2)], dim=1)
    return states.expand(4, 1, -1, -1, -1)


def turned(encoder: MugSTAN, clips: torch.Tensor) -> torch.Tensor:
    """(B, D): how what the branch adds to the mean patch changes when clips (d, B, T, 1 + L, D) run backwards."""
    added = [(encoder.fuse(states) - states[-1])[:, :, 1:].mean((1, 2)) for states in (clips, clips.flip(2))]
    return added[0] - added[1]


def agreement(differences: torch.Tensor) -> float:
    """Mean cosine of the rows with each other."""
    rows = F.normalize(differences, dim=-1)
    return (rows @ rows.T)[~torch.eye(len(rows), dtype=torch.bool)].mean().item()
