"""Starts the real server and drives its page in chromium; shared by the browser tests and the screenshot."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, Playwright, expect

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START = 180.0
"""Seconds within which the server must be ready; the first start of all converts the language model."""
PATIENCE = 120.0
"""Seconds within which a video is read or an answer is written, on a machine that does other work besides."""
WATCH = """
window.statuses = []; window.answers = [];
new MutationObserver(() => {
  const note = (list, text) => { if (text && text !== list.at(-1)) list.push(text); };
  note(window.statuses, document.querySelector('#status')?.innerText.trim());
  note(window.answers, [...document.querySelectorAll('#talk [data-testid="bot"]')].at(-1)?.innerText.trim());
}).observe(document, {subtree: true, childList: true, characterData: true});
"""
"""Notes every text that the status line and the last answer ever show, however briefly."""


@dataclass(frozen=True, kw_only=True)
class Server:
    url: str
    log: Path
    process: subprocess.Popen

    def answers(self) -> list[tuple[int, str]]:
        """New tokens and the way it ended, of every answer so far, as the server counted them."""
        found = re.findall(r"answer: (\d+) tokens, (\w+),", self.log.read_text(encoding="utf-8"))
        return [(int(tokens), finish) for tokens, finish in found]

    def wait_for_answers(self, count: int) -> list[tuple[int, str]]:
        """The answers once there are so many."""
        deadline = time.monotonic() + PATIENCE
        while len(self.answers()) < count and time.monotonic() < deadline:
            time.sleep(0.1)
        return self.answers()


def cut_off() -> dict[str, str]:
    """The environment of `make chat` without a network: proxies where nobody listens, and no word of it to the hub."""
    ours = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "GRADIO_ANALYTICS_ENABLED")  # `make test` may set them
    proxies = {f"{scheme}_proxy": "http://127.0.0.1:9" for scheme in ("http", "https", "all")}
    proxies["no_proxy"] = "127.0.0.1,localhost"
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    return environment | proxies | {name.upper(): value for name, value in proxies.items()}


@contextlib.contextmanager
def running_server(folder: Path, *options: str, **environment: str) -> Iterator[Server]:
    """`python -m app` without a network on a free port; its log lies in `folder`."""
    port = free_port()
    log, out = folder / "server.log", folder / "server.out"
    command = [sys.executable, "-m", "app", "--port", str(port), *options]
    with log.open("wb") as log_file, out.open("wb") as out_file:
        process = subprocess.Popen(command, cwd=ROOT, env=cut_off() | environment, stdout=out_file, stderr=log_file)
    try:
        deadline = time.monotonic() + START
        while "http://" not in (said := out.read_text(encoding="utf-8")):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start: {log.read_text(encoding='utf-8')[-2000:]}")
            time.sleep(0.1)
        yield Server(url=re.search(r"http://\S+", said)[0].rstrip("/"), log=log, process=process)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def launch(playwright: Playwright) -> Browser:
    """Chromium with a fresh profile, and no wish to talk to anybody."""
    return playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)


class Chat:
    """The page as a person uses it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        page.set_default_timeout(PATIENCE * 1000)
        expect.set_options(timeout=PATIENCE * 1000)
        page.add_init_script(WATCH)
        page.goto(url)
        self.send.wait_for()

    @property
    def send(self) -> Locator:
        return self.page.get_by_role("button", name="Send")

    @property
    def stop(self) -> Locator:
        return self.page.get_by_role("button", name="Stop")

    @property
    def strip(self) -> Locator:
        return self.page.locator("#strip")

    @property
    def status(self) -> Locator:
        return self.page.locator("#status")

    @property
    def question(self) -> Locator:
        return self.page.locator("#question textarea")

    @property
    def answers(self) -> Locator:
        return self.page.locator('#talk [data-testid="bot"]')

    def drop(self, path: Path) -> None:
        """Give a file to the page."""
        self.page.locator("#drop input[type=file]").set_input_files(path)

    def open(self, path: Path) -> None:
        """Give a file to the page and wait for its frames."""
        self.drop(path)
        self.wait_for_frames(path.name)

    def wait_for_frames(self, name: str) -> None:
        """Until the strip shows the frames of the file of that name."""
        expect(self.strip.locator(".name")).to_have_text(name)
        expect(self.strip.locator("img").first).to_be_visible()

    def ask(self, text: str) -> None:
        """Type a question and press Enter."""
        self.question.fill(text)
        self.question.press("Enter")

    def answer(self, number: int = 1) -> str:
        """The text of the n-th answer once it is finished."""
        expect(self.answers).to_have_count(number)
        expect(self.send).to_be_visible()
        return self.answers.nth(number - 1).inner_text().strip()

    def seen(self, what: str) -> list[str]:
        """Every text that `statuses` or `answers` showed so far."""
        return self.page.evaluate(f"window.{what}")
