import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from synchresis.timeline.onsets import (
    OnsetDetector,
    Onsets,
    detect_onsets,
    f1,
    match,
    pick_peaks,
    shift_null,
)
from synchresis.timeline.time import Span
from synchresis.timeline.track import Track

SHARED = Path(os.environ.get("SYNCHRESIS_SHARED", Path(__file__).parents[2] / ".." / "shared"))
STRIKES = np.array([0.5, 0.93, 1.4, 1.517, 2.2113, 3.0])


def struck(rate: int, seed: int = 0, level: float = 1.0) -> np.ndarray:
    """Noise bursts with 40 ms of decay at STRIKES over a bed of noise 50 dB below them, 3.6 s."""
    rng = np.random.default_rng(seed)
    sound = 3e-3 * rng.standard_normal(round(3.6 * rate))
    decay = np.exp(-np.arange(rate // 2) / (0.04 * rate))
    for time, height in zip(STRIKES, [1.0, 0.3, 0.6, 0.9, 0.15, 0.5], strict=True):
        first = round(time * rate)
        sound[first : first + rate // 2] += height * decay * rng.standard_normal(rate // 2)
    return (level * sound).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 22050, 32000, 44100, 48000])
def test_strikes_are_found_to_a_few_milliseconds(rate: int) -> None:
    found = detect_onsets(Track(struck(rate), rate))
    assert len(found) == len(STRIKES)
    assert np.abs(found.times - STRIKES).max() < 0.006
    assert found.strengths.max() <= 1
    assert found.strengths.argmin() == 4


def test_level_and_channels_do_not_matter_and_start_is_added() -> None:
    sound = struck(32000)
    plain = detect_onsets(Track(sound, 32000))
    quiet = detect_onsets(Track(np.stack([sound, sound], axis=1) * np.float32(1 / 64), 32000, Fraction(3, 2)))
    np.testing.assert_allclose(quiet.times, plain.times + 1.5, atol=1e-9)
    np.testing.assert_allclose(quiet.strengths, plain.strengths, rtol=1e-4)


@pytest.mark.parametrize(("rate", "block"), [(44100, 777), (48000, 48000), (22050, 31)])
def test_blocks_do_not_matter(rate: int, block: int) -> None:
    sound = struck(rate)
    whole = detect_onsets(Track(sound, rate))
    detector = OnsetDetector(rate)
    for i in range(0, len(sound), block):
        detector.push(sound[i : i + block])
    parts = detector.finish()
    np.testing.assert_array_equal(parts.times, whole.times)
    np.testing.assert_allclose(parts.strengths, whole.strengths, rtol=1e-6)


@pytest.mark.parametrize("samples", [0, 1, 100, 32000])
def test_silence_has_no_onsets(samples: int) -> None:
    assert len(detect_onsets(Track(np.zeros(samples, np.float32), 32000))) == 0


def test_steady_noise_and_tones_have_almost_none() -> None:
    noise = np.random.default_rng(1).standard_normal(32000 * 10).astype(np.float32)
    assert len(detect_onsets(Track(noise, 32000))) == 0
    tone = np.sin(np.arange(32000 * 4) * 0.1).astype(np.float32)
    assert len(detect_onsets(Track(tone, 32000))) == 0


def test_one_click_is_one_onset() -> None:
    sound = np.zeros(48000, np.float32)
    sound[round(0.4 * 48000)] = 0.5
    found = detect_onsets(Track(sound, 48000))
    assert len(found) == 1
    assert found.times[0] == pytest.approx(0.4, abs=0.003)
    assert found.strengths[0] == pytest.approx(1.0)


def test_the_four_blows_of_a_hammer() -> None:
    path = SHARED / "media" / "clips" / "short_4s.mp4"
    if not path.exists():
        pytest.skip("the shared media are not here")
    import av

    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        sound = np.concatenate([frame.to_ndarray() for frame in container.decode(stream)], axis=1).T
        found = detect_onsets(Track(sound, stream.rate))
    blows = np.array([0.55, 1.02, 2.28, 3.25])
    assert match(found.times, blows, 0.03) == 4
    assert set(np.round(found.times[np.argsort(-found.strengths)[:4]] * 2)) == {1, 2, 5, 6}  # the strongest
    assert len(found) <= 7


def test_onsets_are_sorted_shifted_and_cut() -> None:
    onsets = Onsets(np.array([2.0, 1.0, 3.0]), np.array([0.2, 0.1, 0.3]))
    assert onsets.times.tolist() == [1, 2, 3]
    assert onsets.strengths.tolist() == [0.1, 0.2, 0.3]
    assert onsets.shift(0.5).times.tolist() == [1.5, 2.5, 3.5]
    assert onsets.within(Span(Fraction(2), Fraction(3))).times.tolist() == [2.0]
    assert len(onsets) == 3
    with pytest.raises(ValueError, match="3 times but 1 strengths"):
        Onsets(np.zeros(3), np.zeros(1))


def test_peaks_of_a_curve() -> None:
    times = (np.arange(100) + 0.5) / 50
    bumps = [(0.5, 0.9), (0.95, 0.5), (1.507, 0.7)]
    curve = sum(height * np.exp(-0.5 * ((times - at) / 0.025) ** 2) for at, height in bumps)
    track = Track(curve, 50, Fraction(2))
    np.testing.assert_allclose(pick_peaks(track, threshold=0.1).times, [2.5, 2.95, 3.507], atol=0.003)
    two = pick_peaks(track, count=2)
    np.testing.assert_allclose(two.times, [2.5, 3.507], atol=0.003)
    np.testing.assert_allclose(two.strengths, [0.9, 0.7], atol=0.08)
    assert len(pick_peaks(track, threshold=0.6)) == 2
    assert len(pick_peaks(track, threshold=0.1, min_gap=0.5)) == 2  # 0.95 is too near to 0.5
    assert len(pick_peaks(Track(np.zeros(0), 50))) == 0
    assert len(pick_peaks(Track(np.full(10, 0.3), 50))) == 1  # a plateau is one peak


def test_matching_is_one_to_one_and_greatest() -> None:
    assert match(np.array([1.0, 1.05]), np.array([1.02]), 0.06) == 1
    # Taking the nearest pair first (1.05 with 1.06) would leave two out.
    assert match(np.array([1.0, 1.05]), np.array([1.06, 1.1]), 0.06) == 2
    assert match(np.array([]), np.array([1.0]), 0.1) == 0
    assert match(np.array([1.0]), np.array([1.06]), 0.06) == 1


@pytest.mark.parametrize("seed", range(30))
def test_matching_against_exhaustive_search(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(0, 1, rng.integers(0, 6)), rng.uniform(0, 1, rng.integers(0, 6))

    def best(i: int, free: frozenset[int]) -> int:
        if i == len(a):
            return 0
        near = (1 + best(i + 1, free - {j}) for j in free if abs(a[i] - b[j]) <= 0.1)
        return max([best(i + 1, free), *near])

    assert match(a, b, 0.1) == best(0, frozenset(range(len(b))))


def test_f1() -> None:
    assert f1(np.array([1.0, 2.0]), np.array([1.01]), 0.05) == pytest.approx(2 / 3)
    assert f1(np.array([]), np.array([]), 0.05) == 1.0
    assert f1(np.array([1.0]), np.array([]), 0.05) == 0.0


def test_shift_null_is_chance() -> None:
    rng = np.random.default_rng(3)
    truth = np.sort(rng.uniform(0, 30, 40))
    span = Span(Fraction(0), Fraction(30))
    mean, std = shift_null(lambda t: f1(t, truth, 0.06), truth, span)
    assert 0.05 < mean < 0.3
    assert 0 < std < 0.1
    curve = Track(np.exp(-0.5 * ((np.arange(1500)[:, None] / 50 - truth) / 0.025) ** 2).sum(1), 50)
    mean, std = shift_null(lambda c: np.corrcoef(c.values, curve.values)[0, 1], curve, span)
    assert abs(mean) < 0.1
    assert 0 < std < 0.2
