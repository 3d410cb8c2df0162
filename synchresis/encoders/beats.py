"""What BEATs hears: sound to the filter banks that it was trained on, and to its tokens (TempoTokens spec 2, 3).

Banks come at 100 frames a second, tokens at 8 for every 16 frames; n seconds give 100 n - 2 frames.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from synchresis.nn.mel_bank import mel_bank

RATE = 16_000                       # Hz
FRAME, HOP, FFT = 400, 160, 512     # samples: 25 ms every 10 ms
BANDS = 128
MEAN, SPREAD = 15.41663, 6.55582    # of the log banks of the training set
BANDS_AT_ONCE = 8                   # tokens that stand for one time


@lru_cache(maxsize=1)
def _matrix() -> Tensor:
    """[257, 128]; Kaldi leaves the bin at the Nyquist rate out, and its triangles end there anyway."""
    return torch.from_numpy(mel_bank(BANDS, FFT, RATE, 20.0, RATE / 2, "htk", False, "mel").T.astype(np.float32))


def filter_bank(sound: Tensor) -> Tensor:
    """Kaldi's log filter bank of sound [B, N] in -1..1 at 16 kHz: [B, 1 + (N - 400) // 160, 128].

    Values are those of 16-bit samples. Each frame loses its mean, then is pre-emphasised (0.97), then windowed
    (Povey: Hann to the 0.85). Raises ValueError for less than one frame.
    """
    if sound.shape[-1] < FRAME:
        raise ValueError(f"a sound of {sound.shape[-1]} samples has no frame of {FRAME}")
    frames = (sound * 2.0**15).unfold(-1, FRAME, HOP)
    frames = frames - frames.mean(-1, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], -1)
    window = torch.hann_window(FRAME, periodic=False, device=sound.device) ** 0.85
    spectrum = torch.fft.rfft((frames - 0.97 * before) * window, FFT)
    power = spectrum.real.square() + spectrum.imag.square()
    return (power @ _matrix().to(power)).clamp_min(torch.finfo(torch.float32).eps).log()


def normalised(bank: Tensor) -> Tensor:
    """As the network was trained on it: mean 0, and half of its spread."""
    return (bank - MEAN) / (2 * SPREAD)


def frames_outside(outside: Tensor, frames: int) -> Tensor:
    """A mask of padded samples [B, N] as one of bank frames [B, frames], as the published code shrinks it."""
    from synchresis.nn.beats import whole_cells

    return whole_cells(outside, frames)
