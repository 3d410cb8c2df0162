"""Oobleck, the variational autoencoder of the Stable Audio family: sound to latents and back.

Parameters carry the published names (`encoder.layers.0.weight_g`, ...). Source: LoVA spec section 4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class OobleckConfig:
    """Sizes of an `Oobleck`; the defaults are those of Stable Audio Open (2048 samples per latent)."""

    audio_channels: int = 2
    latent_dim: int = 64
    channels: int = 128
    multiples: tuple[int, ...] = (1, 2, 4, 8, 16)
    strides: tuple[int, ...] = (2, 4, 4, 8, 8)
    final_tanh: bool = False

    def __post_init__(self) -> None:
        if len(self.multiples) != len(self.strides) or not self.strides:
            raise ValueError(f"{len(self.multiples)} channel multiples for {len(self.strides)} strides")
        if any(stride % 2 for stride in self.strides):
            raise ValueError(f"odd strides lose samples: {self.strides}")

    @property
    def ratio(self) -> int:
        """Samples per latent."""
        return math.prod(self.strides)

    @property
    def widths(self) -> list[int]:
        """Channels before the first and after every encoder block."""
        return [self.channels * multiple for multiple in (1, *self.multiples)]

    @property
    def reach(self) -> int:
        """How many latents on either side of its own the decoder looks at for the samples of one latent."""
        first, last = -3, self.ratio - 1 + 3  # of one latent's samples, through the last convolution (kernel 7)
        for stride in self.strides:
            first, last = first - 39, last + 39  # residual units: kernels of 7, dilated by 1, 3 and 9
            # Sample o of a transposed convolution sums inputs i with 0 <= o + stride / 2 - i * stride < 2 stride.
            first, last = -((3 * stride // 2 - 1 - first) // stride), (last + stride // 2) // stride
        return max(3 - first, last + 3)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> OobleckConfig:
        """Reads a `model.pretransform` object of a stable-audio-tools configuration, or its `config`.

        Raises ValueError naming what is unknown, unsupported or contradictory.
        """
        values = values.get("config", values)
        encoder, decoder = dict(values["encoder"]["config"]), dict(values["decoder"]["config"])
        kinds = [values["encoder"]["type"], values["decoder"]["type"], values["bottleneck"]["type"]]
        if kinds != ["oobleck", "oobleck", "vae"]:
            raise ValueError(f"encoder, decoder and bottleneck are {kinds}; known are oobleck, oobleck, vae")
        latent = values["latent_dim"]
        config = cls(
            audio_channels=decoder.pop("out_channels"),
            latent_dim=latent,
            channels=decoder.pop("channels"),
            multiples=tuple(decoder.pop("c_mults")),
            strides=tuple(decoder.pop("strides")),
            final_tanh=decoder.pop("final_tanh", True),
        )
        wrong = []
        for side, expected in (
            (
                encoder,
                {
                    "in_channels": config.audio_channels,
                    "channels": config.channels,
                    "c_mults": list(config.multiples),
                    "strides": list(config.strides),
                    "latent_dim": 2 * latent,
                    "use_snake": True,
                    "antialias_activation": False,
                },
            ),
            (
                decoder,
                {
                    "latent_dim": latent,
                    "use_snake": True,
                    "antialias_activation": False,
                    "use_nearest_upsample": False,
                },
            ),
        ):
            side.setdefault("use_snake", False)
            wrong += [f"{name} {value!r}" for name, value in side.items() if expected.get(name) != value]
        if values.get("downsampling_ratio", config.ratio) != config.ratio:
            wrong.append(f"downsampling_ratio {values['downsampling_ratio']}")
        if wrong:
            raise ValueError(f"unsupported or contradictory Oobleck options: {', '.join(wrong)}")
        return config


class _Normed(nn.Module):
    """The parameters of a convolution under weight normalisation: direction `weight_v`, length `weight_g`."""

    def __init__(self, shape: tuple[int, int, int], bias: int) -> None:
        super().__init__()
        self.weight_v = nn.Parameter(torch.empty(shape))
        nn.init.kaiming_uniform_(self.weight_v, a=math.sqrt(5))
        self.weight_g = nn.Parameter(
            torch.linalg.vector_norm(self.weight_v.detach(), dim=(1, 2), keepdim=True)
        )
        self.bias = nn.Parameter(torch.zeros(bias)) if bias else None

    @property
    def weight(self) -> Tensor:
        return self.weight_v * (
            self.weight_g / torch.linalg.vector_norm(self.weight_v, dim=(1, 2), keepdim=True)
        )


class Conv(_Normed):
    def __init__(
        self, dim_in: int, dim: int, kernel: int, stride: int = 1, dilation: int = 1, bias: bool = True
    ) -> None:
        super().__init__((dim, dim_in, kernel), dim if bias else 0)
        self.stride, self.dilation = stride, dilation
        self.padding = stride // 2 if stride > 1 else dilation * (kernel - 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x, self.weight, self.bias, self.stride, self.padding, self.dilation)


class ConvTransposed(_Normed):
    def __init__(self, dim_in: int, dim: int, stride: int) -> None:
        super().__init__((dim_in, dim, 2 * stride), dim)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose1d(x, self.weight, self.bias, self.stride, self.stride // 2)


class Snake(nn.Module):
    """x + sin(a x)^2 / b with a and b per channel, stored as logarithms."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(dim))
        self.beta = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        alpha, beta = self.alpha.exp()[:, None], self.beta.exp()[:, None]
        # In place on the one new tensor: at the rate of the sound these are the largest of the network.
        return (alpha * x).sin_().square_().div_(beta + 1e-9).add_(x)


