"""A wave against the wave that it should be, and what can be said of one alone ("Metrics" 10)."""

from __future__ import annotations

import numpy as np

from synchresis.evaluation.spectra import slaney_bank, stft

RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))  # FFT, hop, window: auraloss' default


def snr(estimate: np.ndarray, reference: np.ndarray) -> float:
    """10 log10 of |reference|² over |reference - estimate|², mean over the rows of [..., T]; dB, at most about 150."""
    estimate, reference = _doubles(estimate, reference)
    noise = reference - estimate
    return float(np.mean(_ratio_db(np.sum(reference**2, -1), np.sum(noise**2, -1))))


def si_sdr(estimate: np.ndarray, reference: np.ndarray, zero_mean: bool = False) -> float:
    """SNR after the reference has been scaled to fit, mean over the rows of [..., T]; with zero_mean it is SI-SNR."""
    estimate, reference = _doubles(estimate, reference)
    if zero_mean:
        estimate = estimate - estimate.mean(-1, keepdims=True)
        reference = reference - reference.mean(-1, keepdims=True)
    tiny = np.finfo(np.float32).eps
    scale = (np.sum(estimate * reference, -1) + tiny) / (np.sum(reference**2, -1) + tiny)
    target = scale[..., None] * reference
    return float(np.mean(_ratio_db(np.sum(target**2, -1), np.sum((target - estimate) ** 2, -1))))


def segmented_si_snr(estimate: np.ndarray, reference: np.ndarray, rate: int, segment: float) -> float:
    """audiocraft's SI-SNR (dB, higher is better; it prints the negative): segments of so many seconds at half
    overlap, as many as begin within the wave, the last ones filled with zeros; a floor that grows with the length of
    a segment. [..., T]."""
    estimate, reference = _doubles(estimate, reference)
    frame = int(segment * rate)
    step = frame // 2
    count = int(np.ceil(reference.shape[-1] / step))
    missing = (count - 1) * step + frame - reference.shape[-1]
    side = [(0, 0)] * (reference.ndim - 1) + [(0, missing)]
    cut = [
        np.lib.stride_tricks.sliding_window_view(np.pad(wave, side), frame, axis=-1)[..., ::step, :]
        for wave in (estimate, reference)
    ]
    given, true = (part - part.mean(-1, keepdims=True) for part in cut)
    floor = np.finfo(np.float32).eps * frame
    target = np.sum(given * true, -1, keepdims=True) * true / (floor + np.sum(true**2, -1, keepdims=True))
    noise = given - target
    return float(np.mean(10 * (np.log10(floor + np.sum(target**2, -1)) - np.log10(floor + np.sum(noise**2, -1)))))


def stft_distance(
    estimate: np.ndarray, reference: np.ndarray, n_fft: int, hop: int, length: int, bands: int = 0, rate: int = 44_100
) -> float:
    """Spectral convergence plus L1 of natural log magnitudes (floor 1e-4), all rows of [..., T] together.

    bands: so many mel bands (Slaney) at `rate` instead of FFT bins.
    """
    magnitudes = []
    for wave in (estimate, reference):
        spectrum = stft(np.asarray(wave, np.float32).reshape(-1, wave.shape[-1]), n_fft, hop, length)
        magnitude = np.sqrt(np.maximum(np.square(spectrum.real) + np.square(spectrum.imag), 1e-8))
        magnitudes.append(magnitude @ slaney_bank(bands, n_fft, rate).T if bands else magnitude)
    x, y = magnitudes
    convergence = np.linalg.norm(y - x) / max(float(np.linalg.norm(y)), 1e-12)
    floor = 1e-8  # an FFT bin has none below 1e-4; a mel band above the highest bin has nothing at all
    return float(convergence + np.abs(np.log(np.maximum(x, floor)) - np.log(np.maximum(y, floor))).mean())


