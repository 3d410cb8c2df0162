"""Mel filter banks, with everything in which the published ones differ as an argument ("Encoders", section 0).

| network | scale | area norm | triangles |
| --- | --- | --- | --- |
| PANNs, Microsoft CLAP, LAION-CLAP without fusion, AudioLDM's mel | slaney | yes | in Hz |
| LAION-CLAP with fusion, Synchformer | htk | no | in Hz |
| PaSST, ImageBind, VGGish (Kaldi's way) | htk | no | in mel |
"""

from typing import Literal

import numpy as np

Scale = Literal["slaney", "htk"]


def hz_to_mel(hz: np.ndarray, scale: Scale) -> np.ndarray:
    """Slaney: linear up to 1 kHz, then 27 steps for each factor of 6.4. HTK: 2595 log10(1 + f/700) everywhere."""
    hz = np.asarray(hz, dtype=np.float64)
    if scale == "htk":
        return 2595.0 * np.log10(1.0 + hz / 700.0)
    return np.where(hz < 1000.0, hz * 3 / 200, 15.0 + 27.0 * np.log(np.maximum(hz, 1e-9) / 1000.0) / np.log(6.4))


def mel_to_hz(mel: np.ndarray, scale: Scale) -> np.ndarray:
    """The inverse of `hz_to_mel`."""
    mel = np.asarray(mel, dtype=np.float64)
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    return np.where(mel < 15.0, mel * 200 / 3, 1000.0 * np.exp(np.log(6.4) * (mel - 15.0) / 27.0))


def mel_bank(
    bands: int,
    n_fft: int,
    rate: float,
    low: float,
    high: float,
    scale: Scale,
    area_norm: bool,
    triangles: Literal["hz", "mel"] = "hz",
) -> np.ndarray:
    """Overlapping triangles whose corners are evenly spaced in mel from `low` to `high` Hz.

    Returns float64 [bands, n_fft // 2 + 1]. `triangles` says on which axis their sides are straight; peaks have
    height one, or with `area_norm` (Slaney's) 2 over the width in Hz.
    """
    first, last = hz_to_mel(np.array([low, high]), scale)
    corners = np.linspace(first, last, bands + 2)
    bins = np.arange(n_fft // 2 + 1) * rate / n_fft
    hz = mel_to_hz(corners, scale)
    if triangles == "mel":
        bins = hz_to_mel(bins, scale)
    else:
        corners = hz
    rising = (bins - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - bins) / np.diff(corners)[1:, None]
    bank = np.maximum(0.0, np.minimum(rising, falling))
    return bank * (2.0 / (hz[2:] - hz[:-2]))[:, None] if area_norm else bank
