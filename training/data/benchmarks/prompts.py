"""The words in which public benchmarks put their questions to a model, kept exactly: a score depends on them."""

import string
from collections.abc import Callable, Sequence

from training.data.items import Item

LETTER_PLEASE = "Answer with the option's letter from the given choices directly."
SUBTITLES = "This video's subtitles are listed below:"
VIDEO_MME = (
    "Select the best answer to the following multiple-choice question based on the video. "
    "Respond with only the letter (A, B, C, or D) of the correct option."
)
CAPTION_MARKS = {
    "Which caption matches the video better?": ("Caption A", "Caption B"),
    "Which sentence better captures the essence of the video?": ("Sentence A", "Sentence B"),
    "Which description is a more suitable match for the video?": ("Option 1", "Option 2"),
}
"""How TempCompass marks the two sentences after each of its three questions about captions."""


def choice_prompt(style: str, item: Item) -> str:
    """Question and options in a wording of CHOICE_STYLES. Raises KeyError, ValueError for an open question."""
    if not item.candidates:
        raise ValueError(f"expected a question with options, got '{item.id}', which has none.")
    return _style(CHOICE_STYLES, style)(item)


def open_prompt(style: str, item: Item) -> str:
    """A question without its options in one of the wordings of OPEN_STYLES. Raises KeyError."""
    return _style(OPEN_STYLES, style)(item)


def _plain(item: Item) -> str:
    """Our own words."""
    return f"{_lettered(item)}\nAnswer with the letter of the right option."


def _mvbench(item: Item) -> str:
    """lmms-eval, tasks/mvbench: utils.mvbench_doc_to_text with the ending of its task files."""
    options = "".join(f"({letter}) {option}\n" for letter, option in _letters(item.candidates))
    return f"Question:{item.question}\nOption:\n{options}Only give the best option.\n"


def _video_mme(item: Item) -> str:
    """README of Video-MME, "Evaluation Pipeline": the examples with and without subtitles."""
    before = f"{SUBTITLES}\n{item.context}\n" if item.context else ""
    return f"{before}{VIDEO_MME}\n{_lettered(item)}\nThe best answer is:"


def _nextqa_mc(item: Item) -> str:
    """lmms-eval, tasks/nextqa: utils.nextqa_doc_to_text_mc; its task egoschema asks in the same words."""
    return f"{_lettered(item)}\n{LETTER_PLEASE}"


def _tempcompass_choice(item: Item) -> str:
    """TempCompass, run_video_llava/inference_dataset.py: `answer_prompt` of multi-choice and caption_matching."""
    marks = CAPTION_MARKS.get(item.question)
    if marks and len(item.candidates) == len(marks):
        lines = [f"{mark}: {option}" for mark, option in zip(marks, item.candidates, strict=True)]
        return "\n".join([item.question, *lines, "Please directly give the best option:"])
    return f"{_lettered(item)}\nPlease directly give the best option:"


def _tempcompass_yes_no(item: Item) -> str:
    """The same file: `answer_prompt` of yes_no, which does not list its two options."""
    return f"{item.question}\nPlease answer yes or no:"


def _question(item: Item) -> str:
    """Nothing but the question: Video-ChatGPT, video_chatgpt/eval, for its benchmark and its zero-shot tests."""
    return item.question


def _nextqa_oe(item: Item) -> str:
    """lmms-eval, tasks/nextqa: nextqa_oe_test.yaml."""
    return f"{item.question}\nAnswer a question using a short phrase or sentence."


def _activitynet_qa(item: Item) -> str:
    """lmms-eval, tasks/activitynetqa: utils.activitynetqa_doc_to_text, to which its questions come without a mark."""
    return f"{item.question.capitalize()}?"


CHOICE_STYLES: dict[str, Callable[[Item], str]] = {
    "plain": _plain,
    "mvbench": _mvbench,
    "video_mme": _video_mme,
    "nextqa_mc": _nextqa_mc,
    "tempcompass_choice": _tempcompass_choice,
    "tempcompass_yes_no": _tempcompass_yes_no,
}
OPEN_STYLES: dict[str, Callable[[Item], str]] = {
    "plain": _question,
    "nextqa_oe": _nextqa_oe,
    "activitynet_qa": _activitynet_qa,
}


def _style(styles: dict[str, Callable[[Item], str]], name: str) -> Callable[[Item], str]:
    if name not in styles:
        raise KeyError(f"unknown style '{name}'. Known styles: {', '.join(styles)}.")
    return styles[name]


def _letters(options: Sequence[str]) -> list[tuple[str, str]]:
    return list(zip(string.ascii_uppercase, options, strict=False))


def _lettered(item: Item) -> str:
    return "\n".join([item.question, *(f"{letter}. {option}" for letter, option in _letters(item.candidates))])
