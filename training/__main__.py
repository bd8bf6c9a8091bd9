"""`python -m training TASK --recipe NAME_OR_FILE --data FILE... --output RUN [--resume]`."""

import argparse
import logging
import sys
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    """Run one task; heavy modules are imported only then. Returns the exit code: 1 for a mistake of the user."""
    args = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it asks everybody for its 4-bit kernels
    from encoder.checkpoints import CheckpointError
    from training.data.jsonl import DataError
    from training.engine.run import ResumeError
    from training.recipe import RecipeError

    try:
        run(args)
    except (CheckpointError, DataError, OSError, RecipeError, ResumeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. The same command with --resume goes on from the last saved state.", file=sys.stderr)
        return 130
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The tasks and the options that they share."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--recipe", default=None, metavar="NAME_OR_FILE", help="a file of training/recipes, or your own TOML"
    )
    common.add_argument(
        "--data", nargs="+", type=Path, required=True, metavar="FILE", help="JSONL files, see docs/DATA.md"
    )
    common.add_argument(
        "--output", type=Path, required=True, metavar="RUN", help="run folder: metrics, curves, state, result"
    )
    common.add_argument(
        "--features", type=Path, default=None, metavar="DIR", help="feature cache (default: the user's cache)"
    )
    common.add_argument("--resume", action="store_true", help="go on with the run in --output")
    parser = argparse.ArgumentParser(
        prog="python -m training", description="Train the encoder's alignment and the bridge."
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
    return parser


def run(args: argparse.Namespace) -> None:
    """Run the task that the arguments name."""
    if args.task == "align":
        from training.align import run_align

        run_align(args.recipe or "mini-align", args.data, args.output, features=args.features, resume=args.resume)
    else:
        from training.bridge import run_bridge

        run_bridge(
            args.recipe or "mini-bridge", args.data, args.output, encoder_folder=args.encoder, init=args.init,
            features=args.features, resume=args.resume, finish=args.finish,
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
