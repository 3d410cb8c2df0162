"""AV-Align, AA-Align and the onset metrics: values by hand, bounds, nulls."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synchresis.evaluation import alignment

times = st.lists(st.floats(0, 10, allow_nan=False), max_size=40).map(lambda values: np.array(sorted(values)))


@given(times, times, st.sampled_from([0.02, 1 / 30, 0.1, 1 / 6, 2.0]))
def test_one_to_one_is_never_above_one(a: np.ndarray, b: np.ndarray, window: float) -> None:
    score = alignment.align(a, b, window, one_to_one=True)
    if len(a) + len(b) == 0:
        assert score is None
    else:
        assert score is not None
        assert 0 <= score <= 1
        many = alignment.align(a, b, window, one_to_one=False) if score else 0.0
        assert many is not None
        assert many >= score - 1e-12


@given(times.filter(len))
def test_a_list_agrees_with_itself(a: np.ndarray) -> None:
    assert alignment.aa_align(a, a) == 1.0


def test_four_onsets_at_one_event() -> None:
    """Many to one: four hits of 4 + 1 - 4; one to one: one hit of 4 + 1 - 1."""
    heard, seen = np.array([0.96, 0.99, 1.0, 1.03]), np.array([1.0])
    assert alignment.av_align(heard, seen, 24.0, one_to_one=False) == 4.0
    assert alignment.av_align(heard, seen, 24.0) == 0.25


def test_the_edge_of_the_window_does_not_count() -> None:
    assert alignment.aa_align(np.array([1.5]), np.array([1.0]), 0.5) == 0.0
    assert alignment.aa_align(np.array([1.4999]), np.array([1.0]), 0.5) == 1.0


def test_maxima_of_the_flow() -> None:
    curve = np.array([5.0, 0.05, 0.1, 0.02, 0.3, 0.3, 0.1, 0.09, 0.2, 0.0, 9.0])
    assert alignment.flow_peaks(curve, 10.0).tolist() == [0.2, 0.8]  # ends and plateaus never
    assert alignment.flow_peaks(curve, 10.0, above=True).tolist() == [0.8]
    assert alignment.flow_peaks(np.array([0, 0.05, 0, 0.2, 0]), 1.0, floor=None).tolist() == [1.0, 3.0]


def test_shifts_and_null() -> None:
    shifts = alignment.shift_times(4.0)
    assert len(shifts) == 69
    np.testing.assert_allclose(shifts[[0, 1, -1]], [0.3, 0.35, 3.7])
    assert alignment.shift_times(0.8)[0] == pytest.approx(0.2)
    times = np.arange(0.25, 8, 0.5)
    null = alignment.shift_null(lambda t: alignment.aa_align(t, times, 0.05), times, 8.0)
    # regular strikes agree with themselves again at every half second: the null of a metronome is not zero
    assert null.mean is not None
    assert 0.05 < null.mean < 0.35
    assert null.z(1.0) > 1.5


def test_average_precision_is_scikit_learns() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    for n in (1, 3, 20):
        labels = rng.integers(0, 2, n)
        labels[0] = 1
        scores = rng.integers(0, 5, n) / 4  # ties
        expected = metrics.average_precision_score(labels, scores)
        assert alignment.average_precision(labels, scores) == pytest.approx(expected, abs=1e-12)


def test_onset_score_by_hand() -> None:
    """Three references, the second is missed: the kept onsets are (0.9 hit), (0.5 no), (0.4 hit).

    AP over four entries with three positives: 1/3 * 1 + 1/3 * 2/3 + 1/3 * 3/4.
    """
    wave = np.zeros(44_100)
    generated = np.array([5_000, 20_000, 40_000])
    wave[generated] = [0.9, 0.5, 0.4]
    wave[100] = 1.0
    score = alignment.onset_score(wave, generated, np.array([5_500, 12_000, 40_100]))
    assert score.hits == (1, 0, 1)
    assert score.accuracy == pytest.approx(2 / 3)
    assert score.ap == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)


def test_empty_onset_lists() -> None:
    wave, nothing, some = np.zeros(22_050), np.zeros(0, np.int64), np.array([9_000])
    assert (lambda s: (s.accuracy, s.ap))(alignment.onset_score(wave, nothing, nothing)) == (1.0, 1.0)
    assert (lambda s: (s.accuracy, s.ap))(alignment.onset_score(wave, nothing, some)) == (0.0, 1.0)
    assert (lambda s: (s.accuracy, s.ap))(alignment.onset_score(wave, some, nothing)) == (0.0, 0.0)
