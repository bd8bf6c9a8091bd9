"""Which option does a generated answer assert? None when it does not say: a guess would be scored as skill.

Every mention of an option becomes a mark: ⟦1⟧ where its letter or number stands, ⟪1⟫ where its words stand. Inside is
the option's index, or `*` for several at once. The rules after that know marks only: "not B" and "not a cat" are one.
They know no meaning: whose opinion "B" is, and what the "left" of "all players left" says, may escape them.
"""

import re
import unicodedata
from collections.abc import Sequence

MARK = r"[⟦⟪](?:\d+|\*)[⟧⟫]"
LETTER_MARK = r"⟦(?:\d+|\*)⟧"
TEXT_MARK = r"⟪(?:\d+|\*)⟫"
ITEM = rf"(?:the |an? )?{MARK}"

# What may stand between two words of a rule. Bounded, so that a long answer takes time in proportion to its length.
IN_CLAUSE = r"(?! - )[^.,;:!?\n⟦⟪]"
CLAUSE = rf"(?:{IN_CLAUSE}){{0,120}}"
SENTENCE = r"[^.;!?\n⟦⟪]{0,200}?"
GAP = r"[^.;:!?\n⟦⟪]{0,40}"
STARTS = r"(?:^|[.,;:!?\n]| -)\s*"
REACH = 120

LABEL = r"(?:options?|choices?)"
CAPTION = r"(?:captions?|sentences?)"
"""Labels that are everyday words as well, so that an article may follow: "the caption a man walks"."""
NOUN = (
    r"\b(?<!each )(?<!every )(?:option|choice|answer|ans|guess|pick|selection|decision|correct(?: one)?|best one"
    r"|(?:best|better) (?:caption|sentence))\b"
)
IS = r"(?:\b(?:is|be|was)\b|[:=])"
CHOOSE = (
    r"(?:choose|chose|pick|select|say|guess|conclude|answer with|vote for|opt for|settle on|lean(?:ing)? towards?"
    r"|(?:go|going|went) (?:with|for))"
)
SO = r"\b(?:so|thus|therefore|hence|conclusion|leaves|left with)\b"
AND = r"(?:\b(?:and|or|nor|to|versus|vs)\b\.?|[/&])"
DENYING = (
    r"(?:not|never|neither|nor|no|none|nobody|nothing|without|except|excluding|unlike|hardly|scarcely|instead of|than"
    r"|anything but|all but|doubt|unclear|unable|unsure|uncertain|whether|if|unless|although|though|wrong|incorrect"
    r"|false|tempted|lack\w*|rul\w+ out|eliminat\w+|exclud\w+|reject\w*|dismiss\w*|discard\w*)"
)
ORDER = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9,
    "tenth": 10,
}  # fmt: skip

# 1. Plain text: what differs between models and says nothing.
PLAIN = (
    # Thoughts, what is struck out, our own signs; then whatever follows the end of the turn.
    (re.compile(r"^.*</think>|<think>.*|~~.*?~~|[⟦⟧⟪⟫]", re.S), " "),
    (re.compile(r"(?<=\S)\s*(?:</s>|<\|(?:im_end|endoftext|eot_id)\|>|<eos>|<end_of_turn>).*", re.S), ""),
    # Other ways to write "answer:", and markup that says nothing.
    (re.compile(r"\\boxed|<answer>"), " final answer: "),
    (re.compile(r"\bQ:.*?\bA:", re.S), "Answer:"),
    (re.compile(r"</?(?:\w\w+|[a-z])>|<\|\w+\|>|\\[a-z]+"), " "),
    # One kind of colon, dash, comma, quote and bracket; no full stop inside a name.
    (re.compile(r"[-=]+>|[→⇒]"), ": "),
    (re.compile(r"[–—]"), " - "),
    (re.compile(r"[、。]"), ", "),
    (re.compile(r"[‘’]"), "'"),
    (re.compile(r"[*_`#<>|~{}\"“”«»【】$\\\u200b✅✓✔]"), " "),
    (re.compile(r"\b(Mrs?|Ms|Dr|Prof|St|Fig)\. "), r"\1 "),
    # No contractions; the apostrophes that are left inside words stay, those around words go.
    (re.compile(r"n't\b|(?<=\bcan)not\b", re.I), " not"),
    (re.compile(r"\b(is|are|was|do|does|did|can|would)nt\b", re.I), r"\1 not"),
    (re.compile(r"\b(it|he|she|that|there|what)'s\b", re.I), r"\1 is"),
    (re.compile(r"(?<!\w)'|'(?!\w)"), " "),
    # One space at a time.
    (re.compile(r"[^\S\n]+"), " "),
)

