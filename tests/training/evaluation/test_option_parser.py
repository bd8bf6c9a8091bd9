"""The parser of answers against strings that people judged, and laws that hold for any string.

Every row of option_strings.jsonl says what a careful reader takes the text to assert, and why the row is there.
"""

import itertools
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from training.evaluation.option_parser import parse_option

TABLE = Path(__file__).with_name("option_strings.jsonl")
OPTIONS = ("He opens a door", "He sits down", "He drinks water", "He closes a book")
ANIMALS = ("dog", "cat", "horse", "bird")

KNOWN_TO_MISLEAD = {
    "", ")", "(", ".", "The answer is C", "Option C", "The answer is (B)", "!!!!!!", "Not sure",
    "The answer is B because All players left", "A man is holding a ball, so the answer is C",
    "The correct answer is (B) and not (D).", "b", "option b", "Dog", "B", "B.", "(B)", "**B**", "Answer: B", "B. A man",
    "Best answer: C", "Based on the video, the man jumps, so B", "A man jumps. The answer is C", "Cannot determine",
    "Definitely B", "The best option is", "The correct option is", "Best answer:", "not (D)",
    "A man opens the door, so the answer is (C).", "Because he is hungry, (D)", "Dogs appear; option B", "B. Candles",
}  # fmt: skip
"""Strings that other parsers of multiple-choice answers get wrong, or that show they get them right."""


class Row(NamedTuple):
    text: str
    candidates: list[str]
    expected: int | None
    why: str


def rows() -> list[Row]:
    return [Row(**json.loads(line)) for line in TABLE.read_text(encoding="utf-8").splitlines()]


def random_strings(count: int, alphabet: str, *, seed: int = 0) -> list[str]:
    generator = random.Random(seed)
    return ["".join(generator.choices(alphabet, k=generator.randrange(40))) for _ in range(count)]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.text[:60].encode("unicode_escape").decode() or "empty")
def test_a_text_is_read_as_a_careful_reader_reads_it(row: Row) -> None:
    assert parse_option(row.text, row.candidates) == row.expected, row.why


def test_the_table_is_large_and_holds_the_strings_that_are_known_to_mislead() -> None:
    table = rows()
    texts = {row.text for row in table}
    assert len(texts) >= 200
    assert texts >= KNOWN_TO_MISLEAD
    assert len({(row.text, *row.candidates) for row in table}) == len(table), "no row comes twice"
    assert all(row.expected is None or 0 <= row.expected < len(row.candidates) for row in table)
    assert sum(row.expected is None for row in table) >= 80, "what must not be read is half of the matter"


def test_it_needs_no_other_library() -> None:
    code = "import sys; import training.evaluation.option_parser; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False).returncode == 0


# --- Laws


@pytest.mark.parametrize(
    "alphabet", ["ABCDEabcde .,()", "AB no<>/s*`\\{}[]|~_\"'\n", "⟦⟧⟪⟫01*?AB .", "İıſßéＡ①٣²\u200b\x00 B."]
)
@pytest.mark.parametrize(
    "candidates", [OPTIONS, ("yes", "no"), ("b", "a"), ("1", "2"), ("", "ſ", "(", "İs"), ("A",), ()]
)
def test_any_string_is_read_as_a_candidate_or_as_nothing(alphabet: str, candidates: tuple[str, ...]) -> None:
    for text in random_strings(150, alphabet):
        answer = parse_option(text, candidates)
        assert answer is None or 0 <= answer < len(candidates), text


@pytest.mark.parametrize("candidates", [OPTIONS, ("yes", "no"), ("", "(", "."), ("A", "B")])
def test_nothing_but_punctuation_asserts_nothing(candidates: tuple[str, ...]) -> None:
    for text in random_strings(300, " .,;:!?()[]{}<>*_-–—'\"“”`/|\\\n\t"):
        assert parse_option(text, candidates) is None, text


def test_space_around_a_text_changes_nothing() -> None:
    for row in rows():
        for around in (f"  {row.text}", f"{row.text}\n", f"\n\t{row.text} \n\n"):
            assert parse_option(around, row.candidates) == row.expected, repr(around)


def test_where_an_option_stands_does_not_matter_to_its_words() -> None:
    texts = ["The cat.", "answer: a horse", "not a dog but a bird", "a dog and a cat", "it is no bird", "DOG!"]
    for text, order in itertools.product(texts, itertools.permutations(range(4))):
        first = parse_option(text, ANIMALS)
        moved = parse_option(text, [ANIMALS[i] for i in order])
        assert moved == (None if first is None else order.index(first)), (text, order)


@pytest.mark.parametrize("letter", "ABCDEFGHIJ")
@pytest.mark.parametrize(
    "form",
    ["({})", "{})", "Answer: {}", "Option {}", "Caption {}", "Sentence {}.", "The answer is {}.", "**{}**", "{}</s>"],
)
def test_every_letter_counts_in_both_cases_up_to_the_number_of_candidates(form: str, letter: str) -> None:
    for shown, count in itertools.product((letter, letter.lower()), range(1, 11)):
        index = ord(letter) - ord("A")
        expected = index if index < count else None
        assert parse_option(form.format(shown), [f"thing {i}{i}" for i in range(count)]) == expected


