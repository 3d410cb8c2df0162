"""Exact time: seconds as fractions, and the one rule by which seconds become samples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction

Number = int | float | str | Fraction


def as_fraction(x: Number) -> Fraction:
    """The number that a person meant by `x`: 0.1 is 1/10, "30000/1001" and Fraction are themselves.

    A float is read as its shortest decimal and brought to a denominator of at most 10**9, so that
    1/3 written as a float is 1/3 again. Raises ValueError for what is no finite number.
    """
    if isinstance(x, Fraction):
        return x
    if isinstance(x, str):
        try:
            return Fraction(x)
        except (ValueError, ZeroDivisionError) as error:
            raise ValueError(f"{x!r} is not a number") from error
    # Floats of numpy are taken as well; their repr differs between numpy versions, so they go through float.
    if isinstance(x, int):
        return Fraction(x)
    try:
        return Fraction(int(x)) if float(x).is_integer() else _from_float(float(x))
    except (InvalidOperation, OverflowError, ValueError) as error:
        raise ValueError(f"{x!r} is not a finite number") from error


def _from_float(x: float) -> Fraction:
    return Fraction(Decimal(repr(x))).limit_denominator(10**9)


def sample_count(duration: Number, rate: Number) -> int:
    """How many samples at `rate` (Hz) make `duration` (s): the nearest whole number, halves going up."""
    return math.floor(as_fraction(duration) * as_fraction(rate) + Fraction(1, 2))


@dataclass(frozen=True)
class Span:
    """The half-open interval [start, end) of the timeline, in seconds. Raises ValueError if end < start."""

    start: Fraction
    end: Fraction

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", as_fraction(self.start))
        object.__setattr__(self, "end", as_fraction(self.end))
        if self.end < self.start:
            raise ValueError(f"a span cannot end at {float(self.end)} s, before its start {float(self.start)} s")

    @property
    def duration(self) -> Fraction:
        return self.end - self.start

    def shift(self, dt: Number) -> Span:
        """The same span, `dt` seconds later."""
        return Span(self.start + as_fraction(dt), self.end + as_fraction(dt))

    def intersect(self, other: Span) -> Span | None:
        """What both spans cover, or None where that is nothing."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        return Span(start, end) if start < end else None

    def contains(self, t: Number) -> bool:
        return self.start <= as_fraction(t) < self.end
