"""What the set distances without a network look at: 208 numbers per clip ("Metrics" 12.3)."""

from __future__ import annotations

import numpy as np

from synchresis.evaluation.spectra import slaney_bank, stft

DIMENSION = 208
BANDS, COEFFICIENTS = 64, 20


def logmel_features(wave: np.ndarray, rate: int = 22_050) -> np.ndarray:
    """Mean and deviation over time of 64 log-mel bands, of 20 MFCC and of their differences: float64 [208].

    Of a wave [T]: Hann 2048, hop 512; dB with a floor of 1e-10; MFCC is the orthonormal DCT-II of the bands.
    """
    spectrum = stft(np.asarray(wave, np.float32), 2048, 512)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    # By einsum, since the sums of a threaded matrix product depend on the number of threads, and with it the caches.
    sums = np.einsum("tf,bf->tb", power, slaney_bank(BANDS, 2048, rate))
    bands = 10.0 * np.log10(np.maximum(sums, 1e-10)).astype(np.float64)
    cosines = np.cos(np.pi / BANDS * np.outer(np.arange(COEFFICIENTS), np.arange(BANDS) + 0.5)) * np.sqrt(2 / BANDS)
    cosines[0] /= np.sqrt(2)
    cepstrum = np.einsum("tb,cb->tc", bands, cosines)
    change = np.diff(cepstrum, axis=0) if len(cepstrum) > 1 else np.zeros((1, COEFFICIENTS))
    return np.concatenate([f(part, axis=0) for part in (bands, cepstrum, change) for f in (np.mean, np.std)])


def standardised(generated: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sets [N, D] minus the reference's mean, over its deviation (a constant column stays as it is)."""
    mean, deviation = reference.mean(axis=0), reference.std(axis=0)
    deviation = np.where(deviation > 1e-9, deviation, 1.0)
    return (generated - mean) / deviation, (reference - mean) / deviation
