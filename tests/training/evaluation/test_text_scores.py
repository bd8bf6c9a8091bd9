"""Rules of free answers: what is equal to what, and that nothing is right by accident."""

import doctest
import json
import subprocess
import sys
from pathlib import Path

import pytest

from training.evaluation import text_scores
from training.evaluation.text_scores import SYNONYMS, exact, keywords_hit, normalise, number_match, synonym, token_f1

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The two CATS, asleep.", "2 cats asleep"),
        ("A boy's t-shirt", "boy s t shirt"),
        ("an apple_pie!", "apple pie"),
        ("zero one two three four five six seven eight nine ten", "0 1 2 3 4 5 6 7 8 9 10"),
        ("eleven", "eleven"),
        ("someone theatre anthem", "someone theatre anthem"),
        ("“Yes” — he said…", "yes he said"),
        ("$5 + 3°", "5 3"),
        ("  white\n", "white"),
        ("crème brûlée", "crème brûlée"),
        ("a", ""),
        ("?!", ""),
        ("", ""),
    ],
)
def test_normalise(text: str, normal: str) -> None:
    assert normalise(text) == normal
    assert normalise(normal) == normal


@pytest.mark.parametrize("answer", ["yes", "two cats", "grass", "bus", "less", "s", "<", ">", "/", "glass </s>"])
def test_no_letter_of_an_end_mark_is_stripped(answer: str) -> None:
    """rstrip("</s>") strips a set of characters: "yes" became "ye", "grass" became "gra"."""
    words = [word for word in ("yes", "cats", "grass", "bus", "less", "glass") if word in answer]
    assert all(word in normalise(answer).split() for word in words)
    assert exact(answer, [answer]) == bool(normalise(answer))
    assert not exact(answer.rstrip("</s>"), [answer])  # noqa: B005 - the defect itself


@pytest.mark.parametrize(
    ("prediction", "answers", "right"),
    [
        ("A boat.", ["boat", "ship"], True),
        ("ship", ["boat", "ship"], True),
        ("Two", ["2"], True),
        ("the boat on the sea", ["boat"], False),
        ("boa", ["boat"], False),
        ("boat", ["a tour boat"], False),
        ("not a boat", ["boat"], False),
        ("", ["boat"], False),
        ("", [""], False),
        ("the", ["a"], False),
        ("...", ["?"], False),
        ("boat", [], False),
    ],
)
def test_exact_is_equality_and_never_containment(prediction: str, answers: list[str], right: bool) -> None:
    assert exact(prediction, answers) is right


@pytest.mark.parametrize(
    ("prediction", "answer", "f1"),
    [
        ("the red car", "red car", 1.0),
        ("red", "red car", 2 / 3),
        ("red red", "red car", 0.5),
        ("car red", "red car", 1.0),
        ("blue", "red car", 0.0),
        ("", "red car", 0.0),
        ("", "", 0.0),
    ],
)
def test_token_f1(prediction: str, answer: str, f1: float) -> None:
    assert token_f1(prediction, answer) == pytest.approx(f1)
    assert token_f1(answer, prediction) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("prediction", "answer", "match"),
    [
        ("two", "2", True),
        ("There are two dogs.", "2", True),
        ("2.", "two", True),
        ("The 2", "a two", True),
        ("twenty-one people", "21", True),
        ("twenty one", "21", True),
        ("twelve", "12", True),
        ("1,000 birds", "1000", True),
        ("2.5 metres", "2.5", True),
        ("ten", "10", True),
        ("twenty ten", "30", False),
        ("3", "2", False),
        ("2 or 3", "2", False),
        ("12", "2", False),
        ("2nd", "2", False),
        ("2.5", "2", False),
        ("many", "2", False),
        ("", "2", False),
        ("", "0", False),
        ("two", "two dogs", None),
        ("two", "dogs", None),
        ("2", "2 or 3", None),
        ("two", "", None),
    ],
)
def test_number_match(prediction: str, answer: str, match: bool | None) -> None:
    assert number_match(prediction, answer) is match


@pytest.mark.parametrize(
    ("prediction", "answers", "right"),
    [
        ("A guy.", ["man"], True),
        ("riding a bicycle", ["riding a bike"], True),
        ("grey", ["gray"], True),
        ("kids", ["the children"], True),
        ("two kids", ["2 children"], True),
        ("boat", ["a ship", "boat"], True),
        ("woman", ["man"], False),
        ("kid", ["children"], False),
        ("a guy with a hat", ["man"], False),
        ("", ["man"], False),
        ("", [""], False),
    ],
)
def test_synonym_by_the_table(prediction: str, answers: list[str], right: bool) -> None:
    assert synonym(prediction, answers) is right


def test_the_table_of_synonyms_needs_one_look_up() -> None:
    assert not SYNONYMS.keys() & set(SYNONYMS.values()), "a word that stands for others is not replaced itself"
    for word in SYNONYMS.keys() | set(SYNONYMS.values()):
        assert normalise(word) == word


@pytest.mark.parametrize(
    ("answer", "beginnings", "hit"),
    [
        ("A man is playing the guitar.", ["guitar"], True),
        ("Two guitarists", ["guitar"], True),
        ("He plays an air-guitar", ["guitar"], False),
        ("She applies make-up.", ["make-up"], True),
        ("the man's hat", ["man"], True),
        ("MEN at work", ["men"], True),
        ("dogs", ["dog"], True),
        ("a doggy", ["dog"], False),
        ("a helmet", ["he"], False),
        ("baking", ["bak"], False),
        ("a hot dog stand", ["cat", "dog"], True),
        ("unplayed", ["play"], False),
        ("", ["man"], False),
        ("man", [], False),
        ("anything", [""], False),
        (" ".join(["so"] * 39 + ["guitar"]), ["guitar"], True),
        (" ".join(["so"] * 40 + ["guitar"]), ["guitar"], False),
    ],
)
def test_keywords(answer: str, beginnings: list[str], hit: bool) -> None:
    assert keywords_hit(answer, beginnings) is hit


def test_a_prediction_that_holds_code_stays_text(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    code = f"__import__('pathlib').Path({json.dumps(str(mark))}).touch()"
    for score in (exact, synonym):
        assert not score(code, ["yes"])
    assert token_f1(code, "yes") == 0.0
    assert number_match(code, "2") is False
    assert not keywords_hit(code, ["yes"])
    assert not mark.exists()


def test_scores_need_no_model() -> None:
    program = "import sys, training.evaluation.text_scores, training.evaluation.wups; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_examples_of_the_docstrings() -> None:
    tested = doctest.testmod(text_scores)
    assert tested.attempted > 0
    assert tested.failed == 0
