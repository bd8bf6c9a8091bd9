"""The page in a real browser, against the real mini model."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect

from app.page import SUGGESTIONS, TITLE
from tests.app.driver import EXAMPLES, Chat, Server

pytestmark = pytest.mark.browser

BELT = EXAMPLES / "fruit_on_a_belt.mp4"
HALL = EXAMPLES / "worker_in_a_hall.mp4"
MIRRORS = EXAMPLES / "telescope_mirrors.mp4"
CLICK_AT_FIRST_WORD = """([button, answer]) => { window.clicked = false; new MutationObserver((changes, observer) => {
  if (!document.querySelectorAll('#talk [data-testid="bot"]')[answer - 1]?.innerText.trim()) return;
  observer.disconnect();
  document.querySelector(button).click();
  window.clicked = true;
}).observe(document, {subtree: true, childList: true, characterData: true}) }"""
"""Clicks a button once the n-th answer begins to be shown."""


def test_a_clip_is_shown_and_talked_about(chat: Chat) -> None:
    expect(chat.page).to_have_title(TITLE)
    expect(chat.page.locator("#note")).to_contain_text("does not hear sound")
    chat.open(BELT)
    times = [float(text.split(":")[1]) for text in chat.strip.locator(".time").all_inner_texts()]
    assert len(times) == 8
    assert times == sorted(times)
    assert 0.0 <= times[0] < times[-1] < 6.8
    for fact in ("6.7 s", "15 fps", "480 × 270", "h264", "101 frames, the model saw 8"):
        expect(chat.strip.locator(".facts")).to_contain_text(fact)
    assert chat.strip.locator("img").evaluate_all("images => images.every(image => image.naturalWidth > 100)")

    chat.page.get_by_role("button", name=SUGGESTIONS[0]).click()
    first = chat.answer(1)
    grown = chat.seen("answers")
    assert len(grown) >= 3, "the answer came in one piece"
    assert all(first.startswith(text.rstrip("…")) for text in grown)
    expect(chat.status).to_contain_text(re.compile(r"Answered in \d+\.\d s|longest length|repeat"))
    expect(chat.question).to_have_value("")

    chat.ask("What colour is it?")
    assert chat.answer(2)
    assert chat.answers.nth(0).inner_text().strip() == first
    expect(chat.page.locator('#talk [data-testid="user"]')).to_have_text([SUGGESTIONS[0], "What colour is it?"])

    chat.page.get_by_role("button", name="Clear").click()
    expect(chat.answers).to_have_count(0)
    expect(chat.strip.locator("img")).to_have_count(8)
    chat.page.get_by_role("button", name=SUGGESTIONS[0]).click()
    assert chat.answer(1) == first, "the same question about the same video in a new conversation"


def test_asking_before_there_is_a_video_says_so(chat: Chat) -> None:
    chat.ask("What is this?")
    expect(chat.status.get_by_role("alert")).to_contain_text(re.compile("video", re.IGNORECASE))
    expect(chat.question).to_have_value("What is this?")
    expect(chat.answers).to_have_count(0)
    expect(chat.send).to_be_visible()


def test_what_is_written_stays_text(chat: Chat) -> None:
    text = "<b>What</b> <img src=http://192.0.2.1/a.png> is\n![this](http://192.0.2.1/b.png) & that < those?"
    chat.open(HALL)
    chat.question.fill(text)
    chat.send.click()
    asked = chat.page.locator('#talk [data-testid="user"]')
    expect(asked).to_be_visible()
    assert asked.inner_text().strip() == text
    assert chat.page.locator("#talk .message img").count() == 0
    expect(chat.send).to_be_visible()


def test_an_empty_question_is_asked_for(chat: Chat) -> None:
    chat.send.click()
    expect(chat.status).to_contain_text("Please type a question")


def test_a_broken_file_says_so_and_a_good_one_works_after_it(chat: Chat, tmp_path: Path) -> None:
    broken = tmp_path / "holiday & <b>.mp4"
    broken.write_bytes(b"not a video at all, only text\n" * 50)
    chat.drop(broken)
    expect(chat.strip.get_by_role("alert")).to_be_visible()
    message = chat.strip.inner_text()
    assert "Traceback" not in message
    assert "Error" not in message
    expect(chat.strip.locator("img")).to_have_count(0)
    chat.open(HALL)
    chat.ask(SUGGESTIONS[0])
    assert chat.answer()


def test_a_video_that_is_too_long_says_so_and_the_one_before_it_stays(chat: Chat, long_clip: Path) -> None:
    chat.open(HALL)
    chat.ask(SUGGESTIONS[0])
    first = chat.answer()
    chat.drop(long_clip)
    expect(chat.strip.get_by_role("alert")).to_contain_text("60 seconds long; this page takes up to 30 seconds")
    expect(chat.strip.locator(".name")).to_have_text(HALL.name)
    expect(chat.strip.locator("img")).to_have_count(8)
    assert chat.answer() == first
    chat.ask("What colour is it?")
    assert chat.answer(2)


def test_a_file_that_is_too_large_says_so(chat: Chat, tmp_path: Path) -> None:
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(5 * 1024 * 1024))
    chat.drop(large)
    expect(chat.page.get_by_text(re.compile("maximum allowed size", re.IGNORECASE)).first).to_be_visible()
    chat.open(HALL)


def test_a_picture_is_shown_as_one_frame(chat: Chat, tmp_path: Path) -> None:
    picture = tmp_path / "ein schönes Bild.png"
    Image.new("RGB", (320, 200), (200, 30, 30)).save(picture)
    chat.open(picture)
    expect(chat.strip.locator("img")).to_have_count(1)
    expect(chat.strip.locator(".time")).to_have_text("picture")
    expect(chat.strip.locator(".facts")).to_contain_text("320 × 200")
    chat.ask("What colour is it?")
    assert chat.answer()


def test_an_example_opens_with_one_click(chat: Chat) -> None:
    chat.page.get_by_role("button", name="Worker in a hall").click()
    chat.wait_for_frames(HALL.name)
    expect(chat.strip.locator("img")).to_have_count(8)


def test_a_new_video_begins_a_new_conversation(chat: Chat) -> None:
    chat.open(BELT)
    chat.ask(SUGGESTIONS[0])
    chat.answer()
    chat.open(HALL)
    expect(chat.answers).to_have_count(0)


@pytest.mark.parametrize("change", ["a new video", "Clear"])
def test_an_answer_that_is_cut_short_by_a_change_does_not_come_back(chat: Chat, server: Server, change: str) -> None:
    chat.open(BELT)
    chat.ask(SUGGESTIONS[0])
    chat.answer(1)
    before = len(server.answers())
    worker_in_a_hall = sorted(EXAMPLES.glob("*.mp4")).index(HALL)
    button = "#clear" if change == "Clear" else f"#example-{worker_in_a_hall}"
    chat.page.evaluate(CLICK_AT_FIRST_WORD, [button, 2])
    chat.ask(SUGGESTIONS[1])
    chat.page.wait_for_function("window.clicked")
    assert server.wait_for_answers(before + 1)[-1][1] == "stopped"
    expect(chat.send).to_be_visible()
    chat.wait_for_frames(BELT.name if change == "Clear" else HALL.name)
    expect(chat.page.locator("#talk .message")).to_have_count(0)
    expect(chat.question).to_have_value("")
    expect(chat.status).to_have_text("")
    chat.ask(SUGGESTIONS[0])
    assert chat.answer(1)


def test_stop_ends_the_answer_in_the_model(chat: Chat, server: Server) -> None:
    chat.open(MIRRORS)
    before = len(server.answers())
    chat.ask(SUGGESTIONS[0])
    whole = chat.answer()
    tokens, finish = server.wait_for_answers(before + 1)[-1]
    assert finish != "stopped"
    chat.page.get_by_role("button", name="Clear").click()
    expect(chat.answers).to_have_count(0)

    chat.page.evaluate(CLICK_AT_FIRST_WORD, ["#stop", 1])
    chat.ask(SUGGESTIONS[0])
    expect(chat.status).to_contain_text("Stopped after")
    part = chat.answer()
    tokens_until_stop, finish = server.wait_for_answers(before + 2)[-1]
    assert finish == "stopped"
    assert tokens_until_stop < tokens
    assert len(part) < len(whole)
    assert whole.startswith(part)

    chat.ask("What colour is it?")
    assert chat.answer(2)
    assert chat.answers.first.inner_text().strip() == part
    assert len(server.wait_for_answers(before + 3)) == before + 3


def test_closing_the_tab_ends_the_answer_in_the_model(new_chat: Callable[..., Chat], server: Server) -> None:
    leaver, next_one = new_chat(), new_chat()
    leaver.open(BELT)
    next_one.open(HALL)
    before = len(server.answers())
    leaver.ask(SUGGESTIONS[0])
    expect(leaver.stop).to_be_visible()
    leaver.page.close()
    next_one.ask(SUGGESTIONS[0])
    assert next_one.answer()
    finishes = [finish for _, finish in server.wait_for_answers(before + 1)[before:]]
    assert finishes[:-1] in ([], ["stopped"])


def test_two_tabs_with_two_videos_wait_for_each_other_and_never_mix(new_chat: Callable[..., Chat]) -> None:
    question = SUGGESTIONS[0]
    alone = {}
    for clip in (BELT, MIRRORS):
        only = new_chat()
        only.open(clip)
        only.ask(question)
        alone[clip] = only.answer()
    one, two = new_chat(), new_chat()
    one.open(BELT)
    two.open(MIRRORS)
    one.ask(question)
    expect(one.stop).to_be_visible()
    two.ask(question)
    assert one.answer() == alone[BELT]
    assert two.answer() == alone[MIRRORS]
    assert "Waiting: 1 ahead of you." in two.seen("statuses")
    expect(one.strip.locator(".name")).to_have_text(BELT.name)
    expect(two.strip.locator(".name")).to_have_text(MIRRORS.name)
    assert one.strip.locator("img").first.get_attribute("src") != two.strip.locator("img").first.get_attribute("src")


def test_the_page_fits_a_telephone(new_chat: Callable[..., Chat]) -> None:
    chat = new_chat(viewport={"width": 360, "height": 700}, has_touch=True)
    chat.page.get_by_role("button", name="Worker in a hall").tap()
    chat.wait_for_frames(HALL.name)
    chat.question.fill(SUGGESTIONS[0])
    chat.send.tap()
    assert chat.answer()
    assert chat.page.evaluate("document.documentElement.scrollWidth") <= 360
    for part in (chat.send, chat.question, chat.page.locator("#talk"), chat.page.locator("#drop")):
        box = part.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360


def test_the_page_is_dark_where_the_reader_prefers_it(new_chat: Callable[..., Chat]) -> None:
    shade = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
    light, dark = (new_chat(color_scheme=scheme).page.evaluate(shade) for scheme in ("light", "dark"))
    assert sum(dark) < 150
    assert sum(light) > 600
