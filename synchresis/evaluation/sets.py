"""Distances between two sets of features: Fréchet, kernel distances ("Metrics" 3). All in float64.

Rows are items. The kits differ in precision and bandwidth, not in formula; where they differ it is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Moments:
    """Count, mean [D] and scatter [D, D] (sum of centred outer products) of rows. Sums of two are those of all rows."""

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray) -> Moments:
        """Of features [N, D]."""
        rows = np.asarray(rows, np.float64)
        mean = rows.mean(axis=0)
        centred = rows - mean
        return cls(len(rows), mean, centred.T @ centred)

    def __add__(self, other: Moments) -> Moments:
        count = self.count + other.count
        apart = other.mean - self.mean
        scatter = self.scatter + other.scatter + np.outer(apart, apart) * (self.count * other.count / count)
        return Moments(count, self.mean + apart * (other.count / count), scatter)

    @property
    def covariance(self) -> np.ndarray:
        """[D, D], divisor N - 1."""
        return self.scatter / (self.count - 1)


def frechet(generated: np.ndarray | Moments, reference: np.ndarray | Moments) -> float:
    """|m - M|² + tr C + tr K - 2 tr (C K)^(1/2), covariances with N - 1. Rows [N, D] or their moments.

    The last trace is the sum of singular values of A'B for any A A' = C, B B' = K: exact where the product of the
    covariances is singular too. Raises ValueError for a set of fewer than two rows.
    """
    (m, a), (n, b) = _factor(generated), _factor(reference)
    shared = np.linalg.svd(a.T @ b, compute_uv=False).sum()
    return float(np.sum((m - n) ** 2) + np.sum(a**2) + np.sum(b**2) - 2.0 * shared)


def _factor(given: np.ndarray | Moments) -> tuple[np.ndarray, np.ndarray]:
    """Mean [D] and a factor [D, r] of the covariance."""
    count = given.count if isinstance(given, Moments) else len(given)
    if count < 2:
        raise ValueError(f"a Fréchet distance needs two rows at least, not {count}")
    if not isinstance(given, Moments):
        if len(given) <= given.shape[1]:
            rows = np.asarray(given, np.float64)
            mean = rows.mean(axis=0)
            return mean, (rows - mean).T / np.sqrt(count - 1)
        given = Moments.of(given)
    values, vectors = np.linalg.eigh(given.covariance)
    return given.mean, vectors * np.sqrt(np.maximum(values, 0.0))


def frechet_at_infinity(
    generated: np.ndarray, reference: np.ndarray, subsets: Iterable[np.ndarray]
) -> tuple[float, float, float]:
    """fadtk's FAD-infinity: distances of subsets (row indices of the generated set) fitted by a line in 1 / size.

    Returns its value at 1 / size = 0, its slope and R².
    """
    whole = Moments.of(reference) if len(reference) > reference.shape[1] else reference
    points = [(len(rows), frechet(generated[rows], whole)) for rows in subsets]
    x = np.array([1.0 / size for size, _ in points])
    y = np.array([distance for _, distance in points])
    slope, intercept = np.polyfit(x, y, 1)
    left = np.sum((y - slope * x - intercept) ** 2)
    return float(intercept), float(slope), float(1.0 - left / np.sum((y - y.mean()) ** 2))


# ------------------------------------------------------------------------------------ kernels


def kernel_distance(
    generated: np.ndarray, reference: np.ndarray, subsets: int = 100, size: int = 1000, seed: int = 2020
) -> tuple[float, float]:
    """KID: mean and population deviation of the unbiased MMD of `subsets` pairs of `size` rows, drawn without
    replacement, the generated first. Kernel (x·y / D + 1)³. Raises ValueError for a size above either count."""
    if size > min(len(generated), len(reference)):
        raise ValueError(f"subsets of {size} rows need as many in both sets")
    random = np.random.RandomState(seed)
    values = []
    for _ in range(subsets):
        x = generated[random.choice(len(generated), size, replace=False)]
        y = reference[random.choice(len(reference), size, replace=False)]
        values.append(polynomial_mmd(x, y))
    return float(np.mean(values)), float(np.std(values))


def polynomial_mmd(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased MMD² with the kernel (x·y / D + 1)³."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return _unbiased(x, y, lambda a, b: (a @ b.T / x.shape[1] + 1) ** 3)


def kernel_audio_distance(
    generated: np.ndarray, reference: np.ndarray, bandwidth: float | None = None, kernel: str = "gaussian"
) -> float:
    """KAD: 100 x the unbiased MMD² with gamma = 1 / (2 bandwidth² + 1e-8).

    bandwidth: by default the median distance of pairs of the REFERENCE set; kadtk's command line takes that of the
    evaluated set. kernel: "gaussian" exp(-gamma d²), "iq" 1 / (1 + gamma d²), "imq" its root.
    """
    x, y = np.asarray(generated, np.float64), np.asarray(reference, np.float64)
    bandwidth = median_distance(y) if bandwidth is None else bandwidth
    gamma = 1.0 / (2.0 * bandwidth**2 + 1e-8)
    curves = {
        "gaussian": lambda d: np.exp(-gamma * d),
        "iq": lambda d: 1.0 / (1.0 + gamma * d),
        "imq": lambda d: 1.0 / np.sqrt(1.0 + gamma * d),
    }
    curve = curves[kernel]
    middle = y.mean(axis=0)  # the origin: a large offset costs no digits
    return 100.0 * _unbiased(x - middle, y - middle, lambda a, b: curve(_squares(a, b)))


def median_distance(rows: np.ndarray) -> float:
    """The lower median of the distances of all pairs of rows, block by block: first in which of 4096 bins it lies,
    then which it is."""
    rows = np.asarray(rows, np.float64)
    rows = rows - rows.mean(axis=0)
    wanted = (len(rows) * (len(rows) - 1) // 2 - 1) // 2
    edges = np.linspace(0.0, 4.0 * float(np.max(np.sum(rows**2, axis=1))) + 1e-12, 4097)
    counts = sum(np.histogram(part, edges)[0] for part in _pairs(rows))
    below = np.concatenate([[0], np.cumsum(counts)])
    k = int(np.searchsorted(below, wanted, side="right")) - 1
    inside = np.sort(np.concatenate([p[(p >= edges[k]) & (p <= edges[k + 1])] for p in _pairs(rows)]))
    less = sum(int((part < edges[k]).sum()) for part in _pairs(rows))
    return float(np.sqrt(inside[wanted - less]))


BLOCK = 512  # rows whose products are in memory together


def _pairs(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Squared distances of all pairs, each once."""
    for start in range(0, len(rows), BLOCK):
        part = rows[start : start + BLOCK]
        squares = _squares(part, rows[start:])
        yield squares[np.arange(len(part))[:, None] < np.arange(squares.shape[1])]


def _squares(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared distances [n, m]."""
    return np.maximum(np.sum(x**2, 1)[:, None] + np.sum(y**2, 1) - 2.0 * (x @ y.T), 0.0)


def _unbiased(x: np.ndarray, y: np.ndarray, kernel: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> float:
    """Mean of the kernel within each set, without the diagonal, less twice that between them."""
    n, m = len(x), len(y)
    total = {"x": 0.0, "y": 0.0, "between": 0.0}
    for rows, own in ((x, "x"), (y, "y")):
        for start in range(0, len(rows), BLOCK):
            part = rows[start : start + BLOCK]
            values = kernel(part, rows)
            total[own] += float(values.sum() - np.trace(values[:, start : start + len(part)]))
            if own == "x":
                total["between"] += float(kernel(part, y).sum())
    return total["x"] / (n * (n - 1)) + total["y"] / (m * (m - 1)) - 2.0 * total["between"] / (n * m)
