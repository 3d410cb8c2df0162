"""The variational autoencoder of pocket's codec: log-mel frames at 100 Hz to latents at 25 Hz and back.

It sees the *shape* of the spectrum only: the level of every frame has been taken off before, and is a track
of its own (see `synchresis.codecs.mel`). Phase is not in the latent either; the decoder's noise source makes it.
"""

from dataclasses import dataclass

import torch
from torch import nn

from synchresis.nn.convnext import ConvNeXtBlock


@dataclass(frozen=True)
class MelVAEConfig:
    bands: int = 128          # log-mel bands of a frame
    latent: int = 32          # channels of a latent
    frames: int = 4           # frames folded into one latent
    fine: int = 128           # width at the frame rate
    fine_blocks: int = 1      # blocks at the frame rate, on each side
    width: int = 256          # width at the latent rate
    encoder_blocks: int = 3
    decoder_blocks: int = 5


class MelVAE(nn.Module):
    """Shapes: frames [B, bands, T] with T a multiple of `frames`, latents [B, latent, T / frames]."""

    def __init__(self, config: MelVAEConfig) -> None:
        super().__init__()
        c = self.config = config
        fold = c.frames
        self.encoder = nn.Sequential(
            nn.Conv1d(c.bands, c.fine, 3, padding=1),
            *(ConvNeXtBlock(c.fine) for _ in range(c.fine_blocks)),
            nn.Conv1d(c.fine, c.width, fold, stride=fold),
            *(ConvNeXtBlock(c.width) for _ in range(c.encoder_blocks)),
            nn.Conv1d(c.width, 2 * c.latent, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv1d(c.latent, c.width, 3, padding=1),
            *(ConvNeXtBlock(c.width) for _ in range(c.decoder_blocks)),
            nn.ConvTranspose1d(c.width, c.fine, fold, stride=fold),
            *(ConvNeXtBlock(c.fine) for _ in range(c.fine_blocks)),
            nn.Conv1d(c.fine, c.bands, 3, padding=1),
        )

    def encode(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log variance of the posterior, each [B, latent, T / frames]."""
        mean, log_variance = self.encoder(frames).chunk(2, dim=1)
        return mean, log_variance.clamp(-12.0, 4.0)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return self.decoder(latents)
