"""Command line of the benchmarks: `python -m training.evaluation BENCHMARK --data FILE.jsonl --model NAME --output DIR`."""

import argparse
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from training.evaluation.controls import CONTROLS

if TYPE_CHECKING:
    from training.evaluation.report import Report

BENCHMARKS = {"mcq": "multiple choice by the likelihood of the options, with and without the video"}


def control_list(text: str) -> tuple[str, ...]:
    """Names of controls separated by commas, as an argument."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in CONTROLS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"unknown {unknown or 'empty list'}. Known controls: {', '.join(CONTROLS)}.")
    return names


def build_parser() -> argparse.ArgumentParser:
    """The benchmarks and the options that all of them share."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluation", description="Measure a chat model.")
    commands = parser.add_subparsers(dest="benchmark", required=True, metavar="BENCHMARK")
    for name, summary in BENCHMARKS.items():
        command = commands.add_parser(
            name, help=summary, description=summary, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        command.add_argument(
            "--data",
            type=Path,
            required=True,
            default=argparse.SUPPRESS,
            help="questions, JSONL; videos are relative to it",
        )
        command.add_argument("--model", default="mini", help="name of a chat model, or the folder of a checkpoint")
        command.add_argument(
            "--output",
            type=Path,
            required=True,
            default=argparse.SUPPRESS,
            help="folder of answers.jsonl and summary.json",
        )
        command.add_argument("--controls", type=control_list, default=",".join(CONTROLS), help="separated by commas")
        command.add_argument("--seed", type=int, default=0, help="of the wrong videos and of the confidence intervals")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run a benchmark and print its table. Returns the exit code: 1 when nothing could be measured."""
    args = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    from training.data.jsonl import DataError
    from training.evaluation import mcq
    from training.evaluation.answers import ResumeError
    from training.evaluation.scorer import ModelError, ModelScorer

    config = mcq.McqConfig(data=args.data, model=args.model, output=args.output, controls=args.controls, seed=args.seed)
    try:
        report = mcq.run(config, load=ModelScorer.load)
    except (DataError, ModelError, ResumeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"Stopped. The same command goes on from {args.output}.", file=sys.stderr)
        return 130
    print_report(report)
    return int(all(summary.failed == summary.n for summary in report.summaries.values()))


def print_report(report: "Report") -> None:
    """A line for every control, and one for every gap to the full model."""
    print(f"{'control':<20} {'accuracy':>8}   {'95 % interval':<16} {'n':>5} {'failed':>6}")
    for control, summary in report.summaries.items():
        low, high = summary.ci95
        print(
            f"{control:<20} {summary.accuracy:>8.3f}   {f'{low:.3f} to {high:.3f}':<16} {summary.n:>5} {summary.failed:>6}"
        )
    print_gaps(report.gaps)


def print_gaps(gaps: Mapping[str, tuple[float, tuple[float, float]]]) -> None:
    """What the full model gains over a control, with its paired interval."""
    for control, (gain, (low, high)) in gaps.items():
        print(f"{'full - ' + control:<20} {gain:>+8.3f}   {low:+.3f} to {high:+.3f}")


if __name__ == "__main__":
    sys.exit(main())
