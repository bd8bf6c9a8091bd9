"""Command line of the benchmarks: `python -m training.evaluation NAME --data PATH --model NAME_OR_FOLDER --output DIR`."""

import argparse
import logging
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from training.data.benchmarks.catalogue import CATALOGUE, Entry
from training.evaluation.controls import CONTROLS, DEFAULT_CONTROLS, SEEN_CONTROLS

SIMILARITIES = ("plain", "mug", "mug_simple")
NOTHING_MEASURED, INTERRUPTED = 1, 130
"""Exit codes."""
DATA_HELP = "questions, captions or labels, a file or a folder; videos are relative to it"
MODEL_HELP = "chat model; where only its encoder is asked, an encoder preset or folder too (default: mini)"


def control_list(text: str, known: Iterable[str] = CONTROLS) -> tuple[str, ...]:
    """Names of controls separated by commas, as an argument."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"unknown {unknown or 'empty list'}. Known controls: {', '.join(known)}.")
    return names


def count(text: str) -> int:
    """A number of at least one, as an argument."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a number of 1 or more, got '{text}'.")
    return int(text)


def part(text: str) -> tuple[int, int]:
    """A shard "i/n", counted from one, as an argument."""
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"expected i/n with 1 <= i <= n, such as 2/4, got '{text}'.")
    return int(number), int(count)


def build_parser() -> argparse.ArgumentParser:
    """The benchmarks, and what can be done with their runs."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluation", description="Measure a chat model.",
        epilog="NAME is a benchmark, or one of: compare, merge. --list says what each benchmark needs.",
    )  # fmt: skip
    parser.add_argument("--list", action="store_true", help="what each benchmark needs, and where to get it")
    commands = parser.add_subparsers(dest="name", metavar="NAME")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--data", type=Path, required=True, metavar="PATH", help=DATA_HELP)
    common.add_argument("--model", default="mini", metavar="NAME_OR_FOLDER", help=MODEL_HELP)
    common.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of answers and summary")
    common.add_argument("--seed", type=int, default=0, help="of controls and confidence intervals (default: 0)")
    for name, entry in CATALOGUE.items():
        command = commands.add_parser(name, parents=[common], help=entry.measures, description=entry.measures)
        if entry.kind == "recognition":
            add_recognition(command, entry)
            continue
        if entry.kind == "retrieval":
            command.add_argument(
                "--mode", choices=SIMILARITIES, help="similarity (default: what the checkpoint was trained with)"
            )
            command.add_argument(
                "--dual-softmax",
                action="store_true",
                help="weigh by all queries: another protocol, marked in the result",
            )
            continue
        command.add_argument(
            "--controls", type=control_list, default=DEFAULT_CONTROLS, metavar="NAME,...",
            help=f"of {', '.join(CONTROLS)} (default: {','.join(DEFAULT_CONTROLS)})",
        )  # fmt: skip
        command.add_argument(
            "--shard", type=part, default=(1, 1), metavar="i/n", help="ask only this part of the videos"
        )
        command.add_argument("--letters", action="store_true", help="let the model name an option by letter as well")
        command.add_argument("--judge", metavar="local|URL", help="also judge written answers, by a model")
        command.add_argument(
            "--judge-model", metavar="NAME",
            help="name of the model at the URL; of a local judge the chat model whose LLM it is (default: mini)",
        )  # fmt: skip
        command.add_argument(
            "--judge-version",
            metavar="TEXT",
            help="what tells the model at the URL from others of its name, a date say",
        )
        command.add_argument("--rejudge", action="store_true", help="judge answers that are there, ask nothing")
    compare = commands.add_parser("compare", help="two runs on the same questions: difference, p-value, flips")
    compare.add_argument("runs", nargs=2, type=Path, metavar="RUN")
    compare.add_argument("--control", choices=tuple(CONTROLS), default="full", help="(default: full)")
    merge = commands.add_parser("merge", help="the parts of a sharded run as one run")
    merge.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    merge.add_argument("--output", type=Path, required=True, metavar="DIR")
    return parser


def add_recognition(command: argparse.ArgumentParser, entry: Entry) -> None:
    """The options of a benchmark that asks an encoder for classes."""
    command.add_argument(
        "--views", type=count, default=1, metavar="N",
        help="clips of a video, one after the other, whose similarities are averaged (default: 1)",
    )  # fmt: skip
    command.add_argument(
        "--split", type=int, choices=range(1, entry.splits + 1), default=1, help="of its owners (default: 1)"
    )
    command.add_argument(
        "--controls", type=partial(control_list, known=SEEN_CONTROLS), default=SEEN_CONTROLS[:1], metavar="NAME,...",
        help=f"of {', '.join(SEEN_CONTROLS)} (default: {SEEN_CONTROLS[0]})",
    )  # fmt: skip
    command.add_argument("--shard", type=part, default=(1, 1), metavar="i/n", help="watch only this part of the videos")


def main(argv: list[str] | None = None) -> int:
    """Do what is asked and print a table. Returns the exit code: 1 when nothing could be measured."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.list:
        sys.stdout.write(listing())
        return 0
    if args.name is None:
        parser.error("expected the NAME of a benchmark, compare, or merge.")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it asks everybody for its 4-bit kernels
    from bridge import ModelError
    from training.data.jsonl import DataError
    from training.engine.files import ResumeError
    from training.evaluation import commands
    from training.evaluation.retriever import EncoderError
    from training.evaluation.run import UsageError

    command = {
        "compare": commands.compare, "merge": commands.merge, "questions": commands.benchmark,
        "retrieval": commands.retrieval, "recognition": commands.recognition,
    }  # fmt: skip
    what = CATALOGUE[args.name].kind if args.name in CATALOGUE else args.name
    try:
        return command[what](args)
    except (DataError, ModelError, EncoderError, ResumeError, UsageError) as error:
        sys.stderr.write(f"error: {error}\n")
        return NOTHING_MEASURED
    except KeyboardInterrupt:
        sys.stderr.write("Stopped. Answers that were given are kept: the same command goes on from there.\n")
        return INTERRUPTED


def listing() -> str:
    """Every benchmark: what it measures, how large it is, which files it needs, whose they are."""
    lines = []
    for name, entry in CATALOGUE.items():
        lines += [
            name, f"  measures   {entry.measures}", f"  questions  {entry.questions}",
            f"  files      {'; '.join(entry.files)}", f"  from       {entry.source}", f"  licence    {entry.licence}", "",
        ]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
