"""Measures of the claims: what is right scores 1, what knows nothing scores chance, and tables say what was measured."""

import random
from pathlib import Path

import pytest
import torch
from torch import Tensor

from encoder.backbones.base import TextFeatures
from encoder.model import VideoFeatures
from encoder.mug import mug_similarity, plain_similarity
from training.data.camera import FILMED, MOVES
from training.data.contrasts import Medium
from training.data.features import FeatureCache
from training.reproduction import actions, camera, misalignment, order, retrieval
from training.reproduction.table import Scores, markdown
from training.reproduction.variants import MUG_STAN, STAN, Variant

WIDTH = 64


class Oracle:
    """Reads a caption as the sum of random vectors of its words, a clip as whatever caption it is told it shows."""

    def __init__(self, variant: Variant, shows: dict[float, str]) -> None:
        self.variant, self.shows = variant, shows

    def read(self, captions: list[str]) -> TextFeatures:
        words = [[vector(word, place) for place, word in enumerate(caption.lower().split())] for caption in captions]
        longest = max(map(len, words))
        tokens = torch.zeros(len(words), longest, WIDTH)
        mask = torch.zeros(len(words), longest, dtype=torch.bool)
        for i, row in enumerate(words):
            tokens[i, : len(row)], mask[i, : len(row)] = torch.stack(row), True
        return TextFeatures(tokens=tokens, sentence=tokens.sum(1), mask=mask)

    def watch(self, states: Tensor) -> VideoFeatures:
        """The first number of each clip says which caption it shows."""
        video = self.read([self.shows[round(float(value), 2)] for value in states[0, :, 0, 0, 0]]).sentence
        return VideoFeatures(tokens=video, frames=video[:, None], video=video)

    def similarity(self, text: TextFeatures, video: VideoFeatures, mode: str) -> Tensor:
        if mode == "plain":
            return plain_similarity(text.sentence, video.video)
        return mug_similarity(text.tokens, text.mask, video.frames, simple=True)


def vector(word: str, place: int) -> Tensor:
    """Of a word and whether it stands early."""
    seed = random.Random(f"{word.strip('.,')}{place < 5}").getrandbits(40)
    return torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed))


def numbered(values: list[float], frames: int = 2) -> Tensor:
    """States (1, B, T, 2, 3) that hold a number for each clip."""
    return torch.tensor(values).view(1, -1, 1, 1, 1).expand(1, len(values), frames, 2, 3)


def test_order_is_right_where_the_caption_in_order_is_nearer() -> None:
    captions = ["First a dog barks, then men sing.", "First men sing, then a dog barks."] * 2
    states = numbered([0.0, 1.0, 2.0, 3.0])
    knows = Oracle(STAN, dict(enumerate(captions)))
    wrong = Oracle(STAN, dict(enumerate(captions[::-1])))
    half = Oracle(STAN, dict.fromkeys(range(4), captions[0]))
    scores = order.order_scores([knows, wrong, half], states, captions)
    assert scores.means == [1.0, 0.0, 0.5]
    assert scores.mean == 0.5
    assert list(scores.clusters) == ["0", "0", "1", "1"], "both orders of a pair are one observation"


def test_camera_moves_are_told_by_the_mean_of_their_wordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = []
    for number in range(3):
        filmed = {move: tmp_path / f"{number}-{move}" for move in FILMED}
        for place, path in enumerate(filmed.values()):
            states = torch.stack([torch.full((1, 2, 3), number + 0.1 * place + t) for t in (0.0, 0.5)], dim=1)
            FeatureCache.save(path.with_suffix(".safetensors"), states)
        filmed = {move: path.with_suffix(".safetensors") for move, path in filmed.items()}
        pictures.append(Medium(tmp_path, ("A dog.",), is_video=False, name=str(number), filmed=filmed))
    first = {"left": 0.5, "right": 0.0, "in": 0.1, "out": 0.6}  # of each clip: backwards, the last frame comes first
    shows = {round(n + first[move], 2): f"{MOVES[move][2]}." for n in range(3) for move in MOVES}
    material = type("Material", (), {"filmed": lambda _: pictures})()
    knows, blind = Oracle(STAN, shows), Oracle(STAN, dict.fromkeys(shows, "Zooming in."))
    scores = camera.camera_scores([knows, blind], material)
    assert scores.means == [1.0, 0.25]
    assert list(scores.clusters) == [str(n) for n in range(3) for _ in MOVES]


