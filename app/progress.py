"""Loading the model at the command line, with a progress bar on standard error."""

from tqdm import tqdm

from bridge import VideoLanguageModel, load_chat_model


def load_model(name_or_folder: str) -> VideoLanguageModel:
    """The chat model, behind a progress bar. Raises bridge.ModelError."""
    progress = LoadProgress()
    try:
        return load_chat_model(name_or_folder, progress=progress)
    finally:
        progress.close()


class LoadProgress:
    """Called with the name of a stage and the fraction of it that is done; draws one bar for each stage."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._stage = ""

    def __call__(self, stage: str, fraction: float) -> None:
        if self._bar is None or stage != self._stage:
            self.close()
            self._stage = stage
            self._bar = tqdm(total=1.0, desc=stage, bar_format="{desc}: {percentage:3.0f}% |{bar:30}| {elapsed}")
        self._bar.n = min(max(fraction, 0.0), 1.0)
        self._bar.refresh()

    def close(self) -> None:
        """End the bar's line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