@pytest.mark.parametrize(
    "denial",
    [
        "It is not {}", "It isn't {}", "It cannot be {}", "never {}", "neither {}", "none of it, not even {}", "without {}",
        "except {}", "excluding {}", "unlike {}", "hardly {}", "scarcely {}", "instead of {}", "rather than {}",
        "anything but {}", "all but {}", "I doubt it is {}", "It is unclear if it is {}", "I am unsure whether it is {}",
        "I am uncertain if it is {}", "wrong: {}", "The incorrect answer is {}", "It is false that it is {}",
        "I would rule out {}", "ruling out {}", "eliminate {}", "I excluded {}", "reject {}", "I dismissed {}",
        "We can discard {}", "I don't choose {}", "If it were {}", "unless it is {}", "{} is wrong", "{} is not it",
        "{} would be incorrect", "{} is clearly false", "{} can be ruled out", "{}: wrong", "{} was rejected", "{} fails",
        "{} seems very unlikely", "{} must be impossible", "{} does not fit", "{} is excluded", "Is it {}?",
        "If he ran, the answer would be {}", "{}. No wait, that's wrong.", "Is it {}? Never mind.",
    ],
)  # fmt: skip
def test_a_denied_option_is_not_asserted_by_letter_or_by_words(denial: str) -> None:
    for option in ("(B)", "option B", "Caption B", "sentence B", "the cat", "B"):
        assert parse_option(denial.format(option), ANIMALS) is None, option


@pytest.mark.parametrize(
    "choice",
    [
        "I choose {}", "I pick {}", "I'd select {}", "We would guess {}", "I conclude it's {}", "I vote for {}",
        "I opt for {}", "I will settle on {}", "I lean towards {}", "I went with {}", "So the answer is {}",
        "The best one is {}", "My selection: {}", "The right answer must be {}", "The final decision is {}",
        "Answer - it's got to be something, so the answer: {}", "The final answer, I think, is {}",
    ],
)  # fmt: skip
def test_a_statement_outweighs_what_is_merely_mentioned(choice: str) -> None:
    for option in ("(C)", "C", "option C", "Caption C", "the horse"):
        assert parse_option(f"There is a dog here, perhaps a bird. {choice.format(option)}.", ANIMALS) == 2, option
    assert parse_option(f"(A) begins, (B) ends. {choice.format('C')}.", ANIMALS) == 2


def test_a_long_answer_takes_time_in_proportion() -> None:
    """A model that repeats itself to the end of its budget must not hold up the run."""
    started = time.process_time()
    for word in ("A ", "the answer is ", "not ", "if ", "Q: ", "B, ", "((", "dog "):
        parse_option(word * (4000 // len(word)), ANIMALS)
    assert time.process_time() - started < 10, "seconds of the processor, ten times what it takes"


# --- Defects of other scorers, each with its string


@pytest.mark.parametrize("gold", range(4))
@pytest.mark.parametrize("text", ["", "(", ")", ".", " ", "()", ").", "(.)"])
def test_an_empty_answer_is_never_correct(text: str, gold: int) -> None:
    """A grader that asks whether the answer's letters are inside the right option says yes to no letters at all."""
    assert parse_option(text, OPTIONS) != gold


@pytest.mark.parametrize("gold", range(4))
def test_a_sentence_around_the_letter_is_no_error(gold: int) -> None:
    """The same grader calls these wrong."""
    for form in ("The answer is ({})", "The answer is {}", "Option {}"):
        assert parse_option(form.format("ABCD"[gold]), OPTIONS) == gold


def test_the_first_capital_is_not_the_answer() -> None:
    """A parser that takes the first capital from A to D answers A, B and B."""
    assert parse_option("A man opens the door, so the answer is (C).", OPTIONS) == 2
    assert parse_option("Because he is hungry, (D)", OPTIONS) == 3
    assert parse_option("Dogs appear; option B", OPTIONS) == 1


@pytest.mark.parametrize("text", ["no letter here", "e", "7", "I cannot tell.", "\x00", "A or B", "🤷"])
def test_an_unreadable_answer_is_a_result_and_no_exception(text: str) -> None:
    """A parser that asserts that it found something ends the run at the first refusal."""
    assert parse_option(text, OPTIONS) is None


@pytest.mark.parametrize("end", ["", ".", "!", "\n", "</s>", " </s>"])
@pytest.mark.parametrize("option_end", ["", "."])
def test_option_words_keep_their_last_letter(end: str, option_end: str) -> None:
    """A pattern that expects a full stop after an option eats the s of "Candles" where there is none."""
    candidates = [f"Lamp{option_end}", f"Candle{option_end}", f"Candles{option_end}"]
    assert parse_option(f"Candles{end}", candidates) == 2
    assert parse_option(f"C. Candles{end}", candidates) == 2
    assert parse_option(f"B. Candles{end}", candidates) is None


@pytest.mark.parametrize("text", ["yes", "two cats", "grass", "s"])
def test_the_end_mark_is_a_mark_and_not_a_set_of_letters(text: str) -> None:
    """Stripping any of its characters turns "yes" into "ye" and "grass" into "gra"."""
    candidates = ["zebra", "ye", "two cat", "gra", text]
    assert parse_option(text, candidates) == parse_option(f"{text}</s>", candidates) == 4


@pytest.mark.parametrize("candidates", [["", "Candles"], ["", ""], [" ", ".", "Candles"]])
def test_an_option_without_words_is_reached_by_its_letter_only(candidates: list[str]) -> None:
    assert parse_option("A.", candidates) == 0
    assert parse_option("", candidates) is None
    assert parse_option(".", candidates) is None


def test_what_is_not_read_is_not_drawn() -> None:
    """A random choice for an unreadable answer makes weak models look better, and two runs differ."""
    for row in rows():
        if row.expected is None:
            assert {parse_option(row.text, row.candidates) for _ in range(3)} == {None}