def test_every_caption_of_a_medium_finds_it_and_any_of_them_is_found() -> None:
    media = [
        Medium(Path(), (f"a {thing} here", f"one {thing}"), is_video=False, name=thing) for thing in ("dog", "cat", "boat")
    ]  # fmt: skip
    knows = Oracle(STAN, {float(i): medium.captions[1] for i, medium in enumerate(media)})
    confused = Oracle(STAN, {0.0: "one cat", 1.0: "one dog", 2.0: "one boat"})
    found = retrieval.retrieval_scores([knows, confused], media, numbered([0.0, 1.0, 2.0], 1), None)
    assert found["to text"].means == [1.0, pytest.approx(1 / 3)]
    assert found["from text"].means == [1.0, pytest.approx(1 / 3)]
    assert len(found["from text"].clusters) == 6


def test_an_encoder_is_asked_for_its_own_similarity_unless_another_is_named() -> None:
    asked = []

    class Noting(Oracle):
        def similarity(self, text: TextFeatures, video: VideoFeatures, mode: str) -> Tensor:
            asked.append(mode)
            return super().similarity(text, video, mode)

    media = [Medium(Path(), (name,), is_video=False, name=name) for name in ("dog", "cat")]
    encoders = [Noting(variant, {0.0: "dog", 1.0: "cat"}) for variant in (STAN, MUG_STAN)]
    for mode in (None, "plain"):
        retrieval.retrieval_scores(encoders, media, numbered([0.0, 1.0], 1), mode)
    assert asked == ["plain", "mug_simple", "plain", "plain"]


def test_a_misaligned_pair_holds_a_stranger_and_its_own(tmp_path: Path) -> None:
    pictures = []
    for number in range(8):
        file = tmp_path / f"{number}.safetensors"
        FeatureCache.save(file, torch.full((1, 1, 2, 3), float(number)))
        pictures.append(Medium(file, (f"thing{number}.",), is_video=False, name=str(number)))
    material = type("Material", (), {"pictures": lambda _: pictures, "cache": FeatureCache(folder=tmp_path, tower="t", num_frames=4)})()  # fmt: skip
    clips, captions, names = misalignment.misaligned_pairs(material)
    again = misalignment.misaligned_pairs(material)
    assert torch.equal(clips, again[0])
    assert captions == again[1]
    for number in range(8):
        shown = set(clips[0, number, :, 0, 0].tolist())
        assert number in shown
        assert f"thing{number}." in captions[number]
        assert len(shown) + len(captions[number].split()) == 3
    assert names == [str(number) for number in range(8)]
    knows = Oracle(STAN, {float(i): captions[i] for i in range(8)})
    scores = misalignment.pair_scores([knows], numbered([float(i) for i in range(8)]), captions, names, "plain")
    assert scores.means == [1.0]


def test_actions_are_found_by_name_and_by_line() -> None:
    labels = ["typing", "doing exercises"] * 10
    groups = [f"{label} {i // 4}" for i, label in enumerate(labels)]
    states = numbered([float(label == "typing") for label in labels])
    knows = Oracle(STAN, {1.0: "a video of typing.", 0.0: "a video of doing exercises."})
    blind = Oracle(STAN, {1.0: "snow falls", 0.0: "snow falls"})
    zero_shot = actions.zero_shot([knows, blind], states, labels, groups)
    assert zero_shot.means == [1.0, 0.5]
    assert actions.linear([knows], states, labels, groups).means == [1.0]


def test_a_fold_never_shares_a_group_with_another() -> None:
    groups = [f"{label} {i // 3}" for label in ("a", "b") for i in range(30)]
    folds = actions._folds(groups).tolist()
    assert len({(group, fold) for group, fold in zip(groups, folds, strict=True)}) == len(set(groups))
    assert {folds.count(fold) for fold in range(5)} == {12}


def test_scores_are_of_the_mean_over_seeds_and_gaps_are_paired() -> None:
    ours = Scores([[1.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0]], ["a", "a", "b", "c"])
    theirs = Scores([[0.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0]], ["a", "a", "b", "c"])
    assert ours.means == [0.75, 0.5]
    assert ours.mean == 0.625
    assert ours.per_item == [1.0, 0.5, 0.0, 1.0]
    low, high = ours.interval()
    assert 0 <= low < ours.mean < high <= 1
    difference, (low, high) = ours.gap(theirs)
    assert difference == pytest.approx(0.25)
    assert low == pytest.approx(0.0)
    assert ours.cell() == f"0.625 ({ours.interval()[0]:.3f}-{ours.interval()[1]:.3f}) [0.750 0.500]"
    assert markdown({"STAN": {"order": "0.9"}, "mean": {"order": "0.5"}}) == (
        "|  | order |\n| --- | --- |\n| STAN | 0.9 |\n| mean | 0.5 |\n"
    )
