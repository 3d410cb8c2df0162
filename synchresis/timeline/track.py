"""Sampled signals on the timeline: features, envelopes, waveforms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from .time import Number, Span, as_fraction, sample_count

Kind = Literal["linear", "nearest", "mean"]


@dataclass(frozen=True, eq=False)
class Track:
    """Values [T, ...] at `rate` Hz, beginning at `start` seconds.

    Value i stands for the cell [start + i/rate, start + (i+1)/rate); where one instant is needed, it is the
    centre of that cell. Rate and start are kept as exact fractions.
    """

    values: np.ndarray
    rate: Fraction
    start: Fraction = Fraction(0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", np.asarray(self.values))
        object.__setattr__(self, "rate", as_fraction(self.rate))
        object.__setattr__(self, "start", as_fraction(self.start))
        if self.values.ndim == 0:
            raise ValueError("a track needs values along time, not a single number")
        if self.rate <= 0:
            raise ValueError(f"a track needs a rate above zero, not {self.rate} Hz")

    def __len__(self) -> int:
        return len(self.values)

    @property
    def duration(self) -> Fraction:
        return len(self.values) / self.rate

    @property
    def span(self) -> Span:
        return Span(self.start, self.start + self.duration)

    def times(self) -> np.ndarray:
        """The centres of the cells, float64 [T], in seconds."""
        return (np.arange(len(self.values)) + 0.5) / float(self.rate) + float(self.start)

    def slice(self, span: Span) -> Track:
        """The cells whose centre lies in `span`; neighbouring spans share no cell and leave none out."""
        first, stop = (
            min(max(math.ceil((edge - self.start) * self.rate - Fraction(1, 2)), 0), len(self.values))
            for edge in (span.start, span.end)
        )
        return Track(self.values[first:stop], self.rate, self.start + first / self.rate)

    def at(self, times: np.ndarray | Sequence[float] | float) -> np.ndarray:
        """Values at `times` (s), float64 [n, ...]: linear between cell centres, held beyond the ends."""
        self._need_values()
        where = (np.atleast_1d(np.asarray(times, np.float64)) - float(self.start)) * float(self.rate) - 0.5
        where = np.clip(where, 0, len(self.values) - 1)
        left = np.minimum(where.astype(np.int64), max(len(self.values) - 2, 0))
        right = np.minimum(left + 1, len(self.values) - 1)
        share = (where - left).reshape(-1, *[1] * (self.values.ndim - 1))
        return self.values[left] * (1 - share) + self.values[right] * share

    def resample(self, rate: Number, span: Span | None = None, kind: Kind = "linear") -> Track:
        """The track at another rate over `span` (its own by default): for features, not for sound.

        "linear" reads between the cell centres; "nearest" takes the cell that holds the new centre; "mean"
        averages what each new cell covers, so that its integral is kept. Beyond the ends the last value is
        held. The result starts at span.start and has sample_count(span.duration, rate) cells.
        """
        self._need_values()
        rate = as_fraction(rate)
        span = self.span if span is None else span
        count = sample_count(span.duration, rate)
        offset = span.start - self.start
        if kind == "linear":
            centres = (np.arange(count) + 0.5) / float(rate) + float(span.start)
            values = self.at(centres)
        elif kind == "nearest":
            values = self.values[np.clip(_cells(count, offset, rate, self.rate), 0, len(self.values) - 1)]
        elif kind == "mean":
            values = self._means(np.arange(count + 1) * float(self.rate / rate) + float(offset * self.rate))
        else:
            raise ValueError(f"unknown kind of resampling {kind!r}: linear, nearest or mean")
        if np.issubdtype(self.values.dtype, np.floating):
            values = values.astype(self.values.dtype)
        return Track(values, rate, span.start)

    def _means(self, edges: np.ndarray) -> np.ndarray:
        """Averages between neighbouring `edges`, which are given in cells of this track."""
        total = np.cumsum(self.values, axis=0, dtype=np.float64)
        total = np.concatenate([np.zeros_like(total[:1]), total])
        shape = (-1, *[1] * (self.values.ndim - 1))
        inside = np.clip(edges, 0, len(self.values))
        cell = np.minimum(inside.astype(np.int64), len(self.values) - 1)
        # The integral up to an edge: whole cells, the part of the cell it falls in, and the held ends.
        integral = total[cell] + (inside - cell).reshape(shape) * self.values[cell]
        integral = integral + np.minimum(edges, 0).reshape(shape) * self.values[0]
        integral = integral + np.maximum(edges - len(self.values), 0).reshape(shape) * self.values[-1]
        return np.diff(integral, axis=0) / np.diff(edges).reshape(shape)

    def _need_values(self) -> None:
        if not len(self.values):
            raise ValueError("an empty track has no value to read")


def _cells(count: int, offset: Fraction, rate: Fraction, source_rate: Fraction) -> np.ndarray:
    """Index of the source cell that holds each new cell's centre; exact where centres fall on cell edges."""
    step, first = source_rate / rate, offset * source_rate + source_rate / rate / 2
    bottom = math.lcm(step.denominator, first.denominator)
    if max(abs(step * bottom), abs(first * bottom)) * max(count, 1) < 2**62:
        return (np.arange(count) * int(step * bottom) + int(first * bottom)) // bottom
    return np.array([math.floor(first + i * step) for i in range(count)], np.int64)


def resample_sound(sound: Track, rate: Number) -> Track:
    """A waveform [T] or [T, C] at another rate (soxr, very high quality), same start.

    Has sample_count(duration, rate) samples; float32, or float64 if it came so.
    """
    import soxr

    rate = as_fraction(rate)
    if rate == sound.rate:
        return sound
    values = sound.values if sound.values.dtype == np.float64 else sound.values.astype(np.float32)
    count = sample_count(sound.duration, rate)
    if len(values):
        values = soxr.resample(values, float(sound.rate), float(rate), quality="VHQ")
    missing = max(count - len(values), 0)
    values = np.concatenate([values[:count], np.zeros((missing, *values.shape[1:]), values.dtype)])
    return Track(values, rate, sound.start)


def concat(tracks: Sequence[Track]) -> Track:
    """The tracks as one. Each must begin where the one before it ends, within half a cell: ValueError."""
    if not tracks:
        raise ValueError("nothing to join")
    first, end = tracks[0], tracks[0].start
    for track in tracks:
        if track.rate != first.rate:
            raise ValueError(f"cannot join tracks at {first.rate} Hz and {track.rate} Hz")
        if abs(track.start - end) > 1 / (2 * first.rate):
            raise ValueError(f"a track starts at {float(track.start)} s where {float(end)} s was expected")
        end += track.duration
    return Track(np.concatenate([track.values for track in tracks]), first.rate, first.start)
