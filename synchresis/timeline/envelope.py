"""Loudness as a track: measuring the RMS of a sound, and imposing a told RMS on it by arithmetic.

A loudness value belongs to a cell of the time line (10 ms at the usual 100 Hz) and is the linear RMS
amplitude of the samples whose centres lie in that cell.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from synchresis.timeline.track import Track

#: Linear RMS below which a cell counts as silence and is never lifted (-78 dBFS).
FLOOR = 10.0 ** (-78 / 20)

JUMP = 10.0 ** (4 / 20)  # more than a 40 Hz tone swings from one 10 ms cell to the next
JUMP_FADE = 0.2  # of a cell


def cell_count(samples: int, sample_rate: Fraction, cell_rate: Fraction) -> int:
    """How many cells hold the centre of at least one of so many samples; the last may be partial."""
    if cell_rate > sample_rate:
        raise ValueError(f"cells at {cell_rate} Hz are shorter than samples at {sample_rate} Hz")
    p, q = (sample_rate / cell_rate).as_integer_ratio()  # samples in a cell
    return (2 * samples - 1) * q // (2 * p) + 1 if samples else 0  # the cell of the last centre, and one


def cell_edges(samples: int, sample_rate: Fraction, cell_rate: Fraction) -> np.ndarray:
    """First sample of each cell, and `samples` at the end: int64 [cells + 1], increasing.

    Sample k is in cell i when its centre (k + 1/2) / sample_rate is. The last cell may be partial.
    """
    p, q = (sample_rate / cell_rate).as_integer_ratio()
    cells = np.arange(cell_count(samples, sample_rate, cell_rate), dtype=np.int64)
    first = -(-(2 * p * cells - q) // (2 * q))  # ceil(i p/q - 1/2)
    return np.append(first, samples).astype(np.int64)


def cell_power(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Mean square of values [T] or [T, channels] in each cell, channels averaged: float64 [cells]."""
    if len(edges) < 2:
        return np.zeros(0)
    square = np.square(values, dtype=np.float64)
    if square.ndim == 2:
        square = square.mean(axis=1)
    return np.add.reduceat(square, edges[:-1]) / np.diff(edges)


def rms_envelope(sound: Track, rate: int | Fraction = 100) -> Track:
    """RMS of each cell of a sound [T] or [T, channels] (channels averaged in power), float32, linear.

    A partial last cell is measured over the samples that it has.
    """
    rate = Fraction(rate)
    power = cell_power(sound.values, cell_edges(len(sound.values), sound.rate, rate))
    return Track(np.sqrt(power).astype(np.float32), rate, sound.start)


def envelope_context(rate: int | Fraction = 100, smooth: float = 0.03, passes: int = 2) -> Fraction:
    """Seconds on either side of a sample that `impose_envelope` looks at (40 ms with the defaults).

    Imposing on a block that carries this much before and after it, cut on cell edges, and throwing the
    context away gives what imposing on the whole gives.
    """
    return Fraction(passes * (_half_width(Fraction(rate), smooth) + 1)) / Fraction(rate)


def impose_envelope(
    sound: Track, told: Track, max_db: float = 20.0, smooth: float = 0.03, passes: int = 2
) -> Track:
    """Multiply a sound by a gain curve so that `rms_envelope` of the result follows `told`.

    sound: [T] or [T, channels]; told: linear RMS [cells] at its own rate, held beyond its ends.
    The gain is one value per cell, crossing over linearly from centre to centre, or within JUMP_FADE of
    the edge where two neighbours differ by more than JUMP. Each pass multiplies it by the root of told over
    measured power, both averaged over about `smooth` seconds, so that low tones are not flattened and a
    sound that fits is left alone; but where the average would miss a cell's own ratio by more than JUMP
    (an attack, an abrupt end) the cell's own counts, so that attacks are not smeared. No cell is lifted
    by more than max_db or, under FLOOR, at all; lowering is not bounded: told silence is silence.
    Only `envelope_context` seconds around a sample decide its gain. The result has the sound's dtype.
    """
    edges = cell_edges(len(sound.values), sound.rate, told.rate)
    cells = len(edges) - 1
    if cells == 0 or len(told.values) == 0:
        return sound
    centres = float(sound.start) + (np.arange(cells) + 0.5) / float(told.rate)
    half = _half_width(told.rate, smooth)
    wanted = np.square(told.at(centres).astype(np.float64))
    power = cell_power(sound.values, edges)
    ceiling = np.where(power > FLOOR**2, 10.0 ** (max_db / 20), 1.0)
    nodes = np.ones(cells)
    for _ in range(passes):
        own = np.sqrt(wanted / np.maximum(power, 1e-30))
        ratio = np.sqrt(_smoothed(wanted, half) / np.maximum(_smoothed(power, half), 1e-30))
        jumps = (own > JUMP * ratio) | (own * JUMP < ratio)
        nodes = np.minimum(nodes * np.where(jumps, own, ratio), ceiling)
        result = _scaled(sound, nodes, told.rate)
        power = cell_power(result, edges)
    return Track(result if passes else sound.values, sound.rate, sound.start)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation of two curves of one length; 0 when either is constant."""
    a = np.asarray(a, np.float64) - np.mean(a)
    b = np.asarray(b, np.float64) - np.mean(b)
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 1e-20 else 0.0


def _half_width(rate: Fraction, smooth: float) -> int:
    return max(0, round((smooth * float(rate) - 1) / 2))


def _smoothed(power: np.ndarray, half: int) -> np.ndarray:
    """Triangular average over 2 half + 1 cells, over those that exist at the ends."""
    kernel = half + 1.0 - np.abs(np.arange(-half, half + 1))
    padded = np.pad(power, half)
    weight = np.pad(np.ones_like(power), half)
    return np.convolve(padded, kernel, "valid") / np.convolve(weight, kernel, "valid")


def _scaled(sound: Track, nodes: np.ndarray, cell_rate: Fraction) -> np.ndarray:
    """The sound times the gain curve that has these values at the centres of the cells."""
    position = (np.arange(len(sound.values)) + 0.5) * float(cell_rate / sound.rate) - 0.5
    left = np.clip(np.floor(position), 0, max(0, len(nodes) - 2)).astype(np.int64)
    right = np.minimum(left + 1, len(nodes) - 1)
    low, high = np.minimum(nodes[left], nodes[right]), np.maximum(nodes[left], nodes[right])
    steep = np.where(high > JUMP * low, 1 / JUMP_FADE, 1.0)
    weight = np.clip((position - left - 0.5) * steep + 0.5, 0.0, 1.0)
    gain = nodes[left] + weight * (nodes[right] - nodes[left])
    if sound.values.ndim == 2:
        gain = gain[:, None]
    return (sound.values * gain).astype(sound.values.dtype)
