"""Stable-Foley's loudness: the envelope as a waveform, and the codes in which Video2RMS predicts it.

The envelope is an amplitude per sample, never negative. A code is one of 64 classes of its mu-law companded value.
Source: Stable-Foley spec sections 3, 8 and 9.
"""

from __future__ import annotations

import numpy as np

CLASSES = 64
RMS_WINDOW = 10_000    # samples at 44.1 kHz: 227 ms, causal
BOX_WINDOW = 2_000     # samples: 45 ms, centred
CODE_RATE = 30         # classes a second: 300 in ten seconds
MU = 127               # of the published classes


# The envelope


def window_rms(sound: np.ndarray, window: int = RMS_WINDOW) -> np.ndarray:
    """sqrt of the mean square of the last `window` samples, zeros before the first: [..., N] to the same, float64.

    Causal: a hit raises it at once and holds it for the window. Running sums in float64, so that length costs nothing.
    """
    total = np.cumsum(np.square(sound, dtype=np.float64), axis=-1)
    past = np.zeros_like(total)
    past[..., window:] = total[..., :-window]
    return np.sqrt(np.maximum(total - past, 0.0) / window)


def box_filtered(curve: np.ndarray, window: int = BOX_WINDOW) -> np.ndarray:
    """Mean over n - window/2 .. n + window/2 - 1 with zeros beyond the ends, which pulls them down: [..., N], float64.

    `window` must be even: an odd one would be shifted.
    """
    if window % 2:
        raise ValueError(f"a box of {window} samples is not centred: take an even number")
    half, count = window // 2, curve.shape[-1]
    total = np.zeros((*curve.shape[:-1], count + 1))
    np.cumsum(curve, axis=-1, dtype=np.float64, out=total[..., 1:])
    places = np.arange(count)
    return (total[..., np.minimum(places + half, count)] - total[..., np.maximum(places - half, 0)]) / window


def envelope_of(sound: np.ndarray, rms: int = RMS_WINDOW, box: int = BOX_WINDOW) -> np.ndarray:
    """The envelope that Stable-Foley follows, of a sound [..., N] at 44.1 kHz: both filters. float64."""
    return box_filtered(window_rms(sound, rms), box)


# Codes in the notebook's way


def compress(values: np.ndarray, levels: int = CLASSES) -> np.ndarray:
    """mu-law codes 0..levels - 1 of values -1..1 (zero is in the middle), computed in float32 as the original does."""
    mu = np.float32(levels - 1)
    x = np.asarray(values, np.float32)
    companded = np.sign(x) * np.log1p(mu * np.abs(x)) / np.log1p(mu)
    return ((companded + 1) / 2 * mu + np.float32(0.5)).astype(np.int64)


def stretched(codes: np.ndarray, levels: int = CLASSES) -> np.ndarray:
    """Codes stretched so that the lowest among them becomes 0 and the highest levels - 1, cutting fractions off.

    Codes that are all alike become 0 (in the original: 0 / 0).
    """
    low, high = int(codes.min()), int(codes.max())
    return np.zeros_like(codes) if low == high else (codes - low) * (levels - 1) // (high - low)


def nearest(values: np.ndarray, length: int) -> np.ndarray:
    """Values [..., N] read at floor(i N / length) of the first axis's end: [..., length]."""
    return values[..., np.arange(length) * values.shape[-1] // length]


def labels_of(envelope: np.ndarray, length: int, levels: int = CLASSES) -> np.ndarray:
    """The notebook's labels: nearest resize, mu-law, stretched over the whole array: [..., N] to [..., length].

    Relative to the clip, so that no level can be read back; `classes_of` keeps it.
    """
    return stretched(compress(nearest(envelope, length), levels), levels)


def smoothed(labels: np.ndarray, sigma: float = 1.0, reach: int = 2, levels: int = CLASSES) -> np.ndarray:
    """Labels [...] as distributions [..., levels] float32: a Gaussian cut at `reach` classes and at both ends."""
    distance = np.arange(levels) - np.asarray(labels)[..., None]
    weight = np.where(np.abs(distance) <= reach, np.exp(-(distance**2) / (2 * sigma**2)), 0.0)
    return (weight / weight.sum(-1, keepdims=True)).astype(np.float32)


# Classes as the first stage gives them


def classes_of(envelope: np.ndarray, mu: int = MU) -> np.ndarray:
    """Classes 0..(mu + 1) / 2 - 1 of amplitudes 0..1: class c covers (2 c - 1) / mu .. (2 c + 1) / mu companded."""
    x = np.clip(envelope, 0.0, 1.0).astype(np.float64)
    companded = np.log1p(mu * x) / np.log1p(mu)
    return np.digitize(companded, np.linspace(-1, 1, 1 + mu), right=True) - (mu + 1) // 2


def expanded(classes: np.ndarray, mu: int = MU) -> np.ndarray:
    """The amplitude float64 that a class stands for: class c is 2 c / (mu + 1) companded."""
    companded = np.asarray(classes) * 2.0 / (1 + mu)
    return np.expm1(companded * np.log1p(mu)) / mu


def curve_of(classes: np.ndarray, length: int, mu: int = MU) -> np.ndarray:
    """Classes [..., T] as an envelope [..., length], straight lines between them and both ends aligned, float32."""
    values = expanded(classes, mu)
    places = np.linspace(0, values.shape[-1] - 1, length)
    left = np.minimum(places.astype(np.int64), max(values.shape[-1] - 2, 0))
    right = np.minimum(left + 1, values.shape[-1] - 1)
    share = places - left
    return (values[..., left] * (1 - share) + values[..., right] * share).astype(np.float32)


# Comparing


def framed_rms(sound: np.ndarray, frame: int = 512, hop: int = 128) -> np.ndarray:
    """RMS of frames centred on every `hop`-th sample, the ends mirrored: [N] to [1 + N // hop], float64."""
    power = np.square(np.pad(np.asarray(sound, np.float64), frame // 2, mode="reflect"))
    total = np.concatenate([[0.0], np.cumsum(power)])
    first = np.arange(1 + len(sound) // hop) * hop
    return np.sqrt(np.maximum(total[first + frame] - total[first], 0.0) / frame)


def envelope_l1(generated: np.ndarray, reference: np.ndarray, frame: int = 512, hop: int = 128) -> float:
    """E-L1: mean absolute difference of the RMS of two mono sounds [N] at 44.1 kHz, as Stable-Foley's authors take it.

    The generated one is cut or filled with zeros to the length of the reference.
    """
    generated = np.pad(generated[: len(reference)], (0, max(0, len(reference) - len(generated))))
    difference = framed_rms(generated, frame, hop) - framed_rms(reference, frame, hop)
    return float(np.abs(difference).mean())
