"""Pocket's painter: the layers of a scene for a sound.

A rectified flow over the latents of all layers at once (`synchresis.nn.layer_vae`), told by the pooled token of the
mapper: what kind of thing sounds. Four neighbouring latents of every layer are one token of the common DiT.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synchresis.nn.dit import DiT, DiTConfig, Prepared
from synchresis.nn.mapper import Mapper, MapperConfig

# What it can paint, by what strikes or sounds on the stage.
KINDS = ("wood", "metal", "glass", "plastic", "drum", "bell", "clock", "bounce")
PATCH = 2
_LEAST_TIME = 0.02
_SHIFT = 8.0


@dataclass(frozen=True)
class PainterConfig:
    layers: int = 8           # the background and the bodies
    latent: int = 8           # channels of a layer's latent
    side: int = 16            # latents each way
    sound: int = 80           # features of a sound token
    heard: int = 128          # width of the pooled token
    width: int = 160
    depth: int = 5
    heads: int = 4
    ff_mult: int = 3

    @property
    def channels(self) -> int:
        return self.layers * self.latent * PATCH**2

    @property
    def positions(self) -> int:
        return (self.side // PATCH) ** 2

    def dit(self) -> DiTConfig:
        return DiTConfig(
            io_channels=self.channels,
            embed_dim=self.width,
            depth=self.depth,
            num_heads=self.heads,
            global_cond_dim=self.heard,
            global_cond_type="adaLN",
            positions="learned",
            max_positions=self.positions,
            qk_norm="ln",
            ff_mult=self.ff_mult,
        )

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


class Painter(nn.Module):
    """Velocity of the rectified flow for a scene [B, channels, positions] (see `fold`)."""

    typical: Tensor

    def __init__(self, config: PainterConfig) -> None:
        super().__init__()
        self.config = config
        self.mapper = Mapper(MapperConfig(config.sound, 2 * config.heard, config.heard))
        self.unheard = nn.Parameter(torch.zeros(config.heard))
        self.told = nn.Sequential(nn.LayerNorm(config.heard), nn.Linear(config.heard, config.heard), nn.SiLU())
        self.dit = DiT(config.dit())
        # The mean pooled token of each kind, for a scene that is asked for by name. Not-a-number until loaded, so that
        # a forgotten load is loud.
        self.register_buffer("typical", torch.full((len(KINDS), config.heard), float("nan")))

    def listen(self, sound: Tensor) -> Tensor:
        """Sound tokens [B, T, sound] to [B, heard]; `unheard` stands for no sound."""
        return self.mapper(sound, sound.shape[1]).pooled

    def prepare(self, pooled: Tensor) -> Prepared:
        return self.dit.prepare(global_cond=self.told(pooled))

    def forward(self, x: Tensor, t: Tensor, prepared: Prepared) -> Tensor:
        """x [B, channels, positions] at flow time t [B] (1 is noise).

        The DiT says what the clean scene is, and the velocity follows from it: a token has more channels than the DiT
        is wide, so noise would not go through it, but scenes do (Li and He 2025).
        """
        clean = self.dit(x, t, prepared=prepared)
        return (x - clean) / t.clamp_min(_LEAST_TIME)[:, None, None]


def late(t: Tensor) -> Tensor:
    """Flow times moved towards noise (Esser et al. 2024).

    A scene is thousands of numbers that say little: what it is of is settled before a twentieth of the noise is gone,
    so that is where most steps and most lessons must be.
    """
    return _SHIFT * t / (1 + (_SHIFT - 1) * t)


def fold(latents: Tensor) -> Tensor:
    """Latents of all layers [B, layers, latent, side, side] to a scene [B, channels, positions]."""
    return F.pixel_unshuffle(latents.flatten(1, 2), PATCH).flatten(2)


def unfold(scene: Tensor, config: PainterConfig) -> Tensor:
    """The inverse of `fold`."""
    side = config.side // PATCH
    return F.pixel_shuffle(scene.unflatten(2, (side, side)), PATCH).unflatten(1, (config.layers, config.latent))
