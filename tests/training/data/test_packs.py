"""A branch of a pack must be scored as if it stood alone."""

import torch

from bridge.prompt import IGNORE_INDEX, Prompt
from training.data.packs import collate, make_pack


def prompt(ids: list[int], answer: list[int]) -> Prompt:
    whole = torch.tensor(ids + answer)
    return Prompt(whole, torch.zeros(len(whole), dtype=torch.bool), torch.tensor([IGNORE_INDEX] * len(ids) + answer))


def test_every_branch_sees_the_prefix_and_itself_only() -> None:
    pack = make_pack([prompt([1, 2, 3], [7, 8]), prompt([1, 2, 3], [9])])
    batch = collate([pack], pad=0)
    assert batch.input_ids.tolist() == [[1, 2, 3, 7, 8, 9]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 4, 3]]
    assert batch.mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 0],
        [1, 1, 1, 0, 0, 1],
    ]


def test_the_prefix_predicts_the_first_token_of_every_branch() -> None:
    batch = collate([make_pack([prompt([1, 2, 3], [7, 8]), prompt([1, 2, 3], [9])])], pad=0)
    assert batch.source.tolist() == [2, 3, 2]
    assert batch.target.tolist() == [7, 8, 9]
    assert batch.branch.tolist() == [0, 0, 1]


def test_questions_that_differ_belong_to_their_branches() -> None:
    pack = make_pack([prompt([1, 2, 5], [7]), prompt([1, 2, 6], [7])])
    assert pack.prefix.tolist() == [1, 2]
    assert [ids.tolist() for ids, _ in pack.branches] == [[5, 7], [6, 7]]
