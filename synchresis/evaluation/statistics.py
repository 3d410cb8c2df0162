"""What a mean of so many clips is worth: bootstrap intervals, paired tests, warnings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SEED = 2026
RESAMPLES = 2000
FLIPS = 10_000


@dataclass(frozen=True)
class Mean:
    """Mean of n values and its 95 % percentile bootstrap interval over clips; with one value the interval is None."""

    n: int
    mean: float
    low: float | None
    high: float | None


def bootstrap(values: Sequence[float]) -> Mean:
    """Clips drawn with replacement, 2000 times, from a fixed seed. Raises ValueError for no value."""
    x = np.asarray(values, np.float64)
    if len(x) == 0:
        raise ValueError("no values")
    if len(x) == 1:
        return Mean(1, float(x[0]), None, None)
    rng = np.random.default_rng(SEED)
    means = np.array([x[rng.integers(0, len(x), len(x))].mean() for _ in range(RESAMPLES)])
    low, high = np.percentile(means, [2.5, 97.5])
    return Mean(len(x), float(x.mean()), float(low), float(high))


@dataclass(frozen=True)
class Difference:
    """First minus second system on the n clips that both have: mean, 95 % interval, p of the sign-flip test.

    adjusted: p after Holm's correction for the comparisons that were made together.
    """

    n: int
    mean: float
    low: float | None
    high: float | None
    p: float | None
    adjusted: float | None = None


def paired(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Two-sided permutation test: under the null the sign of each clip's difference is a coin.

    All sign patterns where there are at most 10 000 (13 clips), else 10 000 drawn ones, the observed among them.
    None for p below 5 clips, where no p under 0.05 is possible.
    """
    d = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    middle = bootstrap(d.tolist())
    if len(d) < 5:
        return Difference(len(d), middle.mean, middle.low, middle.high, None)
    if 2 ** len(d) <= FLIPS:
        signs = 1.0 - 2.0 * ((np.arange(2 ** len(d))[:, None] >> np.arange(len(d))) & 1)
    else:
        signs = np.random.default_rng(SEED).choice([-1.0, 1.0], (FLIPS, len(d)))
        signs[0] = 1.0
    at_least = np.abs(signs @ d) >= np.abs(d.sum()) - 1e-12
    return Difference(len(d), middle.mean, middle.low, middle.high, float(at_least.mean()))


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of p values, in their order."""
    order = np.argsort(ps)
    adjusted, highest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = highest
    return adjusted


def small_set(n: int, dimension: int) -> str | None:
    """A warning for a set distance whose bias shows, or None."""
    if n <= dimension:
        return f"{n} clips in {dimension} dimensions: the value is mostly bias; compare only at equal N, or not at all"
    if n < 10 * dimension:
        return f"{n} clips in {dimension} dimensions: biased; compare only at equal N"
    return None
