"""Two training sounds as one, balanced by what the ear takes for loud (VTA-LDM spec section 9, `augment`).

After between-class learning (Tokozume et al. 2018): the gains are such that the A-weighted peaks of both stand in the
wanted proportion, and the energy of the mixture is kept.
"""

from __future__ import annotations

import numpy as np

FLOOR_DB = -80.0


def _frames(sound: np.ndarray, rate: int) -> np.ndarray:
    """Frames [n, n_fft] of a sound [N], half overlapping; a short sound is padded to one frame."""
    size = 4096 if rate in (24_000, 48_000) else 2048
    sound = np.pad(sound, (0, max(size - len(sound), 0)))
    return np.lib.stride_tricks.sliding_window_view(sound, size)[:: size // 2]


def _decibels(power: np.ndarray) -> np.ndarray:
    return 10.0 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10)))


def levels(sound: np.ndarray, rate: int) -> np.ndarray:
    """Mean power of every frame in dB, no lower than the floor."""
    return _decibels(np.square(_frames(sound, rate)).mean(axis=1))


def a_weighted_levels(sound: np.ndarray, rate: int) -> np.ndarray:
    """A-weighted power of the spectrum of every frame in dB, no lower than the floor."""
    frames = _frames(sound, rate)
    size = frames.shape[1]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    power = np.square(np.abs(np.fft.rfft(frames * window)))
    return _decibels(power @ 10 ** (_a_weights(size, rate) / 10))


def _a_weights(size: int, rate: int) -> np.ndarray:
    """IEC 61672's A curve in dB at the bins of a transform, no lower than the floor."""
    squared = np.square(np.fft.rfftfreq(size, 1 / rate))
    squared[0] = 1.0  # the curve ends in the floor there
    gain = 12194.0**2 * np.square(squared) / (
        (squared + 12194.0**2) * (squared + 20.6**2) * np.sqrt((squared + 107.7**2) * (squared + 737.9**2))
    )
    return np.maximum(2.0 + 20.0 * np.log10(gain), FLOOR_DB)


def mix(first: np.ndarray, second: np.ndarray, share: float, rate: int) -> np.ndarray:
    """`share` (0..1) of the first sound [N] and the rest of the second [N], as the ear weighs them: float64 [N]."""
    difference = a_weighted_levels(first, rate).max() - a_weighted_levels(second, rate).max()
    t = 1.0 / (1.0 + 10 ** (difference / 20) * (1.0 - share) / share)
    return (t * first.astype(np.float64) + (1.0 - t) * second) / np.sqrt(t**2 + (1.0 - t) ** 2)
