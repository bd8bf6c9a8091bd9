"""decord and bitsandbytes are built for some platforms only: everything but 4 and 8 bits works without them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HIDE = """
import sys
from importlib.machinery import PathFinder
HIDDEN = ("decord", "bitsandbytes")

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name in HIDDEN else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
for name in HIDDEN:
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    sys.exit(f"{name} is not hidden")
"""
"""Neither can be found by any means, as where they are not installed."""
WORKER = """
import runpy
from encoder.video import reader
reader._SMALL = 0  # as of a long video: decord is asked first
runpy.run_module("encoder.video.worker", run_name="__main__")
"""
CHAT = """
import torch
from bridge.checkpoint import load_checkpoint
from encoder.presets import ENCODERS
from encoder.video import process, read_frames
from tests.bridge.conftest import tiny_encoder

checkpoint, clip, worker = sys.argv[1:]
ENCODERS["tiny"] = tiny_encoder
process.WORKER = [sys.executable, "-P", "-c", worker]
model = load_checkpoint(checkpoint)
frames = read_frames(clip, model.num_frames)
assert torch.isfinite(model.encode(frames.pixels)).all()
print(model.name, *frames.pixels.shape[:2], frames.info.codec, sorted(set(HIDDEN) & set(sys.modules)))
"""


def test_a_clip_is_read_and_a_model_with_an_adapter_loaded(checkpoint: Path) -> None:
    """In new processes, since libraries remember what they have found."""
    clip = ROOT / "examples" / "cartoon_bird.mp4"
    done = subprocess.run(
        [sys.executable, "-c", HIDE + CHAT, str(checkpoint), str(clip), HIDE + WORKER],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "tiny 4 3 h264 []"
