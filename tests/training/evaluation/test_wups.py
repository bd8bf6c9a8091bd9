"""WUPS by hand on a WordNet of a few words, and by NLTK's published numbers on the real one where it is installed."""

import logging
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from training.evaluation import wups as module
from training.evaluation.answers import Answer
from training.evaluation.benchmarks import benchmark_by_name
from training.evaluation.text_scores import synonym
from training.evaluation.wups import HOW_TO_INSTALL, STOP_WORDS, WordNet, installed_wordnet, word_similarity, wups

MINIATURE = Path(__file__).parents[1] / "data/benchmarks/nextqa/open"
LICENCE = "  1 This is a stand-in for the licence, indented as in the real files.  \n"
NOUNS = [
    # offset, lexicographer file, words, offset of the hypernym
    ("00000001", "03", "entity", None),
    ("00000002", "05", "animal", "00000001"),
    ("00000003", "05", "dog", "00000002"),
    ("00000004", "05", "cat", "00000002"),
    ("00000005", "05", "puppy", "00000003"),
    ("00000006", "06", "thing", "00000001"),
    ("00000007", "06", "car automobile", "00000006"),
    ("00000008", "06", "building", "00000006"),
    ("00000009", "04", "jumping", "00000001"),
    ("00000010", "05", "bed", "00000006"),
]
VERBS = [
    ("00000001", "38", "move", None),
    ("00000002", "38", "jump leap", "00000001"),
    ("00000003", "38", "run", "00000001"),
    ("00000004", "41", "restrain", "00000005"),
    ("00000005", "41", "inhibit", "00000004"),
]


def write_wordnet(folder: Path, *, end: str = "\n") -> Path:
    """A folder of WordNet's files: entity above animal (dog with puppy, cat) and thing; two verbs below move."""
    folder.mkdir()
    files = {"noun.exc": "mice mouse\n", "verb.exc": "ran run\nleapt leap\n", "adj.exc": "", "adv.exc": ""}
    for part, name, rows in (("n", "noun", NOUNS), ("v", "verb", VERBS), ("a", "adj", []), ("r", "adv", [])):
        index, data = LICENCE, LICENCE
        for offset, file, words, parent in rows:
            lemmas = words.split()
            pointers = f"001 @ {parent} {part} 0000" if parent else "000"
            spelled = " ".join(f"{lemma} 0" for lemma in lemmas)
            data += f"{offset} {file} {part} {len(lemmas):02x} {spelled} {pointers} | a gloss; with | bars\n"
            index += "".join(f"{lemma} {part} 1 1 @ 1 {int(lemma == 'bed')} {offset}  \n" for lemma in lemmas)
        files |= {f"index.{name}": index, f"data.{name}": data}
    for name, text in files.items():
        (folder / name).write_bytes(text.replace("\n", end).encode())
    return folder


@pytest.fixture
def small(tmp_path: Path) -> WordNet:
    return WordNet(write_wordnet(tmp_path / "wordnet"))


@pytest.fixture(scope="module")
def real() -> WordNet:
    wordnet = installed_wordnet()
    if wordnet is None:
        pytest.skip(HOW_TO_INSTALL)
    return wordnet


@pytest.fixture
def forgotten() -> Iterator[None]:
    """What was found installed is looked for anew, and again after the test."""
    installed_wordnet.cache_clear()
    yield
    installed_wordnet.cache_clear()


# Depths: entity 1; animal, thing 2; dog, cat, car 3; puppy 4. Verbs: a root of all, then move, then jump and run.
GOLDEN = [
    # prediction, answer, at alpha 0, at alpha 0.9
    ("dog", "dog", 1.0, 1.0),
    ("The dogs!", "a dog", 1.0, 1.0),
    ("automobile", "car", 1.0, 1.0),
    ("cat", "dog", 4 / 6, 0.1 * 4 / 6),
    ("puppy", "dog", 6 / 7, 0.1 * 6 / 7),
    ("animal", "dog", 4 / 5, 0.1 * 4 / 5),
    ("car", "dog", 2 / 6, 0.1 * 2 / 6),
    ("jump", "run", 2 / 6, 0.1 * 2 / 6),  # through the root of all verbs, as NLTK has it: before "move" by name
    ("jump", "dog", 2 / 7, 0.1 * 2 / 7),  # a verb and a noun meet above the roots of both
    ("dog car", "dog", 2 / 6, 0.1 * 2 / 6),  # to say too much costs
    ("dog", "dog cat", 4 / 6, 0.1 * 4 / 6),  # to say too little costs
    ("cat puppy", "dog", 4 / 6 * 6 / 7, 0.01 * 4 / 6 * 6 / 7),
    ("dog dog", "dog", 1.0, 1.0),
    ("blorp", "blorp", 1.0, 1.0),
    ("blorp", "dog", 0.0, 0.0),
    ("dog blorp", "dog", 1.0, 1.0),  # an unknown word is passed over
    ("", "dog", 0.0, 0.0),
    ("", "", 0.0, 0.0),
    ("it is the", "dog", 0.0, 0.0),
]


