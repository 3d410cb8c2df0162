"""How well two lists of instants agree: AV-Align, AA-Align, and the onset metrics of CondFoleyGen ("Metrics" 6.3-6.5).

The published definitions disagree in what may be matched with what, so each is a function of its own. All lists are
in seconds and increasing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


def flow_peaks(flow: np.ndarray, fps: float, floor: float | None = 0.1, above: bool = False) -> np.ndarray:
    """Times index / fps of strict local maxima of a curve [n], neither its first nor its last value.

    floor: maxima under it do not count (None: all do); above: nor do those that equal it.
    """
    flow = np.asarray(flow, np.float64)
    inner = flow[1:-1]
    peak = (inner > flow[:-2]) & (inner > flow[2:])
    if floor is not None:
        peak &= inner > floor if above else inner >= floor
    return (np.flatnonzero(peak) + 1) / fps


def _near(a: np.ndarray, b: np.ndarray, window: float) -> np.ndarray:
    """[len(a), len(b)], True where b - window < a < b + window."""
    a, b = np.asarray(a, np.float64)[:, None], np.asarray(b, np.float64)[None, :]
    return (b - window < a) & (a < b + window)


def hits_many_to_one(a: np.ndarray, b: np.ndarray, window: float) -> int:
    """How many of a are near any of b; several may be near the same."""
    return int(_near(a, b, window).any(axis=1).sum())


def hits_one_to_one(a: np.ndarray, b: np.ndarray, window: float) -> int:
    """How many of a, in order of time, find the first of b that is near and not taken yet."""
    near = _near(a, b, window)
    hits = 0
    for row in near:
        free = np.flatnonzero(row)
        if len(free):
            near[:, free[0]] = False
            hits += 1
    return hits


def align(a: np.ndarray, b: np.ndarray, window: float, one_to_one: bool) -> float | None:
    """hits / (len(a) + len(b) - hits); None where both are empty, for there is nothing to agree on."""
    if len(a) + len(b) == 0:
        return None
    hits = (hits_one_to_one if one_to_one else hits_many_to_one)(a, b, window)
    return hits / (len(a) + len(b) - hits)


def av_align(sound: np.ndarray, picture: np.ndarray, fps: float, one_to_one: bool = True) -> float | None:
    """Sound onsets against peaks of the flow within one frame, strictly. 2025: one to one; 2023 and STA-V2A: not.

    Many-to-one scores can exceed 1. None where neither side has an event.
    """
    return align(sound, picture, 1.0 / fps, one_to_one)


def aa_align(
    generated: np.ndarray, reference: np.ndarray, window: float = 0.1, one_to_one: bool = True
) -> float | None:
    """Onsets of a generated sound against those of the true one, strictly within `window` s. STA-V2A: many to one."""
    return align(generated, reference, window, one_to_one)


def shift_times(duration: float, step: float = 0.05, least: float = 0.3) -> np.ndarray:
    """By how much the events of a clip are rotated to see what chance gives: every 50 ms from 0.3 s to 0.3 s
    less than its length (69 of them at 4 s), at most 200; from a quarter of the length on where it is under 1.2 s."""
    least = min(least, duration / 4)
    count = round((duration - 2 * least) / step) + 1
    return np.linspace(least, duration - least, max(2, min(count, 200)))


@dataclass(frozen=True)
class Null:
    """What a score is for the same events at other times: mean and standard deviation over the rotations.

    The deviation is that of single rotations; None means that no rotation had a score.
    """

    mean: float | None
    deviation: float | None

    def z(self, score: float) -> float | None:
        """Standard deviations above the null; None where all rotations score the same."""
        if self.mean is None or not self.deviation:
            return None
        return (score - self.mean) / self.deviation


def shift_null(score: Callable[[np.ndarray], float | None], times: np.ndarray, duration: float) -> Null:
    """`score` of the times rotated within [0, duration): density and spacing stay, timing goes."""
    return null_over(lambda shift: score(np.sort((np.asarray(times) + shift) % duration)), duration)


def null_over(score: Callable[[float], float | None], duration: float) -> Null:
    """The null of whatever can be rotated by a number of seconds and scored."""
    values = [value for shift in shift_times(duration) if (value := score(float(shift))) is not None]
    return Null(float(np.mean(values)), float(np.std(values))) if values else Null(None, None)


# ------------------------------------------------------------------------------------ CondFoleyGen

NMS = 0.05  # s
CONFIDENCE_REACH = 1102  # samples at 22 050 Hz: 50 ms


@dataclass(frozen=True)
class OnsetScore:
    """accuracy: matched / reference onsets. ap: average precision. hits: of each kept generated onset, in time."""

    accuracy: float
    ap: float
    hits: tuple[int, ...]


def onset_confidences(wave: np.ndarray, onsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """|wave| [T] scaled to 0..1, and its maximum within 50 ms of each onset (sample indices, 22 050 Hz).

    The original fails for an onset in the first 50 ms; here what there is of the 50 ms is looked at.
    """
    level = np.abs(np.asarray(wave))
    level = level - level.min()
    level = level / (level.max() or 1.0)
    reach = CONFIDENCE_REACH
    return level, np.array([level[max(0, o - reach) : o + reach].max() for o in onsets], np.float64)


def suppressed(onsets: np.ndarray, confidences: np.ndarray, rate: int = 22_050) -> tuple[np.ndarray, np.ndarray]:
    """Onsets (samples) without weaker ones closer than 50 ms, in order of time, and their confidences.

    As the original does it: it deletes from the list that it goes through, so that the neighbour of one that was
    deleted is not looked at.
    """
    waiting = sorted(zip(onsets.tolist(), confidences.tolist(), strict=True), key=lambda pair: -pair[1])
    kept = []
    while waiting:
        strongest = waiting.pop(0)
        kept.append(strongest)
        i = 0
        while i < len(waiting):
            if abs(waiting[i][0] - strongest[0]) < NMS * rate:
                del waiting[i]
            i += 1
    kept.sort()
    return np.array([k[0] for k in kept], np.int64), np.array([k[1] for k in kept], np.float64)


def onset_score(
    wave: np.ndarray, generated: np.ndarray, reference: np.ndarray, window: float = 0.1, rate: int = 22_050
) -> OnsetScore:
    """Accuracy and AP of CondFoleyGen's script, quirks included. wave: generated [T]; onsets in samples.

    References are gone through in order of time; each takes, of the free generated onsets strictly within the window,
    the one with the highest |wave|. It stops when all generated ones are taken: later references do not enter AP. With
    nothing generated AP is 1. Where the original fails: both empty give 1 and 1; see `onset_confidences` for the other.
    """
    return matched(*kept_onsets(wave, generated, rate), reference, window * rate)


def kept_onsets(
    wave: np.ndarray, generated: np.ndarray, rate: int = 22_050
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The onsets that survive suppression (samples, in time), their confidences, and |wave| at each of them."""
    level, confidences = onset_confidences(wave, generated)
    kept, scores = suppressed(generated, confidences, rate)
    return kept, scores, level[kept]


