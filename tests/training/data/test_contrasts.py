"""Batches hold what their kind promises, for whatever media there are."""

import random
from pathlib import Path

import pytest
import torch

from training.data.camera import FILMED, MOVES
from training.data.contrasts import Contrast, Contrasts, Medium, filmed_states
from training.data.features import FeatureCache
from training.data.jsonl import DataError

FRAMES = 4


def media(folder: Path, *, pictures: int = 0, clips: int = 0, stills: int = 0, filmed: int = 0) -> list[Medium]:
    """Media whose states all have their own number as value; `stills` are rows of a video that is a picture."""
    found = []
    for kind, count, frames in (("picture", pictures, 1), ("clip", clips, FRAMES), ("still", stills, 1), ("filmed", filmed, 1)):  # fmt: skip
        for i in range(count):
            file = folder / f"{kind}{i}.safetensors"
            number = len(found) + 1
            FeatureCache.save(file, torch.full((2, frames, 5, 8), float(number)))
            moves = {move: folder / f"{kind}{i}-{move}.safetensors" for move in FILMED} if kind == "filmed" else None
            for step, path in enumerate((moves or {}).values()):
                FeatureCache.save(path, number + 0.25 * step + torch.arange(FRAMES).view(1, -1, 1, 1) / 100 + torch.zeros(2, FRAMES, 5, 8))  # fmt: skip
            found.append(
                Medium(
                    file,
                    (f"The {kind} shows {number}.", f"{number} in a {kind}."),
                    kind in ("clip", "still"),
                    file.stem,
                    detail=f"Now {number} moves." if kind == "clip" else "",
                    filmed=moves,
                )  # fmt: skip
            )
    return found


def values(batch: Contrast) -> list[list[int]]:
    """The number that each frame of each clip shows."""
    return batch.states[0, :, :, 0, 0].round().int().tolist()


@pytest.mark.parametrize(
    ("there", "kinds"),
    [
        ({"pictures": 2}, {"pictures", "scenes", "partial"}),
        ({"clips": 2}, {"clips"}),
        ({"pictures": 1, "clips": 2}, {"clips"}),
        ({"clips": 1, "stills": 1}, {"clips"}),
        ({"filmed": 1, "clips": 1}, {"camera"}),
        ({"filmed": 1, "pictures": 1}, {"pictures", "scenes", "partial", "camera"}),
        ({"pictures": 1, "clips": 1}, set()),
    ],
)
def test_kinds_are_those_that_can_be_told_apart(tmp_path: Path, there: dict[str, int], kinds: set[str]) -> None:
    contrasts = Contrasts(media(tmp_path, **there), FRAMES)
    assert set(contrasts.kinds) == kinds
    everything = ("pictures", "clips", "scenes", "partial", "camera")
    for draw in contrasts.kinds.values():
        batch = draw(random.Random(0), 8)
        assert batch.states.shape[1] == len(batch.captions)
        assert len(batch.captions) % batch.group == 0
    if kinds:
        assert set(contrasts.possible(everything)) == kinds
    else:
        with pytest.raises(DataError, match="no batches of camera, clips, .* Nothing is left"):
            contrasts.possible(everything)


@pytest.mark.parametrize("kind", ["pictures", "clips", "scenes", "camera", "partial"])
def test_a_batch_is_a_function_of_its_generator(tmp_path: Path, kind: str) -> None:
    draw = Contrasts(media(tmp_path, pictures=6, clips=6, filmed=6), FRAMES).kinds[kind]
    one, again, other = (draw(random.Random(seed), 8) for seed in (1, 1, 2))
    assert torch.equal(one.states, again.states)
    assert (one.captions, one.names) == (again.captions, again.names)
    assert one.captions != other.captions


def test_scenes_come_in_both_orders_with_captions_that_say_so(tmp_path: Path) -> None:
    contrasts = Contrasts(media(tmp_path, pictures=7), FRAMES)
    for seed in range(20):
        batch = contrasts.scenes(random.Random(seed), 6)
        assert (batch.group, batch.across) == (2, True)
        frames = values(batch)
        for i in range(0, 6, 2):
            (a, b), (c, d) = (list(dict.fromkeys(frames[j])) for j in (i, i + 1))
            assert (a, b) == (d, c)
            assert a != b
            assert frames[i].count(a) == frames[i + 1].count(a) >= 2 - (FRAMES < 4)
            for j, first, second in ((i, a, b), (i + 1, b, a)):
                words = batch.captions[j].lower()
                told_backwards = "before" in words
                assert (words.index(str(first)) < words.index(str(second))) is not told_backwards or (
                    words.startswith("before") and words.index(str(second)) < words.index(str(first))
                )


