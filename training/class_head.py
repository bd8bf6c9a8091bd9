"""The classes of a data set as directions of the joint space. Axes: B videos, C classes, E joint space."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from training.engine.files import whole

HEAD_FILE = "class_head.safetensors"


class ClassHead(nn.Module):
    """Scores of `classes`: a row of weights for each, times the video's feature made of length one, and a bias.

    With the features of the classes' names as weights and no bias, the scores are the cosines of zero-shot recognition.
    """

    def __init__(self, classes: Sequence[str], weight: Tensor) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(weight.new_zeros(len(weight)))

    @classmethod
    def of_names(cls, classes: Sequence[str], features: Tensor) -> "ClassHead":
        """Weights that stay what they are: features (C, E) of the names, of length one."""
        return cls(classes, features).requires_grad_(False)

    @classmethod
    def linear(cls, classes: Sequence[str], embed_dim: int) -> "ClassHead":
        """Weights to be learned, which at first find all classes alike."""
        return cls(classes, torch.zeros(len(classes), embed_dim))

    def forward(self, video: Tensor) -> Tensor:
        """(B, E) -> (B, C)."""
        return normalize(video, dim=-1) @ self.weight.T + self.bias

    def fingerprint(self) -> str:
        """SHA-256 of names and numbers."""
        digest = hashlib.sha256(json.dumps(self.classes).encode())
        for tensor in (self.weight, self.bias):
            digest.update(tensor.detach().cpu().numpy().tobytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """To HEAD_FILE in a folder, where the evaluation finds it."""
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self.state_dict().items()}
        with whole(folder / HEAD_FILE) as partial:
            save_file(tensors, partial, metadata={"classes": json.dumps(self.classes)})

    @classmethod
    def load(cls, folder: Path) -> "ClassHead | None":
        """The head that was saved in a folder, None where there is none."""
        path = folder / HEAD_FILE
        if not path.is_file():
            return None
        with safe_open(str(path), "pt") as file:
            head = cls(json.loads(file.metadata()["classes"]), file.get_tensor("weight"))
            head.load_state_dict({name: file.get_tensor(name) for name in ("weight", "bias")})
        return head.requires_grad_(False)
