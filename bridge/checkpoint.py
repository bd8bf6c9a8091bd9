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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from bridge.language_model import GGUF_WHEELS, load_language_model
from bridge.model import VideoLanguageModel
from bridge.projectors import Projector
from bridge.runtime import Runtime
from encoder.checkpoints import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    CheckpointError,
    EncoderPart,
    check_fit,
    load_encoder,
    parse_config,
    save_encoder,
    storable,
)
from encoder.model import MugSTAN
from encoder.presets import create_encoder
from encoder.provenance import git_commit, versions
from encoder.runtime import wheel_file

BRIDGE_FILE, ADAPTER_FOLDER, ADAPTER_FILE = "bridge.safetensors", "adapter", "adapter_model.safetensors"
PARTS = {"encoder": WEIGHTS_FILE, "bridge": BRIDGE_FILE, "adapter": ADAPTER_FOLDER}
RECORDED = ("torch", "transformers", "peft", "safetensors")
HASHED_UP_TO = 2**31
"""Bytes of LLM weights up to which their hash is compared at each load."""
REINSTALL = "Install the pinned version: pip install --no-deps -r requirements-mini.txt"


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

    The parts of an earlier checkpoint are replaced together; other files of the folder stay. Raises FileExistsError
    when the folder holds a part that is left out now, and CheckpointError for weights that are not finite in fp16.
    """
    folder = Path(folder)
    given = {"encoder": encoder is not None, "bridge": projector is not None, "adapter": adapter is not None}
    pooling_tokens = config.num_frames + config.projector.grid**2
    config = replace(
        config,
        llm=replace(config.llm, sha256=config.llm.sha256 or weights_hash(config.llm.name)),
        tokens_per_video=pooling_tokens if projector is None else projector.num_tokens(config.num_frames),
        parts=tuple(part for part, present in given.items() if present),
        git_commit=config.git_commit or git_commit(),
        versions=config.versions or versions(RECORDED),
    )
    with _replacement(folder) as partial:
        if stale := [file for part, file in PARTS.items() if not given[part] and (folder / file).exists()]:
            raise FileExistsError(f"{folder} holds {stale}, which this checkpoint leaves out. Choose another folder.")
        if projector is not None:
            target = folder / BRIDGE_FILE
            save_file(storable(projector.state_dict(), torch.float16, target=target), partial / BRIDGE_FILE)
        if adapter is not None:
            _save_adapter(partial / ADAPTER_FOLDER, adapter, config.llm.name)
        if encoder is not None:
            save_encoder(partial, encoder, **asdict(config.encoder), dtype=torch.float16)
        text = json.dumps(asdict(config), indent=2, ensure_ascii=False) + "\n"
        (partial / CONFIG_FILE).write_text(text, encoding="utf-8")


def read_config(folder: Path | str) -> CheckpointConfig:
    """config.json of a checkpoint. Raises FileNotFoundError, KeyError that lists the known keys, or ValueError."""
    path = Path(folder) / CONFIG_FILE
    if not path.exists():
        raise FileNotFoundError(
            f"expected a checkpoint folder with {CONFIG_FILE}, found none in '{folder}'. "
            "A training run keeps it in RUN/checkpoint."
        )
    return parse_config(CheckpointConfig, json.loads(path.read_text(encoding="utf-8")), str(path))


def load_checkpoint(
    folder: Path | str,
    *,
    name: str | None = None,
    runtime: Runtime | None = None,
    on_progress: Callable[[str], None] = lambda text: None,
) -> VideoLanguageModel:
    """The chat model of a folder, in evaluation mode; fp32 on the CPU unless `runtime` says otherwise.

    Parts that the configuration does not list come fresh from their presets. Raises what read_config raises,
    CheckpointError with the names of tensors that do not fit, and what load_language_model raises.
    """
    folder, runtime = Path(folder), runtime or Runtime()
    config = read_config(folder)
    for part, file in PARTS.items():
        if (part in config.parts) != (folder / file).exists():
            listed = "lists" if part in config.parts else "does not list"
            raise FileNotFoundError(
                f"{folder / CONFIG_FILE} {listed} the part '{part}', but {file} says otherwise. "
                "Copy the whole folder anew."
            )
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
    tensors = load_file(file)
    check_fit(
        projector.state_dict(), tensors, source=f"the weights in {file}", owner="projector",
        hint="Do net and grid belong to it?",
    )  # fmt: skip
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
            f"the bridge was trained for weights of '{llm.name}' with SHA-256 {llm.sha256[:16]}..., "
            f"found {found[:16] + '...' if found else 'no weight files.'} "
            f"{REINSTALL if llm.name in GGUF_WHEELS else 'Put those weights back, or train a bridge for these.'}"
        )


@contextmanager
def _replacement(folder: Path) -> Iterator[Path]:
    """A folder to write a checkpoint in, with the other files of `folder`; it takes its place when all is written.

    Only two renames stand between old and new. A kill before them leaves the old checkpoint, a kill between them both
    under other names, and the next save puts the old one back.
    """
    folder = folder.resolve()
    partial, old = folder.with_name(f"{folder.name}.partial"), folder.with_name(f"{folder.name}.replaced")

    def put_back() -> None:
        if old.exists() and not folder.exists():
            old.rename(folder)
        for leftover in (partial, old):
            shutil.rmtree(leftover, ignore_errors=True)

    def others(where: str, names: list[str]) -> set[str]:
        return {CONFIG_FILE, *PARTS.values()} if Path(where) == folder else set()

    put_back()
    try:
        if folder.exists():
            shutil.copytree(folder, partial, ignore=others, symlinks=True)
        else:
            partial.mkdir(parents=True)
        yield partial
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
    finally:
        put_back()


def _save_adapter(folder: Path, adapter: Any, llm: str) -> None:
    """Write peft's two files, in fp16, with the LLM's name in place of this machine's path to it."""
    if isinstance(adapter, str | Path):
        source = Path(adapter)
    else:
        source = folder
        adapter.save_pretrained(str(folder), save_embedding_layers=False)
    tensors = storable(load_file(source / ADAPTER_FILE), torch.float16, target=folder)
    settings = json.loads((source / "adapter_config.json").read_text(encoding="utf-8"))
    settings["base_model_name_or_path"] = llm
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    save_file(tensors, folder / ADAPTER_FILE, metadata={"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
