"""The metrics of one clip: a function per definition id, and what they say of one take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from synchresis.errors import BadInputError
from synchresis.evaluation import alignment, envelopes, pictures, waveforms
from synchresis.evaluation.clips import Material
from synchresis.evaluation.definitions import DEFINITIONS, Definition

VERSION = 1  # of everything that changes a value of a clip: records of another version are measured again


@dataclass(frozen=True)
class Pair:
    """A take, the true clip (or None), and whichever of them shows the picture for which the sound was made."""

    take: Material
    true: Material | None

    @property
    def shown(self) -> Material:
        """The reference's picture where it has one, else the take's own."""
        if self.true is not None and self.true.film is not None:
            return self.true
        return self.take

    @property
    def reference(self) -> Material:
        if self.true is None:
            raise BadInputError("has no reference")
        return self.true

    @property
    def duration(self) -> float:
        return self.shown.duration

    def waves(self) -> tuple[np.ndarray, np.ndarray]:
        """Both sounds [C, T] at the reference's rate, cut to the shorter; mono where their channels differ."""
        made, true = self.take.sound, self.reference.sound
        if made.shape[1] != true.shape[1]:
            made, true = made.mean(axis=1, keepdims=True), true.mean(axis=1, keepdims=True)
        if self.take.rate != self.reference.rate:
            import soxr

            made = soxr.resample(made, self.take.rate, self.reference.rate, quality="HQ")
        n = min(len(made), len(true))
        return made[:n].T, true[:n].T

    def mono_waves(self) -> tuple[np.ndarray, np.ndarray]:
        """The same [T] as the mean of their channels."""
        made, true = self.waves()
        return made.mean(axis=0), true.mean(axis=0)


Score = dict[str, Any]
"""value (None: not scored, with `why`), for some null, null_deviation and z, and what else is known."""


def scored(value: float | None, why: str = "", null: alignment.Null | None = None, **more: Any) -> Score:
    if value is None:
        return {"value": None, "why": why}
    score: Score = {"value": float(value), **more}
    if null is not None:
        score |= {"null": null.mean, "null_deviation": null.deviation, "z": null.z(float(value))}
    return score


# ------------------------------------------------------------------------------------ alignment

SHORTEST = 1103  # samples at 22 050 Hz
NO_EVENTS = "neither side has an event"


def _av_align(floor: float | None, above: bool, one_to_one: bool) -> Callable[[Pair], Score]:
    def measure(pair: Pair) -> Score:
        seen = pair.shown.seen
        peaks = alignment.flow_peaks(seen.flow, seen.fps, floor, above)

        def score(times: np.ndarray) -> float | None:
            return alignment.av_align(times, peaks, seen.fps, one_to_one)

        times = pair.take.onsets
        null = alignment.shift_null(score, times, pair.duration)
        return scored(score(times), NO_EVENTS, null, sound_events=len(times), picture_events=len(peaks))

    return measure


def _aa_align(one_to_one: bool) -> Callable[[Pair], Score]:
    def measure(pair: Pair) -> Score:
        true = pair.reference.onsets

        def score(times: np.ndarray) -> float | None:
            return alignment.aa_align(times, true, 0.1, one_to_one)

        times = pair.take.onsets
        null = alignment.shift_null(score, times, pair.duration)
        return scored(score(times), NO_EVENTS, null, events=len(times), true_events=len(true))

    return measure


def _onset_f1(pair: Pair) -> Score:
    from synchresis.timeline import f1

    times, true = pair.take.own_onsets, pair.reference.own_onsets

    def score(moved: np.ndarray) -> float:
        return f1(moved, true, 0.05)

    return scored(score(times), null=alignment.shift_null(score, times, pair.duration), events=len(times))


