"""From a growing list of ids to text that can be shown: whole characters only, and no loops."""

from transformers import PreTrainedTokenizerBase

INCOMPLETE = "\ufffd"  # what decoders write for bytes that are not yet a character
LONG_PHRASE = 12
"""Tokens from which a phrase said twice in a row is a loop; shorter ones must come three times."""
SHORTEST_LOOP = 8
"""Repeated tokens below which nothing is a loop: people do say "very, very, very"."""


class Detokenizer:
    """Ids -> text pieces. A character whose bytes are spread over several tokens is held back until it is whole."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._start = 0  # decoding starts a piece earlier, for decoders that treat the first word differently
        self._done = 0

    def decode(self, ids: list[int], *, last: bool = False) -> str:
        """The text that `ids` add to those of the last call, which they must begin with; `last` gives up on half characters."""
        if len(ids) == self._done:
            return ""
        before = self._text(ids[self._start : self._done])
        text = self._text(ids[self._start :])
        if last:
            return text[len(before) :].rstrip(INCOMPLETE)
        if text.endswith(INCOMPLETE) or len(text) <= len(before):
            return ""
        self._start, self._done = self._done, len(ids)
        return text[len(before) :]

    def _text(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


class LoopGuard:
    """Notices when the latest tokens only repeat what stands just before them. Phrases up to `longest` tokens.

    >>> guard = LoopGuard(4)
    >>> [guard.push(token) for token in [1, 2, 3, 1, 2, 7]]
    [0, 0, 0, 1, 2, 0]
    """

    def __init__(self, longest: int) -> None:
        self.looping = False
        self._ids: list[int] = []
        self._repeated = [0] * (longest + 1)  # by period: how many of the latest tokens equal the one a period before

    def push(self, token: int) -> int:
        """Take the next token; how many of the latest tokens repeat earlier ones: worth holding back."""
        for period in range(1, len(self._repeated)):
            same = period <= len(self._ids) and self._ids[-period] == token
            self._repeated[period] = self._repeated[period] + 1 if same else 0
            rounds = 1 if period >= LONG_PHRASE else 2
            self.looping |= self._repeated[period] >= max(rounds * period, SHORTEST_LOOP)
        self._ids.append(token)
        return max(self._repeated)