def test_a_camera_group_is_one_picture_under_all_moves(tmp_path: Path) -> None:
    contrasts = Contrasts(media(tmp_path, filmed=5), FRAMES)
    silent = 0
    for seed in range(20):
        batch = contrasts.camera(random.Random(seed), 8)
        assert (batch.group, batch.across) == (4, False)
        for i in (0, 4):
            clips = batch.states[0, i : i + 4, :, 0, 0]
            assert len({int(value) for value in clips[:, 0]}) == 1
            by_move = dict(zip(MOVES, clips, strict=True))
            assert torch.equal(by_move["left"], by_move["right"].flip(0))
            assert torch.equal(by_move["out"], by_move["in"].flip(0))
            assert not torch.equal(by_move["in"], by_move["right"])
            captions = batch.captions[i : i + 4]
            assert len(set(captions)) == 4
            for move, caption in zip(MOVES, captions, strict=True):
                assert any(words in caption.lower() for words in MOVES[move])
            silent += "filmed" not in captions[0]
    assert 5 < silent < 35


def test_a_move_that_was_not_filmed_is_its_opposite_in_reverse(tmp_path: Path) -> None:
    (medium,) = media(tmp_path, filmed=1)
    for move, other in (("left", "right"), ("out", "in")):
        assert torch.equal(filmed_states(medium, move), filmed_states(medium, other).flip(1))


def test_partial_pairs_are_half_of_something_else(tmp_path: Path) -> None:
    contrasts = Contrasts(media(tmp_path, pictures=9), FRAMES)
    clips = sentences = 0
    for seed in range(20):
        batch = contrasts.partial(random.Random(seed), 6)
        for shown, caption in zip(values(batch), batch.captions, strict=True):
            told = {int(letter) for letter in caption if letter.isdigit()}
            assert len(set(shown)) + len(told) == 3, "one of the two has a stranger in it, and only one"
            assert set(shown) & told
            clips += len(set(shown)) == 2
            sentences += len(told) == 2
            if len(set(shown)) == 2:
                assert shown.count(shown[0]) == FRAMES // 2
    assert min(clips, sentences) > 30


def test_clips_are_told_with_and_without_what_changes_in_them(tmp_path: Path) -> None:
    contrasts = Contrasts(media(tmp_path, clips=3, stills=1), FRAMES)
    captions = {caption for seed in range(40) for caption in contrasts.clips(random.Random(seed), 4).captions}
    assert {"The clip shows 1.", "Now 1 moves.", "The clip shows 1. Now 1 moves.", "The still shows 4."} <= captions
    assert contrasts.clips(random.Random(0), 4).states.shape == (2, 4, FRAMES, 5, 8)


def test_half_of_the_clips_are_pictures_under_a_camera_move_that_is_told_truly_or_not_at_all(tmp_path: Path) -> None:
    chosen = media(tmp_path, clips=6, filmed=6)
    contrasts = Contrasts(chosen, FRAMES)
    told = set()
    for seed in range(30):
        batch = contrasts.clips(random.Random(seed), 6)
        assert (batch.group, len(batch.captions), len(set(batch.names))) == (1, 6, 6)
        for clip, caption, name in zip(batch.states.unbind(1), batch.captions, batch.names, strict=True):
            medium = next(m for m in chosen if m.name == name)
            if medium.is_video:
                continue
            said = [move for move, wordings in MOVES.items() if any(w in caption.lower() for w in wordings)]
            assert any(torch.equal(clip, filmed_states(medium, move)) for move in said or MOVES)
            assert any(caption.startswith(own) for own in medium.captions)
            told.update(said or ["nothing"])
        assert sum(name.startswith("filmed") for name in batch.names) == 3
    assert told == {*MOVES, "nothing"}