# 2. Letters. One is an option's where both of its neighbours allow it: in "A man" and "vitamin C" one of them does not.
SINGLE = re.compile(r"(?<![\w'-])(?<!\w\.)[A-Za-z](?![\w'+#%°]|[.-]\w|\) \d{4})")
# Words that come after an option's letter. No noun and no adjective is among them: those come after an article.
FOLLOWS = (
    r"(?:is|are|was|does|do|did|has|would|could|should|(?:can|will|must|may|might) (?:be|not)|seems|looks|appears"
    r"|because|since|as|and|or|nor|but|if|unless|although|though|which|that|when|where|instead|rather than|than|over"
    r"|out|to|vs|versus|from|for|in|on|at|with|all|both|the|it|he|she|they|we|I|this|these|fits|matches|describes"
    r"|captures|conveys|provides|reflects|represents|best \w+s|better (?:captures|describes|fits|matches))"
)
AFTER_LETTER = re.compile(
    r"\s*(?:$|[\n,;:!?&⟦]|/ ?[A-Za-z]\b|=(?! ?[\d.])|\.(?!\w)|[)\]](?!\w)|[(\[][^)\]]*[)\]](?! ?\w)|(?<=\s)-\s"
    rf"|(?: A)+ ?(?:$|[.,\n])| an? ⟪|{FOLLOWS}\b(?![-']))",
    re.I,
)
# Than A: an article comes before the text "man" and before "match", too.
AFTER_OTHER_LETTER = re.compile(r" ?[⟪(\[]| [A-Z](?![\w'+#.-])| (?:fit|match|apply)\b")
AFTER_I = re.compile(r"\s*(?:$|[.:)\]])")
ANNOUNCED = (
    rf"(?:^|\n)[-\s]*(?:the letter|letter)?|(?<!\w)[(\[]|{NOUN}(?: -)?|{NOUN}{SENTENCE}{IS}|\b{CHOOSE}"
    rf"|\b{CAPTION}(?: is|:)?"
)
BEFORE_SMALL = re.compile(rf"(?:{ANNOUNCED})(?: (?:the )?letter)?[\s(\[]*$", re.I)
BEFORE_CAPITAL = re.compile(
    rf"(?:{ANNOUNCED}|(?<![\s(][A-Z])(?:[,;:!?=]|\.\s)|\.\.\s?|\s-\s|{MARK}[\s)\]]*(?:,?\s?{AND})?|{SO}|\b\w+ly"
    r"|\b(?:(?:it|that|this) (?:is|was)|that|be|think|believe|thought|considered|considering|prefer|mean|maybe|perhaps"
    r"|looks like|signs point to|bet on|confident in|sure of|as \w+ as|tempted by|either|both|between|over|rather"
    rf"|but|yet|because|since|{DENYING}))(?: (?:the )?letter)?[\s(\[]*$",
    re.I,
)
LABELLED = re.compile(rf"\b{LABEL}\s*$", re.I)
CAPTIONED = re.compile(rf"\b{CAPTION}\s*$", re.I)
NUMBERED = re.compile(
    rf"\bthe (?!best|last|most|worst)(\w+(?:st|nd|rd|th)) (?:option|choice|answer)\b(?={AFTER_LETTER.pattern})"
    r"|\b(?:option|choice)\s?:?\s?(?:number )?(\w+)"
    rf"|(?<=\banswer)(?: is|\s?:)? (?:number )?(\d+)\b(?={AFTER_LETTER.pattern})",
    re.I,
)

