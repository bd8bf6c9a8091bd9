"""The ways in which the training asks: for a caption, and for a short answer, alone or as a follow-up."""

import random

CAPTION_QUESTIONS = (
    "What is happening in the video?",
    "Describe the video.",
    "What does the video show?",
    "What can you see?",
    "Describe what you see in one sentence.",
    "What is going on here?",
    "Give a short caption.",
    "Tell me what happens.",
)

SHORT_ANSWER = "Answer with one word or a short phrase."
"""Added to a question where the answer is compared with a word; evaluation asks in the same words."""


def conversation(rng: random.Random, qa: list[tuple[str, str]], caption: str | None = None) -> list[tuple[str, str]]:
    """Question-answer pairs as the turns of one conversation, after a caption where one is given.

    Half of the conversations ask for short answers in so many words.
    """
    ending = f" {SHORT_ANSWER}" if rng.random() < 0.5 else ""
    start = [(rng.choice(CAPTION_QUESTIONS), caption)] if caption is not None else []
    return start + [(question + ending, answer) for question, answer in qa]


def balanced(rng: random.Random, qa: tuple[tuple[str, str], ...], keep_no: float) -> list[tuple[str, str]]:
    """The pairs in random order, of those answered "no" only a share: else the model learns to deny."""
    kept = [pair for pair in qa if pair[1].strip(" .").lower() != "no" or rng.random() < keep_no]
    rng.shuffle(kept)
    return kept


def messages(talk: list[tuple[str, str]]) -> list[dict[str, str]]:
    """Questions and answers as the turns of user and assistant."""
    roles = ("user", "assistant")
    return [{"role": role, "content": text} for turn in talk for role, text in zip(roles, turn, strict=True)]
