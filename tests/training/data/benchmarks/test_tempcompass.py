"""TempCompass: options stand in the text of the question, behind letters or behind marks of their own."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from training.data.benchmarks import tempcompass
from training.data.benchmarks.prompts import choice_prompt, open_prompt
from training.data.items import Item
from training.data.jsonl import DataError
from training.evaluation.text_scores import exact

Golden = Callable[..., Path]
CAPTIONING = (
    "Pick what fits and write a caption.\n"
    "Information A: {'subject': 'sky', 'attribute_change': 'darker'}\n"
    "Information B: {'subject': 'sky', 'attribute_change': 'brighter'}\n"
    "Generated Caption:"
)


def test_golden(golden: Golden) -> None:
    sides = ("left", "right", "up", "down")
    direction = {"task": "multi-choice", "dim": "direction"}
    speed = {"task": "caption_matching", "dim": "speed"}
    order = {"task": "yes_no", "dim": "order"}
    video = "videos/1034.mp4"
    assert tempcompass.read(golden("tempcompass")) == [
        Item(
            id="multi-choice/1034/action/0", video=video, question="What is the man doing?",
            candidates=("juggling", "rowing a boat", "sleeping"), answer=1,
            groups={"task": "multi-choice", "dim": "action"},
        ),
        Item(
            id="multi-choice/1034/direction/0", video=video, question="Where does the boat go?", candidates=sides,
            answer=0, groups=direction,
        ),
        Item(
            id="multi-choice/1034/direction/1", video=video, question="Which way",
            candidates=("to the right", "to the left"), answer=1, groups=direction,
        ),
        Item(
            id="multi-choice/1034/attribute_change/0", video=video, question="How does the sky change?",
            candidates=("getting darker", "getting brighter"), answer=0,
            groups={"task": "multi-choice", "dim": "attribute_change"},
        ),
        Item(
            id="multi-choice/1034_reverse/direction/0", video="videos/1034_reverse.mp4",
            question="Where does the boat go?", candidates=sides, answer=1, groups=direction,
        ),
        Item(
            id="yes_no/1034/order/0", video=video, question="Does the man row before he sleeps?",
            candidates=("yes", "no"), answer=0, groups=order,
        ),
        Item(
            id="yes_no/1034/order/1", video=video, question="Does the man sleep first?", candidates=("yes", "no"),
            answer=1, groups=order,
        ),
        Item(
            id="caption_matching/1034/speed/0", video=video,
            question="Which description is a more suitable match for the video?",
            candidates=("The video is slow.", "The video is fast: twice as fast."), answer=1, groups=speed,
        ),
        Item(
            id="caption_matching/1034/speed/1", video=video,
            question="Which sentence better captures the essence of the video?",
            candidates=("A man rows.", "A man sleeps."), answer=0, groups=speed,
        ),
        Item(
            id="caption_matching/1034/speed/2", video=video, question="Which caption matches the video better?",
            candidates=("A man sleeps.", "A man rows."), answer=1, groups=speed,
        ),
    ]  # fmt: skip


def test_captions_are_read_and_are_no_part_of_the_score(golden: Golden) -> None:
    """Their answer is an option. Whoever knows the caption chooses it; equality with it is what no caption reaches."""
    root = golden("tempcompass")
    [caption] = tempcompass.read(root, ["captioning"])
    assert caption == Item(
        id="captioning/1034/attribute_change/0", video="videos/1034.mp4", question=CAPTIONING,
        answers=("A. getting darker", "getting darker"), groups={"task": "captioning", "dim": "attribute_change"},
    )  # fmt: skip
    written = "A man rows a boat across a lake while the sky behind him is getting darker."
    assert not exact(written, caption.answers), "right, and yet not equal"

    scored = tempcompass.read(root)
    assert {item.groups["task"] for item in scored} == {"multi-choice", "yes_no", "caption_matching"}
    assert all(item.candidates for item in scored), "each is right or wrong without a judge"
    judging = {item.id: item for item in scored}["multi-choice/1034/attribute_change/0"]
    assert judging.candidates[judging.answer] == caption.answers[1], "what a judge would be asked"
    (root / "questions/captioning.json").unlink()
    assert tempcompass.read(root) == scored


def test_prompts_are_the_published_questions(golden: Golden) -> None:
    """What the reader takes apart, the prompt puts together again, save for a space before a line's end."""
    root = golden("tempcompass")
    endings = {
        "multi-choice": "\nPlease directly give the best option:",
        "caption_matching": "\nPlease directly give the best option:",
        "yes_no": "\nPlease answer yes or no:",
        "captioning": "",
    }
    styles = {"yes_no": "tempcompass_yes_no"}
    asked = {}
    for item in tempcompass.read(root, list(endings)):
        style = styles.get(item.groups["task"], "tempcompass_choice")
        asked[item.id] = choice_prompt(style, item) if item.candidates else open_prompt("plain", item)
    published = {}
    for task, ending in endings.items():
        for video, dims in json.loads((root / f"questions/{task}.json").read_text()).items():
            for dim, questions in dims.items():
                for number, row in enumerate(questions):
                    published[f"{task}/{video}/{dim}/{number}"] = row["question"].replace(" \n", "\n") + ending
    assert asked == published


