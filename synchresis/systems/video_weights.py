"""Published weights of the networks that look at films (see `synchresis.encoders.video`)."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from synchresis.encoders import clip as clip_eye
from synchresis.encoders.video import FULL, KINDS, SOURCES, build
from synchresis.errors import BadInputError
from synchresis.systems.weights import KeyReport, fill, read_tensors, skeleton


def read(kind: str, place: Path) -> tuple[dict[str, Any], nn.Module, KeyReport]:
    """The configuration, the network with its published weights, and what was read.

    `place` is what `SOURCES` names, on the disk. Raises BadInputError for one that does not fit.
    """
    if kind not in KINDS:
        raise BadInputError(f"no video encoder is called {kind!r}: choose from {', '.join(KINDS)}")
    config = FULL[kind]
    if kind == "vivit":
        return _read_vivit(place)
    file = weights_in(place, SOURCES[kind])
    tensors = read_tensors(file)
    if kind == "clip":
        config = config | {"network": clip_eye.vision_config(_json(file.with_name("config.json")))}
        ignored = clip_eye.IGNORED
    elif kind == "imagebind":
        from synchresis.nn.imagebind import IGNORED as OTHERS

        ignored = OTHERS | {r"modality_\w+\.(audio|text)\..*": "of a tower that is not looked through"}
    elif kind == "languagebind":
        from synchresis.nn.languagebind import IGNORED as ELSE
        from synchresis.nn.languagebind import LanguageBindConfig

        described = _json(file.with_name("config.json")).get("vision_config", {})
        known = asdict(LanguageBindConfig())
        config = config | {"network": {name: described.get(name, value) for name, value in known.items()}}
        if any(".lora_" in name for name in tensors):
            raise BadInputError(f"{file} has LoRA adapters beside its attention: give {SOURCES[kind]}, which has none")
        ignored = ELSE
    else:
        from synchresis.nn.cavp import IGNORED as HEARD
        from synchresis.nn.cavp import cavp_keys

        tensors, ignored = cavp_keys(tensors), HEARD
    with skeleton():
        network = build(config)
    report = fill(network, tensors, component="encoder", source=file, ignored=ignored)
    return dict(config), network.eval(), report


def _read_vivit(place: Path) -> tuple[dict[str, Any], nn.Module, KeyReport]:
    """Through transformers, whose names for ViViT's tensors differ between versions; nothing may be left over."""
    from transformers import VivitModel

    if not (place / "config.json").is_file():
        raise BadInputError(f"{place} should be a transformers folder: {SOURCES['vivit']}")
    try:
        network, said = VivitModel.from_pretrained(
            place, add_pooling_layer=False, output_loading_info=True, local_files_only=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise BadInputError(f"{place} is no ViViT: {str(error).splitlines()[0]}") from error
    lost = sorted(said["missing_keys"]) + sorted(str(k) for k in said["mismatched_keys"])
    strange = [k for k in said["unexpected_keys"] if not k.startswith(("classifier.", "pooler.", "vivit.pooler."))]
    if lost or strange:
        raise BadInputError(f"{place} does not fit ViViT: missing {lost[:6]}, unknown {sorted(strange)[:6]}")
    known = FULL["vivit"]["network"]
    sizes = {name: getattr(network.config, name) for name in known}
    sizes = {name: list(v) if isinstance(v, tuple) else v for name, v in sizes.items()}
    return FULL["vivit"] | {"network": sizes}, network.eval(), KeyReport("encoder", place, len(network.state_dict()))


def weights_in(place: Path, source: str) -> Path:
    if not place.is_dir():
        return place
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (place / name).is_file():
            return place / name
    raise BadInputError(f"{place} has no model.safetensors or pytorch_model.bin: give {source}")


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path} does not describe the network beside it: {error}") from error
