"""torchaudio's resampler, which the kits' networks were fed through: "a change of it alone moves FD by tens"."""

from __future__ import annotations

from math import ceil, gcd

import numpy as np

WIDTH, ROLLOFF = 6, 0.99  # zero crossings on each side, share of the lower Nyquist rate


def sinc_resampled(wave: np.ndarray, rate: int, target: int) -> np.ndarray:
    """`torchaudio.functional.resample` with its defaults (Hann-windowed sinc), [T] -> [ceil(T target / rate)]."""
    wave = np.asarray(wave, np.float32)
    if rate == target or len(wave) == 0:
        return wave
    step = gcd(rate, target)
    before, after = rate // step, target // step
    cut = min(before, after) * ROLLOFF
    side = ceil(WIDTH * before / cut)
    place = np.arange(-side, side + before)[None, :] / before
    phase = np.arange(after, dtype=np.float32)[:, None] / np.float32(after)  # torchaudio's precision: it is heard
    t = (place - phase) * cut
    t = np.clip(t, -WIDTH, WIDTH)
    kernels = (np.sinc(t) * np.cos(t * np.pi / WIDTH / 2) ** 2 * (cut / before)).astype(np.float32)
    padded = np.pad(wave, (side, side + before))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernels.shape[1])[::before]
    made = (windows @ kernels.T).reshape(-1)
    return made[: ceil(len(wave) * target / rate)]