# 3. Marks that belong together: "(B)", "option B", "B. A cat", "A cat (B)", "A or B".
WRAPPING = re.compile(
    rf"\b(?:{LABEL}|{CAPTION})\s+(?=[(\[]?\s?{MARK})|[(\[]\s?(?={MARK})|(?<=[⟧⟫])\s?[)\]]"
    rf"|(?<=⟧) (?:{LABEL}|answer)\b(?! ?[:=])",
    re.I,
)
LABEL_AND_TEXT = re.compile(
    rf"{LETTER_MARK}[ ).:,=-]*(?:(?:he|she|it|they) (?:is|are|was) )?(?:the |an? )?{TEXT_MARK}"
    rf"|{TEXT_MARK}(?:, i\.e\.)? {LETTER_MARK}",
    re.I,
)
GROUP = re.compile(
    rf"{ITEM}(?:, {ITEM})+,? ?{AND} ?{ITEM}|{ITEM}(?:,\s?{ITEM}){{2,}}|{ITEM}(?: ?{AND} ?(?:also |maybe )?{ITEM})+",
    re.I,
)

# 4. Mentions that assert nothing: in questions, before a correction, denied.
QUESTION = re.compile(r"[^.!?\n]*\?")
ASIDE = re.compile(
    r"\b(?:no|without (?:a|any)|beyond (?:a|any)) doubt\b|\bnot only\b|\bif (?:i|we) (?:had|have|were) to \w+"
    r"|, (?:in my \w+|i (?:think|believe|guess)|however|of course|\w+ly),",
    re.I,
)
TAKEN_BACK = re.compile(
    rf"^.*(?:\bno,? wait\b|\bthat (?:is|was) (?:wrong|not right|incorrect)\b"
    rf"|{STARTS}(?:wait|hold on|correction|scratch that|never ?mind)\b)",
    re.S | re.I,
)
CORRECTED = re.compile(
    rf"^.*{STARTS}(?:but |or )?(?:actually|i meant?|on second thought|sorry|rather|no(?=[,.:]| it))\b"
    rf"(?=[,.:]?\s*{GAP}{MARK}\s*(?:[.,;!?\n]|$|because))",
    re.S | re.I,
)
AUXILIARY = (
    r"(?:which|the|an?|is|are|was|were|does|do|did|ca|can|could|would|should|may|must|be|been|being|seems?|looks?|to"
    r"|both|all|also|very|too|\w+ly)"
)
DENIAL = (
    r"(?:wrong|incorrect|false|unlikely|impossible|inaccurate|tempting|close|mistake|absent|missing|excluded|eliminated"
    r"|ruled out|rejected|contradicts?|fails?)"
)
RESUMING = r"(?:but|yet|so|because|since|therefore|thus|hence|and (?:he|she|it|they|i|we|the))"
OTHERS = r"(?:some|others|many|people|one|you|they|he|she|man|woman)"
OTHER_LABELS = (
    r"(?:part|figure|fig|frame|scene|panel|section|step|clip|shot|person|player|team|group|page|grade|rating|type|class"
    r"|size|name|key|vitamin|plan|copyright)"
)
DENIED = (
    # "A is wrong", "B doesn't": the first rule, for it takes its "not" along and leaves "A is not as good as B" to B.
    re.compile(
        rf"(){MARK}(?:\s?:| -|,(?= which))?\s*(?:{AUXILIARY} )*(?:(?:not|never)(?! {ITEM})|{DENIAL})\b"
        rf"|{LETTER_MARK} (?:is |are )?out\b|{MARK} (?:only )?(?:if|unless)\b",
        re.I,
    ),
    # "the probability of A is 0.2, B is 0.7", "B: 70 %": numbers to be compared, and no rule compares them
    re.compile(rf"(){LETTER_MARK}(?: (?:is|has|gets|at)|\s?[:=])? (?:about )?(?:\d*\.\d+|\d+ ?%)", re.I),
    # "not B", "neither A nor B", "rather than the dog": the next mark of the clause.
    re.compile(rf"(\b{DENYING}\b:?(?:(?!\b{RESUMING}\b){IN_CLAUSE}){{0,120}}){MARK}", re.I),
    # "I first thought B", "C over D", "some would say A": letters only, for he may initially walk.
    re.compile(
        r"(\b(?:i (?:\w+ )?thought|i was (?:going|about) to|at first|initially|originally|consider\w*"
        rf"|(?:over|against|between)(?= ⟦)|{OTHERS} (?:\w+ )?(?:says?|said|thinks?|thought|claims?|choose|pick|guess))\b"
        rf"{CLAUSE}){LETTER_MARK}",
        re.I,
    ),
    # "part (b)", "grade: B"
    re.compile(rf"(\b{OTHER_LABELS}:? ){LETTER_MARK}", re.I),
    # "If he had jumped, the answer would be B."
    re.compile(rf"(\b(?:if|had)\b{SENTENCE}\bwould (?:be|have been)\b{SENTENCE}){MARK}", re.I),
)

