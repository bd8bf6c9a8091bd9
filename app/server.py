"""The server: gradio's settings, and everything that has to be started before and ended after the page."""

import contextlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.examples import Example, find_examples
from app.folders import run_folder, settle_in
from app.line import Line
from app.session import Session, Sessions
from bridge import VideoChat, VideoLanguageModel

if TYPE_CHECKING:
    import gradio as gr

logger = logging.getLogger(__name__)

LONGEST_QUEUE = 64
"""Requests that gradio keeps waiting for a thread; one more is told that the queue is full."""
SWEEP_EVERY = 30.0
"""Seconds between two looks for conversations that nobody uses."""


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines in."""
    port: int = 7860
    share: bool = False
    """Open a public address through gradio's tunnel."""
    max_video_seconds: float = 600.0
    """Longest video that the page takes, by its measured length."""
    max_video_mb: float = 200.0
    """Largest upload, enforced by the server while the bytes come in."""


@contextlib.contextmanager
def serving(model: VideoLanguageModel, config: ServerConfig, *, cache: Path) -> Iterator[str]:
    """Serve the page while the context is entered; gives its address.

    The process moves into a folder of its own below `cache`. Raises OSError when the port is taken.
    """
    line = Line()
    sessions = Sessions(lambda: Session(VideoChat(model), line, max_seconds=config.max_video_seconds))
    ended = threading.Event()
    with run_folder(cache) as folder:
        settle_in(folder)  # before gradio is imported: it reads the environment
        page = launch(sessions, model, config)
        threading.Thread(target=sweep_until, args=(sessions, ended), name="sweep", daemon=True).start()
        try:
            yield page.share_url or page.local_url
        finally:
            ended.set()
            line.close()
            page.close(verbose=False)
            sessions.close()


def launch(sessions: Sessions, model: VideoLanguageModel, config: ServerConfig) -> "gr.Blocks":
    """Start gradio so that it serves the page and its uploads and nothing else, reports to nobody and keeps no log."""
    import gradio as gr

    from app.page import build_page

    examples = find_examples()
    fonts = [gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "sans-serif"]  # a file of gradio's own
    page = build_page(sessions, model_name=model.name, num_frames=model.num_frames, examples=examples)
    page.queue(max_size=LONGEST_QUEUE, api_open=False)
    page.launch(
        server_name=config.host,
        server_port=config.port,
        share=config.share,
        max_file_size=int(config.max_video_mb * 1024**2),
        show_error=False,
        quiet=True,
        prevent_thread_lock=True,
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        footer_links=[],
        theme=gr.themes.Default(primary_hue="teal", neutral_hue="slate", radius_size="lg", font=fonts),
        css=Path(__file__).with_name("page.css").read_text(encoding="utf-8") + example_css(examples),
    )
    return page


def example_css(examples: list[Example]) -> str:
    """Style sheet rules that put each example's picture on its button."""
    shade = "linear-gradient(rgb(0 0 0 / 0) 40%, rgb(0 0 0 / 0.65))"
    return "\n".join(
        f'#example-{i} {{ background-image: {shade}, url("{example.picture}"); }}'
        for i, example in enumerate(examples)
        if example.picture
    )


def sweep_until(sessions: Sessions, ended: threading.Event) -> None:
    """Forget unused conversations now and then, even when nobody visits."""
    while not ended.wait(SWEEP_EVERY):
        try:
            sessions.sweep()
        except Exception:
            logger.exception("forgetting old conversations failed")
