"""One real server and one browser for all tests of the page."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from encoder.runtime import cache_dir
from tests.app.driver import CHROMIUM, ROOT, Chat, Server, launch, running_server

MAX_MB = 4
MAX_SECONDS = 30


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`python -m app` with the mini model, small limits, no network, and a cache that is named by a relative path."""
    limits = ["--max-video-mb", str(MAX_MB), "--max-video-seconds", str(MAX_SECONDS)]
    cache = os.path.relpath(cache_dir(), ROOT)
    with running_server(tmp_path_factory.mktemp("server"), *limits, MUGSTAN_CACHE=cache) as server:
        yield server
    assert server.process.returncode == 0


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt install chromium")
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def new_chat(server: Server, browser: Browser) -> Iterator[Callable[..., Chat]]:
    """Opens the page in a browser context of its own; at the end, nothing may have been asked of another host."""
    contexts: list[BrowserContext] = []
    asked: list[str] = []

    def open_page(**options: object) -> Chat:
        context = browser.new_context(**options)
        contexts.append(context)
        context.on("request", lambda request: asked.append(request.url))
        return Chat(context.new_page(), server.url)

    yield open_page
    for context in contexts:
        context.close()
    host = urlsplit(server.url).netloc
    strangers = [
        url for url in asked if urlsplit(url).scheme in ("http", "https", "ws", "wss") and urlsplit(url).netloc != host
    ]
    assert strangers == [], "the page asked other hosts"


@pytest.fixture
def chat(new_chat: Callable[..., Chat]) -> Chat:
    return new_chat()


@pytest.fixture
def long_clip(tmp_path: Path) -> Path:
    """A clip of one minute, small in bytes."""
    import av
    import numpy as np

    path = tmp_path / "one minute.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=2)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(120):
            picture = np.full((64, 96, 3), 2 * number, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path
