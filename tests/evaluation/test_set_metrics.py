"""Distances between sets, classifier metrics, embedding scores: invariances and values by hand."""

import numpy as np
import pytest

from synchresis.evaluation import classes, scores, sets
from synchresis.evaluation.statistics import bootstrap, holm, paired, small_set


@pytest.fixture
def rows() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(0, 1, (60, 8)), rng.normal(0.5, 2, (50, 8)) @ rng.normal(0, 1, (8, 8))


def test_frechet_of_points_on_a_line() -> None:
    """Means 1 and 3, variances 2 and 8: 4 + 2 + 8 - 2 * 4 = 6."""
    a, b = np.array([[0.0], [2.0]]), np.array([[1.0], [5.0]])
    assert sets.frechet(a, b) == pytest.approx(6.0, abs=1e-12)


def test_frechet_invariances(rows: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = rows
    distance = sets.frechet(a, b)
    assert sets.frechet(b, a) == pytest.approx(distance, rel=1e-10)
    assert abs(sets.frechet(a, a)) < 1e-6
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(0, 1, (8, 8)))
    assert sets.frechet(a @ turn, b @ turn) == pytest.approx(distance, rel=1e-9)
    assert sets.frechet(3 * a, 3 * b) == pytest.approx(9 * distance, rel=1e-9)
    merged = sets.Moments.of(a[:7]) + sets.Moments.of(a[7:])
    assert sets.frechet(merged, b) == pytest.approx(distance, rel=1e-9)


def test_frechet_with_fewer_rows_than_dimensions() -> None:
    linalg = pytest.importorskip("scipy.linalg")
    rng = np.random.default_rng(2)
    a, b = rng.normal(0, 1, (12, 30)), rng.normal(0, 1, (40, 30))
    c, k = np.cov(a.T), np.cov(b.T)
    root = np.trace(linalg.sqrtm(c @ k).real)
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(c) + np.trace(k) - 2 * root
    assert sets.frechet(a, b) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="two rows"):
        sets.frechet(a[:1], b)


def test_kernel_distances(rows: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = rows
    assert sets.kernel_audio_distance(a, b, 2.0) == pytest.approx(sets.kernel_audio_distance(b, a, 2.0))
    assert sets.median_distance(np.array([[0.0], [1.0], [3.0]])) == 2.0
    x, y = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])
    # kernel (xy + 1)^3: within 1 and 27; between 1, 1, 8, 27, mean 9.25
    assert sets.polynomial_mmd(x, y) == pytest.approx(1 + 27 - 2 * 9.25)
    with pytest.raises(ValueError, match="subsets"):
        sets.kernel_distance(a, b, size=55)


def test_kl_by_hand() -> None:
    p, q = np.log(np.array([[0.5, 0.5]])), np.log(np.array([[0.9, 0.1]]))
    expected = 0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1)
    assert classes.kl_softmax(p, q)[0] == pytest.approx(expected, abs=1e-12)
    assert classes.kl_softmax(q, p)[0] != pytest.approx(expected, abs=1e-3)
    far = np.array([[0.0, 1000.0]]), np.array([[1000.0, 0.0]])
    assert classes.kl_softmax(*far, 1e-6)[0] == pytest.approx(-np.log(1e-6), rel=1e-6)  # the floor bounds it
    assert classes.kl_softmax(*far)[0] == pytest.approx(1000.0)


def test_inception_score_between_one_and_the_number_of_classes() -> None:
    sure = np.eye(4)[np.arange(40) % 4] * 50.0
    assert classes.inception_score(sure, splits=1)[0] == pytest.approx(4.0)
    assert classes.inception_score(np.zeros((40, 4)))[0] == pytest.approx(1.0)
    assert np.isnan(classes.inception_score(sure[:7])[0])


def test_embedding_scores_by_hand() -> None:
    a, b = np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([[4.0, 3.0], [1.0, 0.0]])
    np.testing.assert_allclose(scores.cosines(a, b), [0.96, 0.0])
    logits = np.zeros((2, 21))
    logits[0, 10], logits[1, 3] = 1, 1
    np.testing.assert_allclose(scores.desync(logits), [0.0, 1.4])
    assert scores.desync_windows(24) == [0, 10]
    assert scores.desync_windows(32, sliding=True) == [0, 7, 14, 18]
    with pytest.raises(ValueError, match=r"4\.8 s"):
        scores.desync_windows(13)
    assert scores.pam_chunks(15 * 44_100) == [(0, 308_700), (308_700, 308_700), (352_800, 308_700)]
    clean = scores.pam_scores(np.array([[1.0, 0.0]]), np.eye(2), np.log(2.0))
    np.testing.assert_allclose(clean, np.exp(2) / (np.exp(2) + 1))


def test_intervals_and_paired_tests() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(1, 1, 100)
    mean = bootstrap(x.tolist())
    assert mean.n == 100
    assert mean.low < x.mean() < mean.high
    assert mean.high - mean.low == pytest.approx(2 * 1.96 * x.std() / 10, rel=0.15)
    assert bootstrap([2.0]).low is None
    # five clips, all better: only the two patterns of equal signs reach the sum, 2 / 32
    assert paired([1, 2, 3, 4, 5], [0, 0, 0, 0, 0]).p == pytest.approx(2 / 32)
    assert paired([1, 2, 3], [0, 0, 0]).p is None
    assert paired(x.tolist(), (x + 0.5 + rng.normal(0, 0.5, 100)).tolist()).p < 0.001
    even = [paired(rng.normal(0, 1, 20).tolist(), rng.normal(0, 1, 20).tolist()).p for _ in range(40)]
    assert 0.3 < np.mean(even) < 0.7  # nothing there: p is uniform
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert small_set(6, 208) is not None
    assert small_set(5000, 208) is None