def test_question_files_may_lie_in_the_root(golden: Golden) -> None:
    root = golden("tempcompass")
    (root / "questions/yes_no.json").rename(root / "yes_no.json")
    assert [item.answer for item in tempcompass.read(root, ["yes_no"])] == [0, 1]


def test_the_mark_decides_where_answer_and_option_are_worded_differently(
    golden: Golden, caplog: pytest.LogCaptureFixture
) -> None:
    change = ('"answer": "A. left"', '"answer": "A. leftwards"')
    root = golden("tempcompass", {"questions/multi-choice.json": change})
    assert tempcompass.read(root, ["multi-choice"])[1].answer == 0
    assert "1034/direction/0: option 'A' is worded differently in the answer" in caplog.text


@pytest.mark.parametrize(
    ("task", "change", "message"),
    [
        ("yes_no", None, r"questions/yes_no\.json: no such file, nor yes_no\.json"),
        ("yes_no", ('"yes"', '"maybe"'), r"yes_no\.json:1034/order/0: expected yes or no in 'answer', got 'maybe'"),
        ("multi-choice", ('"B. rowing', '"D. rowing'), r"json:1034/action/0: expected an option marked with one of .*'C'"),
        ("multi-choice", ('"B. rowing', '"rowing'), r"json:1034/action/0: expected an option marked with one of"),
        ("multi-choice", ("\\nB. rowing", "\\nrowing"), r"json:1034/action/0: expected a line with the question, then"),
        ("multi-choice", ("\\nA. to the right\\n", " "), r"json:1034/direction/1: expected a line with the question"),
        ("multi-choice", ('"1034_reverse"', '"1034"'), r"json:1: the key '1034' comes twice"),
        ("caption_matching", ("Caption A: A", "Caption: A"), r"json:1034/speed/2: expected a line with the question"),
        ("captioning", ('"answer"', '"mc_answer"'), r"json:1034/attribute_change/0: expected text in 'answer', got None"),
        ("captioning", ('"1034": {', '"1035": 7, "1034": {'), r"captioning\.json:1035: expected lists of questions by dim"),
    ],
)  # fmt: skip
def test_broken(golden: Golden, task: str, change: tuple[str, str] | None, message: str) -> None:
    root = golden("tempcompass", {f"questions/{task}.json": change})
    with pytest.raises(DataError, match=message):
        tempcompass.read(root, [task])


def test_a_list_of_rows_holds_the_same(golden: Golden) -> None:
    root = golden("tempcompass")
    expected = tempcompass.read(root)
    for task in tempcompass.SCORED:
        path = next(p for p in (root / f"questions/{task}.json", root / f"{task}.json") if p.is_file())
        rows = [
            {"video_id": video, "dim": dim, **question}
            for video, dims in json.loads(path.read_text(encoding="utf-8-sig")).items()
            for dim, questions in dims.items()
            for question in questions
        ]
        path.write_text(json.dumps(rows))
    assert tempcompass.read(root) == expected