def _condfoley(read: Callable[[alignment.OnsetScore], float]) -> Callable[[Pair], Score]:
    """Accuracy or AP; for the null the kept onsets are rotated together with their confidences."""

    def measure(pair: Pair) -> Score:
        kept, confidences, heights = alignment.kept_onsets(pair.take.wave, pair.take.firm_onsets)
        length = max(1, round(pair.duration * 22_050))

        def score(shift: float) -> float:
            moved = (kept + round(shift * 22_050)) % length
            order = np.argsort(moved, kind="stable")
            found = moved[order], confidences[order], heights[order]
            return read(alignment.matched(*found, pair.reference.firm_onsets, 0.1 * 22_050))

        value = read(alignment.matched(kept, confidences, heights, pair.reference.firm_onsets, 0.1 * 22_050))
        return scored(value, null=alignment.null_over(score, pair.duration), events=len(kept))

    return measure


def _onset_lag(pair: Pair) -> Score:
    rate = 22_050 / 512
    shift, best = envelopes.lag(pair.take.strength, pair.reference.strength, rate)
    return scored(abs(shift), signed=shift, correlation=best)


# ------------------------------------------------------------------------------------ envelopes


def _tfoley(curve: Callable[[Material], np.ndarray]) -> Callable[[Pair], Score]:
    def measure(pair: Pair) -> Score:
        if min(len(pair.take.wave), len(pair.reference.wave)) < SHORTEST:
            return scored(None, "shorter than 50 ms")
        return scored(envelopes.e_l1(curve(pair.take), curve(pair.reference)))

    return measure


def _sfoley(pair: Pair) -> Score:
    curves = []
    channels = max(pair.take.sound.shape[1], pair.reference.sound.shape[1])
    for material in (pair.take, pair.reference):
        sound = material.sound
        if material.rate != envelopes.SFOLEY_RATE:
            import soxr

            sound = soxr.resample(sound, material.rate, envelopes.SFOLEY_RATE, quality="HQ")
        if sound.shape[1] not in (1, channels):
            return scored(None, f"{sound.shape[1]} channels beside {channels}")
        curves.append(np.broadcast_to(envelopes.sfoley_envelope(sound.T), (channels, len(sound))))
    return scored(envelopes.e_l1(*curves))


def _envelope_correlation(pair: Pair) -> Score:
    n = min(len(pair.take.level), len(pair.reference.level))
    made, true = pair.take.level[:n], pair.reference.level[:n]

    def score(shift: float) -> float | None:
        return envelopes.pearson(np.roll(made, round(shift * 100)), true)

    null = alignment.null_over(score, n / 100)
    return scored(envelopes.pearson(made, true), "one of the sounds has a constant level", null)


def _envelope_lag(pair: Pair) -> Score:
    shift, best = envelopes.lag(pair.take.level, pair.reference.level, 100.0)
    return scored(abs(shift), signed=shift, correlation=best)


# ------------------------------------------------------------------------------------ waves, levels, pictures


def _on_waves(metric: Callable[[np.ndarray, np.ndarray], float], mono: bool = False) -> Callable[[Pair], Score]:
    return lambda pair: scored(metric(*(pair.mono_waves() if mono else pair.waves())))


def _mel_distance(pair: Pair) -> Score:
    made, true = pair.waves()
    return scored(waveforms.stft_distance(made, true, 2048, 512, 2048, bands=128, rate=pair.reference.rate))


def _level(name: str, why: str = "") -> Callable[[Pair], Score]:
    return lambda pair: scored(pair.take.facts[name], why)


def _duration_error(pair: Pair) -> Score:
    """Against the picture, or the reference's sound; a take alone has nothing to be as long as."""
    if pair.true is None and pair.take.film is None:
        return scored(None, "there is no picture and no reference")
    return scored(abs(len(pair.take.sound) / pair.take.rate - pair.duration))


def _frame_pairs(pair: Pair, metric: Callable[[np.ndarray, np.ndarray], float]) -> Score:
    from synchresis.media import frames

    made, true = pair.take.film, pair.reference.film
    if made is None or true is None or true.video is None:
        raise BadInputError("take and reference need a picture each")
    size = (true.video.height, true.video.width)
    rate = true.video.fps
    both = zip(frames(made, rate=rate, size=size), frames(true, rate=rate), strict=False)
    values = [metric(a, b) for (_, a), (_, b) in both]
    return scored(float(np.mean(values)) if values else None, "no frame in common", frames=len(values))


