"""From what is heard to what a video model is told: TempoTokens' mapper (spec section 4).

Every frame gets its own token, the running means of that token over four windows, and one attentively pooled token that
all frames share. Parameters carry the published names (`fc1.weight`, `fga.un_models.0.embed.weight`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synchresis.nn.attentive import FactorGraph

REACHES = (1, 2, 4, 8)  # frames on each side of the running means


@dataclass(frozen=True)
class MapperConfig:
    """Widths; the defaults are the published ones (BEATs' twelve layers side by side, CLIP's text width)."""

    input: int = 9216
    hidden: int = 2304
    output: int = 1024


@dataclass(frozen=True)
class Mapped:
    """`temporal` [B, F, C]; `local`, four running means of it [B, F, C]; `pooled` [B, C]; its two potentials [B, F]."""

    temporal: Tensor
    local: tuple[Tensor, ...]
    pooled: Tensor
    potential_unary: Tensor
    potential_self: Tensor


class Mapper(nn.Module):
    """Sound tokens [B, N, input] to what each of `frames` frames is told."""

    def __init__(self, config: MapperConfig) -> None:
        super().__init__()
        self.config = config
        self.fc1 = nn.Linear(config.input, config.hidden)
        self.fc2 = nn.Linear(config.hidden, config.hidden)
        self.fc3 = nn.Linear(config.hidden, config.output)
        self.fc4 = nn.Linear(config.output, config.output)
        self.fga = FactorGraph(config.output)

    def forward(self, sound: Tensor, frames: int, keep: Tensor | None = None) -> Mapped:
        """N must be a multiple of `frames`: as many neighbouring tokens are averaged to one.

        `keep` [B, C, frames], 1 or 0, drops hidden values of the unary potential and doubles the others: the published
        code draws one at every call, at inference too; without it nothing is dropped. Raises ValueError for another N.
        """
        if frames < 1 or sound.shape[1] % frames:
            raise ValueError(f"{sound.shape[1]} sound tokens do not fall evenly on {frames} frames")
        x = self.fc3(F.gelu(self.fc2(F.gelu(self.fc1(sound)))))
        x = x.unflatten(1, (frames, -1)).mean(2)
        x = self.fc4(F.gelu(x))
        unary, resemblance = self.fga.potentials(x.transpose(1, 2), None, keep)
        mixed = self.fga.reduce_potentials[0](torch.stack([unary, resemblance], 1))[:, 0]
        pooled = (mixed.softmax(-1)[..., None] * x).sum(1)
        return Mapped(x, tuple(running_mean(x, reach) for reach in REACHES), pooled, unary, resemblance)


def running_mean(x: Tensor, reach: int) -> Tensor:
    """Mean of x [B, F, C] over frames i - reach up to i + reach - 1, as far as they exist: [B, F, C]."""
    frame = torch.arange(x.shape[1], device=x.device)
    inside = (frame >= frame[:, None] - reach) & (frame < frame[:, None] + reach)
    weights = inside.to(x) / inside.sum(1, keepdim=True)
    return weights @ x
