"""Scores of a free answer against the wordings that count as right. Text in, numbers out: no model, nothing random.

None of them takes an answer for right because the right words are somewhere in it, or because it has no words at all.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from training.evaluation.wups import WordNet

ARTICLES = {"a", "an", "the"}
DIGITS = {
    "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8",
    "nine": "9", "ten": "10",
}  # fmt: skip
TEENS = {
    "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17,
    "eighteen": 18, "nineteen": 19,
}  # fmt: skip
TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
SYNONYMS = {
    "yeah": "yes", "yep": "yes", "nope": "no",
    "guy": "man", "guys": "men", "lady": "woman", "ladies": "women", "kid": "child", "kids": "children",
    "infant": "baby", "infants": "babies", "mom": "mother", "mum": "mother", "dad": "father",
    "grandma": "grandmother", "grandpa": "grandfather",
    "bike": "bicycle", "bikes": "bicycles", "motorbike": "motorcycle", "motorbikes": "motorcycles",
    "automobile": "car", "automobiles": "cars", "airplane": "plane", "airplanes": "planes", "aeroplane": "plane",
    "aeroplanes": "planes", "television": "tv", "telephone": "phone", "telephones": "phones",
    "photograph": "photo", "photographs": "photos", "couch": "sofa", "fridge": "refrigerator",
    "grey": "gray", "blonde": "blond", "colour": "color", "colours": "colors",
    "indoors": "inside", "indoor": "inside", "outdoors": "outside", "outdoor": "outside",
}  # fmt: skip
"""Everyday words for one thing and spellings of one word -> the word that stands for all of them."""
TOKEN = re.compile(r"[^\W_]+(?:[.,]\d+)*")
FIGURES = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
WORD = re.compile(r"[^\W_]+(?:-[^\W_]+)*")
KEYWORD_WORDS = 40
"""How many words of a description are read."""
WHOLE_KEY = 3
"""Keys up to so many letters must be the whole word: "he" is not the beginning of "helmet"."""


def normalise(text: str) -> str:
    """Lower case; punctuation to spaces; without the words a, an, the; number words zero to ten as digits.

    >>> normalise("The two CATS, asleep.")
    '2 cats asleep'
    """
    # What Unicode calls punctuation (P) and symbols (S): string.punctuation holds both, but of ASCII only.
    spaced = "".join(" " if unicodedata.category(char)[0] in "PS" else char for char in text.lower())
    return " ".join(DIGITS.get(word, word) for word in spaced.split() if word not in ARTICLES)


def exact(prediction: str, answers: Iterable[str]) -> bool:
    """Equal to one of the answers after normalisation. An answer without words is equal to none."""
    said = normalise(prediction)
    return bool(said) and any(said == normalise(answer) for answer in answers)


def token_f1(prediction: str, answer: str) -> float:
    """From 0 to 1: harmonic mean of precision and recall of the normalised words, as in SQuAD (arXiv 1606.05250)."""
    said, right = Counter(normalise(prediction).split()), Counter(normalise(answer).split())
    shared = (said & right).total()
    return 2 * shared / (said.total() + right.total()) if shared else 0.0


def number_match(prediction: str, answer: str) -> bool | None:
    """Whether the only number in the prediction is the answer, in digits or words. None where the answer is no number.

    >>> number_match("There are two dogs.", "2"), number_match("2 or 3", "2"), number_match("two", "a dog")
    (True, False, None)
    """
    right, other_words = _numbers(answer)
    if len(right) != 1 or other_words:
        return None
    return _numbers(prediction)[0] == right


def _numbers(text: str) -> tuple[list[float], bool]:
    """The numbers of a text, words up to ninety-nine among them, and whether it has other words than articles."""
    numbers: list[float] = []
    other_words = tens_before = False
    for token in TOKEN.findall(text.lower()):
        digit = DIGITS.get(token, "")
        if tens_before and digit not in ("", "0", "10"):
            numbers[-1] += int(digit)  # twenty-one, twenty one
        elif digit or FIGURES.fullmatch(token):
            numbers.append(float((digit or token).replace(",", "")))
        elif token in TEENS or token in TENS:
            numbers.append(TEENS.get(token) or TENS[token])
        elif token not in ARTICLES:
            other_words = True
        tens_before = token in TENS
    return numbers, other_words


def synonym(prediction: str, answers: Iterable[str], wordnet: WordNet | None = None) -> bool:
    """Equal word by word after normalisation, where the words of SYNONYMS are equal to what stands for them.

    With `wordnet`, two words, or two whole answers, are also equal when their first senses as nouns are one and the
    same, or as verbs, adjectives or adverbs. The score then depends on what is installed, so the caller decides.
    """
    said = _representatives(prediction)
    return bool(said) and any(_same_meaning(said, _representatives(answer), wordnet) for answer in answers)


def _representatives(text: str) -> list[str]:
    return [SYNONYMS.get(word, word) for word in normalise(text).split()]


def _same_meaning(said: list[str], right: list[str], wordnet: WordNet | None) -> bool:
    if wordnet is None or said == right:
        return said == right
    pairs = zip(said, right, strict=False)
    word_by_word = len(said) == len(right) and all(a == b or _share_sense(a, b, wordnet) for a, b in pairs)
    return word_by_word or _share_sense("_".join(said), "_".join(right), wordnet)


def _share_sense(a: str, b: str, wordnet: WordNet) -> bool:
    senses = ((wordnet.first_sense(a, part), wordnet.first_sense(b, part)) for part in "nvar")
    return any(first is not None and first == second for first, second in senses)


def keywords_hit(answer: str, beginnings: Iterable[str]) -> bool:
    """Whether one of the first 40 words begins with one of the lower-case keys.

    A key of up to three letters must be the whole word, or it with an s.
    """
    words = [word for chunk in answer.lower().split()[:KEYWORD_WORDS] for word in WORD.findall(chunk)]
    return any(_begins(word, key) for key in beginnings for word in words)


def _begins(word: str, key: str) -> bool:
    return word in (key, key + "s") if len(key) <= WHOLE_KEY else word.startswith(key)
