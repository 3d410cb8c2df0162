"""What a network is trained to predict, and what its prediction says about the clean signal.

Time t runs from 0 (clean) to 1 (noise). Noised x = alpha z + sigma e. Sources: LoVA spec sections 6 and 9.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Network = Callable[[Tensor, Tensor], Tensor]
"""A network with its conditions bound: (x [B, C, T], t [B] in 0..1) to its prediction [B, C, T]."""


@dataclass(frozen=True)
class Objective:
    """`v`: alpha = cos(pi t / 2), sigma = sin(pi t / 2), the network predicts alpha e - sigma z.

    `flow` (rectified flow): alpha = 1 - t, sigma = t, the network predicts e - z. Times are tensors [B].
    """

    kind: Literal["v", "flow"]

    def levels(self, t: float) -> tuple[float, float]:
        """(alpha, sigma) at one time."""
        if self.kind == "flow":
            return 1 - t, t
        return math.cos(t * math.pi / 2), math.sin(t * math.pi / 2)

    def _levels(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        t = t.reshape(-1, *[1] * (like.ndim - 1)).to(like)
        if self.kind == "flow":
            return 1 - t, t
        return torch.cos(t * math.pi / 2), torch.sin(t * math.pi / 2)

    def noised(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = self._levels(t, clean)
        return alpha * clean + sigma * noise

    def target(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        if self.kind == "flow":
            return noise - clean
        alpha, sigma = self._levels(t, clean)
        return alpha * noise - sigma * clean

    def denoised(self, x: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        """The estimate of the clean signal."""
        alpha, sigma = self._levels(t, x)
        return x - sigma * prediction if self.kind == "flow" else alpha * x - sigma * prediction

    def noise(self, x: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        """The estimate of the noise."""
        alpha, sigma = self._levels(t, x)
        return x + alpha * prediction if self.kind == "flow" else sigma * x + alpha * prediction


V = Objective("v")
FLOW = Objective("flow")


def training_times(
    count: int,
    generator: torch.Generator,
    kind: Literal["uniform", "logit_normal", "log_snr"] = "uniform",
) -> Tensor:
    """Times [count] in 0..1 to train at, on the CPU.

    `uniform` is spread evenly over the batch (one time in each of `count` equal parts, in random order),
    which lowers the variance of the loss as the published quasi-random draw does. `logit_normal` is the
    sigmoid of a unit normal; `log_snr` draws the log signal-to-noise ratio of a rectified flow from
    N(-1.2, 2).
    """
    if kind == "uniform":
        parts = torch.randperm(count, generator=generator)
        return (parts + torch.rand(count, generator=generator)) / count
    normal = torch.randn(count, generator=generator)
    if kind == "logit_normal":
        return torch.sigmoid(normal)
    if kind == "log_snr":
        return torch.sigmoid(-(normal * 2.0 - 1.2))
    raise ValueError(f"kind is {kind!r}; known are uniform, logit_normal, log_snr")


def masked_mse(prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared error of [B, C, T] over the positions where `mask` [B, T] is true (all without one)."""
    error = (prediction - target) ** 2
    if mask is None:
        return error.mean()
    weight = mask[:, None].to(error).expand_as(error)
    return (error * weight).sum() / weight.sum().clamp_min(1)


def shift_times(t: Tensor, length: int, *, sine: bool = False) -> Tensor:
    """Moves flow times towards noise for long signals (`length` latents), as stable-audio-tools does.

    Lengths are held within 256..4096; `sine` bends the result by sin(pi t / 2).
    """
    m = -(0.5 + 0.65 * (min(max(length, 256), 4096) - 256) / 3840)
    shifted = 1 - math.exp(m) / (math.exp(m) + 1 / (1 - t) - 1)
    return torch.sin(shifted * math.pi / 2) if sine else shifted
