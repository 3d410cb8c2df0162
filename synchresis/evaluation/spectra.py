"""Short-time spectra in numpy, with all in which the published definitions differ as arguments."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from synchresis.nn.mel_bank import mel_bank

PIECE = 1024  # frames


@lru_cache(maxsize=16)
def hann(length: int, n_fft: int) -> np.ndarray:
    """The periodic Hann window of `length`, in the middle of n_fft zeros: float64 [n_fft]."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    left = (n_fft - length) // 2
    return np.pad(window, (left, n_fft - length - left))


def stft(wave: np.ndarray, n_fft: int, hop: int, length: int | None = None, edge: str = "reflect") -> np.ndarray:
    """Centred frames of a wave [..., T], n_fft // 2 samples of `edge` (numpy's names) on both sides.

    Returns complex [..., frames, n_fft // 2 + 1] with 1 + T // hop frames; float32 waves are transformed as they are.
    A wave too short to be reflected is padded with silence.
    """
    if edge == "reflect" and wave.shape[-1] <= n_fft // 2:
        edge = "constant"
    return np.fft.rfft(_frames(wave, n_fft, hop, edge) * hann(length or n_fft, n_fft).astype(wave.dtype), axis=-1)


def stft_pieces(wave: np.ndarray, n_fft: int, hop: int) -> Iterator[np.ndarray]:
    """The same of a wave [T] with silence around it, in pieces [PIECE, n_fft // 2 + 1]: only one is held at a time."""
    frames, window = _frames(wave, n_fft, hop, "constant"), hann(n_fft, n_fft).astype(wave.dtype)
    for first in range(0, len(frames), PIECE):
        yield np.fft.rfft(frames[first : first + PIECE] * window, axis=-1)


def _frames(wave: np.ndarray, n_fft: int, hop: int, edge: str) -> np.ndarray:
    side = [(0, 0)] * (wave.ndim - 1) + [(n_fft // 2, n_fft // 2)]
    padded = np.pad(wave, side, mode=edge)  # type: ignore[call-overload]
    return np.lib.stride_tricks.sliding_window_view(padded, n_fft, axis=-1)[..., ::hop, :]


@lru_cache(maxsize=16)
def slaney_bank(bands: int, n_fft: int, rate: int) -> np.ndarray:
    """librosa's default mel filters: Slaney's scale, area norm, 0 Hz to half the rate. float32 [bands, bins]."""
    return mel_bank(bands, n_fft, rate, 0.0, rate / 2, "slaney", area_norm=True).astype(np.float32)
