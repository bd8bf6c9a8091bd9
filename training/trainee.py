"""An encoder that is trained: which of its modules stand still, how fast the others learn, and what it computes in."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from encoder.backbones.base import TextFeatures
from encoder.checkpoints import trained_state_dict
from encoder.model import MugSTAN, tube_mask
from training.engine.distributed import rank
from training.recipe import RecipeError


class Trainee:
    """`encoder` on its device, without the modules of `frozen` (exact names, such as "backbone.text").

    Frozen modules get no gradient and stay in evaluation mode: their dropout would blur what is learned from. `autocast`
    is the dtype of matrix products, None for that of the weights; `mask` the share of the patches that the branch does
    not see in training (see tube_mask). Raises RecipeError for a name that is no module's, and where something would be
    trained that a checkpoint does not hold.
    """

    def __init__(
        self, encoder: MugSTAN, *, frozen: Sequence[str], autocast: torch.dtype | None, mask: float = 0.0, seed: int = 0
    ) -> None:
        self.encoder, self.autocast, self.mask, self.seed = encoder, autocast, mask, seed
        encoder.requires_grad_(True)
        self._frozen = [module_named(encoder, name) for name in frozen]
        for module in self._frozen:
            module.requires_grad_(False)
        _check_stored(encoder)
        self._train()

    @property
    def device(self) -> torch.device:
        return self.encoder.branch.time_embedding.device

    def learn_from(self, frames: Tensor, batch: int) -> Tensor:
        """Frames (B, T, 3, S, S) of a batch -> frame features fp32 (B, T, E), with gradients.

        The number of the batch decides which patches are hidden, and which paths each process drops.
        """
        torch.manual_seed(self._random(f"paths-{rank()}", batch))  # the loop seeds all processes alike
        return self.watch(frames, patches=self.patches(batch))

    def patches(self, batch: int) -> Tensor | None:
        """Indices (K,) of the patches that the branch sees of a batch, None for all."""
        if not self.mask:
            return None
        _, positions = self.encoder.backbone.branch_positions()
        generator = torch.Generator().manual_seed(self._random("patches", batch))
        return tube_mask(len(positions) - 1, self.mask, generator).to(self.device)

    def watch(self, frames: Tensor, *, patches: Tensor | None = None) -> Tensor:
        """Frames (B, T, 3, S, S) -> frame features fp32 (B, T, E). `patches` as of MugSTAN.encode_states."""
        with self._autocast():
            states = self.encoder.video_states(frames.to(self.device))
            return self.encoder.encode_states(states, patches=patches).frames.float()

    def read(self, input_ids: Tensor, attention_mask: Tensor) -> TextFeatures:
        """Ids and mask (A, W) -> features in fp32."""
        with self._autocast():
            text = self.encoder.encode_text(input_ids.to(self.device), attention_mask.to(self.device))
        return TextFeatures(tokens=text.tokens.float(), sentence=text.sentence.float(), mask=text.mask)

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """All of it in evaluation mode and without gradients, as it will be used; then it learns again."""
        self.encoder.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self._train()

    def parameter_groups(self, *, lr: float, branch_lr: float, weight_decay: float) -> list[dict]:
        """AdamW groups of the backbone and of the branch, as far as they are trained."""
        return [
            *groups(self.encoder.backbone, lr=lr, weight_decay=weight_decay),
            *groups(self.encoder.branch, lr=branch_lr, weight_decay=weight_decay),
        ]

    def _random(self, what: str, batch: int) -> int:
        return random.Random(f"{self.seed}-{what}-{batch}").getrandbits(62)

    def _train(self) -> None:
        self.encoder.train()
        for module in self._frozen:
            module.eval()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.autocast, enabled=self.autocast is not None)


def groups(module: nn.Module, *, lr: float, weight_decay: float) -> list[dict]:
    """AdamW groups of what is trained of a module, none where nothing is: matrices decay, vectors do not.

    Vectors are norms, biases, scales, gates and class tokens. The published training decays those of the branch, since a
    rule about learning rates overrides that about decay there.
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trained if parameter.ndim > 1]
    vectors = [parameter for parameter in trained if parameter.ndim < 2]
    return [
        {"params": parameters, "lr": lr, "weight_decay": decay}
        for parameters, decay in ((matrices, weight_decay), (vectors, 0.0))
        if parameters
    ]


def module_named(root: nn.Module, name: str) -> nn.Module:
    """The module of an exact name. Raises RecipeError that lists the children where the name goes wrong."""
    module, path = root, ""
    for part in name.split("."):
        children = dict(module.named_children())
        if part not in children:
            raise RecipeError(
                f"frozen: there is no module '{name}': {path or 'the encoder'} has {', '.join(children) or 'no children'}."
            )
        module, path = children[part], f"{path}.{part}".lstrip(".")
    return module


def _check_stored(encoder: MugSTAN) -> None:
    stored = trained_state_dict(encoder)
    lost = [name for name, p in encoder.named_parameters() if p.requires_grad and name not in stored]
    if lost:
        modules = sorted({".".join(name.split(".")[:2]) for name in lost})
        raise RecipeError(
            f"expected to train only what a checkpoint of this encoder holds, got {len(lost)} other parameters, in "
            f"{', '.join(modules)}. Name these modules in 'frozen'."
        )
