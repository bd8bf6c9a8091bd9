"""`python -m training.reproduction CLAIM --data ROOT --runs RUNS`: train what the claims compare, and measure it."""

import argparse
import logging
import sys
from pathlib import Path

SEEDS = (0, 1, 2)


def build_parser() -> argparse.ArgumentParser:
    """One command trains, the others measure."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--data", type=Path, required=True, metavar="ROOT", help="folder of the data, see docs/REPRODUCTION.md"
    )
    common.add_argument(
        "--runs", type=Path, required=True, metavar="RUNS", help="folder of the training runs and tables"
    )
    common.add_argument(
        "--features", type=Path, default=None, metavar="DIR", help="feature cache (default: the user's)"
    )
    common.add_argument("--seeds", type=int, nargs="+", default=SEEDS, metavar="N", help="default: 0 1 2")
    parser = argparse.ArgumentParser(
        prog="python -m training.reproduction", description="The paper's claims in small. docs/REPRODUCTION.md has the results."
    )  # fmt: skip
    claims = parser.add_subparsers(dest="claim", required=True, metavar="CLAIM")
    claims.add_parser("train", parents=[common], help="train every variant with every seed; goes on where it stopped")
    claims.add_parser("order", parents=[common], help="(a) which of two scenes comes first")
    claims.add_parser("camera", parents=[common], help="(b) which way the camera moves")
    claims.add_parser("retrieval", parents=[common], help="(c) captions, pictures and clips")
    claims.add_parser("misalignment", parents=[common], help="(d) plain and Mug loss on misaligned pairs")
    claims.add_parser("actions", parents=[common], help="(e) actions that no training saw")
    claims.add_parser("cost", parents=[common], help="(f) what the branch costs")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one claim; returns the exit code: 1 where data or runs are missing."""
    args = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    from training.data.jsonl import DataError
    from training.reproduction import claims

    try:
        text = claims.run(args.claim, args.data, args.runs, args.features, tuple(args.seeds))
    except (DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
