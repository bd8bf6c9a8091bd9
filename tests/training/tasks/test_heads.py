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
    widths = {"frames": backbone.moments_width, "sentences": backbone.text.config.hidden_size}
    spread = {name: torch.linspace(0, 3, width) for name, width in widths.items()}  # the first channel never changes
    rows = {name: 5 + s * torch.randn(MEDIA, len(s), generator=generator) for name, s in spread.items()}
    table = FrameTable(list(rows["frames"][:, None]), list(rows["sentences"][:, None]), [str(i) for i in range(MEDIA)])
    task = HeadsTask(encoder, table, table, batch_size=MEDIA, lr=1e-3, dropout=0.0, noise=noise, seed=0)
    read, seen = backbone.read_frames, {}
    monkeypatch.setattr(backbone, "read_frames", lambda moments: seen.update(frames=moments) or read(moments))
    backbone.text_head.register_forward_pre_hook(lambda _, inputs: seen.update(sentences=inputs[0]))
    order = [int(name) for name in task.loss(0).samples]
    assert sorted(order) == list(range(MEDIA))
    for name, given in rows.items():
        torch.testing.assert_close((seen[name] - given[order]).std(0), noise * spread[name], rtol=0.25, atol=1e-5)
