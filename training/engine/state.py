"""The state file: trained parameters and optimizer state of one step, with a SHA-256 over all that it says."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

FORMAT = "2"
"""Of the metadata; files of the first format have neither this key nor a hash."""


class DamagedStateError(ValueError):
    """A state file is not what was written."""


@dataclass(frozen=True)
class State:
    """Tensors by name after `step` steps: model.NAME, and optimizer.NUMBER.KEY."""

    step: int
    tensors: dict[str, Tensor]

    @classmethod
    def of(cls, step: int, module: nn.Module, optimizer: torch.optim.Optimizer) -> "State":
        """Of the parameters of `module` that are trained, which are not copied."""
        tensors = {f"model.{n}": p.detach().contiguous() for n, p in module.named_parameters() if p.requires_grad}
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v.contiguous() for k, v in state.items()}
        return cls(step, tensors)

    def write(self, path: Path) -> None:
        """To a safetensors file."""
        metadata = {"format": FORMAT, "step": str(self.step), "sha256": self._digest()}
        path.write_bytes(save(self.tensors, metadata=metadata))  # save_file would leave a file of its own after a kill

    @classmethod
    def read(cls, path: Path) -> "State":
        """Raises DamagedStateError where the file is cut, or a bit of it is not as it was written."""
        try:
            with safe_open(str(path), "pt") as file:
                metadata = file.metadata() or {}
                state = cls(int(metadata["step"]), {k: file.get_tensor(k) for k in file.keys()})  # noqa: SIM118
        except (SafetensorError, KeyError, ValueError) as error:
            raise DamagedStateError(f"{path} is damaged: expected a state in safetensors, got {error!r}.") from error
        if metadata.keys() == {"step"}:
            return state
        digest = state._digest()
        if metadata.get("sha256") != digest:
            raise DamagedStateError(
                f"{path} is damaged: expected content of SHA-256 {metadata.get('sha256')}, got {digest}."
            )
        return state

    def put_into(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Raises KeyError, with the names that differ, when the trained parameters are not those of this state."""
        trained = {n: p for n, p in module.named_parameters() if p.requires_grad}
        saved = {k.removeprefix("model."): t for k, t in self.tensors.items() if k.startswith("model.")}
        if saved.keys() != trained.keys():
            missing, unexpected = sorted(trained.keys() - saved.keys()), sorted(saved.keys() - trained.keys())
            raise KeyError(f"{len(missing)} missing {missing[:3]}, {len(unexpected)} unexpected {unexpected[:3]}")
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(saved[name])
        states: dict[int, dict[str, Tensor]] = {}
        for key, tensor in self.tensors.items():
            if key.startswith("optimizer."):
                _, index, name = key.split(".", 2)
                states.setdefault(int(index), {})[name] = tensor
        optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})

    def _digest(self) -> str:
        """SHA-256 of the step and of every tensor's name, dtype, shape and bytes."""
        digest = hashlib.sha256(f"{self.step}".encode())
        for name, tensor in sorted(self.tensors.items()):
            digest.update(f"|{name}|{tensor.dtype}|{list(tensor.shape)}|".encode())
            digest.update(tensor.cpu().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()
