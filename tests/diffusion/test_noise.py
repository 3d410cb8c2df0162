"""Noise addressed by place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from synchresis.diffusion.noise import noise_source, normal

WHOLE = normal(7, 6, 0, 500)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 500), st.integers(0, 500), st.integers(1, 6))
def test_a_slice_equals_the_slice_of_the_whole(a: int, b: int, channels: int) -> None:
    start, stop = sorted((a, b))
    part = normal(7, channels, start, stop)
    assert part.dtype == np.float32
    assert np.array_equal(part, WHOLE[:channels, start:stop])


def test_values_never_change() -> None:
    """Recipes made today must give the same sound tomorrow: these are the values of the first release."""
    expected = [[-1.4888542, 0.56799448], [2.4801273, 1.2574736]]
    np.testing.assert_allclose(normal(3, 2, 10, 12, stream=1), expected, rtol=1e-6)


def test_moments_and_distribution() -> None:
    values = normal(1, 40, 0, 5000).ravel().astype(np.float64)
    n = values.size
    assert abs(values.mean()) < 4 / n**0.5
    assert abs(values.var() - 1) < 4 * (2 / n) ** 0.5
    assert abs((values**4).mean() - 3) < 4 * (96 / n) ** 0.5
    assert stats.kstest(values, "norm").pvalue > 1e-3
    assert 4 < np.abs(values).max() < 7


def test_places_seeds_and_streams_are_unrelated() -> None:
    base = normal(1, 20, 0, 5000)
    others = {
        "next position": normal(1, 20, 1, 5001),
        "next channel": normal(1, 21, 0, 5000)[1:],
        "next seed": normal(2, 20, 0, 5000),
        "seed with a high bit": normal(1 + 2**40, 20, 0, 5000),
        "negative seed": normal(-1, 20, 0, 5000),
        "next stream": normal(1, 20, 0, 5000, stream=1),
        "far stream": normal(1, 20, 0, 5000, stream=1000),
        "seed and stream exchanged": normal(0, 20, 0, 5000, stream=1),
    }
    for name, other in others.items():
        correlation = np.corrcoef(base.ravel(), other.ravel())[0, 1]
        assert abs(correlation) < 4 / base.size**0.5, name
        squares = np.corrcoef(base.ravel() ** 2, other.ravel() ** 2)[0, 1]
        assert abs(squares) < 4 / base.size**0.5, name


def test_source_batches_seeds_and_shifts_places() -> None:
    source = noise_source([5, 9], 3, 20, start=100)
    assert source(0).shape == (2, 3, 20)
    assert np.array_equal(source(4)[1].numpy(), normal(9, 3, 100, 120, stream=4))
    assert noise_source([5], 3, 20, dtype=torch.float64)(0).dtype == torch.float64


@pytest.mark.parametrize(("channels", "start", "stop"), [(0, 0, 5), (2, -1, 5), (2, 5, 4), (2**20, 0, 1)])
def test_refusals(channels: int, start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="no noise"):
        normal(0, channels, start, stop)


def test_nothing_is_asked_for() -> None:
    assert normal(0, 2, 5, 5).shape == (2, 0)
