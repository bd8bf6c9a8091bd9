"""Two scenes are told in the order in which they are seen."""

import random

import pytest
import torch

from training.data.scenes import WORDINGS, both_orders, joined, told

A, B = "A dog barks.", "Two men sing ."


@pytest.mark.parametrize("wording", WORDINGS)
def test_both_orders_say_the_same_two_things_the_other_way_round(wording: str) -> None:
    one, other = told(A, B, wording), told(B, A, wording)
    assert one != other
    for sentence in (one, other):
        assert "a dog barks" in sentence.lower()
        assert "two men sing" in sentence.lower()
        assert sentence[0].isupper()
        assert sentence.endswith(".")
        assert not sentence.endswith(("..", " ."))


@pytest.mark.parametrize("wording", WORDINGS)
def test_what_comes_first_is_said_first(wording: str) -> None:
    sentence = told(A, B, wording).lower()
    assert sentence.index("a dog barks") < sentence.index("two men sing")
    assert told(A, B, WORDINGS[0]) == "First a dog barks, then two men sing."


def test_both_orders_are_in_the_same_wording() -> None:
    for seed in range(30):
        one, other = both_orders(A, B, random.Random(seed))
        assert one.lower().replace("a dog barks", "X").replace("two men sing", "a dog barks").replace(
            "X", "two men sing"
        ) == other.lower()  # fmt: skip
    assert len({both_orders(A, B, random.Random(seed)) for seed in range(60)}) == len(WORDINGS)


@pytest.mark.parametrize("cut", [1, 3, 4])
def test_joined_states_are_those_of_the_stills(cut: int) -> None:
    first, second = torch.randn(2, 1, 5, 4), torch.randn(2, 1, 5, 4)
    clip = joined(first, second, cut, 5)
    assert clip.shape == (2, 5, 5, 4)
    assert torch.equal(clip[:, :cut], first.expand(-1, cut, -1, -1))
    assert torch.equal(clip[:, cut:], second.expand(-1, 5 - cut, -1, -1))
