"""The wordings, letter for letter: a changed space is another benchmark."""

import pytest

from training.data.benchmarks.prompts import CHOICE_STYLES, OPEN_STYLES, choice_prompt, open_prompt
from training.data.items import Item

CHOICE = Item(id="1", video="v", question="Who sings?", candidates=("A cat.", "A dog."), answer=0)
OPEN = Item(id="2", video="v", question="who sings in the Barn", answers=("a cat",))
CHOICE_PROMPTS = {
    "plain": "Who sings?\nA. A cat.\nB. A dog.\nAnswer with the letter of the right option.",
    "mvbench": "Question:Who sings?\nOption:\n(A) A cat.\n(B) A dog.\nOnly give the best option.\n",
    "video_mme": (
        "Select the best answer to the following multiple-choice question based on the video. Respond with only the "
        "letter (A, B, C, or D) of the correct option.\nWho sings?\nA. A cat.\nB. A dog.\nThe best answer is:"
    ),
    "nextqa_mc": ("Who sings?\nA. A cat.\nB. A dog.\nAnswer with the option's letter from the given choices directly."),
    "tempcompass_choice": "Who sings?\nA. A cat.\nB. A dog.\nPlease directly give the best option:",
    "tempcompass_yes_no": "Who sings?\nPlease answer yes or no:",
}
OPEN_PROMPTS = {
    "plain": "who sings in the Barn",
    "nextqa_oe": "who sings in the Barn\nAnswer a question using a short phrase or sentence.",
    "activitynet_qa": "Who sings in the barn?",
}


@pytest.mark.parametrize("style", CHOICE_STYLES)
def test_choice_prompt(style: str) -> None:
    assert choice_prompt(style, CHOICE) == CHOICE_PROMPTS[style]


@pytest.mark.parametrize("style", OPEN_STYLES)
def test_open_prompt(style: str) -> None:
    assert open_prompt(style, OPEN) == OPEN_PROMPTS[style]


def test_video_mme_with_subtitles() -> None:
    item = Item(id="1", video="v", question="Who?", candidates=("Ann", "Bob"), answer=1, context="Hi.\nI am Bob.")
    assert choice_prompt("video_mme", item) == (
        "This video's subtitles are listed below:\nHi.\nI am Bob.\n"
        "Select the best answer to the following multiple-choice question based on the video. Respond with only the "
        "letter (A, B, C, or D) of the correct option.\nWho?\nA. Ann\nB. Bob\nThe best answer is:"
    )


@pytest.mark.parametrize(
    ("question", "lines"),
    [
        ("Which caption matches the video better?", "Caption A: x\nCaption B: y"),
        ("Which sentence better captures the essence of the video?", "Sentence A: x\nSentence B: y"),
        ("Which description is a more suitable match for the video?", "Option 1: x\nOption 2: y"),
    ],
)
def test_tempcompass_marks_captions_in_its_own_way(question: str, lines: str) -> None:
    item = Item(id="1", video="v", question=question, candidates=("x", "y"), answer=0)
    assert choice_prompt("tempcompass_choice", item) == f"{question}\n{lines}\nPlease directly give the best option:"


def test_unknown_styles_are_named() -> None:
    with pytest.raises(KeyError, match=r"unknown style 'mmmu'\. Known styles: plain, mvbench, video_mme"):
        choice_prompt("mmmu", CHOICE)
    with pytest.raises(KeyError, match=r"unknown style 'mvbench'\. Known styles: plain, nextqa_oe, activitynet_qa"):
        open_prompt("mvbench", OPEN)


def test_an_open_question_has_no_options() -> None:
    with pytest.raises(ValueError, match="expected a question with options, got '2', which has none"):
        choice_prompt("plain", OPEN)
