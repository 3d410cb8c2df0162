"""The detector that the published metrics name is librosa's: ours gives the same frames."""

import numpy as np
import pytest

from synchresis.evaluation import onsets


def strikes(seed: int, seconds: float, count: int, noise: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    wave = rng.normal(0, noise, round(seconds * onsets.RATE))
    for start in rng.integers(0, len(wave) - 4000, count):
        length = int(rng.integers(1000, 4000))
        wave[start : start + length] += rng.normal(0, rng.uniform(0.1, 1), length) * np.exp(-np.arange(length) / 600)
    return (wave / max(1.0, np.abs(wave).max())).astype(np.float32)


@pytest.mark.parametrize(("seed", "seconds", "noise"), [(0, 4.0, 0.01), (1, 10.0, 0.1), (2, 1.3, 0.0), (3, 2.0, 0.3)])
@pytest.mark.parametrize("delta", [0.07, 0.3])
def test_same_frames_as_librosa(seed: int, seconds: float, noise: float, delta: float) -> None:
    librosa = pytest.importorskip("librosa")
    wave = strikes(seed, seconds, 6, noise)
    strength = librosa.onset.onset_strength(y=wave, sr=onsets.RATE)
    np.testing.assert_allclose(onsets.onset_strength(wave), strength, atol=2e-3)
    expected = librosa.onset.onset_detect(y=wave, sr=onsets.RATE, delta=delta)
    assert onsets.pick_frames(onsets.onset_strength(wave), delta).tolist() == expected.tolist()


def test_picking_alone_is_exactly_librosas() -> None:
    librosa = pytest.importorskip("librosa")
    rng = np.random.default_rng(5)
    for length in (1, 2, 7, 400):
        for levels in (3, 1000):  # few levels: many equal values
            curve = rng.integers(0, levels, length).astype(np.float32)
            expected = librosa.onset.onset_detect(onset_envelope=curve, sr=onsets.RATE)
            assert onsets.pick_frames(curve).tolist() == expected.tolist()


def test_three_clicks_by_hand() -> None:
    """A click in frame k lifts the difference of frames k - 1 and k - 2 already, whose windows reach it; two frames
    of delay follow. So an onset lies at most one frame (23 ms) after the click, and never more than three before."""
    wave = np.zeros(3 * onsets.RATE, np.float32)
    clicks = np.array([0.5, 1.2, 2.1])
    wave[(clicks * onsets.RATE).astype(int)] = 0.9
    times = onsets.onset_times(wave)
    assert len(times) == 3
    assert np.all(np.abs(times - clicks) <= 3 * 512 / 22_050)


def test_silence_and_nothing_have_no_onsets() -> None:
    assert len(onsets.onset_times(np.zeros(22_050, np.float32))) == 0
    assert len(onsets.onset_times(np.zeros(0, np.float32))) == 0


def test_resampling_is_as_long_as_librosas_and_rounds_to_16_bits() -> None:
    rng = np.random.default_rng(0)
    sound = rng.uniform(-1, 1, (44_101, 2)).astype(np.float32)
    assert len(onsets.resampled([sound], 44_100)) == 22_051
    mono = onsets.resampled([sound], 22_050)
    steps = mono * 65_536  # the mean of two 16-bit values
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-2)


def test_a_sound_in_blocks_is_the_same_sound() -> None:
    sound = np.random.default_rng(1).uniform(-1, 1, (100_003, 2)).astype(np.float32)
    whole = onsets.resampled([sound], 48_000)
    np.testing.assert_array_equal(onsets.resampled(np.array_split(sound, 13), 48_000), whole)
    assert len(onsets.resampled([], 48_000)) == 0


def test_a_long_curve_in_pieces_is_that_of_its_parts() -> None:
    wave = np.random.default_rng(2).normal(0, 0.1, 1500 * onsets.HOP).astype(np.float32)
    curve = onsets.onset_strength(wave)  # longer than one piece
    tail = onsets.onset_strength(wave[900 * onsets.HOP :])
    np.testing.assert_allclose(curve[1000:1499], tail[100:599], atol=1e-4)