def _flicker(pair: Pair) -> Score:
    return scored(pair.take.seen.flicker, "fewer than two frames")


CLIP_METRICS: dict[str, Callable[[Pair], Score]] = {
    "av-align/2025": _av_align(0.1, above=False, one_to_one=True),
    "av-align/2023": _av_align(None, above=False, one_to_one=False),
    "av-align/sta-v2a": _av_align(0.1, above=True, one_to_one=False),
    "aa-align/sta-v2a": _aa_align(one_to_one=False),
    "aa-align/one-to-one": _aa_align(one_to_one=True),
    "onset-acc/condfoleygen": _condfoley(lambda score: score.accuracy),
    "onset-ap/condfoleygen": _condfoley(lambda score: score.ap),
    "onset-count/condfoleygen": lambda pair: scored(len(pair.take.firm_onsets) == len(pair.reference.firm_onsets)),
    "onset-f1/50ms": _onset_f1,
    "onset-lag/strength": _onset_lag,
    "e-l1/t-foley": _tfoley(lambda material: material.tfoley),
    "e-l1/t-foley-power": _tfoley(lambda material: envelopes.tfoley_power(envelopes.over_peak(material.wave))),
    "e-l1/t-foley-level": _tfoley(lambda material: envelopes.tfoley_envelope(material.wave)),
    "e-l1/stable-foley": _sfoley,
    "envelope-correlation/100hz": _envelope_correlation,
    "envelope-lag/100hz": _envelope_lag,
    "mrstft/auraloss": _on_waves(waveforms.multi_resolution_stft),
    "mel-distance/auraloss-128": _mel_distance,
    "lsd/2048": _on_waves(waveforms.log_spectral_distance, mono=True),
    "spectral-convergence/2048": _on_waves(waveforms.spectral_convergence, mono=True),
    "si-sdr/torchmetrics": _on_waves(waveforms.si_sdr, mono=True),
    "si-snr/torchmetrics": _on_waves(lambda a, b: waveforms.si_sdr(a, b, zero_mean=True), mono=True),
    "snr/plain": _on_waves(waveforms.snr, mono=True),
    "loudness/bs1770": _level("loudness", "under 0.4 s or -70 LUFS"),
    "loudness/pyloudnorm": lambda pair: scored(
        waveforms.pyloudnorm_loudness(pair.take.sound, pair.take.rate), "under 0.4 s or -70 LUFS"
    ),
    "true-peak/bs1770": _level("true-peak", "silent"),
    "clipping/share": _level("clipping"),
    "silence/share": _level("silence"),
    "duration-error/s": _duration_error,
    "psnr/frames": lambda pair: _frame_pairs(pair, pictures.psnr),
    "ssim/frames": lambda pair: _frame_pairs(pair, pictures.ssim),
    "flicker/mean-difference": _flicker,
}


def has(pair: Pair, definition: Definition) -> str | None:
    """What a clip lacks for a definition, or None."""
    for need in definition.needs:
        if need == "sound" and not pair.take.sounds:
            return "the take has no sound"
        if need == "reference" and (pair.true is None or not pair.true.sounds):
            return "no reference that sounds"
        if need == "picture" and pair.shown.film is None:
            return "no picture"
        if need == "own picture" and pair.take.film is None:
            return "the take has no picture"
        if need == "reference picture" and (pair.true is None or pair.true.film is None):
            return "the reference has no picture"
    return None


def measure(pair: Pair, ids: list[str]) -> dict[str, Score]:
    """Scores of one take for those ids that are measured on a clip without a network."""
    scores: dict[str, Score] = {}
    for name in ids:
        if name in CLIP_METRICS:
            lacking = has(pair, DEFINITIONS[name])
            scores[name] = {"value": None, "why": lacking} if lacking else CLIP_METRICS[name](pair)
    return scores
