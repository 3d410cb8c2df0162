"""The conditions of the Stable Audio family: numbers as tokens, and which condition goes where in the DiT.

Parameters carry the published names (`conditioners.seconds_total.embedder.embedding.0.weights`). Source: LoVA spec
3.3 and 3.4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Condition = tuple[Tensor, Tensor]
"""Tokens [B, S, D] of one condition, and [B, S], which of them are real (1) or padding (0)."""


class FourierFeatures(nn.Module):
    """u [B, 1] to [u, sin(2 pi u w), cos(2 pi u w)] [B, 257] with learned w."""

    def __init__(self, half: int = 128) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(half))

    def forward(self, u: Tensor) -> Tensor:
        angles = 2 * math.pi * u * self.weights
        return torch.cat((u, angles.sin(), angles.cos()), dim=-1)


class NumberEmbedder(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        features = FourierFeatures()
        self.embedding = nn.Sequential(features, nn.Linear(2 * len(features.weights) + 1, dim))

    def forward(self, u: Tensor) -> Tensor:
        return self.embedding(u[:, None])


class NumberConditioner(nn.Module):
    """Numbers [B], such as seconds, held within low..high, to one token each [B, 1, dim]."""

    def __init__(self, dim: int, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__()
        if not low < high:
            raise ValueError(f"a number conditioner needs min_val < max_val, not {low}..{high}")
        self.low, self.high = low, high
        self.embedder = NumberEmbedder(dim)

    def forward(self, numbers: Tensor) -> Tensor:
        u = (numbers.clamp(self.low, self.high) - self.low) / (self.high - self.low)
        return self.embedder(u)[:, None]


class Conditioners(nn.Module):
    """The conditioners that have weights, by id. The other conditions come as tokens made elsewhere."""

    def __init__(self, numbers: Mapping[str, NumberConditioner]) -> None:
        super().__init__()
        self.conditioners = nn.ModuleDict(numbers)

    @classmethod
    def from_dict(cls, conditioning: Mapping[str, Any]) -> Conditioners:
        """Reads the `number` conditioners of a `model.conditioning` object."""
        numbers = {}
        for described in conditioning.get("configs", ()):
            if described["type"] == "number":
                config = described["config"]
                numbers[described["id"]] = NumberConditioner(
                    conditioning["cond_dim"], config.get("min_val", 0), config.get("max_val", 1)
                )
        return cls(numbers)

    def forward(self, values: Mapping[str, Tensor]) -> dict[str, Condition]:
        """Numbers [B] by id to their tokens. Raises ValueError where the ids are not this module's."""
        if values.keys() != self.conditioners.keys():
            raise ValueError(f"numbers for {sorted(self.conditioners)} are needed, not {sorted(values)}")
        return {name: whole(self.conditioners[name](numbers)) for name, numbers in values.items()}


def whole(tokens: Tensor) -> Condition:
    """Tokens [B, S, ...] of which none is padding."""
    return tokens, tokens.new_ones(tokens.shape[:2])


def padded(items: Sequence[Tensor]) -> Condition:
    """Tokens [S_i, D] of different lengths as one condition, zeros at the ends, and a mask that says so.

    The published conditioner calls its padding real (LoVA spec 3.1): give the mask to the network or leave it out.
    """
    longest = max(len(item) for item in items)
    tokens = torch.stack([F.pad(item, (0, 0, 0, longest - len(item))) for item in items])
    mask = torch.stack([F.pad(item.new_ones(len(item)), (0, longest - len(item))) for item in items])
    return tokens, mask


def time_aligned(items: Sequence[Tensor], length: int) -> Condition:
    """Signals [L_i] padded with -1 to [B, 1, length]: in stable-audio-tools as LoVA copied it, unused by LoVA."""
    tokens = torch.stack([F.pad(item, (0, length - len(item)), value=-1.0) for item in items])[:, None]
    return whole(tokens)


@dataclass(frozen=True)
class Routing:
    """Which conditions, by id and in order, are attended to, make the global vector, stand in front of the latents, or
    lie under them as channels.
    """

    cross: tuple[str, ...] = ()
    global_: tuple[str, ...] = ()
    prepend: tuple[str, ...] = ()
    concat: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, diffusion: Mapping[str, Any]) -> Routing:
        """Reads a `model.diffusion` object; both spellings of the first list occur in published code."""
        cross = diffusion.get("cross_attention_cond_ids") or diffusion.get("cross_attn_cond_ids") or ()
        others = (diffusion.get(name) or () for name in ("global_cond_ids", "prepend_cond_ids", "input_concat_ids"))
        return cls(tuple(cross), *(tuple(ids) for ids in others))

    def join(self, conditions: Mapping[str, Condition]) -> dict[str, Tensor]:
        """Conditions [B, S, D] by id, joined for a `DiT`: `cross` [B, S, D] and `prepend` [B, P, D] along the sequence,
        `global_cond` [B, n D] and `concat` [B, n, L] along the channels; with `context_mask` and `prepend_mask`.

        What has no ids is left out. Raises ValueError naming a condition that is routed and not given.
        """
        missing = [
            name
            for ids in (self.cross, self.global_, self.prepend, self.concat)
            for name in ids
            if name not in conditions
        ]
        if missing:
            raise ValueError(f"conditions that the routing names are not given: {', '.join(missing)}")
        joined: dict[str, Tensor] = {}
        if self.cross:
            joined["cross"] = torch.cat([conditions[name][0] for name in self.cross], dim=1)
            joined["context_mask"] = torch.cat([conditions[name][1] for name in self.cross], dim=1)
        if self.global_:
            joined["global_cond"] = torch.cat([conditions[name][0] for name in self.global_], dim=-1)[:, 0]
        if self.prepend:
            joined["prepend"] = torch.cat([conditions[name][0] for name in self.prepend], dim=1)
            joined["prepend_mask"] = torch.cat([conditions[name][1] for name in self.prepend], dim=1)
        if self.concat:
            joined["concat"] = torch.cat([conditions[name][0] for name in self.concat], dim=1)
        return joined
