"""Loudness curves, how far apart they are and by how much one lags ("Metrics" 7)."""

from __future__ import annotations

import numpy as np

TFOLEY_RATE, TFOLEY_FRAME, TFOLEY_HOP = 22_050, 512, 128

# scipy.signal.ellip(4, 0.01, 120, 0.125): order 4, ripple 0.01 dB, 120 dB down, edge at 1/8 of half the rate.
LOW_PASS_B = np.array(
    [0.002371156562865973, 0.009078139816074575, 0.013422870472257976, 0.009078139816074575, 0.0023711565628659736]
)
LOW_PASS_A = np.array([1.0, -2.7936694495096583, 3.135346099277687, -1.6401318189059317, 0.33481847307876444])

SFOLEY_RATE, SFOLEY_WINDOW, SFOLEY_BOX = 44_100, 10_000, 2_000


def rms(wave: np.ndarray, frame: int = TFOLEY_FRAME, hop: int = TFOLEY_HOP) -> np.ndarray:
    """Root mean square of frames centred on multiples of `hop`, silence beyond the ends. [T] -> [1 + T // hop]."""
    padded = np.pad(np.asarray(wave, np.float64), frame // 2)
    total = np.concatenate([[0.0], np.cumsum(np.square(padded))])
    starts = np.arange(0, len(padded) - frame + 1, hop)
    return np.sqrt(np.maximum(total[starts + frame] - total[starts], 0.0) / frame)


def over_peak(wave: np.ndarray) -> np.ndarray:
    """A wave [T] divided by its largest magnitude; a silent one stays silent. float64."""
    wave = np.asarray(wave, np.float64)
    peak = np.abs(wave).max(initial=0.0)
    return wave / peak if peak > 0 else wave


def tfoley_envelope(wave: np.ndarray) -> np.ndarray:
    """T-Foley's curve of a wave [T] at 22 050 Hz: RMS of frames, smoothed both ways. [1 + T // 128] at 172.27 Hz.

    The kit gives it waves `over_peak`.
    """
    return low_passed(rms(wave))


def tfoley_power(wave: np.ndarray) -> np.ndarray:
    """T-Foley's "power" curve: the square of each sample. [T]."""
    return np.square(np.asarray(wave, np.float64))


def sfoley_envelope(wave: np.ndarray, window: int = SFOLEY_WINDOW, box: int = SFOLEY_BOX) -> np.ndarray:
    """Stable-Foley's control curve of a wave [..., T] at 44 100 Hz, each channel for itself. [..., T].

    Root of the mean square of the last `window` samples (silence before the first), then the mean of `box` around: it
    lags by about 113 ms.
    """
    return _box(moving_rms(wave, window), box // 2, box - box // 2 - 1, box)


def moving_rms(wave: np.ndarray, window: int = SFOLEY_WINDOW) -> np.ndarray:
    """Root of the mean square of the last `window` samples, silence before the first. [..., T]."""
    power = _box(np.square(np.asarray(wave, np.float64)), window - 1, 0, window)
    return np.sqrt(np.maximum(power, 0.0))


def _box(values: np.ndarray, before: int, after: int, width: int) -> np.ndarray:
    """Sum from `before` samples before to `after` after, over `width`; zeros beyond the ends."""
    side = [(0, 0)] * (values.ndim - 1)
    total = np.cumsum(np.pad(values, [*side, (before + 1, after)]), axis=-1)
    return (total[..., before + after + 1 :] - total[..., : -(before + after + 1)]) / width


def e_l1(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute difference of two curves [..., n], the longer cut."""
    n = min(a.shape[-1], b.shape[-1])
    return float(np.abs(a[..., :n] - b[..., :n]).mean())


def lag(a: np.ndarray, b: np.ndarray, rate: float, reach: float = 1.0) -> tuple[float, float]:
    """By how many seconds a comes after b (negative: before), and Pearson's correlation there.

    Curves [n] at `rate` Hz; all shifts up to `reach` s, but at least half of the curve must overlap. Of equals the
    smallest shift. (0, 0) where a curve is constant.
    """
    n = min(len(a), len(b))
    a, b = np.asarray(a[:n], np.float64), np.asarray(b[:n], np.float64)
    most = min(round(reach * rate), n // 2)
    best, where = -np.inf, 0
    for shift in sorted(range(-most, most + 1), key=abs):
        value = pearson(a[max(shift, 0) : n + min(shift, 0)], b[max(-shift, 0) : n - max(shift, 0)])
        if value is not None and value > best + 1e-12:
            best, where = value, shift
    return (where / rate, float(best)) if np.isfinite(best) else (0.0, 0.0)


def pearson(a: np.ndarray, b: np.ndarray) -> float | None:
    """Correlation of two curves [n]; None where one is constant or shorter than two values."""
    if len(a) < 2:
        return None
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt(np.sum(a * a) * np.sum(b * b)))
    return float(np.sum(a * b)) / scale if scale > 1e-20 else None


# ------------------------------------------------------------------------------------ zero-phase filter


def low_passed(curve: np.ndarray) -> np.ndarray:
    """The elliptic low-pass forwards and backwards, with Gustafsson's edges. [n] -> [n].

    Gustafsson (1996): the initial states of both passes are those for which forward-then-backward equals
    backward-then-forward in the least squares sense. Their effect is linear, so it is solved for and added.
    """
    x = np.asarray(curve, np.float64)
    order = len(LOW_PASS_A) - 1
    if len(x) <= order:
        raise ValueError(f"a curve of {len(x)} values is too short for a filter of order {order}")
    # What each state at the beginning adds to the output: the response to the first, and delayed ones.
    free = np.zeros((len(x), order))
    impulse = np.zeros(len(x))
    impulse[0] = 1.0
    free[:, 0] = _filtered(impulse[:, None], np.eye(1, len(LOW_PASS_B))[0])[:, 0]
    for k in range(1, order):
        free[k:, k] = free[:-k, 0]
    after = _filtered(free[::-1])  # and what the pass the other way makes of that
    columns = np.stack([x, x[::-1]], axis=1)
    first = _filtered(columns)
    second = _filtered(first[::-1])
    forward_backward, backward_forward = second[::-1, 0], second[:, 1]
    unknown = np.hstack([after[::-1] - free, free[::-1] - after])
    states = np.linalg.lstsq(unknown, backward_forward - forward_backward, rcond=None)[0]
    return forward_backward + np.hstack([after[::-1], free[::-1]]) @ states


def _filtered(x: np.ndarray, b: np.ndarray = LOW_PASS_B) -> np.ndarray:
    """b and LOW_PASS_A over columns [n, k], from rest (transposed direct form)."""
    a = LOW_PASS_A
    state = np.zeros((len(a), x.shape[1]))
    out = np.empty_like(x)
    for i, value in enumerate(x):
        y = b[0] * value + state[0]
        state[:-1] = state[1:] + b[1:, None] * value - a[1:, None] * y
        out[i] = y
    return out
