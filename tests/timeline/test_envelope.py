from fractions import Fraction

import numpy as np
import pytest

from synchresis.timeline.envelope import (
    cell_count,
    cell_edges,
    correlation,
    envelope_context,
    impose_envelope,
    rms_envelope,
)
from synchresis.timeline.track import Track

RATE = 32000


def noise(seconds: float, rate: int = RATE, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate))).astype(np.float32)


def decibels(a: np.ndarray, b: np.ndarray, floor: float = 1e-4) -> float:
    """Mean distance of two envelopes in dB where the second is over the floor."""
    loud = b > floor
    return float(np.abs(20 * np.log10(np.maximum(a[loud], floor) / b[loud])).mean())


@pytest.mark.parametrize(("rate", "cells"), [(22050, 100), (44100, 100), (8000, 48), (100, 100)])
def test_every_sample_lies_in_the_cell_of_its_centre(rate: int, cells: int) -> None:
    for samples in (0, 1, 219, 220, 221, 1000):
        edges = cell_edges(samples, Fraction(rate), Fraction(cells))
        assert edges[0] == 0 or samples == 0
        assert edges[-1] == samples
        assert len(edges) == cell_count(samples, Fraction(rate), Fraction(cells)) + 1
        owner = [Fraction(2 * k + 1, 2 * rate) * cells // 1 for k in range(samples)]
        assert owner == list(np.repeat(np.arange(len(edges) - 1), np.diff(edges)))


def test_cells_shorter_than_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter than samples"):
        rms_envelope(Track(np.zeros(10, np.float32), 50))


def test_measuring() -> None:
    sound = np.repeat(np.array([0.5, -0.25, 0.0, 1.0], np.float32), 320)[:-160]
    envelope = rms_envelope(Track(sound, RATE, Fraction(1, 3)))
    np.testing.assert_allclose(envelope.values, [0.5, 0.25, 0, 1])
    assert (envelope.rate, envelope.start) == (100, Fraction(1, 3))
    stereo = rms_envelope(Track(np.stack([sound, 0 * sound], axis=1), RATE))
    np.testing.assert_allclose(stereo.values, np.array([0.5, 0.25, 0, 1]) / np.sqrt(2), rtol=1e-6)
    assert len(rms_envelope(Track(np.zeros(0, np.float32), RATE)).values) == 0


@pytest.mark.parametrize("rate", [22050, 32000, 48000])
def test_noise_takes_any_envelope(rate: int) -> None:
    rng = np.random.default_rng(5)
    slow = np.exp(np.convolve(rng.standard_normal(330), np.ones(30) / 6, "valid")) * 0.03
    jumps = np.where(np.arange(len(slow)) % 41 < 15, slow, slow / 8).astype(np.float32)
    sound = Track(noise(len(slow) / 100, rate), rate)
    result = rms_envelope(impose_envelope(sound, Track(jumps, 100))).values
    assert decibels(result, jumps) < 0.8
    assert np.abs(result - jumps).mean() < 0.08 * jumps.mean()
    assert correlation(result, jumps) > 0.99


def test_a_recording_takes_the_envelope_of_another() -> None:
    """Decaying bursts made to follow bursts at other instants: bounded, but close."""
    times = np.arange(3 * RATE) / RATE
    own = noise(3) * np.exp(-((times * 3) % 1) * 2).astype(np.float32)
    told = 0.1 * np.exp(-(((np.arange(300) + 0.5) / 100 * 2.3) % 1) * 2)
    before = rms_envelope(Track(own, RATE)).values
    after = rms_envelope(impose_envelope(Track(own, RATE), Track(told, 100))).values
    assert correlation(before, told) < 0.3
    assert correlation(after, told) > 0.98
    assert decibels(after, told) < 0.5


def test_an_attack_is_not_smeared() -> None:
    told = np.zeros(200)
    told[100:] = 0.3
    result = rms_envelope(impose_envelope(Track(noise(2), RATE), Track(told, 100))).values
    assert result[:99].max() < 1e-6
    assert result[99] < 0.15 * 0.3  # -16 dB just before
    assert np.abs(result[100:103] / 0.3 - 1).max() < 0.15
    # Inside the cell before, it is only the last millisecond that sounds.
    fine = rms_envelope(impose_envelope(Track(noise(2), RATE), Track(told, 100)), 1000).values
    assert fine[990:999].max() < 1e-6
    assert fine[1002] > 0.15


def test_silence_stays_silence() -> None:
    told = Track(np.full(100, 0.5), 100)
    assert not impose_envelope(Track(np.zeros(RATE, np.float32), RATE), told).values.any()
    hum = Track(noise(1) * np.float32(1e-4), RATE)  # -100 dBFS
    assert np.abs(impose_envelope(hum, told).values).max() <= np.abs(hum.values).max()
    assert not impose_envelope(Track(noise(1), RATE), Track(np.zeros(100), 100)).values.any()


def test_the_lift_is_bounded() -> None:
    quiet = Track(noise(1) * np.float32(0.01), RATE)
    result = impose_envelope(quiet, Track(np.full(100, 0.5), 100), max_db=20)
    np.testing.assert_allclose(result.values, quiet.values * 10, rtol=1e-4)


def test_a_sound_that_fits_is_left_alone() -> None:
    sound = Track(noise(1.003), RATE)
    result = impose_envelope(sound, rms_envelope(sound))
    np.testing.assert_allclose(result.values, sound.values, rtol=1e-3, atol=1e-6)
    assert result.values.dtype == np.float32


def test_a_low_tone_keeps_its_shape() -> None:
    tone = 0.1 * np.sin(2 * np.pi * 50 * np.arange(2 * RATE) / RATE)
    result = impose_envelope(Track(tone, RATE), Track(np.full(200, 0.2), 100)).values[RATE // 2 : -RATE // 2]
    spectrum = np.abs(np.fft.rfft(result * np.hanning(len(result))))
    harmonics = spectrum[60:].max() / spectrum[50]  # one bin is 1 Hz
    assert harmonics < 10 ** (-30 / 20)


@pytest.mark.parametrize("passes", [1, 2, 3])
def test_blocks_with_context_give_what_the_whole_gives(passes: int) -> None:
    rng = np.random.default_rng(2)
    sound = noise(3) * (np.arange(3 * RATE) % 9000 < 2500)
    told = rng.uniform(0, 0.3, 300) * (rng.uniform(size=300) > 0.3)
    whole = impose_envelope(Track(sound, RATE), Track(told, 100), passes=passes).values
    context = envelope_context(passes=passes)
    assert context == Fraction(2 * passes, 100)
    for first, last in [(Fraction(0), Fraction(1)), (Fraction(1), Fraction(2)), (Fraction(2), Fraction(3))]:
        start, stop = max(Fraction(0), first - context), min(Fraction(3), last + context)
        block = Track(sound[int(start * RATE) : int(stop * RATE)], RATE, start)
        imposed = impose_envelope(block, Track(told, 100), passes=passes).values
        inner = imposed[int((first - start) * RATE) : int((last - start) * RATE)]
        np.testing.assert_allclose(inner, whole[int(first * RATE) : int(last * RATE)], atol=1e-6)


def test_stereo_keeps_its_balance_and_told_may_have_another_rate() -> None:
    sound = np.stack([noise(1), noise(1, seed=1) / 4], axis=1)
    told = Track(np.full(50, 0.2), 50)
    result = impose_envelope(Track(sound, 48000 * 2 // 3), told)
    assert rms_envelope(result, 50).values == pytest.approx(0.2, rel=0.1)
    left, right = result.values.T
    np.testing.assert_allclose(right * sound[:, 0], left * sound[:, 1], atol=1e-6)


def test_no_cells_no_change() -> None:
    empty = Track(np.zeros(0, np.float32), RATE)
    assert len(impose_envelope(empty, Track(np.zeros(3), 100)).values) == 0


def test_correlation() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(100), rng.standard_normal(100)
    assert correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert correlation(a, np.ones(100)) == 0.0
