"""PaSST-S (Koutini et al. 2022): 10 s of sound to 768 features and 527 AudioSet logits ("Encoders", section 7).

A distilled DeiT-base on patches of a mel picture. The table of positions is split into one over frequency and one
over time, so that a shorter sound uses the beginning of the second. Key names are those of the published file.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from synchresis.nn.mel_bank import mel_bank
from synchresis.nn.vit import Block, Patches

RATE = 32_000
BANDS = 128
FFT, WINDOW, HOP = 1024, 800, 320
LONGEST = 10 * RATE  # samples: the table of positions ends here


@dataclass(frozen=True)
class PasstConfig:
    dim: int = 768
    depth: int = 12
    heads: int = 12
    patch: int = 16
    stride: int = 10
    frequencies: int = 12
    times: int = 99
    classes: int = 527


def mel_picture(sound: Tensor) -> Tensor:
    """32 kHz sound [B, N] to the normalised mel picture [B, 128, T]; 10 s give T = 1000.

    The bank ends at 15 kHz: half the rate less 1000, the network's value outside of training.
    """
    sharpened = sound[:, 1:] - 0.97 * sound[:, :-1]
    window = torch.hann_window(WINDOW, periodic=False, dtype=sound.dtype, device=sound.device)
    spectrum = torch.stft(sharpened, FFT, HOP, WINDOW, window, center=True, pad_mode="reflect", return_complex=True)
    power = spectrum.real.square() + spectrum.imag.square()
    bank = torch.from_numpy(mel_bank(BANDS, FFT, RATE, 0.0, RATE / 2 - 1000, "htk", area_norm=False, triangles="mel"))
    mel = torch.log(bank.to(power) @ power + 1e-5)
    return (mel + 4.5) / 5.0


class Passt(nn.Module):
    """Mel picture [B, 128, T] to logits [B, classes] and features [B, dim].

    The features are the mean of the class token and the distillation token; `head_dist` is in the published file and
    not used. Raises ValueError where the picture has more patches in time than there are positions.
    """

    def __init__(self, config: PasstConfig | None = None) -> None:
        super().__init__()
        config = config or PasstConfig()
        dim = config.dim
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.dist_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.new_pos_embed = nn.Parameter(torch.zeros(1, 2, dim))
        self.freq_new_pos_embed = nn.Parameter(torch.zeros(1, dim, config.frequencies, 1))
        self.time_new_pos_embed = nn.Parameter(torch.zeros(1, dim, 1, config.times))
        self.patch_embed = Patches(nn.Conv2d(1, dim, config.patch, config.stride))
        self.blocks = nn.ModuleList([Block(dim, config.heads) for _ in range(config.depth)])
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, config.classes))
        self.head_dist = nn.Linear(dim, config.classes)

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        x = self.patch_embed(mel[:, None])  # [B, D, frequencies, times]
        known = self.time_new_pos_embed.shape[-1]
        if x.shape[-1] > known:
            raise ValueError(f"{mel.shape[-1]} frames give {x.shape[-1]} patches, and there are positions for {known}")
        x = x + self.time_new_pos_embed[..., : x.shape[-1]] + self.freq_new_pos_embed
        special = torch.cat([self.cls_token, self.dist_token], 1) + self.new_pos_embed
        x = torch.cat([special.expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], 1)
        for block in self.blocks:
            x = block(x)
        features = self.norm(x)[:, :2].mean(1)
        return self.head(features), features
