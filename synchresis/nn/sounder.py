"""Pocket's generator: the common DiT with a control branch, told by words, a reference sound, onsets and loudness.

A latent here is the codec's latent (the spectral shape) and, as four more channels, the level of its four 10 ms
cells. So one network decides what sounds and how it swells and dies away; a level that was asked for replaces the
generated one afterwards.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import nn

from synchresis.nn.control import ControlledDiT, ControlPrepared
from synchresis.nn.dit import DiTConfig
from synchresis.nn.words import HashedWords

CELLS = 4                     # 10 ms cells of one latent
CONTROL = 2 * CELLS + 2       # level per cell, "level given", onset per cell, "onsets given"
REFERENCE = 256               # mean and spread of 128 log-mel bands


@dataclass(frozen=True)
class SounderConfig:
    latent: int = 32          # channels of the codec's latent
    width: int = 224
    depth: int = 6
    heads: int = 4
    ff_mult: int = 2
    control_depth: int = 1    # layers of the control branch
    told: int = 256           # width of the words and reference vectors

    def dit(self) -> DiTConfig:
        return DiTConfig.from_dict(
            {
                "io_channels": self.latent + CELLS,
                "embed_dim": self.width,
                "depth": self.depth,
                "num_heads": self.heads,
                "cond_token_dim": 0,
                "global_cond_dim": self.told,
                "input_concat_dim": CONTROL,
                "global_cond_type": "adaLN",
                "attn_kwargs": {"qk_norm": "ln"},
                "ff_kwargs": {"mult": self.ff_mult},
            }
        )

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


class Sounder(nn.Module):
    """Velocity of the rectified flow for latents [B, latent + 4, T] at 25 Hz."""

    latent_mean: torch.Tensor
    latent_std: torch.Tensor

    def __init__(self, config: SounderConfig) -> None:
        super().__init__()
        self.config = config
        self.net = ControlledDiT(config.dit(), control_depth=config.control_depth, control_channels=CONTROL)
        self.words = HashedWords(config.told)
        told = config.told
        self.reference = nn.Sequential(nn.Linear(REFERENCE, told), nn.SiLU(), nn.Linear(told, told))
        self.no_reference = nn.Parameter(torch.zeros(told))
        self.told_norm = nn.LayerNorm(told)  # or the time embedding drowns what was said
        channels = config.latent + CELLS
        # Statistics of the training latents travel with the weights; not-a-number until loaded, so that a
        # forgotten load is loud.
        self.register_buffer("latent_mean", torch.full((channels, 1), float("nan")))
        self.register_buffer("latent_std", torch.full((channels, 1), float("nan")))

    def told(
        self, texts: Sequence[str | None], references: torch.Tensor | None, heard_only: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The global condition [B, told] of texts and reference statistics [B, REFERENCE].

        Without references, or where the booleans `heard_only` [B] are false, there is no reference.
        """
        vector = self.words(texts)
        heard = self.no_reference if references is None else self.reference(references)
        if references is not None and heard_only is not None:
            heard = torch.where(heard_only[:, None], heard, self.no_reference)
        return self.told_norm(vector + heard)

    def prepare(self, told: torch.Tensor, control: torch.Tensor) -> ControlPrepared:
        """What does not depend on x and t, for told [B, told] and control [B, CONTROL, T]."""
        return self.net.prepare(control=control, global_cond=told, concat=control)

    def forward(self, x: torch.Tensor, t: torch.Tensor, prepared: ControlPrepared) -> torch.Tensor:
        """x [B, latent + 4, T] at flow time t [B] (1 is noise)."""
        return self.net(x, t, prepared=prepared)


def control_tensor(level: torch.Tensor | None, onsets: torch.Tensor | None, length: int) -> torch.Tensor:
    """Control [B, CONTROL, length] of level and onsets per 10 ms cell, each [B, 4 * length] or None: not given."""
    batch = next((x.shape[0] for x in (level, onsets) if x is not None), 1)
    parts = []
    for track in (level, onsets):
        if track is None:
            parts.append(torch.zeros(batch, CELLS + 1, length))
        else:
            parts += [track.reshape(batch, length, CELLS).transpose(1, 2), torch.ones(batch, 1, length)]
    return torch.cat(parts, dim=1)


def reference_statistics(shapes: torch.Tensor, loud: torch.Tensor) -> torch.Tensor:
    """Mean and spread of log-mel frames [B, 128, T] over the frames that sound, loud [B, T] weights: [B, 256]."""
    weight = loud[:, None] / loud.sum(1).clamp_min(1e-6)[:, None, None]
    mean = (shapes * weight).sum(-1)
    spread = ((shapes - mean[..., None]).square() * weight).sum(-1).clamp_min(1e-6).sqrt()
    return torch.cat([mean, spread], dim=1)
