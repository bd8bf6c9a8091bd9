"""What an answer costs: `python -m benchmarks.chat [--model NAME_OR_FOLDER] [--output docs/PERFORMANCE.md]`.

A 10-second 720p clip is opened in a new conversation and asked about twice, several times over; medians are printed
beside what the machine can do. A first round warms up and is not counted.
"""

import argparse
import logging
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.machine import Machine
    from benchmarks.questions import Saving
    from benchmarks.training import StepRate
    from bridge import VideoChat, VideoLanguageModel

FIRST_QUESTION = "What is happening in the video?"
FOLLOW_UP = "Where does it take place?"
MAX_NEW_TOKENS = 64


@dataclass(frozen=True, kw_only=True)
class Round:
    """One conversation, in seconds and tokens a second."""

    video_ready: float
    first_token: float
    follow_up: float
    tokens_per_second: float


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chat",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        description="Measure what an answer costs on this machine.",
    )
    parser.add_argument("--model", default="mini", help="name of a chat model, or the folder of a checkpoint")
    parser.add_argument("--runs", type=int, default=5, help="conversations; the median is reported")
    parser.add_argument("--output", type=Path, default=argparse.SUPPRESS, help="write the table to this file as well")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Measure and print. Returns the exit code."""
    args = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it asks everybody for its 4-bit kernels
    note(f"Loading {args.model} ...")
    from benchmarks.clip import write_clip
    from benchmarks.machine import PeakMemory, load_average, look_at_machine
    from benchmarks.questions import measure_saving
    from benchmarks.training import kept_by_frames, measure_rates, memory_over_steps
    from bridge import VideoChat, load_chat_model
    from bridge.presets import model_folder

    load = load_average()  # before our own work adds to it
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        write_clip(clip)
        with PeakMemory() as memory:  # not while time is measured
            start = time.perf_counter()
            model = load_chat_model(args.model)
            loading = time.perf_counter() - start
            note("warming up")
            converse(VideoChat(model), clip)
        rounds = []
        for number in range(args.runs):
            note(f"round {number + 1} of {args.runs}")
            rounds.append(converse(VideoChat(model), clip))
        note("ten questions, one by one and together")
        saving = measure_saving(model, model_folder(args.model), clip)
    machine = look_at_machine({parameter.dtype for parameter in model.parameters()}, load=load)
    note("training steps of the branch")
    table = render(model, rounds, machine, saving, memory=memory.gigabytes, loading=loading) + render_training(
        measure_rates(), kept_by_frames(), memory_over_steps()
    )
    sys.stdout.write(table)
    if "output" in args:
        args.output.write_text(f"{HEADER}\n{table}", encoding="utf-8")
    return 0


def note(text: str) -> None:
    """Tell the person who waits, beside the table."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def converse(chat: "VideoChat", clip: Path) -> Round:
    """Open the clip, ask, ask again."""
    from bridge import Sampling

    sampling = Sampling(max_new_tokens=MAX_NEW_TOKENS)
    start = time.perf_counter()
    chat.open(clip)
    video_ready = time.perf_counter() - start
    answers = []
    for question in (FIRST_QUESTION, FOLLOW_UP):
        for _ in chat.ask(question, sampling=sampling):
            pass
        answers.append(chat.last)
    written = sum(answer.new_tokens - 1 for answer in answers)
    writing = sum(answer.seconds - answer.first_token_seconds for answer in answers)
    return Round(
        video_ready=video_ready,
        first_token=answers[0].first_token_seconds,
        follow_up=answers[1].first_token_seconds,
        tokens_per_second=written / writing if writing > 0 else float("nan"),
    )


def render(
    model: "VideoLanguageModel",
    rounds: list[Round],
    machine: "Machine",
    saving: "Saving",
    *,
    memory: float,
    loading: float,
) -> str:
    """The two tables, in Markdown."""
    speed = median(rounds, "tokens_per_second")
    weights = sum(p.numel() * p.element_size() for p in model.llm.parameters()) / 1e9  # GB, read once for each token
    dtype = str(next(model.llm.parameters()).dtype).removeprefix("torch.")
    ours = [
        ("model ready (weights already unpacked)", f"{loading:.1f} s"),
        (f"video ready (10 s, 1280 x 720, {model.num_frames} frames)", f"{median(rounds, 'video_ready'):.2f} s"),
        ("first token of the first answer", f"{median(rounds, 'first_token'):.2f} s"),
        ("first token of a follow-up", f"{median(rounds, 'follow_up'):.2f} s"),
        ("tokens a second", f"{speed:.1f}"),
        (
            "ten questions of four options about one video",
            f"{saving.together:.1f} s together, {saving.one_by_one:.1f} s one by one: {saving.factor:.1f} times as fast",
        ),
        ("peak memory, the decoding process included", f"{memory:.2f} GB"),
    ]
    theirs = [
        ("processor", f"{machine.name}, {machine.cores} cores, threads used: {machine.threads}"),
        *((f"matrix product, {name}", f"{rate:.0f} GFLOP/s") for name, rate in machine.gemm.items()),
        ("memory read", f"{machine.bandwidth:.1f} GB/s"),
        ("weights read for a token", f"{weights:.2f} GB ({dtype}): at most {machine.bandwidth / weights:.0f} tokens/s"),
        ("load before the measurement", f"{machine.load:.1f}"),
    ]
    title = f"{model.name}, {date.today().isoformat()}, median of {len(rounds)}"
    return f"{markdown(title, ours)}\n{markdown('the machine, best of 5', theirs)}"


def render_training(rates: list["StepRate"], kept: dict[int, float], memory: tuple[float, float]) -> str:
    """The table of the training step, in Markdown."""
    start, slope = memory
    rows = [
        (f"step in {r.dtype}", f"{r.clips:.1f} clips/s, {r.gflops:.0f} of {r.gemm:.0f} GFLOP/s: {r.share:.0%}")
        for r in rates
    ]
    rows += [
        ("kept for the backward, a clip", ", ".join(f"{frames} frames {mb:.0f} MB" for frames, mb in kept.items())),
        ("memory over 1,000 steps", f"{start:.0f} MB, and {1000 * slope:+.1f} MB in 1,000 further steps"),
    ]
    return "\n" + markdown("training mini's branch on tower states", rows)


def median(rounds: list[Round], name: str) -> float:
    """Median of one of a round's numbers."""
    return statistics.median([vars(one)[name] for one in rounds])


def markdown(title: str, rows: list[tuple[str, str]]) -> str:
    """A table of two columns."""
    width = max(len(name) for name in [title, *(name for name, _ in rows)])
    lines = [f"| {title:<{width}} | |", f"|{'-' * (width + 2)}|---|"]
    return "".join(line + "\n" for line in [*lines, *(f"| {name:<{width}} | {value} |" for name, value in rows)])


HEADER = """# Performance

Written by `make bench ARGS="--output docs/PERFORMANCE.md"`. A 10-second 720p clip is opened in a new conversation and asked about
twice. Numbers of another machine, or of a busy one (see its load), do not compare.
"""


if __name__ == "__main__":
    sys.exit(main())
