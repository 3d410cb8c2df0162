"""Attentive pooling: a handful of tokens that say what a whole clip is about.

Factor-graph attention with one modality, as STA-V2A's global branch uses it (spec section 5). Rows compete by how much
they matter by themselves and by how much they resemble all others; the weighted sum is spread over a few tokens.
Parameters carry the published names (`fga.un_models.0.embed.weight`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class PoolingConfig:
    """Sizes of an `AttentivePooling`; the defaults are the published ones."""

    input: int = 512
    embed: int = 1024
    tokens: int = 4


@dataclass(frozen=True)
class Pooled:
    """`projected` [B, T, E]; the two potentials [B, T]; `pooled` [B, E], the weighted sum; `tokens` [B, K, E]."""

    projected: Tensor
    potential_unary: Tensor
    potential_self: Tensor
    pooled: Tensor
    tokens: Tensor


class AttentivePooling(nn.Module):
    """Rows [B, T, input] to tokens [B, K, E]."""

    def __init__(self, config: PoolingConfig) -> None:
        super().__init__()
        self.config = config
        self.fc = nn.Linear(config.input, config.embed)
        self.fga = FactorGraph(config.embed)
        self.conv = nn.Conv1d(1, config.tokens, 3, padding=1)

    def forward(self, video: Tensor, rows: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        return self.pool(video, rows, keep).tokens

    def pool(self, video: Tensor, rows: Tensor | None = None, keep: Tensor | None = None) -> Pooled:
        """All stages. `rows` [B, T] is false where a row is padding and must not count; at least one must be true.

        `keep` [B, E, T], 1 or 0, drops hidden values of the unary potential and doubles the others. The published code
        draws one at every call, at inference too; without it nothing is dropped.
        """
        projected = self.fc(video)
        unary, resemblance = self.fga.potentials(projected.transpose(1, 2), rows, keep)
        mixed = self.fga.reduce_potentials[0](torch.stack([unary, resemblance], 1))[:, 0]
        if rows is not None:
            mixed = mixed.masked_fill(~rows, -torch.inf)
        pooled = (mixed.softmax(-1)[..., None] * projected).sum(1)
        return Pooled(projected, unary, resemblance, pooled, self.conv(pooled[:, None]))


class FactorGraph(nn.Module):
    """The potentials of rows, and how the two are mixed (unary, self)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.un_models = nn.ModuleList([_Unary(dim)])
        self.pp_models = nn.ModuleList([_Resemblance(dim)])
        self.reduce_potentials = nn.ModuleList([nn.Conv1d(2, 1, 1, bias=False)])

    def potentials(self, x: Tensor, rows: Tensor | None, keep: Tensor | None) -> tuple[Tensor, Tensor]:
        """How much each row [B, E, T] matters alone, and how much it resembles the others: each [B, T]."""
        return self.un_models[0](x, keep), self.pp_models[0](x, rows)


class _Unary(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.embed = nn.Conv1d(dim, dim, 1)
        self.feature_reduce = nn.Conv1d(dim, 1, 1)

    def forward(self, x: Tensor, keep: Tensor | None) -> Tensor:
        hidden = self.embed(x).relu()
        if keep is not None:
            hidden = hidden * keep * 2
        return self.feature_reduce(hidden)[:, 0]


class _Resemblance(nn.Module):
    """The mean cosine between a row and all rows, each seen through its own projection."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.embed_X = nn.Conv1d(dim, dim, 1)
        self.embed_Y = nn.Conv1d(dim, dim, 1)

    def forward(self, x: Tensor, rows: Tensor | None) -> Tensor:
        cosines = F.normalize(self.embed_X(x), dim=1).transpose(1, 2) @ F.normalize(self.embed_Y(x), dim=1)
        if rows is None:
            return cosines.mean(-1)
        counted = rows[:, None].to(cosines)
        return (cosines * counted).sum(-1) / counted.sum(-1)
