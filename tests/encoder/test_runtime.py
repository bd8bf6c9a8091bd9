"""Where the cache lies, whatever the environment says."""

from pathlib import Path

import pytest

from encoder.runtime import cache_dir


def test_a_relative_cache_stays_where_the_program_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server changes its folder after it has asked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUGSTAN_CACHE", "some/cache")
    cache = cache_dir()
    assert cache == tmp_path / "some" / "cache"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert cache.is_dir()


@pytest.mark.parametrize(
    ("variable", "cache"), [("MUGSTAN_CACHE", "weights"), ("XDG_CACHE_HOME", "weights/mug-stan-video-chat")]
)
def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, cache: str) -> None:
    for name in ("MUGSTAN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(variable, "~/weights")
    assert cache_dir() == tmp_path / cache
    assert cache_dir().is_dir()