# 5. Assertions, the strongest first: a final answer, a statement, a letter anywhere, an option's words anywhere.
VERDICT = (
    r"(?:(?:[\s:-]*(?:correct|right|true)"
    r"|,? (?:is|was|seems|looks|must be|would be|has to be) (?:(?:the|most|only|my|\w+ly) )*"
    r"(?:correct|right|true|best|better|answer))"
    r"(?=\s*(?:[.,;:!\n⟦]|$)| (?:because|since|as|and|but|one|option|choice|answer)\b)"
    r"|,? best \w+s\b|,? (?:fits|matches|describes)\b(?! (?:an?|another|other)\b))"
)
ALONE = rf"(?! ?[.,] ?{MARK}\s*(?:[.,]|$))"
"""Not the first of a list."""
ASSERTED = (
    re.compile(rf"\bfinal (?:answer|choice|decision|guess|pick)\b{SENTENCE}{IS}\s*{GAP}({MARK}){ALONE}", re.I),
    re.compile(
        # "the answer is B", "I choose B", "so B", "it is B", "B is correct"
        rf"{NOUN}{SENTENCE}{IS}\s*{GAP}({MARK}){ALONE}"
        rf"|(?:\b(?:i|we)(?:'\w+)?(?: \w+){{0,3}} |{STARTS}){CHOOSE}\b{GAP}({MARK})"
        rf"|{SO}{GAP}({LETTER_MARK})"
        rf"|\b(?:it|that) (?:is|must be|has to be){GAP}({LETTER_MARK})"
        rf"|({MARK})(?={VERDICT})",
        re.I,
    ),
    re.compile(rf"({LETTER_MARK})"),
    re.compile(rf"({MARK})"),
)


def parse_option(text: str, candidates: Sequence[str]) -> int | None:
    """Index of the candidate that a text asserts by letter, number or words; None when it asserts none or several."""
    texts = [words_of(candidate) for candidate in candidates]
    marked = mark_letters(mark_numbers(mark_texts(plain(text), texts), texts), texts)
    return decide(only_asserted(join(marked)), len(texts))


def plain(text: str) -> str:
    """The text without what differs between models and says nothing."""
    text = unicodedata.normalize("NFKC", text)
    for pattern, replacement in PLAIN:
        text = pattern.sub(replacement, text)
    return text.strip()


def words_of(text: str) -> str:
    """The words of a candidate in small letters, without its article."""
    words = " ".join(re.findall(r"\w+", plain(text).lower()))
    return re.sub(r"^(?:the|an?) (?=.)", "", words)


def mark_texts(text: str, texts: Sequence[str]) -> str:
    """Mark the words of options: whole words, the longest option where several begin, `*` where they overlap."""
    letters = {"i", *map(chr, range(ord("a"), ord("a") + len(texts)))}  # left to the rules for letters
    known = sorted({words for words in texts if words} - letters, key=lambda words: (-len(words), words))
    if not known:
        return text
    options = "|".join(words.replace(" ", r"\W+") for words in known)
    # In a lookahead, so that an option that begins inside another is seen.
    pattern = re.compile(rf"(?<![\w'])(?<!\w-)(?<!\d[.,])(?=({options})(?![\w']|-\w|[.,]\d))", re.I)
    marked, end = "", 0
    for match in pattern.finditer(text):
        start, stop = match.span(1)
        words = " ".join(re.findall(r"\w+", match[1].lower()))
        before = marked + text[end:start]
        if stop <= end:
            continue
        if start < end:
            marked = marked[: marked.rindex("⟪")] + "⟪*⟫"
        elif words in ("yes", "no") and not (stands_behind(BEFORE_CAPITAL, before) and AFTER_LETTER.match(text, stop)):
            continue
        else:
            marked = before + (f"⟪{texts.index(words)}⟫" if texts.count(words) == 1 else "⟪*⟫")
        end = stop
    return marked + text[end:]


