"""LoRA: small corrections to the matrices of a network, read from a file and put in for as long as a film is made.

Known are the names of peft (adapter_model.safetensors, with adapter_config.json beside it), of diffusers
(pytorch_lora_weights.safetensors) and of diffusers before peft (`.lora.up.weight`). Flat lists without names, as
cloneofsimo's first tool wrote them, are not: which matrix is whose depended on the order of another library's modules.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from synchresis.errors import BadInputError
from synchresis.systems.weights import read_tensors

_DOWN = re.compile(r"(?:base_model\.model\.)?(.+?)\.(?:lora_A(?:\.default)?|lora\.down|lora_down)\.weight")
_UP = (("lora_A", "lora_B"), ("lora.down", "lora.up"), ("lora_down", "lora_up"))


def read_lora(path: Path, networks: Mapping[str, nn.Module], rank: int = 0) -> dict[str, Tensor]:
    """What is added to parameters, by "network.parameter": the product of the two matrices times alpha / rank.

    A name may begin with that of a network ("unet.", "text_encoder."); without one it is the first network's. `rank`
    above 0 keeps no more than so many directions of each correction, the strongest. Raises BadInputError where the file
    is no LoRA, or not of these networks.
    """
    tensors = read_tensors(path)
    share = _alpha(path)
    corrections: dict[str, Tensor] = {}
    used = set()
    for name, down in tensors.items():
        match = _DOWN.fullmatch(name)
        if match is None:
            continue
        up_name = next(name.replace(a, b) for a, b in _UP if a in name)
        if up_name not in tensors:
            raise BadInputError(f"{path} has {name} without {up_name}")
        up, alpha = tensors[up_name], tensors.get(f"{match[1]}.alpha")
        used |= {name, up_name, f"{match[1]}.alpha"}
        where, param = _parameter(match[1], networks)
        if param is None:
            raise BadInputError(f"{path} corrects {match[1]}, which this base does not have")
        scale = float(alpha) / len(down) if alpha is not None else (share / len(down) if share else 1.0)
        change = up.float().flatten(1) @ down.float().flatten(1) * scale
        if change.numel() != param.numel():
            raise BadInputError(f"{path}: {match[1]} is of another size than this base's")
        corrections[where] = (limited(change, rank) if rank else change).reshape(param.shape)
    if not corrections or (strange := tensors.keys() - used):
        what = "no corrections by name" if not corrections else f"unknown tensors: {', '.join(sorted(strange)[:4])}"
        raise BadInputError(f"{path} is no LoRA that is known here: {what} (see docs/tempotokens.md)")
    return corrections


def limited(change: Tensor, rank: int) -> Tensor:
    """The closest matrix of at most this rank."""
    u, s, v = torch.linalg.svd(change, full_matrices=False)
    return u[:, :rank] * s[:rank] @ v[:rank]


@contextmanager
def corrected(networks: Mapping[str, nn.Module], corrections: Mapping[str, Tensor]) -> Iterator[None]:
    """The networks with the corrections put in; afterwards they are as they were, to the bit."""
    kept: list[tuple[Tensor, Tensor]] = []  # parameters, and what they were
    try:
        with torch.no_grad():
            for where, change in corrections.items():
                network, _, name = where.partition(".")
                param = networks[network].get_parameter(name)
                kept.append((param, param.clone()))
                param.add_(change.to(param))
        yield
    finally:
        with torch.no_grad():
            for values, before in kept:
                values.copy_(before)


def _parameter(name: str, networks: Mapping[str, nn.Module]) -> tuple[str, Tensor | None]:
    first = next(iter(networks))
    network, _, rest = name.partition(".")
    if network not in networks:
        network, rest = first, name
    # Before peft, diffusers kept the corrections beside an attention's processor.
    rest = re.sub(r"\.processor$", "", rest)
    rest = re.sub(r"\.to_(q|k|v)_lora$", r".to_\1", re.sub(r"\.to_out_lora$", ".to_out.0", rest))
    known = dict(networks[network].named_parameters())
    return f"{network}.{rest}.weight", known.get(f"{rest}.weight")


def _alpha(path: Path) -> float | None:
    """What peft's configuration beside the file scales by."""
    config = path.parent / "adapter_config.json"
    if path.name != "adapter_model.safetensors" or not config.is_file():
        return None
    try:
        return float(json.loads(config.read_text(encoding="utf-8"))["lora_alpha"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{config} does not describe the LoRA beside it: {error}") from error
