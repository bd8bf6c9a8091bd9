"""A model as the benchmarks see it: what it reads for an answer does not depend on what was asked before."""

from pathlib import Path

import pytest
import torch

from bridge.model import VideoLanguageModel
from tests.bridge.conftest import language_model, llm_folder, model, pixels  # noqa: F401 - fixtures
from training.evaluation.scorer import ModelScorer


def test_an_answer_reads_the_same_after_other_questions(
    model: VideoLanguageModel,  # noqa: F811
    pixels: torch.Tensor,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forward, lengths = model.llm.forward, []

    def counted(*args: object, **kwargs: object) -> object:
        given = kwargs["inputs_embeds"] if kwargs.get("inputs_embeds") is not None else kwargs["input_ids"]
        lengths.append(given.shape[1])
        return forward(*args, **kwargs)

    monkeypatch.setattr(model.llm, "forward", counted)
    scorer = ModelScorer(model, Path())
    seen = scorer.watch(pixels)
    fresh = scorer.answer("what is the dog doing?", seen, max_new_tokens=1)
    video, question = lengths
    lengths.clear()
    scorer.answer("what is the man doing?", seen, max_new_tokens=1)
    assert scorer.answer("what is the dog doing?", seen, max_new_tokens=1) == fresh
    assert lengths[-1] == question, "the whole question, though it begins as the one before"
    assert video not in lengths, "and not the video"
