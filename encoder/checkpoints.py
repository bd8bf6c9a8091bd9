"""Checkpoints of the encoder: our own folder, and the published STAN, Mug-STAN and BT-Adapter files.

Loading is strict in both: every name and shape must fit, and what does not is listed. Checkpoints of the bridge are
read and written by the same rules: parse_config, check_fit, storable.
"""

import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from encoder.model import MugSTAN
from encoder.mug import MODES
from encoder.presets import ENCODERS, blank_encoder, clip_encoder, create_encoder

log = logging.getLogger(__name__)

CONFIG_FILE, WEIGHTS_FILE = "config.json", "encoder.safetensors"
WORDS = {"stan": "STAN", "btadapter": "btadapter"}
"""How each kind of published file spells its branch."""
REFUSED = {
    "STAN_pos_embed": "a position embedding of the branch's own, from an early version; the branch here uses the tower's",
    "logit_scale": "a learned temperature, while the published training has a fixed one; the file has another origin",
    "patch_embedding_3d": "the patch_3d variant of the patch embedding, which this encoder does not have",
    "text_weight_fc": "the learned word weights of mode drl_wti, which this encoder does not have",
    "video_weight_fc": "the learned frame weights of mode drl_wti, which this encoder does not have",
}
MAX_LISTED = 20


class CheckpointError(ValueError):
    """Weights that do not fit the model they are meant for, or cannot be written."""


@dataclass(frozen=True, kw_only=True)
class EncoderPart:
    """The `encoder` part of a checkpoint's config.json."""

    preset: str
    """Name in encoder.presets: it says which towers, sizes and branch the weights belong to."""
    retrieval_mode: str = "plain"
    """The similarity that the weights were trained for: one of encoder.mug.MODES."""
    num_frames: int | None = None
    """Frames of a video that the weights were trained on, None where nobody noted it."""

    def __post_init__(self) -> None:
        if self.preset not in ENCODERS:
            raise KeyError(f"unknown encoder '{self.preset}'. Known encoders: {', '.join(sorted(ENCODERS))}.")
        if self.retrieval_mode not in MODES:
            raise KeyError(f"unknown retrieval_mode '{self.retrieval_mode}'. Known modes: {', '.join(MODES)}.")


def trained_state_dict(model: MugSTAN) -> dict[str, Tensor]:
    """What training may change and a checkpoint holds, by name: the branch and the backbone's trained parts."""
    prefixes = ("branch.", *(f"backbone.{part}." for part in model.backbone.trained_parts))
    return {name: tensor for name, tensor in model.state_dict().items() if name.startswith(prefixes)}


