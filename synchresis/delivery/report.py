"""The report beside every take: what the sound is, measured on its samples, and whether it keeps to its
plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from synchresis.delivery.loudness import RATE, LoudnessMeter, decibels
from synchresis.media import probe, stream_sound
from synchresis.systems.request import Plan
from synchresis.timeline import Span, Track
from synchresis.timeline.envelope import correlation, rms_envelope
from synchresis.timeline.onsets import OnsetDetector, Onsets, f1, shift_null

CELL_RATE = 100
SILENCE_DBFS = -60.0
TOLERANCES = (0.06, 0.1)

DEFINITIONS = {
    "sample_peak_dbfs": "largest sample at the sound's own rate; null for silence",
    "true_peak_dbtp": "largest value at 48 kHz after oversampling by four (BS.1770 annex 2); null for silence",
    "integrated_lufs": "ITU-R BS.1770, both gates, every channel with weight 1; null under 0.4 s or -70 LUFS",
    "clipped_samples": "samples at or beyond full scale",
    "silent_share": f"share of the 10 ms cells with an RMS under {SILENCE_DBFS:g} dBFS",
    "f1": "2 pairs / (told + heard), one-to-one pairs of told and heard onsets within the tolerance",
    "f1_count_matched": "the same with only as many heard onsets as were told, the strongest",
    "null": "mean and standard deviation of the score with what was heard rotated in time by 40 shifts",
    "correlation": "Pearson, RMS of the sound against the RMS it was told, 10 ms cells, linear",
}


@dataclass(frozen=True, eq=False)
class Measured:
    """What a sound is. Levels are linear, full scale is 1.

    `samples`, `peak` and `clipped` are those of the file at its own `rate`; true peak, loudness, envelope and onsets
    are of the same sound at 48 kHz.
    """

    samples: int
    rate: int
    channels: int
    peak: float
    true_peak: float
    loudness: float | None
    clipped: int
    envelope: Track
    onsets: Onsets


def measure(sound: Path) -> Measured:
    """Reads a sound file in blocks of one second: as it is, and at 48 kHz."""
    info = probe(sound).audio[0]
    samples, peak, clipped = 0, 0.0, 0
    for block in stream_sound(sound):
        samples += len(block)
        size = np.abs(block)
        peak = max(peak, float(size.max()))
        clipped += int((size >= 1.0).sum())
    meter, detector = LoudnessMeter(info.channels), OnsetDetector(RATE)
    cells: list[np.ndarray] = []
    for block in stream_sound(sound, RATE):
        meter.push(block)
        detector.push(block)
        # Blocks hold whole cells (one second), all but the last one.
        cells.append(rms_envelope(Track(block, Fraction(RATE)), CELL_RATE).values)
    return Measured(
        samples=samples,
        rate=info.rate,
        channels=info.channels,
        peak=peak,
        true_peak=meter.true_peak,
        loudness=meter.integrated(),
        clipped=clipped,
        envelope=Track(np.concatenate([np.zeros(0, np.float32), *cells]), Fraction(CELL_RATE)),
        onsets=detector.finish(),
    )


def report_of(measured: Measured, plan: Plan, further: Sequence[str] = ()) -> dict[str, Any]:
    """The report as it is written: plain numbers, lists and strings. `alignment` is null where no onsets were
    told and `loudness_following` where no loudness was. `further` are notes beside the plan's."""
    silent = measured.envelope.values < 10 ** (SILENCE_DBFS / 20)
    return {
        "mode": plan.mode,
        "notes": [*plan.notes, *further],
        "timing": {
            "picture_seconds": rounded(float(plan.duration)),
            "sound_seconds": rounded(measured.samples / measured.rate),
            "samples": measured.samples,
            "rate": measured.rate,
            "channels": measured.channels,
        },
        "level": {
            "sample_peak_dbfs": rounded(decibels(measured.peak)),
            "true_peak_dbtp": rounded(decibels(measured.true_peak)),
            "integrated_lufs": rounded(measured.loudness),
            "clipped_samples": measured.clipped,
            "silent_share": rounded(float(silent.mean()) if len(silent) else 1.0),
        },
        "alignment": _alignment(measured.onsets, plan),
        "loudness_following": _following(measured.envelope, plan.told),
        "definitions": DEFINITIONS,
    }


def _alignment(heard: Onsets, plan: Plan) -> dict[str, Any] | None:
    if plan.onsets is None:
        return None
    span = Span(Fraction(0), Fraction(plan.duration))
    told = plan.onsets.times
    strongest = strongest_onsets(heard, len(told))
    scores: dict[str, Any] = {"told": len(told), "heard": len(heard)}
    for tolerance in TOLERANCES:

        def score(times: np.ndarray, tolerance: float = tolerance) -> float:
            return f1(times, told, tolerance)

        scores[f"within_{round(tolerance * 1000)}_ms"] = {
            "f1": rounded(score(heard.times)),
            "f1_null": _null(score, heard.times, span),
            "f1_count_matched": rounded(score(strongest.times)),
            "f1_count_matched_null": _null(score, strongest.times, span),
        }
    scores["told_seconds"] = [rounded(float(t)) for t in told]
    scores["heard_seconds"] = [rounded(float(t)) for t in heard.times]
    return scores


def strongest_onsets(onsets: Onsets, count: int) -> Onsets:
    """The `count` strongest; of equals the earlier."""
    order = np.argsort(-onsets.strengths, kind="stable")[:count]
    return Onsets(onsets.times[order], onsets.strengths[order])


def _null(score: Callable[[np.ndarray], float], times: np.ndarray, span: Span) -> dict[str, float | None]:
    mean, deviation = shift_null(score, times, span)
    return {"mean": rounded(mean), "deviation": rounded(deviation)}


def _following(envelope: Track, told: Track | None) -> dict[str, Any] | None:
    if told is None or len(told) == 0 or len(envelope) == 0:
        return None
    wanted = told.at(envelope.times())
    span = envelope.span

    def score(track: Track) -> float:
        return correlation(track.values, wanted)

    mean, deviation = shift_null(score, envelope, span)
    return {
        "correlation": rounded(score(envelope)),
        "null": {"mean": rounded(mean), "deviation": rounded(deviation)},
        "rms_told_dbfs": rounded(decibels(float(np.sqrt(np.mean(np.square(wanted)))))),
        "rms_heard_dbfs": rounded(decibels(float(np.sqrt(np.mean(np.square(envelope.values, dtype=np.float64)))))),
    }


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