def mark_numbers(text: str, texts: Sequence[str]) -> str:
    """Mark "option 2" and "the second option", unless candidates are numbers themselves: then 2 is a text."""

    def mark(match: re.Match) -> str:
        group = match.lastindex
        word = match[group].lower()
        digits = re.fullmatch(r"(\d{1,3})(?:st|nd|rd|th)?", word)
        number = int(digits[1]) if digits else ORDER.get(word)
        if number is None:
            return match[0]
        start, stop = match.start(group) - match.start(), match.end(group) - match.start()
        return match[0][:start] + (f"⟦{number - 1}⟧" if number else "⟦*⟧") + match[0][stop:]

    return text if any(words.isdigit() or words in ORDER for words in texts) else NUMBERED.sub(mark, text)


def mark_letters(text: str, texts: Sequence[str]) -> str:
    """Mark letters that stand as an option's. From left to right: a neighbour may be a mark already."""
    marked, end = "", 0
    for match in SINGLE.finditer(text):
        before = marked + text[end : match.start()]
        if is_option_letter(before, match[0], text, match.end()):
            index = ord(match[0].lower()) - ord("a")
            own = [i for i, words in enumerate(texts) if words == match[0].lower() and i != index]
            clash = own and not stands_behind(LABELLED, before)  # the candidates are letters, in another order
            marked, end = before + ("⟦*⟧" if clash else f"⟦{index}⟧"), match.end()
    return marked + text[end:]


def is_option_letter(before: str, letter: str, text: str, end: int) -> bool:
    """Whether a single letter of the text, which stands after `before` and ends at `end`, can be an option's."""
    if letter in "Ii":  # else it is the pronoun
        return stands_behind(BEFORE_SMALL, before) and AFTER_I.match(text, end) is not None
    if letter.isupper() and (stands_behind(LABELLED, before) or (letter != "A" and stands_behind(CAPTIONED, before))):
        return True
    before_allows = stands_behind(BEFORE_CAPITAL if letter.isupper() else BEFORE_SMALL, before)
    after_allows = AFTER_LETTER.match(text, end) or (letter not in "Aa" and AFTER_OTHER_LETTER.match(text, end))
    return before_allows and bool(after_allows)


def stands_behind(pattern: re.Pattern, before: str) -> bool:
    """Whether the text up to a letter ends as the pattern says."""
    return pattern.search(before, max(0, len(before) - REACH)) is not None


def join(text: str) -> str:
    """One mark where several speak of one thing; `*` where they disagree."""
    text = LABEL_AND_TEXT.sub(lambda match: one_mark(match[0], indices_of(match[0]) - {"*"}), WRAPPING.sub("", text))
    return GROUP.sub(lambda match: one_mark(match[0], indices_of(match[0])), text)


def indices_of(text: str) -> set[str]:
    """What the marks of a text hold."""
    return {mark[1:-1] for mark in re.findall(MARK, text)}


def one_mark(text: str, indices: set[str]) -> str:
    """The mark that stands for all of a text's marks: a letter's if there is a letter among them."""
    inside = indices.pop() if len(indices) == 1 else "*"
    return f"⟦{inside}⟧" if "⟦" in text else f"⟪{inside}⟫"


def only_asserted(text: str) -> str:
    """The text without marks in questions, before a correction, and under a negation."""
    for pattern in (QUESTION, ASIDE, TAKEN_BACK, CORRECTED):
        text = pattern.sub("", text)
    for pattern in DENIED:
        text = pattern.sub(r"\1", text)
    return text


def decide(text: str, count: int) -> int | None:
    """The one index of the strongest assertions; None if there is none, or no candidate of that index."""
    for strength in ASSERTED:
        marks = {mark for match in strength.finditer(text) for mark in match.groups() if mark}
        if not marks:
            continue
        indices = indices_of("".join(marks))
        if len(indices) > 1 and strength in ASSERTED[:2]:
            indices -= {"*"}  # "It is A or B. I choose B."
        if all(mark.startswith("⟪") for mark in marks):
            indices |= indices_of("".join(re.findall(LETTER_MARK, text)))  # words do not outvote a letter
        return int(index) if len(indices) == 1 and (index := indices.pop()) != "*" and int(index) < count else None
    return None