@pytest.mark.parametrize(("prediction", "answer", "at_0", "at_09"), GOLDEN)
def test_golden_table(small: WordNet, prediction: str, answer: str, at_0: float, at_09: float) -> None:
    assert wups(prediction, [answer], alpha=0.0, wordnet=small) == pytest.approx(at_0)
    assert wups(prediction, [answer], alpha=0.9, wordnet=small) == pytest.approx(at_09)
    assert wups(answer, [prediction], alpha=0.9, wordnet=small) == pytest.approx(at_09), "the order does not matter"


def test_the_best_of_several_references_counts_and_each_is_held_to_alpha(small: WordNet) -> None:
    """The published scorer held the second reference to alpha 0 whatever was asked: 0.67 instead of 0.067."""
    for answers in (["car", "cat"], ["cat", "car"]):
        assert wups("dog", answers, alpha=0.0, wordnet=small) == pytest.approx(4 / 6)
        assert wups("dog", answers, alpha=0.9, wordnet=small) == pytest.approx(0.1 * 4 / 6)
    assert wups("dog", ["car", "dog"], alpha=0.9, wordnet=small) == 1.0
    assert wups("dog", [], alpha=0.0, wordnet=small) == 0.0


def test_a_similarity_equal_to_alpha_is_not_cut(small: WordNet) -> None:
    alpha = word_similarity("puppy", "dog", 0.0, small)
    assert word_similarity("puppy", "dog", alpha, small) == alpha
    assert word_similarity("puppy", "dog", alpha + 1e-9, small) == pytest.approx(0.1 * alpha)


@pytest.mark.parametrize(
    ("prediction", "answer", "score"),
    [("dogs", "the dog", 1.0), ("puppy", "dog", 0.0), ("dog blorp", "dog", 0.0), ("", "", 0.0), ("the", "a", 0.0)],
)
def test_counts_and_yes_or_no_are_all_or_nothing(small: WordNet, prediction: str, answer: str, score: float) -> None:
    assert wups(prediction, ["car", answer], alpha=0.0, whole=True, wordnet=small) == score


@pytest.mark.parametrize(
    ("word", "lemma"),
    [
        ("dogs", "dog"), ("puppies", "puppy"), ("jumping", "jump"), ("jumped", "jump"), ("ran", "run"),
        ("leapt", "leap"), ("building", "building"), ("bed", "bed"), ("runs", "run"), ("blorps", "blorps"),
    ],
)  # fmt: skip
def test_base_forms(small: WordNet, word: str, lemma: str) -> None:
    assert small.lemma(word) == lemma


def test_verbs_that_stand_above_each_other_end(small: WordNet) -> None:
    assert 0 < word_similarity("restrain", "inhibit", 0.0, small) < 1


def test_line_ends_do_not_matter_and_content_does(small: WordNet, tmp_path: Path) -> None:
    """The packages that carry WordNet differ in their line ends."""
    other = WordNet(write_wordnet(tmp_path / "other", end="\r\n"))
    assert other.fingerprint == small.fingerprint
    assert wups("puppy", ["dog"], alpha=0.0, wordnet=other) == pytest.approx(6 / 7)
    (tmp_path / "other/noun.exc").write_text("mice mouse\nfeet foot\n")
    assert WordNet(tmp_path / "other").fingerprint != small.fingerprint


def test_a_folder_that_lacks_files_is_an_error(tmp_path: Path) -> None:
    folder = write_wordnet(tmp_path / "wordnet")
    (folder / "verb.exc").unlink()
    with pytest.raises(FileNotFoundError, match=r"verb\.exc"):
        WordNet(folder)


@pytest.mark.usefixtures("forgotten")
def test_without_wordnet_there_is_no_score_and_a_word_on_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_places", lambda: iter([Path("nowhere")]))
    with caplog.at_level(logging.WARNING):
        assert wups("dog", ["dog"], alpha=0.0) is None
        assert wups("dog", ["cat"], alpha=0.9) is None
    assert [record.getMessage() for record in caplog.records] == [f"WUPS is left out. {HOW_TO_INSTALL}"]


@pytest.mark.usefixtures("forgotten")
def test_wordnet_is_found_where_its_own_variable_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WNSEARCHDIR", str(write_wordnet(tmp_path / "wordnet")))
    assert wups("cat", ["dog"], alpha=0.0) == pytest.approx(4 / 6)