def matched(
    kept: np.ndarray, scores: np.ndarray, heights: np.ndarray, reference: np.ndarray, reach: float
) -> OnsetScore:
    """`onset_score` from `kept_onsets`; reach in samples."""
    if len(kept) == 0 and len(reference) == 0:
        return OnsetScore(1.0, 1.0, ())
    hits = np.zeros(len(kept), np.int64)
    missed = 0
    for onset in reference:
        free = np.flatnonzero((np.abs(kept - onset) < reach) & (hits == 0))
        if len(free):
            hits[free[int(np.argmax(heights[free]))]] = 1
        else:
            missed += 1
        if hits.all():
            break
    accuracy = float(hits.sum() / len(reference)) if len(reference) else 0.0
    labels = np.concatenate([hits, np.ones(missed, np.int64)])
    ap = average_precision(labels, np.concatenate([scores, np.zeros(missed)]))
    return OnsetScore(accuracy, ap, tuple(int(h) for h in hits))


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """Sum over thresholds of (rise of recall) x precision, equal scores together; 0 without a positive."""
    positives = int(labels.sum())
    if positives == 0:
        return 0.0
    order = np.argsort(-scores, kind="stable")
    labels, scores = labels[order], scores[order]
    last = np.flatnonzero(np.append(np.diff(scores) != 0, True))
    found = np.cumsum(labels)[last]
    precision, recall = found / (last + 1), found / positives
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))
