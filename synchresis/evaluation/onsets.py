"""The onset detector that the published alignment metrics name: librosa's `onset_detect` with its defaults.

librosa 0.11 is the definition ("Metrics" 6.3 to 6.5); this is its default path and nothing else, so that an
evaluation needs neither librosa nor numba. The tests hold it against librosa, frame by frame.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from synchresis.evaluation.spectra import slaney_bank, stft_pieces

RATE = 22_050
HOP = 512
N_FFT = 2048
BANDS = 128


def resampled(blocks: Iterable[np.ndarray], rate: int, target: int = RATE) -> np.ndarray:
    """A sound in blocks [n] or [n, C] as librosa.load gives it from a 16-bit file, which is what the published scripts
    read: rounded to 16 bits, mean of the channels, soxr at HQ. float32 [T]."""
    import soxr

    stream = None if rate == target else soxr.ResampleStream(rate, target, 1, dtype="float32", quality="HQ")
    made, count = [np.zeros(0, np.float32)], 0
    for block in blocks:
        mono = np.clip(np.round(np.asarray(block, np.float32) * 32768), -32768, 32767) / np.float32(32768)
        mono = mono.mean(axis=1) if mono.ndim == 2 else mono
        made.append(mono if stream is None else stream.resample_chunk(mono))
        count += len(mono)
    if stream is not None and count:
        made.append(stream.resample_chunk(np.zeros(0, np.float32), last=True))
    whole, length = np.concatenate(made), int(np.ceil(count * target / rate))
    return np.pad(whole[:length], (0, max(0, length - len(whole))))


def onset_strength(wave: np.ndarray, rate: int = RATE) -> np.ndarray:
    """Mean rise of 128 mel bands in dB from one frame of 512 samples to the next. [T] -> float32 [1 + T // 512].

    The dB are cut at 80 under the loudest cell. The first value stands for nothing and the curve is delayed by two
    frames and one, as the definition has it (half a window, and the lag of the difference).
    """
    if len(wave) == 0:
        return np.zeros(0, np.float32)
    mel = np.concatenate([_mel(piece, rate) for piece in stft_pieces(np.asarray(wave, np.float32), N_FFT, HOP)])
    decibels = 10.0 * np.log10(np.maximum(mel, np.float32(1e-10)))
    decibels = np.maximum(decibels, decibels.max() - 80.0)
    rise = np.maximum(decibels[1:] - decibels[:-1], 0.0).mean(axis=1)
    return np.pad(rise, (1 + N_FFT // (2 * HOP), 0))[: len(mel)].astype(np.float32)


def _mel(spectrum: np.ndarray, rate: int) -> np.ndarray:
    power = (np.square(spectrum.real) + np.square(spectrum.imag)).astype(np.float32)
    return power @ slaney_bank(BANDS, N_FFT, rate).T


def pick_frames(strength: np.ndarray, delta: float = 0.07, rate: int = RATE) -> np.ndarray:
    """Frames of a curve [n] that are local maxima and stand out by `delta`, the curve scaled to 0..1 first.

    A maximum of what lies up to 30 ms before it, at least the mean of 100 ms around it plus delta, and more than
    30 ms after the one before. int64 [k].
    """
    if len(strength) == 0:
        return np.zeros(0, np.int64)
    curve = strength - strength.min()
    curve = curve / (curve.max() + np.finfo(np.float32).tiny)
    if not curve.any() or not np.isfinite(curve).all():
        return np.zeros(0, np.int64)
    before = int(np.ceil(0.03 * rate // HOP))  # 1 frame at 22 050 Hz
    average_before = int(np.ceil(0.10 * rate // HOP))  # 4
    average_after = average_before + 1
    wait = before
    picked = []
    n = 0
    while n < len(curve):
        here = curve[n]
        highest = curve[max(0, n - before) : n + 1].max()
        around = curve[max(0, n - average_before) : n + average_after].mean()
        if here == highest and here >= around + np.float32(delta):
            picked.append(n)
            n += wait
        n += 1
    return np.array(picked, np.int64)


def onset_times(wave: np.ndarray, delta: float = 0.07) -> np.ndarray:
    """Onsets in seconds of a wave [T] at RATE: multiples of 512 / 22 050 s. float64 [k]."""
    return pick_frames(onset_strength(wave), delta) * (HOP / RATE)
