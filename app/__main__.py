"""Command line of the chat: `python -m app` serves the page, `python -m app ask VIDEO QUESTION` answers in the terminal."""

import argparse
import logging
import signal
import socket
import sys
import threading
from pathlib import Path


def positive(text: str) -> float:
    """A number above zero, as an argument."""
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return number


def build_parser() -> argparse.ArgumentParser:
    """The options of the page."""
    parser = argparse.ArgumentParser(
        prog="python -m app",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        description="Chat about a video in the browser. `python -m app ask --help` is about the terminal.",
    )
    add_model(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 lets other machines in")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--share", action="store_true", help="open a public address through gradio's tunnel")
    parser.add_argument("--max-video-seconds", type=positive, default=600.0, help="longest video that the page takes")
    parser.add_argument("--max-video-mb", type=positive, default=200.0, help="largest upload, in megabytes")
    return parser


def build_ask_parser() -> argparse.ArgumentParser:
    """The options of `ask`."""
    parser = argparse.ArgumentParser(
        prog="python -m app ask",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        description="Ask about a video or picture. Standard output holds the answers, one for each question.",
    )
    parser.add_argument("video", type=Path, help="a video or picture of any length")
    parser.add_argument("questions", nargs="+", metavar="question", help="asked one after another in one conversation")
    add_model(parser)
    return parser


def add_model(parser: argparse.ArgumentParser) -> None:
    """The one option that names a model."""
    parser.add_argument("--model", default="mini", help="name of a chat model, or the folder of a checkpoint")


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["ask"]:
        args = build_ask_parser().parse_args(argv[1:])
        set_up_log(logging.WARNING)
        from app.ask import ask

        return ask(args.video, args.questions, model=args.model)
    args = build_parser().parse_args(argv)
    set_up_log(logging.INFO)
    return serve(args)


def set_up_log(level: int) -> None:
    """Our own messages from `level` on, warnings of the libraries, all to standard error."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for package in ("app", "bridge", "encoder"):
        logging.getLogger(package).setLevel(level)
    # It asks for a package of faster 4-bit kernels whenever peft imports it, also where nothing is in 4 bits.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def serve(args: argparse.Namespace) -> int:
    """Load the model, serve the page, wait for Ctrl+C or a polite kill."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # unwinds, so that temporary files go
    if (problem := why_not(args.host, args.port)) is not None:  # told before the model is loaded, not after
        print(f"Cannot serve on {args.host}:{args.port}: {problem}. Choose another --port or --host.", file=sys.stderr)
        return 1
    print(f"Loading {args.model} ...", file=sys.stderr, flush=True)
    from app.progress import load_model
    from app.server import ServerConfig, serving
    from bridge import ModelError
    from encoder.runtime import cache_dir

    try:
        model = load_model(args.model)
    except ModelError as error:
        print(f"Cannot load the model: {error}", file=sys.stderr)
        return 1
    config = ServerConfig(
        host=args.host,
        port=args.port,
        share=args.share,
        max_video_seconds=args.max_video_seconds,
        max_video_mb=args.max_video_mb,
    )
    try:
        with serving(model, config, cache=cache_dir() / "app") as address:
            print(f"Mug-STAN Video Chat is ready: {address}  (Ctrl+C ends it)", flush=True)
            threading.Event().wait()
    except KeyboardInterrupt:
        print("Bye.", file=sys.stderr)
    return 0


def why_not(host: str, port: int) -> str | None:
    """What keeps us from listening on an address, in the system's words; None when nothing does."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            return str(error)
    return None


if __name__ == "__main__":
    sys.exit(main())