def multi_resolution_stft(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Mean of `stft_distance` over RESOLUTIONS: auraloss' MultiResolutionSTFTLoss. [..., T]."""
    return float(np.mean([stft_distance(estimate, reference, *sizes) for sizes in RESOLUTIONS]))


def sum_difference_stft(estimate: np.ndarray, reference: np.ndarray) -> float:
    """`multi_resolution_stft` of sum and of difference of two channels [..., 2, T], their mean."""
    pairs = [
        (estimate[..., 0, :] + sign * estimate[..., 1, :], reference[..., 0, :] + sign * reference[..., 1, :])
        for sign in (1, -1)
    ]
    return float(np.mean([multi_resolution_stft(a, b) for a, b in pairs]))


def log_spectral_distance(estimate: np.ndarray, reference: np.ndarray) -> float:
    """dB: root mean square over frequency of the difference of 10 log10(power + 1e-8), mean over frames and rows.

    Hann 2048, hop 512, of [..., T].
    """
    levels = []
    for wave in (estimate, reference):
        spectrum = stft(np.asarray(wave, np.float32), 2048, 512)
        levels.append(10.0 * np.log10(np.square(spectrum.real) + np.square(spectrum.imag) + 1e-8))
    return float(np.sqrt(np.mean((levels[0] - levels[1]) ** 2, axis=-1)).mean())


def spectral_convergence(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Norm of the difference of magnitudes over the norm of the reference's; Hann 2048, hop 512, all rows together."""
    x, y = (np.abs(stft(np.asarray(wave, np.float32), 2048, 512)) for wave in (estimate, reference))
    return float(np.linalg.norm(y - x) / max(float(np.linalg.norm(y)), 1e-12))


def level_facts(wave: np.ndarray, rate: int) -> dict[str, float | None]:
    """Of one sound [T, C]: loudness (LUFS), true peak (dBTP), clipped, silent (shares), dc, duration (s).

    clipped: share of samples within 1e-4 of full scale or beyond. silent: share of whole 50 ms cells under -60 dB RMS
    (channels together). None where there is no such level.
    """
    from synchresis.delivery.loudness import RATE, LoudnessMeter, decibels

    wave = np.asarray(wave, np.float32)
    meter = LoudnessMeter(wave.shape[1])
    if rate == RATE:
        heard = wave
    else:
        import soxr

        heard = soxr.resample(wave, rate, RATE, quality="HQ")
    for start in range(0, len(heard), RATE):
        meter.push(heard[start : start + RATE])
    cell = max(1, rate // 20)
    whole = len(wave) // cell * cell
    power = np.square(wave[:whole].astype(np.float64)).reshape(-1, cell * wave.shape[1]).mean(axis=1)
    return {
        "loudness": meter.integrated(),
        "true-peak": decibels(meter.true_peak),
        "clipping": float((np.abs(wave) >= 1.0 - 1e-4).mean()) if wave.size else 0.0,
        "silence": float((power < 1e-6).mean()) if len(power) else 1.0,
        "dc": float(np.abs(wave.mean(axis=0)).max()) if wave.size else 0.0,
        "duration": len(wave) / rate,
    }


def pyloudnorm_loudness(wave: np.ndarray, rate: int) -> float | None:
    """LUFS of a sound [T, C] as pyloudnorm's default meter prints it: its K weighting is designed at the file's rate
    from rounded corner frequencies and differs from the recommendation's by a few hundredths of a dB.

    None where nothing is longer than 0.4 s and louder than -70 LUFS.
    """
    wave = np.asarray(wave, np.float64)
    size, step = round(0.4 * rate), 0.1 * rate
    if len(wave) < size:
        return None
    count = round((len(wave) / rate - 0.4) / 0.1) + 1
    weighted = _weighted(wave, rate)
    starts = [int(k * step) for k in range(count)]
    blocks = np.array([np.sum(np.square(weighted[first : first + size])) / size for first in starts])
    heard = blocks[blocks > 10 ** ((-70 + 0.691) / 10)]
    if len(heard) == 0:
        return None
    return -0.691 + 10.0 * float(np.log10(heard[heard > heard.mean() * 0.1].mean()))


def _weighted(wave: np.ndarray, rate: int) -> np.ndarray:
    """pyloudnorm's shelf (4 dB, 1500 Hz) and high-pass (38 Hz) over [T, C], by their response in time."""
    size = 1 << (len(wave) + rate // 4).bit_length()
    z = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    response = np.ones(len(z), complex)
    for gain, q, corner, shelf in ((4.0, 2**-0.5, 1500.0, True), (0.0, 0.5, 38.0, False)):
        amplitude, angle = 10 ** (gain / 40), 2 * np.pi * corner / rate
        alpha, cos = np.sin(angle) / (2 * q), np.cos(angle)
        if shelf:
            root = 2 * np.sqrt(amplitude) * alpha
            up, down = amplitude + 1, amplitude - 1
            b = [amplitude * (up + down * cos + root), -2 * amplitude * (down + up * cos)]
            b += [amplitude * (up + down * cos - root)]
            a = [up - down * cos + root, 2 * (down - up * cos), up - down * cos - root]
        else:
            b, a = [(1 + cos) / 2, -(1 + cos), (1 + cos) / 2], [1 + alpha, -2 * cos, 1 - alpha]
        response *= np.polyval(b[::-1], z) / np.polyval(a[::-1], z)
    spectrum = np.fft.rfft(wave, size, axis=0) * response[:, None]
    return np.fft.irfft(spectrum, size, axis=0)[: len(wave)]


def _doubles(*waves: np.ndarray) -> list[np.ndarray]:
    return [np.asarray(wave, np.float64) for wave in waves]


def _ratio_db(signal: np.ndarray, noise: np.ndarray) -> np.ndarray:
    tiny = np.finfo(np.float32).eps
    return 10.0 * np.log10((signal + tiny) / (noise + tiny))
