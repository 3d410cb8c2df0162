"""The filter banks of published networks."""

from __future__ import annotations

import numpy as np
import pytest

from synchresis.nn.mel_bank import hz_to_mel, mel_bank, mel_to_hz


@pytest.mark.parametrize(
    ("bands", "n_fft", "rate", "low", "high", "scale"),
    [
        (64, 512, 16_000, 50, 8_000, "slaney"),
        (64, 1024, 32_000, 50, 14_000, "slaney"),
        (64, 1024, 48_000, 50, 14_000, "slaney"),
        (128, 1024, 16_000, 0, 8_000, "htk"),
        (64, 1024, 48_000, 0, 24_000, "htk"),
    ],
)
@pytest.mark.parametrize("area_norm", [True, False])
def test_equals_librosa(
    bands: int, n_fft: int, rate: int, low: float, high: float, scale: str, area_norm: bool
) -> None:
    librosa_filters = pytest.importorskip("librosa.filters")
    norm = "slaney" if area_norm else None
    expected = librosa_filters.mel(
        sr=rate, n_fft=n_fft, n_mels=bands, fmin=low, fmax=high, htk=scale == "htk", norm=norm
    )
    found = mel_bank(bands, n_fft, rate, low, high, scale, area_norm)
    np.testing.assert_allclose(found, expected, atol=1e-6 * expected.max())


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_scales_invert(scale: str) -> None:
    hz = np.array([0.0, 20.0, 440.0, 999.0, 1000.0, 8000.0, 22_050.0])
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(hz, scale), scale), hz, atol=1e-8)


def test_triangles_straight_in_mel() -> None:
    """Neighbours sum to one between the first and the last peak, as straight sides on an even grid do."""
    bank = mel_bank(64, 512, 16_000, 125, 7_500, "htk", False, "mel")
    peaks = mel_to_hz(np.linspace(*hz_to_mel(np.array([125.0, 7500.0]), "htk"), 66), "htk")
    bins = np.arange(257) * 16_000 / 512
    inside = (bins >= peaks[1]) & (bins <= peaks[-2])
    np.testing.assert_allclose(bank.sum(0)[inside], 1.0, atol=1e-12)
    assert bank[:, 0].max() == 0.0
    assert bank[:, bins > 7500].max() == 0.0
    assert np.abs(bank - mel_bank(64, 512, 16_000, 125, 7_500, "htk", False, "hz")).max() > 1e-3
