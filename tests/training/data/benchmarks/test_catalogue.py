"""The list of benchmarks: everyone can find out what is measured, what files it takes and where they are."""

import pytest

from training.data.benchmarks.catalogue import CATALOGUE

PUBLIC = {
    "mvbench", "video_mme", "nextqa_mc", "nextqa_oe", "activitynet_qa", "msvd_qa", "msrvtt_qa", "tgif_qa", "egoschema",
    "video_chatgpt", "tempcompass", "msrvtt", "didemo", "lsmdc", "kinetics400", "ssv2", "hmdb51", "ucf101",
}  # fmt: skip


def test_every_public_benchmark_is_in_it() -> None:
    assert CATALOGUE.keys() >= PUBLIC


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_entry_says_what_it_takes(name: str) -> None:
    entry = CATALOGUE[name]
    assert all([entry.measures, entry.questions, entry.files, entry.licence])
    assert entry.source == "you" or entry.source.startswith("https://")
