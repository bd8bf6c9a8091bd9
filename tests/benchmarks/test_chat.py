"""The benchmark measures the clip it says, and its table holds what was measured."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks.chat import Round, markdown, median
from benchmarks.clip import write_clip
from benchmarks.machine import PeakMemory, best_time, gemm_rate, memory_bandwidth
from benchmarks.questions import measure_saving
from benchmarks.training import Step, fresh_trainee, kept_by_frames, memory_over_steps
from bridge import load_chat_model
from bridge.presets import model_folder
from encoder.video import probe


def test_the_clip_has_the_length_and_size_it_says(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4")
    info = probe(tmp_path / "clip.mp4")
    assert info.duration == pytest.approx(10.0, abs=0.05)
    assert (info.width, info.height, info.codec) == (1280, 720, "h264")


def test_a_source_that_is_too_short_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected"):
        write_clip(tmp_path / "clip.mp4", seconds=60, width=64, height=36)


def test_rates_of_the_machine_are_plausible() -> None:
    assert 0.1 < gemm_rate(torch.float32, side=256) < 1e6
    assert 0.1 < memory_bandwidth(2**26) < 1e4
    assert 0 < best_time(lambda: sum(range(1000))) < 1


def test_memory_of_a_child_counts() -> None:
    with PeakMemory() as alone:
        time.sleep(0.2)
    hungry = "import time; held = bytearray(300_000_000); held[::4096] = held[::4096]; print(flush=True); time.sleep(1)"
    with PeakMemory() as together:
        subprocess.run([sys.executable, "-c", hungry], check=True, stdout=subprocess.DEVNULL)
    assert 0.25 < together.gigabytes - alone.gigabytes < 0.6


def test_medians_and_tables() -> None:
    rounds = [Round(video_ready=v, first_token=0.2, follow_up=0.1, tokens_per_second=30.0) for v in (9.0, 1.0, 2.0)]
    assert median(rounds, "video_ready") == 2.0
    assert (
        markdown("t", [("first token", "0.2 s")]) == "| t           | |\n|-------------|---|\n| first token | 0.2 s |\n"
    )


def test_questions_about_one_video_are_cheaper_together(tmp_path: Path) -> None:
    """Six to seven times on an idle machine (docs/PERFORMANCE.md); below four, something is computed again."""
    write_clip(tmp_path / "clip.mp4")
    model = load_chat_model("mini")
    saving = max(
        (measure_saving(model, model_folder("mini"), tmp_path / "clip.mp4") for _ in range(2)), key=lambda s: s.factor
    )
    assert saving.factor > 4, saving


def test_what_a_training_step_keeps_grows_linearly_with_frames() -> None:
    kept = kept_by_frames((4, 8, 16))  # and weights in bf16, whatever the frames
    assert (kept[16] - kept[8]) / (kept[8] - kept[4]) == pytest.approx(2.0, rel=0.05)


def test_a_measured_step_trains_the_branch_and_nothing_else() -> None:
    encoder = fresh_trainee()
    before = {name: p.clone() for name, p in encoder.named_parameters()}
    step = Step(encoder, torch.bfloat16, clips=2, frames=2, mask=0.5)
    for _ in range(2):  # the scale starts at zero, and the rest learns through it
        step()
    changed = {name for name, p in encoder.named_parameters() if not torch.equal(p, before[name])}
    assert {name.split(".")[0] for name in changed} == {"branch"}
    assert "branch.intra_frame.3.mlp.fc1.weight" in changed


@pytest.mark.slow
def test_memory_does_not_grow_with_the_steps() -> None:
    """Less than 100 MB in 1,000 steps of one shape."""
    _, slope = memory_over_steps(600)
    assert slope < 0.1
