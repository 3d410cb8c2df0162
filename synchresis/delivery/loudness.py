"""Loudness and true peak of a sound that arrives in blocks (ITU-R BS.1770-5), in plain numpy."""

from __future__ import annotations

import numpy as np

RATE = 48000
HOP = RATE // 10
HOPS_IN_BLOCK = 4

# The two second-order filters of the K weighting, as the recommendation tabulates them for 48 kHz (b, a).
SHELF = (
    (1.53512485958697, -2.69169618940638, 1.19839281085285),
    (1.0, -1.69065929318241, 0.73248077421585),
)
HIGH_PASS = ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621))

# Response of both in time. It has died away to e-40 by here, so that a convolution with it is the filter.
TAPS = 8192

OVERSAMPLING = 4
PEAK_TAPS = 48


class LoudnessMeter:
    """Integrated loudness (LUFS) and true peak of a 48 kHz sound. Give it every block, then read it.

    Loudness is gated at -70 LUFS and then at 10 LU below the mean of what is left, over blocks of 400 ms that
    begin every 100 ms; what is left at the end after the last whole block does not count. All channels weigh
    the same, so a mono file is measured as the one channel it is (3 LU less than the same sound in both of
    two).
    """

    def __init__(self, channels: int) -> None:
        self._weighting = _response(TAPS)
        self._before = np.zeros((TAPS - 1, channels))
        self._rest = np.zeros((0, channels))
        self._hops: list[np.ndarray] = []
        self._phases = _phases()
        self._peak_before = np.zeros((PEAK_TAPS - 1, channels))
        self.true_peak = 0.0

    def push(self, block: np.ndarray) -> None:
        """The next samples, [n, channels]."""
        if len(block) == 0:
            return
        block = block.astype(np.float64)
        self._push_loudness(block)
        self._push_peak(block)

    def integrated(self) -> float | None:
        """LUFS, or None where nothing is long and loud enough to be measured (0.4 s, -70 LUFS)."""
        if len(self._hops) == 0:
            return None
        hops = np.concatenate(self._hops)
        if len(hops) < HOPS_IN_BLOCK:
            return None
        total = np.concatenate([[0.0], np.cumsum(hops)])
        blocks = (total[HOPS_IN_BLOCK:] - total[:-HOPS_IN_BLOCK]) / HOPS_IN_BLOCK
        heard = blocks[blocks > _power(-70.0)]
        if len(heard) == 0:
            return None
        heard = heard[heard > heard.mean() * 0.1]
        return -0.691 + 10.0 * float(np.log10(heard.mean()))

    def _push_loudness(self, block: np.ndarray) -> None:
        joined = np.concatenate([self._before, block])
        size = 1 << (len(joined) - 1).bit_length()
        spectrum = np.fft.rfft(joined, size, axis=0) * np.fft.rfft(self._weighting, size)[:, None]
        weighted = np.fft.irfft(spectrum, size, axis=0)[TAPS - 1 : len(joined)]
        self._before = joined[len(block) :]
        waiting = np.concatenate([self._rest, weighted])
        whole = len(waiting) // HOP
        self._hops.append(
            np.square(waiting[: whole * HOP]).reshape(whole, HOP, block.shape[1]).mean(axis=1).sum(axis=1)
        )
        self._rest = waiting[whole * HOP :]

    def _push_peak(self, block: np.ndarray) -> None:
        joined = np.concatenate([self._peak_before, block])
        self._peak_before = joined[len(block) :]
        for channel in range(block.shape[1]):
            for phase in self._phases:
                between = np.convolve(joined[:, channel], phase, "valid")
                self.true_peak = max(self.true_peak, float(np.abs(between).max()))
        self.true_peak = max(self.true_peak, float(np.abs(block).max()))


def decibels(amplitude: float) -> float | None:
    """dB relative to full scale (1.0); None for silence, which has no level."""
    return 20.0 * float(np.log10(amplitude)) if amplitude > 0 else None


def _power(lufs: float) -> float:
    return float(10.0 ** ((lufs + 0.691) / 10.0))


def _response(taps: int) -> np.ndarray:
    """The first `taps` samples of what the two filters make of a click."""
    z = np.exp(-1j * np.pi * np.arange(taps + 1) / taps)
    spectrum = np.ones(taps + 1, complex)
    for b, a in (SHELF, HIGH_PASS):
        spectrum *= np.polyval(b[::-1], z) / np.polyval(a[::-1], z)
    return np.fft.irfft(spectrum)[:taps]


def _phases() -> list[np.ndarray]:
    """Filters that give the signal at 1/4, 2/4 and 3/4 of the way between two samples."""
    where = np.arange(PEAK_TAPS) - (PEAK_TAPS - 1) / 2
    phases = []
    for k in range(1, OVERSAMPLING):
        at = where + 0.5 - k / OVERSAMPLING
        taps = np.sinc(at) * np.cos(np.pi * at / (PEAK_TAPS + 1)) ** 2
        phases.append(taps / taps.sum())
    return phases
