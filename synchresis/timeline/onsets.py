"""Onsets: finding them in a sound, picking them from a curve, and comparing two lists of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from synchresis.timeline.envelope import cell_count, cell_power
from synchresis.timeline.time import Span
from synchresis.timeline.track import Track

FLUX_RATE = 200  # spectra per second
POWER_RATE = 400  # cells of power per second; the grid on which an attack is located
WINDOW = 0.02  # seconds of one spectrum
LAG = 2  # spectra between the two that are compared
BANDS = 40

BACKTRACK = 0.046  # seconds that an onset may lie before its peak of flux
SIDE = 0.1  # seconds before and after that are compared
RISE = 10.0 ** (3 / 10)  # in power
REACH = 10.0 ** (-26 / 20)  # of the loudest 10 ms of the sound
MERGE = 0.08
OWN = 0.03  # seconds of an onset in which its strength is read, before the next may come
BLIND = 0.02  # seconds at the beginning with too little before them to rise from


@dataclass(frozen=True, eq=False)
class Onsets:
    """Instants in seconds, increasing, float64 [n], each with a strength of 0..1, float64 [n]."""

    times: np.ndarray
    strengths: np.ndarray

    def __post_init__(self) -> None:
        times = np.asarray(self.times, np.float64).reshape(-1)
        strengths = np.asarray(self.strengths, np.float64).reshape(-1)
        if times.shape != strengths.shape:
            raise ValueError(f"{len(times)} times but {len(strengths)} strengths")
        order = np.argsort(times, kind="stable")
        object.__setattr__(self, "times", times[order])
        object.__setattr__(self, "strengths", strengths[order])

    def __len__(self) -> int:
        return len(self.times)

    def shift(self, dt: float) -> Onsets:
        """The same onsets, dt seconds later."""
        return Onsets(self.times + float(dt), self.strengths)

    def within(self, span: Span) -> Onsets:
        """Those with span.start <= time < span.end; their times stay as they are."""
        inside = (self.times >= float(span.start)) & (self.times < float(span.end))
        return Onsets(self.times[inside], self.strengths[inside])


class OnsetDetector:
    """Finds onsets in a sound that arrives in blocks; keeps 600 numbers per second of it.

    Spectral flux: 20 ms spectra every 5 ms in 40 bands, each band's power to the 1/4, positive
    differences over 10 ms summed. The compression is a power, not a logarithm, so the result does not
    depend on the level of the sound. Peaks of the flux are moved back to where the attack begins (at
    most 46 ms) and kept if the following 0.1 s holds at least 3 dB more power than the preceding and
    reaches -26 dB of the loudest 10 ms of the sound; of those within 80 ms of one another the strongest
    stays. Nothing in the first 20 ms counts: a sound that is cut into is not an attack.
    """

    def __init__(self, rate: int | Fraction, start: int | Fraction = 0) -> None:
        self.rate = Fraction(rate)
        self.start = Fraction(start)
        self.size = 2 * max(8, round(WINDOW * float(self.rate) / 2))
        self.taper = np.hanning(self.size + 1)[:-1].astype(np.float32)
        self.bands = _band_edges(self.size // 2 + 1)
        # Half a window of silence before the first sample, so that spectra are centred in their cells.
        self.waiting = np.zeros(self.size // 2, np.float32)
        self.consumed = -(self.size // 2)  # index in the sound of the first waiting sample
        self.samples = 0
        self.flux: list[np.ndarray] = []
        self.power: list[np.ndarray] = []
        self.last_spectra = np.zeros((0, BANDS), np.float32)
        self.spectra = 0  # how many have been made

    def push(self, block: np.ndarray) -> None:
        """Take the next samples, [n] or [n, channels] (channels are averaged)."""
        block = np.asarray(block, np.float32)
        mono = block.mean(axis=1) if block.ndim == 2 else block
        self.waiting = np.concatenate([self.waiting, mono])
        self.samples += len(mono)
        self._advance(closing=False)

    def finish(self) -> Onsets:
        """Onsets of all that was pushed. Call once, at the end."""
        self.waiting = np.concatenate([self.waiting, np.zeros(self.size, np.float32)])
        self._advance(closing=True)
        flux = np.concatenate([np.zeros(0, np.float32), *self.flux])
        power = np.concatenate([np.zeros(0), *self.power])
        return _pick(flux, power).shift(float(self.start))

    def _advance(self, closing: bool) -> None:
        """Make every spectrum and power cell that the waiting samples allow, then forget them."""
        have = self.consumed + len(self.waiting)
        end = min(have, self.samples)
        total = cell_count(self.samples, self.rate, Fraction(FLUX_RATE))
        index = np.arange(self.spectra, total)
        starts = self._spectrum_start(index)
        ready = len(index) if closing else int(np.searchsorted(starts + self.size, end, "right"))
        # A power cell is made together with the spectrum that contains it: two to a spectrum.
        if ready:
            self.flux.append(self._flux_of(starts[:ready] - self.consumed))
            self.power.append(self._power_of(self.spectra, self.spectra + ready, end))
            self.spectra += ready
        keep = min(int(self._spectrum_start(np.array([self.spectra]))[0]), end)
        self.waiting = self.waiting[max(0, keep - self.consumed) :]
        self.consumed = max(keep, self.consumed)

    def _spectrum_start(self, index: np.ndarray) -> np.ndarray:
        """First sample of spectrum i, whose middle is the middle of its cell."""
        p, q = (self.rate / FLUX_RATE).as_integer_ratio()
        return (2 * index + 1) * p // (2 * q) - self.size // 2

    def _flux_of(self, starts: np.ndarray) -> np.ndarray:
        flux = []
        for i in range(0, len(starts), 2048):  # bounds the memory of one long block
            windows = np.lib.stride_tricks.sliding_window_view(self.waiting, self.size)[starts[i : i + 2048]]
            spectrum = np.fft.rfft(windows * self.taper)
            power = spectrum.real**2 + spectrum.imag**2
            bands = np.add.reduceat(power, self.bands, axis=1).astype(np.float32) ** np.float32(0.25)
            if not len(self.last_spectra):
                self.last_spectra = np.repeat(bands[:1], LAG, axis=0)  # the beginning is not an onset
            chain = np.concatenate([self.last_spectra, bands])
            flux.append(np.maximum(chain[LAG:] - chain[:-LAG], 0).sum(axis=1))
            self.last_spectra = chain[-LAG:]
        return np.concatenate(flux)

    def _power_of(self, first: int, stop: int, end: int) -> np.ndarray:
        p, q = (self.rate / POWER_RATE).as_integer_ratio()
        factor = POWER_RATE // FLUX_RATE
        cells = np.arange(factor * first, factor * stop + 1)
        edges = np.clip(-(-(2 * p * cells - q) // (2 * q)), 0, end)
        power = np.zeros(len(cells) - 1)
        full = edges[1:] > edges[:-1]  # at the very end cells may be empty
        if full.any():
            inner = np.append(edges[:-1][full], edges[1:][full][-1]) - self.consumed
            power[full] = cell_power(self.waiting[: inner[-1]], inner)
        return power


def detect_onsets(sound: Track) -> Onsets:
    """Onsets of a sound [T] or [T, channels] at any rate, in seconds on the sound's own time line.

    Strength is the loudest 10 ms in the following 30 ms over the loudest 10 ms of the whole (linear).
    The method is that of `OnsetDetector`.
    """
    detector = OnsetDetector(sound.rate, sound.start)
    block = max(1, round(10 * float(sound.rate)))
    for i in range(0, len(sound.values), block):
        detector.push(sound.values[i : i + block])
    return detector.finish()


def _band_edges(bins: int) -> np.ndarray:
    """First bin of each of BANDS bands, growing geometrically, at least one bin each, without DC."""
    if bins - 1 <= BANDS:
        raise ValueError("the sample rate is too low to find onsets: 4 kHz is the least")
    edges = [1]
    for left in range(BANDS - 1, 0, -1):
        step = (bins / edges[-1]) ** (1 / (left + 1))
        edges.append(max(edges[-1] + 1, round(edges[-1] * step)))
    return np.array(edges)


def _moving_mean(curve: np.ndarray, before: int, after: int) -> np.ndarray:
    """Mean of curve[i - before : i + after], over what exists of it (0 where nothing does)."""
    total = np.append(0.0, np.cumsum(curve, dtype=np.float64))
    i = np.arange(len(curve))
    low, high = np.clip(i - before, 0, len(curve)), np.clip(i + after, 0, len(curve))
    return (total[high] - total[low]) / np.maximum(high - low, 1)


def _local_maxima(curve: np.ndarray, reach: int) -> np.ndarray:
    """Indices that no other within `reach` exceeds; of a plateau, the first."""
    if len(curve) == 0:
        return np.zeros(0, np.int64)
    padded = np.pad(curve, reach, constant_values=-np.inf)
    highest = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(axis=1)
    before = np.lib.stride_tricks.sliding_window_view(padded, reach)[: len(curve)].max(axis=1)
    return np.flatnonzero((curve >= highest) & (curve > before))


def _pick(flux: np.ndarray, power: np.ndarray) -> Onsets:
    """Onsets, from 0 s, of a flux at FLUX_RATE and a mean square per cell at POWER_RATE."""
    if len(flux) == 0 or power.max() <= 1e-14:
        return Onsets(np.zeros(0), np.zeros(0))
    peaks = _local_maxima(flux, round(0.03 * FLUX_RATE))
    around = _moving_mean(flux, round(0.1 * FLUX_RATE), round(0.1 * FLUX_RATE) + 1)
    peaks = peaks[flux[peaks] >= around[peaks] + 0.05 * flux.max()]

    loudness = np.sqrt(_moving_mean(power, 0, POWER_RATE // 100))  # of the 10 ms from each cell on
    loudest = loudness.max()
    side, own = round(SIDE * POWER_RATE), round(OWN * POWER_RATE)
    after, before = _moving_mean(power, 0, side), _moving_mean(power, side, 0)
    times: list[float] = []
    strengths: list[float] = []
    for peak in peaks:
        cell = _attack(power, round((peak + 0.5) * POWER_RATE / FLUX_RATE))
        time = cell / POWER_RATE
        reached = loudness[cell : cell + side].max() / loudest
        if time < BLIND or reached < REACH or after[cell] < RISE * before[cell]:
            continue
        strength = loudness[cell : cell + own].max() / loudest
        if times and time - times[-1] < MERGE:
            if strength > strengths[-1]:  # a small noise just before the blow is part of the blow
                times[-1], strengths[-1] = time, strength
        else:
            times.append(time)
            strengths.append(strength)
    return Onsets(np.array(times), np.array(strengths))


def _attack(power: np.ndarray, near: int) -> int:
    """The cell where the rise to the peak of flux at cell `near` begins.

    From the loudest cell near the peak back to the last one that is under a tenth (in amplitude) of the
    way up from the quietest; never more than BACKTRACK before the peak.
    """
    first = max(0, near - round(BACKTRACK * POWER_RATE))
    level = np.sqrt(power[first : near + POWER_RATE // 100 + 1])
    top = int(level.argmax())
    low = level[: top + 1].min()
    quiet = np.flatnonzero(level[: top + 1] <= low + 0.1 * (level[top] - low))
    return min(first + int(quiet[-1]) + 1, first + top)


def pick_peaks(
    curve: Track, count: int | None = None, threshold: float | None = None, min_gap: float = 0.08
) -> Onsets:
    """The highest local maxima of a curve [T], at least min_gap seconds apart.

    count: at most so many (the highest); threshold: none lower than this. A time is refined between cell
    centres by the parabola through the three values; a strength is the value, cut to 0..1.
    """
    values = np.asarray(curve.values, np.float64)
    peaks = _local_maxima(values, 1)
    if threshold is not None:
        peaks = peaks[values[peaks] >= threshold]
    gap = min_gap * float(curve.rate) - 1e-9
    free = np.ones(len(peaks), bool)
    chosen: list[int] = []
    for k in np.argsort(-values[peaks], kind="stable"):
        if count is not None and len(chosen) >= count:
            break
        if free[k]:
            chosen.append(int(peaks[k]))
            free &= np.abs(peaks - peaks[k]) >= gap
    at = np.array(sorted(chosen), np.int64)
    inner = at[(at > 0) & (at < len(values) - 1)]
    offset = np.zeros(len(values))
    bend = values[inner - 1] - 2 * values[inner] + values[inner + 1]
    slope = values[inner - 1] - values[inner + 1]
    offset[inner] = np.divide(0.5 * slope, bend, out=np.zeros(len(inner)), where=bend < 0)
    times = float(curve.start) + (at + 0.5 + offset[at]) / float(curve.rate)
    return Onsets(times, np.clip(values[at], 0.0, 1.0))


def match(a: np.ndarray, b: np.ndarray, tolerance: float) -> int:
    """The greatest number of one-to-one pairs whose times differ by at most tolerance seconds."""
    a, b = np.sort(np.asarray(a, np.float64)), np.sort(np.asarray(b, np.float64))
    i = j = pairs = 0
    while i < len(a) and j < len(b):  # taking the earliest pair is optimal on a line
        if abs(a[i] - b[j]) <= tolerance + 1e-9:
            i, j, pairs = i + 1, j + 1, pairs + 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    return pairs


def f1(a: np.ndarray, b: np.ndarray, tolerance: float) -> float:
    """2 pairs / (len(a) + len(b)), pairs by `match`; 1 when both are empty."""
    total = len(a) + len(b)
    return 2.0 * match(a, b, tolerance) / total if total else 1.0


def shift_null(
    score_fn: Callable[[Any], float], times_or_curve: np.ndarray | Track, span: Span, shifts: int = 40
) -> tuple[float, float]:
    """Mean and standard deviation of a score when the same prediction is rotated in time.

    times_or_curve: times in seconds [n], rotated within span, or a Track whose values are rolled by whole
    cells; score_fn gets the same type. The shifts go evenly from 0.3 s to 0.3 s less than the length
    of the span (a quarter of it where it is shorter than 1.2 s).
    """
    start, length = float(span.start), float(span.duration)
    least = min(0.3, length / 4)
    scores = []
    for shift in np.linspace(least, length - least, shifts):
        if isinstance(times_or_curve, Track):
            rolled = np.roll(times_or_curve.values, round(shift * float(times_or_curve.rate)), axis=0)
            scores.append(score_fn(Track(rolled, times_or_curve.rate, times_or_curve.start)))
        else:
            scores.append(score_fn(np.sort((np.asarray(times_or_curve) - start + shift) % length + start)))
    return float(np.mean(scores)), float(np.std(scores))
