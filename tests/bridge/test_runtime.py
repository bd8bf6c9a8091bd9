"""The dtype and threads of a CPU: measured, kept, used again."""

import json
import logging
import math
from pathlib import Path

import pytest
import torch

from bridge import runtime
from bridge.runtime import Runtime, Speed, choose, find_runtime, measure, thread_counts, use_threads

SLOW_PARTS = {"encode": 4.0, "prefill": 1.0, "decode": 2.0}


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The thread counts of each measurement that find_runtime asks for, on an idle machine without a GPU."""
    asked: list[list[int]] = []

    def fake(counts: list[int]) -> list[Speed]:
        asked.append(counts)
        return [
            Speed(dtype=dtype, threads=n, **{part: seconds / factor / n for part, seconds in SLOW_PARTS.items()})
            for n in counts
            for dtype, factor in (("float32", 1.0), ("bfloat16", 4.0))
        ]

    monkeypatch.setenv("MUGSTAN_CACHE", str(tmp_path))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(runtime, "measure", fake)
    monkeypatch.setattr(runtime, "default_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(runtime, "physical_cores", lambda: 2)
    monkeypatch.setattr(runtime.os, "getloadavg", lambda: (0.5, 0.5, 0.5))
    return asked


def test_the_shortest_whole_answer_is_chosen_and_each_part_has_its_own_dtype() -> None:
    speeds = [
        Speed(dtype="float32", threads=1, encode=1.0, prefill=1.0, decode=1.0),
        Speed(dtype="bfloat16", threads=1, encode=0.5, prefill=2.0, decode=0.1),
        Speed(dtype="float32", threads=2, encode=0.6, prefill=0.6, decode=0.6),
        Speed(dtype="bfloat16", threads=2, encode=math.inf, prefill=0.5, decode=0.5),
    ]
    both = Runtime(llm_dtype=torch.bfloat16, encoder_dtype=torch.float32, threads=2)  # 1.6 s against 2.5 s
    assert choose(speeds) == both
    assert choose(speeds[:2]) == Runtime(llm_dtype=torch.float32, encoder_dtype=torch.bfloat16, threads=1)
    with pytest.raises(ValueError, match="at least one measurement"):
        choose([])


def test_a_measurement_is_kept_and_used_again(
    measured: list[list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = Runtime(llm_dtype=torch.bfloat16, encoder_dtype=torch.bfloat16, threads=2)
    assert find_runtime() == fast
    assert find_runtime() == fast
    assert measured == [[1, 2]]
    assert [path.name for path in tmp_path.iterdir()] == ["runtime.json"]
    monkeypatch.setattr(runtime, "cpu_name", lambda: "another CPU")
    find_runtime()
    assert len(measured) == 2
    assert len(json.loads((tmp_path / "runtime.json").read_text())) == 2


def test_a_measurement_under_load_is_not_kept(
    measured: list[list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runtime.os, "getloadavg", lambda: (3.1, 0.5, 0.5))
    assert find_runtime().threads == 2
    assert "busy" in caplog.text
    assert list(tmp_path.iterdir()) == []
    find_runtime()
    assert len(measured) == 2


@pytest.mark.parametrize("content", ["", "{", "[]", '"text"', '{"some CPU": [{"threads": 1}]}', '{"some CPU": 3}'])
def test_a_broken_file_is_measured_again(
    content: str, measured: list[list[int]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "runtime.json").write_text(content)
    assert find_runtime().threads == 2
    assert "measuring again" in caplog.text
    caplog.clear()
    find_runtime()
    assert measured == [[1, 2]]
    assert caplog.text == ""


def test_the_chosen_number_of_threads_is_respected(measured: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    find_runtime()
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert find_runtime().threads == 3
    assert measured == [[1, 2], [3]]  # kept apart
    for senseless in ("", "0", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", senseless)
        assert thread_counts() == [1, 2]


def test_a_gpu_is_not_measured(measured: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "default_device", lambda: torch.device("cuda"))
    for bf16, dtype in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(runtime.torch.cuda, "is_bf16_supported", lambda known=bf16: known)
        assert find_runtime() == Runtime(device=torch.device("cuda"), llm_dtype=dtype, encoder_dtype=dtype)
    assert measured == []


def test_measuring_ends_with_its_budget_and_puts_the_threads_back(caplog: pytest.LogCaptureFixture) -> None:
    before = torch.get_num_threads()
    with caplog.at_level(logging.INFO, logger="bridge"):
        speeds = measure([1], budget=0.2)
    assert torch.get_num_threads() == before
    assert [(speed.dtype, speed.threads) for speed in speeds] == [("float32", 1), ("bfloat16", 1)]
    assert all(seconds > 0 for speed in speeds for seconds in (speed.encode, speed.prefill, speed.decode))
    assert "measured float32 x 1: encode" in caplog.text


def test_threads_are_set_for_the_whole_process() -> None:
    before = torch.get_num_threads()
    try:
        use_threads(Runtime(threads=before + 1))
        assert torch.get_num_threads() == before + 1
        use_threads(Runtime())
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
