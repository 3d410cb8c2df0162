"""Waves, envelopes, levels, pictures: values by hand and against libraries that are there for development."""

import numpy as np
import pytest

from synchresis.encoders.resampling import sinc_resampled
from synchresis.evaluation import envelopes, pictures, waveforms
from synchresis.evaluation.flow import curve_of


@pytest.fixture
def wave() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, (2, 22_050))


def test_si_sdr_by_hand(wave: np.ndarray) -> None:
    reference = np.array([[1.0, 0.0, 0.0, 0.0]])
    estimate = np.array([[3.0, 0.3, 0.0, 0.0]])  # scaled by 3, noise a tenth of it: 20 dB
    assert waveforms.si_sdr(estimate, reference) == pytest.approx(20.0, abs=1e-4)
    assert waveforms.snr(1.1 * wave, wave) == pytest.approx(20.0, abs=1e-3)
    assert waveforms.si_sdr(0.1 * wave, wave) > 60  # scale does not count


def test_spectral_distances_of_a_gain(wave: np.ndarray) -> None:
    """Ten times as loud is 20 dB in every bin; spectral convergence is 9, and log magnitude ln 10."""
    assert waveforms.log_spectral_distance(10 * wave, wave) == pytest.approx(20.0, abs=0.01)
    assert waveforms.spectral_convergence(10 * wave, wave) == pytest.approx(9.0, rel=1e-5)
    assert waveforms.multi_resolution_stft(10 * wave, wave) == pytest.approx(9 + np.log(10), rel=1e-4)
    assert waveforms.multi_resolution_stft(wave, wave) == 0.0


def test_levels() -> None:
    rate = 48_000
    tone = 0.5 * np.sin(2 * np.pi * 997 * np.arange(2 * rate) / rate)
    facts = waveforms.level_facts(np.concatenate([tone, np.zeros(rate)])[:, None], rate)
    assert facts["silence"] == pytest.approx(1 / 3, abs=0.02)
    assert facts["true-peak"] == pytest.approx(-6.02, abs=0.05)
    alone = waveforms.level_facts(tone[:, None], rate)["loudness"]
    assert alone == pytest.approx(-9.03, abs=0.05)  # a full-scale 997 Hz tone has -3.01 LUFS
    assert facts["clipping"] == 0.0
    assert waveforms.level_facts(np.ones((rate, 1)), rate)["clipping"] == 1.0
    measured = waveforms.pyloudnorm_loudness(tone[:, None], rate)
    assert measured == pytest.approx(-9.03, abs=0.1)
    assert waveforms.pyloudnorm_loudness(tone[: rate // 5, None], rate) is None


def test_the_zero_phase_filter_is_scipys() -> None:
    signal = pytest.importorskip("scipy.signal")
    b, a = signal.ellip(4, 0.01, 120, 0.125)
    np.testing.assert_allclose(b, envelopes.LOW_PASS_B, rtol=1e-9)
    np.testing.assert_allclose(a, envelopes.LOW_PASS_A, rtol=1e-9)
    for n in (20, 345, 1723):
        curve = np.abs(np.random.default_rng(n).normal(0, 1, n))
        expected = signal.filtfilt(b, a, curve, method="gust")
        np.testing.assert_allclose(envelopes.low_passed(curve), expected, atol=1e-8)


def test_envelope_distances(wave: np.ndarray) -> None:
    curve = envelopes.tfoley_envelope(envelopes.over_peak(wave[0]))
    assert envelopes.e_l1(curve, curve) == 0.0
    louder = envelopes.tfoley_envelope(envelopes.over_peak(7 * wave[0]))
    np.testing.assert_allclose(louder, curve, atol=1e-12)  # gain does not count
    assert envelopes.rms(np.full(4096, 0.5))[10] == pytest.approx(0.5)
    settled = envelopes.sfoley_envelope(np.full(30_000, 0.5))
    assert settled[20_000] == pytest.approx(0.5)
    assert settled[0] == pytest.approx(np.sqrt(np.arange(1, 1001) / 10_000).sum() / 2000 * 0.5, rel=1e-6)
    assert envelopes.tfoley_power(np.array([0.5, -1.0])).tolist() == [0.25, 1.0]


@pytest.mark.parametrize("shift", [-30, -3, 0, 5, 40])
def test_lag_is_found_with_its_sign(shift: int) -> None:
    curve = np.random.default_rng(3).normal(0, 1, 400)
    found, correlation = envelopes.lag(np.roll(curve, shift), curve, 100.0)
    assert found == pytest.approx(shift / 100)
    assert correlation == pytest.approx(1.0)
    assert envelopes.lag(np.ones(50), curve[:50], 100.0) == (0.0, 0.0)


def test_pictures() -> None:
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 200, (40, 60, 3)).astype(np.uint8)
    assert pictures.psnr(frame, frame) == 100.0
    assert pictures.psnr(frame + np.uint8(51), frame) == pytest.approx(-20 * np.log10(0.2))
    assert pictures.ssim(frame, frame) == pytest.approx(1.0)
    flat, other = np.full((40, 60, 3), 51, np.uint8), np.full((40, 60, 3), 102, np.uint8)
    assert pictures.ssim(flat, other) == pytest.approx((2 * 0.2 * 0.4 + 1e-4) / (0.04 + 0.16 + 1e-4))
    flicker = pictures.Flicker()
    assert flicker.value() is None
    for picture in (flat, other, other):
        flicker.push(picture)
    assert flicker.value() == pytest.approx(0.1)


def test_flow_of_a_moving_texture() -> None:
    """Two px to the right from frame 2 to 3 only; the first value repeats the second."""
    import cv2

    rng = np.random.default_rng(1)
    texture = cv2.GaussianBlur(rng.integers(0, 255, (96, 128)).astype(np.uint8), (0, 0), 2)
    frames = [texture, texture, np.roll(texture, 2, 1), np.roll(texture, 2, 1)]
    curve = curve_of(frames)
    assert curve[0] == curve[1]
    assert curve[2] == pytest.approx(2.0, abs=0.4)
    assert curve[[1, 3]].max() < 0.05
    assert len(curve_of([texture])) == 0


@pytest.mark.parametrize(("rate", "target"), [(44_100, 16_000), (16_000, 32_000), (48_000, 32_000), (22_050, 22_050)])
def test_sinc_resampling_keeps_a_tone(rate: int, target: int) -> None:
    seconds = 0.5
    tone = np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)
    made = sinc_resampled(tone, rate, target)
    assert len(made) == int(np.ceil(len(tone) * target / rate))
    expected = np.sin(2 * np.pi * 440 * np.arange(len(made)) / target)
    assert np.abs(made - expected)[200:-200].max() < 2e-3
