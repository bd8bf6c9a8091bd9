"""Take the README's picture: `python tests/app/screenshot.py docs/images/chat.png`, a real answer of the mini model."""

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main(target: Path) -> None:
    """Serve, upload a clip, ask the first suggestion, wait for the answer, save the picture."""
    sys.path.insert(0, str(ROOT))
    from playwright.sync_api import sync_playwright

    from app.page import SUGGESTIONS
    from tests.app.driver import EXAMPLES, Chat, launch, running_server

    target = target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(Path(folder)) as server,
        sync_playwright() as playwright,
    ):
        browser = launch(playwright)
        page = browser.new_page(viewport={"width": 1180, "height": 740}, device_scale_factor=1.5)
        chat = Chat(page, server.url)
        chat.open(EXAMPLES / "cartoon_bird.mp4")
        page.get_by_role("button", name=SUGGESTIONS[0]).click()
        answer = chat.answer()
        page.mouse.move(0, 0)
        page.screenshot(path=target)
        browser.close()
    sys.stdout.write(f"{target}\n{answer}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "docs" / "images" / "chat.png"))
