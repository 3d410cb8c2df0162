"""Loudness against the known values of ITU-R BS.1770 and EBU Tech 3341."""

import numpy as np
import pytest

from synchresis.delivery.loudness import RATE, LoudnessMeter, decibels


def sine(seconds: float, dbfs: float, frequency: float = 1000.0, channels: int = 2) -> np.ndarray:
    wave = 10 ** (dbfs / 20) * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)
    return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


def measured(sound: np.ndarray, block: int = RATE) -> LoudnessMeter:
    meter = LoudnessMeter(sound.shape[1])
    for i in range(0, len(sound), block):
        meter.push(sound[i : i + block])
    return meter


def test_full_scale_sine_of_997_hz_in_one_channel_is_minus_3_01() -> None:
    assert measured(sine(20, 0.0, 997.0, channels=1)).integrated() == pytest.approx(-3.01, abs=0.01)


@pytest.mark.parametrize("level", [-23.0, -33.0])
def test_stereo_sine(level: float) -> None:
    """EBU Tech 3341, cases 1 and 2."""
    assert measured(sine(20, level)).integrated() == pytest.approx(level, abs=0.1)


def test_gates() -> None:
    """EBU Tech 3341, cases 3 and 4: quiet stretches, relative and absolute gate, do not count."""
    relative = [sine(10, -36), sine(60, -23), sine(10, -36)]
    absolute = [sine(10, -72), *relative, sine(10, -72)]
    assert measured(np.concatenate(relative)).integrated() == pytest.approx(-23.0, abs=0.1)
    assert measured(np.concatenate(absolute)).integrated() == pytest.approx(-23.0, abs=0.1)


def test_loudness_falls_for_low_tones_and_rises_for_high_ones() -> None:
    """The curve of the K weighting at two points: -15.4 dB at 20 Hz is far down, +4 dB at 10 kHz."""
    assert measured(sine(5, -23, 20.0)).integrated() < -35.0  # type: ignore[operator]
    assert measured(sine(5, -23, 10000.0)).integrated() == pytest.approx(-19.7, abs=0.2)


def test_block_size_does_not_matter() -> None:
    sound = np.random.default_rng(1).normal(0, 0.1, (3 * RATE + 123, 1)).astype(np.float32)
    whole, pieces = measured(sound, len(sound)), measured(sound, 777)
    assert whole.integrated() == pytest.approx(pieces.integrated(), abs=1e-9)
    assert whole.true_peak == pytest.approx(pieces.true_peak, abs=1e-12)


def test_true_peak_between_samples() -> None:
    """A quarter-rate sine that is sampled beside its peaks: 3 dB more than any sample shows (Tech 3341, case
    16).
    """
    wave = 0.5 * np.sin(np.pi / 2 * np.arange(RATE) + np.pi / 4) * np.hanning(RATE)
    meter = measured(wave[:, None].astype(np.float32))
    assert decibels(float(np.abs(wave).max())) == pytest.approx(-9.03, abs=0.01)
    assert decibels(meter.true_peak) == pytest.approx(-6.02, abs=0.2)


def test_silence_and_too_short_have_no_loudness() -> None:
    assert measured(np.zeros((RATE, 1), np.float32)).integrated() is None
    assert measured(sine(0.3, -10)).integrated() is None
    assert decibels(0.0) is None
