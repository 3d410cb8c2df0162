"""The full-size modules have exactly the keys and shapes of the published checkpoints (on the meta device)."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from synchresis.nn.control import ControlledDiT
from synchresis.nn.dit import DiTConfig
from synchresis.nn.oobleck import Oobleck, OobleckConfig

from .roots import root

VL30 = {
    "io_channels": 64,
    "embed_dim": 1536,
    "depth": 24,
    "num_heads": 24,
    "cond_token_dim": 768,
    "global_cond_dim": 1536,
    "project_cond_tokens": False,
    "transformer_type": "continuous_transformer",
    "rotary_cond_emb": False,
    "use_sinusoidal_emb": False,
    "use_abs_pos_emb": True,
}


def shapes(module: torch.nn.Module) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in module.state_dict().items()}


def part(keys: dict[str, list[int]], prefix: str) -> dict[str, list[int]]:
    return {name.removeprefix(prefix): shape for name, shape in keys.items() if name.startswith(prefix)}


def published(path: str) -> dict[str, Any]:
    file = root() / path
    if not file.exists():
        pytest.skip(f"{path} is not among the cases")
    return json.loads((gzip.decompress if file.suffix == ".gz" else bytes)(file.read_bytes()))


def test_stable_foley() -> None:
    keys = published("stable_foley/full_keys_stable_foley_checkpoint.json.gz")["keys"]
    config = replace(DiTConfig.from_dict(VL30, "lova"), positions="none", context_positions=False)
    with torch.device("meta"):
        net, codec = ControlledDiT(config, control_depth=4), Oobleck(OobleckConfig())
    assert shapes(net) == part(keys, "model.model.")
    assert shapes(codec) == part(keys, "model.pretransform.model.")
