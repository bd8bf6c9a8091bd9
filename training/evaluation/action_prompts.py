"""Sentences that the name of an action is put into, so that a text tower reads it as it read its captions."""

import re

TEMPLATES = (
    "{}.",
    "a video of {}.",
    "a short clip of {}.",
    "a recording of {}.",
    "footage that shows {}.",
    "a scene of {}.",
    "this is {}.",
    "a person {}.",
    "someone is {}.",
    "a video of a person {}.",
    "a video of people {}.",
    "a clip in which someone is {}.",
    "an example of {}.",
    "the action of {}.",
    "what happens here is {}.",
    "a demonstration of {}.",
)
"""In our own words. Averaged, since the best one differs from action to action (CLIP, arXiv 2103.00020, section 3.1.4)."""


def words(name: str) -> str:
    """The name of a class as it would stand in a sentence.

    >>> words("ApplyEyeMakeup"), words("brush_hair"), words("Putting something on a surface")
    ('apply eye makeup', 'brush hair', 'putting something on a surface')
    """
    return " ".join(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ").split()).lower()


def prompts(name: str) -> list[str]:
    """The name of a class in every template."""
    return [template.format(words(name)) for template in TEMPLATES]