def load_trained(model: MugSTAN, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Copy a trained state dict into a fresh `model`, in its own dtype. Raises CheckpointError where it does not fit."""
    expected = trained_state_dict(model)
    for part in (f"backbone.{later}." for later in model.backbone.later_parts):
        if not any(name.startswith(part) for name in tensors):  # an older file: the part stays as it is, fresh
            expected = {name: parameter for name, parameter in expected.items() if not name.startswith(part)}
    _check_encoder(expected, tensors, source)
    with torch.no_grad():
        for name, parameter in expected.items():
            parameter.copy_(tensors[name])


def save_encoder(
    folder: Path | str,
    model: MugSTAN,
    *,
    preset: str,
    retrieval_mode: str = "plain",
    num_frames: int | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write what was trained, and the encoder's part of config.json; other parts of that file stay.

    `dtype` halves the file (torch.float16); None keeps the model's. Each file is replaced in one step.
    """
    config = EncoderPart(preset=preset, retrieval_mode=retrieval_mode, num_frames=num_frames)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = storable(trained_state_dict(model), dtype, target=folder)
    path = folder / CONFIG_FILE
    whole = json.loads(path.read_text()) if path.exists() else {}
    whole["encoder"] = {key: value for key, value in asdict(config).items() if value is not None}
    partial = folder / f"{WEIGHTS_FILE}.partial"
    save_file(tensors, partial)
    partial.replace(folder / WEIGHTS_FILE)
    partial = folder / f"{CONFIG_FILE}.partial"
    partial.write_text(json.dumps(whole, indent=2) + "\n")
    partial.replace(path)


def storable(tensors: Mapping[str, Tensor], dtype: torch.dtype | None, *, target: Path) -> dict[str, Tensor]:
    """The tensors as a file holds them; None keeps their dtype. Raises CheckpointError where they are not finite in it."""
    stored = {name: t.detach().to("cpu", dtype).contiguous() for name, t in tensors.items()}
    if broken := [name for name, t in stored.items() if not torch.isfinite(t).all()]:
        raise CheckpointError(f"nothing written to {target}: not finite in {dtype}: {_listed(broken)}.")
    return stored


def load_encoder(folder_or_preset: Path | str) -> MugSTAN:
    """An encoder in evaluation mode: a preset by name (fresh heads and branch), or a checkpoint folder.

    Raises FileNotFoundError, KeyError (unknown preset or key) or CheckpointError (weights that do not fit).
    """
    if str(folder_or_preset) in ENCODERS:
        return create_encoder(str(folder_or_preset))
    folder = Path(folder_or_preset)
    if not (folder / CONFIG_FILE).exists():
        raise FileNotFoundError(
            f"expected an encoder ({', '.join(sorted(ENCODERS))}) or a folder with {CONFIG_FILE}, got '{folder_or_preset}'."
        )
    config = read_encoder_config(folder / CONFIG_FILE)
    weights = folder / WEIGHTS_FILE
    if not weights.exists():
        raise FileNotFoundError(
            f"expected {WEIGHTS_FILE} in {folder}, found {sorted(p.name for p in folder.iterdir())}. "
            "Only safetensors files are read; published .bin and .pth files are imported, not loaded."
        )
    model = blank_encoder(config.preset)
    load_trained(model, load_file(weights), source=f"the weights in {weights}")
    return model.eval()


def read_encoder_config(path: Path) -> EncoderPart:
    """The `encoder` part of a config.json; unknown keys and values are errors."""
    whole = json.loads(path.read_text())
    if not isinstance(whole, dict) or not isinstance(whole.get("encoder"), dict):
        raise KeyError(f"{path}: expected an object 'encoder' like {{'preset': 'mini'}}, got {str(whole)[:80]}.")
    return parse_config(EncoderPart, whole["encoder"], f"{path}.encoder")


def parse_config(kind: type, raw: Any, where: str) -> Any:
    """A nested frozen dataclass out of JSON.

    Raises KeyError for unknown and missing keys, ValueError for a text or number of another type; both name the path.
    """
    if not isinstance(raw, dict):
        raise KeyError(f"{where}: expected an object, got {str(raw)[:80]}.")
    known = {f.name: f for f in fields(kind)}
    if unknown := sorted(set(raw) - set(known)):
        raise KeyError(f"{where}: unknown {unknown}. Known keys: {', '.join(known)}.")
    required = [n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    if missing := sorted(set(required) - set(raw)):
        raise KeyError(f"{where}: missing {missing}. Known keys: {', '.join(known)}.")
    values = {}
    for name, value in raw.items():
        wanted = known[name].type
        if wanted in (int, str) and not isinstance(value, wanted):
            raise ValueError(f"{where}.{name}: expected {wanted.__name__}, got {value!r}.")
        nested = is_dataclass(wanted)
        values[name] = parse_config(wanted, value, f"{where}.{name}") if nested else value
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def import_published(
    state_dict: Mapping[str, Any],
    *,
    kind: str,
    clip_config: Mapping[str, Any],
    depth: int,
    gates: Mapping[str, float | None] | None = None,
) -> MugSTAN:
    """An encoder from the weights that the authors' code saved, in evaluation mode.

    `state_dict` is flat or mmengine's {'state_dict', 'meta'}; each name may carry `module.`, `model.vision_tower.` and
    `backbone.`, or none. `kind` is "stan" (Mug-STAN too: Mug has no weights) or "btadapter". `clip_config` is the dict
    of a CLIPConfig; without `text_config` there is no text tower. `gates` are BT-Adapter's {"out_norm", "middle_norm"};
    a gate that is left out becomes the plain sum and its balance is dropped, as in the published zero-shot settings.
    Raises CheckpointError where names, shapes or depth do not fit.
    """
    if kind not in WORDS:
        raise KeyError(f"unknown kind '{kind}'. Known kinds: {', '.join(WORDS)}.")
    if kind == "stan" and gates:
        raise ValueError(f"gates belong to kind 'btadapter', got {dict(gates)} for kind 'stan'.")
    found = _by_published_name(_flat(state_dict), _not_needed(kind, gates or {}))
    _check_depth(found, kind, depth)

    time = found.get(f"backbone.{WORDS[kind]}_time_embed.weight")
    model = clip_encoder(
        clip_config, depth=depth, gates=gates, own_cls=kind == "btadapter", max_frames=time[1].shape[0] if time else 64
    )
    expected = {_published_name(name, WORDS[kind]): parameter for name, parameter in model.state_dict().items()}
    token = "backbone.btadapter_cls_token"  # (1, 1, D) there, (D,) here
    if token in found and token in expected:
        found[token] = (found[token][0], found[token][1].flatten())
    tensors = {name if name in expected else original: tensor for name, (original, tensor) in found.items()}
    _check_encoder(expected, tensors, f"the published {kind} weights")
    with torch.no_grad():
        for name, parameter in expected.items():
            parameter.copy_(tensors[name])
    return model


def _flat(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    inner = state_dict["state_dict"] if isinstance(state_dict.get("state_dict"), Mapping) else state_dict
    if strange := [name for name, value in inner.items() if not isinstance(value, Tensor)]:
        raise CheckpointError(
            f"expected a dict of tensors, or mmengine's {{'state_dict', 'meta'}}; not tensors: {_listed(strange)}."
        )
    return dict(inner)


def _not_needed(kind: str, gates: Mapping[str, float | None]) -> set[str]:
    """First parts of names that a published file may hold and this encoder has no use for."""
    if kind == "stan":
        return set()
    unused = {"extra_proj"}  # a loss of the pretraining only
    for balance, gate in (("balance1", "out_norm"), ("balance2", "middle_norm")):
        if gates.get(gate) is None:
            unused.add(balance)
    return unused


def _by_published_name(flat: Mapping[str, Tensor], dropped: set[str]) -> dict[str, tuple[str, Tensor]]:
    """{published name: (name in the file, tensor)} without what is dropped. Raises for what is refused by name."""
    found: dict[str, tuple[str, Tensor]] = {}
    left_out, refused = [], []
    for original, tensor in flat.items():
        name = original
        for prefix in ("module.", "model.vision_tower.", "backbone."):
            name = name.removeprefix(prefix)
        name = name.replace("timesFPN", "btadapter")  # BT-Adapter's name in its oldest files
        parts = name.split(".")
        refused += [f"{original} ({REFUSED[part]})" for part in parts if part in REFUSED]
        if parts[-1] == "position_ids":
            continue
        if parts[0] in dropped:
            left_out.append(original)
            continue
        if parts[0] in ("text_model", "text_projection"):
            name = f"text_backbone.{name}"
        elif parts[0] != "text_backbone":
            name = f"backbone.{name}"
        if name in found:
            raise CheckpointError(f"'{found[name][0]}' and '{original}' both stand for {name}: keep one of them.")
        found[name] = (original, tensor)
    if refused:
        raise CheckpointError(f"cannot import {_listed(refused)}.")
    if left_out:
        log.info("Not used for encoding, left out: %s.", ", ".join(left_out))
    return found


def _check_depth(names: Iterable[str], kind: str, depth: int) -> None:
    """Compare the branch layers in the file with the depth asked for."""
    counts = dict.fromkeys(WORDS, 0)
    for name in names:
        for other, word in WORDS.items():
            if match := re.match(rf"backbone\.{word}_[ST]_layers\.(\d+)\.", name):
                counts[other] = max(counts[other], int(match[1]) + 1)
    if counts[kind] == 0:
        others = [other for other, count in counts.items() if count]
        hint = f"They look like kind '{others[0]}'." if others else "Is this a plain CLIP file?"
        raise CheckpointError(f"expected names like '{WORDS[kind]}_S_layers.0' in {kind} weights, found none. {hint}")
    if counts[kind] != depth:
        raise CheckpointError(
            f"expected a branch of depth {depth}, but the published {kind} weights hold {counts[kind]} branch layers: "
            f"pass depth={counts[kind]}."
        )


def _published_name(name: str, word: str) -> str:
    """A name of ours -> the authors' name: backbone.vision.encoder.layers.0.x -> backbone.layers.0.x."""
    for ours, published in (
        ("backbone.vision.embeddings.", "backbone."),
        ("backbone.vision.encoder.", "backbone."),
        ("backbone.vision.", "backbone."),
        ("backbone.visual_projection.", "backbone.visual_projection."),
        ("backbone.text.", "text_backbone.text_model."),
        ("backbone.text_projection.", "text_backbone.text_projection."),
        ("branch.intra_frame.", f"backbone.{word}_S_layers."),
        ("branch.cross_frame.", f"backbone.{word}_T_layers."),
        ("branch.time_embedding", f"backbone.{word}_time_embed.weight"),
        ("branch.cls_token", f"backbone.{word}_cls_token"),
        ("branch.output_fusion.balance", "backbone.balance1"),
        ("branch.layer_fusion.balance", "backbone.balance2"),
    ):
        if name.startswith(ours):
            return published + name.removeprefix(ours)
    raise KeyError(f"'{name}' has no name in the published code.")


def check_fit(
    expected: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    *,
    source: str,
    owner: str,
    hint: str,
    part_of: Callable[[str], str] | None = None,
) -> None:
    """Raise one CheckpointError that lists every name and shape of `tensors` that differs from `expected`.

    `owner` is the model that they are meant for; `part_of` says to which part of it a name belongs, where it has any.
    """
    wrong = {
        "missing": {name: name for name in expected if name not in tensors},
        "unexpected": {name: name for name in tensors if name not in expected},
        "of another shape": {
            name: f"{name} (expected {tuple(t.shape)}, got {tuple(tensors[name].shape)})"
            for name, t in expected.items()
            if name in tensors and tensors[name].shape != t.shape
        },
    }
    lines = []
    for what, names in wrong.items():
        groups: dict[str, list[str]] = {}
        for name, text in names.items():
            groups.setdefault(part_of(name) if part_of else owner, []).append(text)
        lines += [f"  {len(group)} {what} in the {part}: {_listed(group)}" for part, group in groups.items()]
    if lines:
        raise CheckpointError("\n".join([f"{source} do not fit the {owner}:", *lines, hint]))


def _check_encoder(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], source: str) -> None:
    hint = "Do the sizes, `text_config`, gates and kind (or the preset) belong to this file?"
    check_fit(expected, tensors, source=source, owner="encoder", hint=hint, part_of=_part)


def _part(name: str) -> str:
    if re.search(r"STAN_|btadapter_|timesFPN_|balance\d|^branch\.", name):
        return "branch"
    if re.search(r"text_(backbone|model|projection|head)|^backbone\.text\.", name):
        return "text tower"
    return "vision tower" if re.search(r"layers\.|embedding|layernorm|layrnorm|vis(ual|ion)_", name) else "rest"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(names[:MAX_LISTED]) + more
