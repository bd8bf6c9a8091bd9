"""`python -m training TASK --recipe NAME_OR_FILE --data FILE_OR_FOLDER... --output RUN [--resume]`."""

import argparse
import logging
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.dry_run import Plan
    from training.video_plan import VideoPlan

ON_VIDEOS = {
    "post-pretrain": "an encoder, towers and branch, on many videos and their captions",
    "retrieval": "an encoder, on the videos and captions that it is to find each other of",
    "recognition": "an encoder, on videos of known classes",
}
"""Tasks that read videos while they train, and what each trains."""


def main(argv: list[str] | None = None) -> int:
    """Run one task; heavy modules are imported only then. Returns the exit code: 1 for a mistake of the user."""
    args = build_parser().parse_args(argv)
    first = os.environ.get("RANK", "0") == "0"  # of torchrun's processes, the one that speaks for all
    logging.basicConfig(level=logging.INFO if first else logging.CRITICAL, format="%(message)s", stream=sys.stderr)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it asks everybody for its 4-bit kernels
    from encoder.checkpoints import CheckpointError
    from training.data.jsonl import DataError
    from training.engine.distributed import ProcessesError, joined
    from training.engine.loop import DivergedError
    from training.engine.run import ResumeError
    from training.recipe import RecipeError

    try:
        with joined():
            return run(args)
    except (
        CheckpointError,
        DataError,
        DivergedError,
        OSError,
        ProcessesError,
        RecipeError,
        ResumeError,
        UsageError,
    ) as error:
        # Every process says it: when one ends, torchrun stops the others, perhaps before the first one has spoken.
        print(f"error: {error}" if first else f"error in process {os.environ['RANK']}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. The same command with --resume goes on from the last saved state.", file=sys.stderr)
        return 130


class UsageError(ValueError):
    """Options that do not go together; the message says which."""


def build_parser() -> argparse.ArgumentParser:
    """The tasks and the options that they share."""
    every = argparse.ArgumentParser(add_help=False)
    every.add_argument(
        "--output", type=Path, required=True, metavar="RUN", help="run folder: metrics, curves, state, result"
    )
    every.add_argument("--resume", action="store_true", help="go on with the run in --output")
    every.add_argument(
        "--dry-run", action="store_true",
        help="print the recipe, the data found, what would be trained, memory and steps; train and write nothing",
    )  # fmt: skip
    common = argparse.ArgumentParser(add_help=False, parents=[every])
    common.add_argument(
        "--recipe", default=None, metavar="NAME_OR_FILE", help="a file of training/recipes, or your own TOML"
    )
    common.add_argument(
        "--data", nargs="+", type=Path, required=True, metavar="FILE", help="JSONL files, see docs/DATA.md"
    )
    common.add_argument(
        "--features", type=Path, default=None, metavar="DIR", help="feature cache (default: the user's cache)"
    )
    parser = argparse.ArgumentParser(
        prog="python -m training", description="Train encoders and the bridge to a language model."
    )
    tasks = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    tasks.add_parser("align", parents=[common], help="mini's alignment heads and branch, contrastive")
    bridge = tasks.add_parser("bridge", parents=[common], help="projector and LoRA on captions and questions")
    start = bridge.add_mutually_exclusive_group()
    start.add_argument("--encoder", type=Path, default=None, metavar="FOLDER", help="the encoder that align wrote")
    start.add_argument(
        "--init",
        type=Path,
        default=None,
        metavar="CHECKPOINT",
        help="start from a chat model, such as checkpoints/mini",
    )
    bridge.add_argument(
        "--finish", action="store_true", help="train no further: write the checkpoint of the last saved state"
    )
    for name, trained in ON_VIDEOS.items():
        add_on_videos(tasks.add_parser(name, parents=[every], help=trained))
    return parser


def add_on_videos(task: argparse.ArgumentParser) -> None:
    """The options of a task that reads videos while it trains."""
    task.add_argument(
        "--recipe", required=True, metavar="NAME_OR_FILE", help="a file of training/recipes, or your own TOML"
    )
    task.add_argument(
        "--data", type=Path, required=True, metavar="PATH", help="folder of the data set, or a file of our JSONL"
    )
    task.add_argument("--tower", default=None, metavar="NAME", help="encoder preset in place of the recipe's")
    task.add_argument("--init", type=Path, default=None, metavar="FOLDER", help="encoder to start from")


def run(args: argparse.Namespace) -> int:
    """Run or plan the task that the arguments name; returns the exit code: 1 for a plan that cannot be carried out."""
    from training.engine.distributed import only_process

    if args.task in ON_VIDEOS:
        return run_on_videos(args)
    if args.task == "align":
        from training.align import plan_align, run_align

        recipe = args.recipe or "mini-align"
        if args.dry_run:
            return show(plan_align(recipe, args.data, args.output, resume=args.resume))
        run_align(recipe, args.data, args.output, features=args.features, resume=args.resume)
    else:
        from training.bridge import plan_bridge, run_bridge

        only_process("training bridge")
        if args.dry_run and args.finish:
            raise UsageError("--finish trains nothing that --dry-run could tell of. Leave one of the two out.")
        recipe = args.recipe or "mini-bridge"
        start = {"encoder_folder": args.encoder, "init": args.init, "resume": args.resume}
        if args.dry_run:
            return show(plan_bridge(recipe, args.data, args.output, **start))
        run_bridge(recipe, args.data, args.output, **start, features=args.features, finish=args.finish)
    return 0


def run_on_videos(args: argparse.Namespace) -> int:
    """The same of a task that reads videos while it trains."""
    if args.task == "recognition":
        from training.recognition import plan_recognition, run_recognition

        planned, trained = plan_recognition, run_recognition
    else:
        from training.contrast import plan_contrast, run_contrast

        planned, trained = partial(plan_contrast, args.task), partial(run_contrast, args.task)
    options = {"tower": args.tower, "init": args.init}
    if args.dry_run:
        return show(planned(args.recipe, args.data, args.output, **options))
    trained(args.recipe, args.data, args.output, **options, resume=args.resume)
    return 0


def show(plan: "Plan | VideoPlan") -> int:
    """Print what would be done; returns the exit code."""
    from training.engine.distributed import rank

    if rank() == 0:
        print(plan.text())
    return 1 if plan.missing else 0


if __name__ == "__main__":
    sys.exit(main())
