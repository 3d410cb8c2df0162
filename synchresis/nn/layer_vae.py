"""Pocket's picture codec: one layer of a film, an RGBA picture, to a small latent map and back.

A layer is the background or one body of a scene, premultiplied with its coverage. Layers are simple pictures, mostly
empty, so a small convolutional autoencoder with a trace of noise in its latents is enough.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = 4      # red, green, blue, coverage; the colours are premultiplied
SCALE = 8         # pixels of a latent, each way


@dataclass(frozen=True)
class LayerVAEConfig:
    """`latent` channels; `width` channels at a quarter of the resolution, twice as many at an eighth."""

    latent: int = 8
    width: int = 48

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


class _PixelNorm(nn.Module):
    """Root mean square norm over the channels of each pixel: what is elsewhere on the canvas changes nothing here."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * (x.square().mean(1, keepdim=True) + 1e-4).rsqrt() * self.weight


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = _PixelNorm(width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(self.norm(x)))))


class LayerVAE(nn.Module):
    """Layers [N, 4, S, S] in 0..1 to latents [N, latent, S / 8, S / 8] and back. S is a multiple of 8."""

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: LayerVAEConfig) -> None:
        super().__init__()
        self.config = config
        w = config.width
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4), nn.Conv2d(16 * CHANNELS, w, 3, padding=1), _Residual(w),
            nn.Conv2d(w, 2 * w, 4, 2, 1), _Residual(2 * w), _Residual(2 * w),
            nn.Conv2d(2 * w, 2 * config.latent, 1),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Conv2d(config.latent, 2 * w, 3, padding=1), _Residual(2 * w), _Residual(2 * w),
            nn.Conv2d(2 * w, 4 * w, 1), nn.PixelShuffle(2), _Residual(w), _Residual(w),
            nn.Conv2d(w, 2 * w, 1), nn.PixelShuffle(2), _Residual(w // 2), nn.SiLU(),
            nn.Conv2d(w // 2, 4 * CHANNELS, 3, padding=1), nn.PixelShuffle(2),
        )  # fmt: skip
        # Statistics of the training latents travel with the weights; not-a-number until loaded, so that a
        # forgotten load is loud.
        self.register_buffer("latent_mean", torch.full((config.latent, 1, 1), float("nan")))
        self.register_buffer("latent_std", torch.full((config.latent, 1, 1), float("nan")))

    def encode(self, layers: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the latents, not yet normalised."""
        mean, log_variance = self.encoder(layers - 0.5).chunk(2, dim=1)
        return mean, log_variance.clamp(-20.0, 4.0)

    def decode(self, latents: Tensor) -> Tensor:
        """About 0..1; the caller clamps."""
        return self.decoder(latents) + 0.5