# A prediction to each question of the miniature (answers: "jump over" or "leap"; "no"; "ran, then stopped" or "took a
# run"), and its score at alpha 0 and at 0.9. The second question is one of yes or no: all or nothing.
OPEN_QUESTIONS = [
    ("he leaps", 1.0, 1.0), ("No.", 1.0, 1.0), ("the boy ran", 1.0, 1.0),
    ("he ran", 2 / 6, 0.1 * 2 / 6), ("not", 0.0, 0.0), ("a cat", 2 / 7, 0.1 * 2 / 7),
    ("blorp", 0.0, 0.0), ("no, a bird", 0.0, 0.0), ("jumps", 2 / 6, 0.1 * 2 / 6),
]  # fmt: skip


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("said", [OPEN_QUESTIONS[:3], OPEN_QUESTIONS[3:6], OPEN_QUESTIONS[6:]])
def test_nextqa_gives_both_scores_of_its_miniature(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: list[tuple[str, float, float]]
) -> None:
    monkeypatch.setenv("WNSEARCHDIR", str(write_wordnet(tmp_path / "wordnet")))
    benchmark = benchmark_by_name("nextqa_oe")
    exam = benchmark.exam(None, False)
    items = benchmark.read(MINIATURE)
    assert [item.groups["type"] for item in items] == ["CH", "DB", "TP"]
    for item, (prediction, at_0, at_09) in zip(items, said, strict=True):
        answer = Answer(id=item.id, control="full", video=item.video, values={"prediction": prediction}, status="ok")
        scores = exam.score(item, answer)
        assert (scores["WUPS@0"], scores["WUPS@0.9"]) == pytest.approx((at_0, at_09)), prediction


def test_synonyms_share_a_first_sense(small: WordNet) -> None:
    assert synonym("leap", ["jump"], small)
    assert synonym("the automobiles", ["cars"], small)
    assert not synonym("leap", ["jump"]), "the table alone does not know it"
    assert not synonym("puppy", ["dog"], small)
    assert not synonym("dog leap", ["jump"], small)


# NLTK 3.10.4 on WordNet 3.0: synsets(a)[0].wup_similarity(synsets(b)[0]); dog and cat are its documentation's example.
NLTK = [
    ("dog", "cat", 0.8571428571428571), ("man", "woman", 0.6666666666666666), ("car", "truck", 0.9166666666666666),
    ("car", "automobile", 1.0), ("baby", "infant", 1.0), ("boy", "child", 0.6666666666666666), ("guitar", "drum", 0.8),
    ("kitchen", "bedroom", 0.8888888888888888), ("red", "blue", 0.875), ("two", "3", 0.875), ("chair", "sofa", 0.9),
    ("grass", "tree", 0.7619047619047619), ("bicycle", "motorcycle", 0.7272727272727273),
    ("curtain", "blind", 0.15384615384615385), ("dog", "table", 0.13333333333333333), ("happy", "sad", 0.5),
    ("sit", "stand", 0.16666666666666666), ("eat", "drink", 0.18181818181818182), ("walk", "run", 0.5714285714285714),
    ("quickly", "dog", 0.16666666666666666), ("smile", "laugh", 0.46153846153846156),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b", "similarity"), NLTK)
def test_similarities_are_those_of_nltk(real: WordNet, a: str, b: str, similarity: float) -> None:
    assert word_similarity(a, b, 0.0, real) == pytest.approx(similarity, abs=1e-12)
    assert word_similarity(b, a, 0.0, real) == pytest.approx(similarity, abs=1e-12)
    kept = similarity if similarity >= 0.9 else 0.1 * similarity
    assert wups(a, [b], alpha=0.9, wordnet=real) == pytest.approx(kept)


def test_two_verbs_may_be_nearer_one_way_round_as_in_nltk(real: WordNet) -> None:
    """A word that stands above the other is preferred to others as deep, but only as the first of the two."""
    assert word_similarity("sightread", "create", 0.0, real) == pytest.approx(0.2857142857142857)
    assert word_similarity("create", "sightread", 0.0, real) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("word", "lemma"),
    [
        ("children", "child"), ("women", "woman"), ("knives", "knife"), ("dancing", "dance"), ("running", "run"),
        ("holding", "hold"), ("building", "building"), ("morning", "morning"), ("wedding", "wedding"), ("sat", "sit"),
        ("fell", "fall"), ("stood", "stand"), ("left", "left"), ("ground", "ground"), ("bed", "bed"), ("red", "red"),
        ("bigger", "big"), ("us", "us"), ("t-shirt", "t-shirt"), ("grass", "grass"), ("bus", "bus"),
    ],
)  # fmt: skip
def test_base_forms_of_everyday_words(real: WordNet, word: str, lemma: str) -> None:
    assert real.lemma(word) == lemma


def test_scores_are_shares_and_do_not_depend_on_the_order(real: WordNet) -> None:
    rng = random.Random(0)
    words = ["dog", "cat", "ball", "run", "jump", "red", "two", "happy", "quickly", "blorp", "playing", "children"]
    for _ in range(200):
        a, b = (" ".join(rng.choices(words, k=rng.randint(1, 3))) for _ in range(2))
        at_0, at_09 = (wups(a, [b], alpha=alpha, wordnet=real) for alpha in (0.0, 0.9))
        assert 0 <= at_09 <= at_0 <= 1
        assert wups(b, [a], alpha=0.9, wordnet=real) == pytest.approx(at_09)
        assert wups(a, [a, b], alpha=0.9, wordnet=real) == 1.0


def test_no_stop_word_answers_a_question() -> None:
    assert not STOP_WORDS & {"no", "not", "up", "down", "in", "out", "on", "before", "after", "two"}