class ResidualUnit(nn.Module):
    def __init__(self, dim: int, dilation: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Snake(dim), Conv(dim, dim, 7, dilation=dilation), Snake(dim), Conv(dim, dim, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Layers(nn.Module):
    """A sequence under the name `layers`, as the published keys have it."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def _encoder(c: OobleckConfig) -> Layers:
    blocks = [
        Layers(*(ResidualUnit(a, d) for d in (1, 3, 9)), Snake(a), Conv(a, b, 2 * stride, stride))
        for a, b, stride in zip(c.widths, c.widths[1:], c.strides, strict=False)
    ]
    top = c.widths[-1]
    return Layers(Conv(c.audio_channels, c.channels, 7), *blocks, Snake(top), Conv(top, 2 * c.latent_dim, 3))


def _decoder(c: OobleckConfig) -> Layers:
    blocks = [
        Layers(Snake(b), ConvTransposed(b, a, stride), *(ResidualUnit(a, d) for d in (1, 3, 9)))
        for a, b, stride in zip(c.widths, c.widths[1:], c.strides, strict=False)
    ]
    last = Conv(c.channels, c.audio_channels, 7, bias=False)
    tanh = [nn.Tanh()] if c.final_tanh else []
    return Layers(Conv(c.latent_dim, c.widths[-1], 7), *reversed(blocks), Snake(c.channels), last, *tanh)


class Oobleck(nn.Module):
    """Audio [B, audio_channels, N] to latents [B, latent_dim, N // ratio] and back."""

    def __init__(self, config: OobleckConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = _encoder(config)
        self.decoder = _decoder(config)

    def encode(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latents, each [B, latent_dim, N // ratio]."""
        mean, scale = self.encoder(audio).chunk(2, dim=1)
        return mean, F.softplus(scale) + 1e-4

    @staticmethod
    def sample(mean: Tensor, std: Tensor, noise: Tensor) -> Tensor:
        """The latent that unit normal `noise` picks; the published `encode` always samples."""
        return mean + std * noise

    @staticmethod
    def divergence(mean: Tensor, std: Tensor) -> Tensor:
        """Kullback-Leibler term: mean over batch and time of the sum over channels (without a factor 1/2)."""
        variance = std**2
        return (mean**2 + variance - variance.log() - 1).sum(1).mean()

    def decode(self, latents: Tensor, chunk: int | None = None, overlap: int | None = None) -> Tensor:
        """Audio [B, audio_channels, T * ratio] of latents [B, latent_dim, T].

        With `chunk` it is decoded in pieces of that many latents to bound memory, which changes nothing but
        rounding: see `decode_chunks`. With `overlap` the pieces are those of the published code instead:
        neighbours share `overlap` latents, of which half are cut from each side of a seam, and the last
        piece is aligned to the end; exact only where half of `overlap` is at least `config.reach`. Raises
        ValueError unless chunk > 0 and 0 <= overlap < chunk.
        """
        total = latents.shape[-1]
        if chunk is None:
            return self.decoder(latents)
        if overlap is None:
            return torch.cat(list(self.decode_chunks(latents, chunk)), dim=-1)
        if not 0 <= overlap < chunk:
            raise ValueError(f"overlap {overlap} must lie in 0..{chunk - 1}")
        if total <= chunk:
            return self.decoder(latents)
        ratio = self.config.ratio
        out = latents.new_empty(latents.shape[0], self.config.audio_channels, total * ratio)
        for start in [*range(0, total - chunk, chunk - overlap), total - chunk]:
            skip = overlap // 2 if start else 0
            piece = self.decoder(latents[..., start : start + chunk])
            out[..., (start + skip) * ratio : (start + chunk) * ratio] = piece[..., skip * ratio :]
        return out

    def decode_chunks(self, latents: Tensor, chunk: int) -> Iterator[Tensor]:
        """The audio of latents [B, latent_dim, T] piece by piece, each [B, audio_channels, chunk * ratio].

        The last piece is shorter. Every piece is decoded together with the `config.reach` latents on either
        side that the decoder sees from it, so joined the pieces are the whole decode up to rounding, while
        memory depends on chunk + 2 reach alone. Raises ValueError unless chunk > 0.
        """
        if chunk < 1:
            raise ValueError(f"chunks of {chunk} latents")
        ratio, reach, total = self.config.ratio, self.config.reach, latents.shape[-1]
        for start in range(0, total, chunk):
            stop, before = min(start + chunk, total), min(reach, start)
            piece = self.decoder(latents[..., start - before : stop + reach])
            yield piece[..., before * ratio : (before + stop - start) * ratio]
