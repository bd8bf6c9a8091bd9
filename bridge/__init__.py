"""Features to answers: the same chat model for training, evaluation and the page. Names load when they are first used."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.chat import AnswerStats, ChatError, NoVideoError, QuestionTooLongError, VideoChat
    from bridge.generate import Sampling
    from bridge.model import VideoLanguageModel
    from bridge.presets import ModelError, load_chat_model

__all__ = [
    "AnswerStats", "ChatError", "ModelError", "NoVideoError", "QuestionTooLongError", "Sampling", "VideoChat",
    "VideoLanguageModel", "load_chat_model",
]  # fmt: skip

_HOMES = {
    "AnswerStats": "bridge.chat",
    "ChatError": "bridge.chat",
    "ModelError": "bridge.presets",
    "NoVideoError": "bridge.chat",
    "QuestionTooLongError": "bridge.chat",
    "Sampling": "bridge.generate",
    "VideoChat": "bridge.chat",
    "VideoLanguageModel": "bridge.model",
    "load_chat_model": "bridge.presets",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'bridge' has no attribute '{name}'. It has: {', '.join(sorted(_HOMES))}.")
    return getattr(import_module(_HOMES[name]), name)
