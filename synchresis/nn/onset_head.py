"""Where in time something begins, read from a few features a second: STA-V2A's local branch (spec section 4).

Features [B, T, 512] at 4 Hz become a hidden feature [B, L, 128] at 25 Hz, which conditions the denoiser, and from it
two logits a cell: no onset, onset. Parameters carry the published names (`trans_cvap_feature.fc1.weight`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class LocalConfig:
    """Sizes of a `LocalBranch`; the defaults are the published ones.

    `windows`: over how many rows on either side means are taken and laid beside the row itself; may be empty.
    `rate`, `onset_rate`: of the features and of what is made of them, in Hz.
    """

    input: int = 512
    hidden: int = 256
    width: int = 128
    windows: tuple[int, ...] = (1, 2, 4, 8)
    rate: int = 4
    onset_rate: int = 25

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LocalConfig:
        return cls(**{**values, "windows": tuple(values.get("windows", cls.windows))})


@dataclass(frozen=True)
class Local:
    """`token` [B, T, 128]; `means`, one [B, T, 128] a window; `feature` [B, L, 128]; `logits` [B, L, 2]."""

    token: Tensor
    means: list[Tensor]
    feature: Tensor
    logits: Tensor


class FrameMLP(nn.Module):
    """One feature at a time: [B, T, input] to [B, T, width]."""

    def __init__(self, config: LocalConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.input, config.hidden)
        self.fc2 = nn.Linear(config.hidden, config.hidden)
        self.fc3 = nn.Linear(config.hidden, config.width)
        self.fc4 = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.fc1, self.fc2, self.fc3):
            x = F.gelu(layer(x))
        return self.fc4(x)


class OnsetHead(nn.Module):
    def __init__(self, config: LocalConfig) -> None:
        super().__init__()
        self.l1 = nn.Linear(config.width * (1 + len(config.windows)), config.width)
        self.l2 = nn.Linear(config.width, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The hidden feature and the logits."""
        feature = F.silu(self.l1(x))
        return feature, self.l2(feature)


class LocalBranch(nn.Module):
    def __init__(self, config: LocalConfig) -> None:
        super().__init__()
        self.config = config
        self.trans_cvap_feature = FrameMLP(config)
        self.pre_onset = OnsetHead(config)

    def forward(self, video: Tensor, cells: int, rows: Tensor | None = None) -> Local:
        """Features [B, T, input] to `cells` positions at `onset_rate`.

        `rows` [B, T] is false where a row is padding; padding comes last. A position looks at the row in whose cell it
        begins, and beyond the last row at the last one. Of 40 rows and 256 positions that is the published layout: 250
        by nearest upsampling and the last six times more.
        """
        token = self.trans_cvap_feature(video)
        means = [window_means(token, reach, rows) for reach in self.config.windows]
        told = torch.cat([token, *means], -1)
        last = torch.full((len(video), 1), video.shape[1] - 1) if rows is None else rows.sum(-1, keepdim=True).cpu() - 1
        ratio = Fraction(self.config.rate, self.config.onset_rate)
        places = torch.arange(cells) * ratio.numerator // ratio.denominator
        index = torch.minimum(places.expand(len(video), -1), last).to(told.device)
        feature, logits = self.pre_onset(told.gather(1, index[..., None].expand(-1, -1, told.shape[-1])))
        return Local(token, means, feature, logits)


def window_means(x: Tensor, reach: int, rows: Tensor | None = None) -> Tensor:
    """The mean of x[i - reach : i + reach] at every i of [B, T, D], over what exists of it and is no padding."""
    counted = x.new_ones(x.shape[:2]) if rows is None else rows.to(x)
    total = _window_sums(x * counted[..., None], reach)
    return total / _window_sums(counted[..., None], reach).clamp_min(1)


def _window_sums(x: Tensor, reach: int) -> Tensor:
    wide = F.pad(x.transpose(1, 2), (reach, reach - 1))
    return F.avg_pool1d(wide, 2 * reach, stride=1).transpose(1, 2) * (2 * reach)
