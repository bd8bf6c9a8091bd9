"""The registry of chat models: a name, or any checkpoint folder."""

import json
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from bridge.checkpoint import load_checkpoint
from bridge.model import VideoLanguageModel
from bridge.runtime import find_runtime, use_threads
from encoder.checkpoints import CONFIG_FILE

CHAT_MODELS: dict[str, Path] = {"mini": Path(__file__).resolve().parent.parent / "checkpoints" / "mini"}
"""Name -> checkpoint folder."""

Progress = Callable[[str, float], None]
"""Called with a stage in words and the fraction of it that is done; during long stages from another thread."""

ADVICE: list[tuple[type[Exception], str]] = [
    (SafetensorError, "A weight file of '{name}' or of its language model is cut off or damaged: fetch it again."),
    (json.JSONDecodeError, "A .json file of '{name}' or of its language model is damaged: fetch it again."),
    (ImportError, "Install what is missing: pip install -r requirements.txt"),
    (PermissionError, "You need the right to read the model, and to write to the cache: choose it by $MUGSTAN_CACHE."),
]
"""What to try, by the kind of error; the words of the other kinds say it already."""


class ModelError(ValueError):
    """A chat model cannot be loaded; the message tells the user why, and what to try."""


def model_folder(name_or_folder: str | Path) -> Path:
    """The checkpoint folder that `--model` names. Raises KeyError that lists the known names."""
    if str(name_or_folder) in CHAT_MODELS:
        return CHAT_MODELS[str(name_or_folder)]
    folder = Path(name_or_folder)
    if folder.is_dir():
        return folder
    raise KeyError(
        f"unknown model '{name_or_folder}'. Known models: {', '.join(sorted(CHAT_MODELS))}. "
        f"The path of a checkpoint folder (with {CONFIG_FILE}) works too."
    )


def load_chat_model(name_or_folder: str | Path, *, progress: Progress | None = None) -> VideoLanguageModel:
    """A chat model by name or folder, ready to use; the first call on a machine prepares its cache, for a minute or so.

    Sets torch's number of threads. Raises ModelError for an unknown name and for whatever of the model or its language
    model is missing, damaged or does not fit.
    """
    try:
        return _load(name_or_folder, progress or (lambda text, fraction: None))
    except (KeyError, ValueError, OSError, ImportError, SafetensorError) as error:
        words = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        advice = next((text for kind, text in ADVICE if isinstance(error, kind)), "")
        raise ModelError(f"{words.rstrip('.')}. {advice.format(name=name_or_folder)}".strip()) from error


def _load(name_or_folder: str | Path, progress: Progress) -> VideoLanguageModel:
    folder = model_folder(name_or_folder)
    name = str(name_or_folder) if str(name_or_folder) in CHAT_MODELS else folder.resolve().name
    with _Ticker(progress) as stage:
        stage("Measuring this machine")
        runtime = find_runtime()
        use_threads(runtime)
        return load_checkpoint(folder, name=name, runtime=runtime, on_progress=stage)


class _Ticker:
    """Keeps a progress bar moving through stages whose length nobody knows: ever slower, and full when they end."""

    def __init__(self, progress: Progress, *, every: float = 0.5, slowness: float = 10.0) -> None:
        self._progress = progress
        self._every, self._slowness = every, slowness  # seconds
        self._text: str | None = None
        self._since = 0.0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="load-progress", daemon=True)

    def __enter__(self) -> Callable[[str], None]:
        self._thread.start()
        return self._stage

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._ended.set()
        self._thread.join()
        if kind is None and self._text is not None:
            self._progress(self._text, 1.0)

    def _stage(self, text: str) -> None:
        with self._lock:
            if self._text is not None:
                self._progress(self._text, 1.0)
            self._text, self._since = text, time.monotonic()
            self._progress(text, 0.0)

    def _tick(self) -> None:
        while not self._ended.wait(self._every):
            with self._lock:
                if self._text is not None:
                    passed = time.monotonic() - self._since
                    self._progress(self._text, 1.0 - math.exp(-passed / self._slowness))
