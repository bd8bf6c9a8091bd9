"""What the heads are trained on."""

import pytest
import torch

from tests.bridge.conftest import tiny_encoder
from training.tasks.heads import FrameTable, HeadsTask

MEDIA = 400


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_noise_is_in_proportion_to_how_much_a_channel_varies(noise: float, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = (encoder := tiny_encoder()).backbone
    generator = torch.Generator().manual_seed(0)
    spread = torch.linspace(0, 3, backbone.moments_width)  # the first channel is the same everywhere
    frames = 5 + spread * torch.randn(MEDIA, backbone.moments_width, generator=generator)
    sentences = torch.randn(MEDIA, 1, backbone.text.config.hidden_size, generator=generator)
    table = FrameTable(list(frames[:, None]), list(sentences), [str(i) for i in range(MEDIA)])
    task = HeadsTask(encoder, table, table, batch_size=MEDIA, lr=1e-3, dropout=0.0, noise=noise, seed=0)
    read, seen = backbone.read_frames, []
    monkeypatch.setattr(backbone, "read_frames", lambda moments: seen.append(moments) or read(moments))
    names = task.loss(0).samples
    added = seen[0] - frames[[int(name) for name in names]]
    assert sorted(names) == sorted(table.names)
    torch.testing.assert_close(added.std(0), noise * spread, rtol=0.25, atol=1e-5)
