"""From a sound to a film: the way that `synchresis picture` and Python share.

The pictures go one by one into a film, and everything after that reads the film: no step holds all of it. The sound
is laid under it as it is, from its first sample to its last, in what the container holds: AAC in .mp4 and .mov, FLAC
in .mkv, whose samples are then those of the source. The film is as long as the sound; its last frame is cut there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from synchresis.delivery.outputs import MARK, SOUNDS, Outputs
from synchresis.delivery.produce import write_json
from synchresis.delivery.report import TOLERANCES, rounded
from synchresis.errors import BadInputError, FailureError
from synchresis.media import Clip, probe, stream_sound, write_film
from synchresis.media.edits import end_picture_at
from synchresis.media.mux import mux
from synchresis.systems.picturing import PicturePlan, PictureRequest, PictureSystem, frame_count, probe_sound
from synchresis.systems.request import Progress, quiet
from synchresis.timeline.onsets import OnsetDetector, Onsets, f1, shift_null

FILM_SUFFIXES = (".mp4", ".mov", ".mkv")
CRF = 14                     # of H.264: above what an eye tells from the frames as they were made
RATE = 48_000                # Hz, at which onsets of the sound are heard
ALIGNED_SECONDS = 600        # AV-Align looks at the whole sound at once: longer ones are not given it

DEFINITIONS = {
    "av_align": "AV-Align, 2025: onsets of the sound (librosa's detector, 22 050 Hz) against peaks of the mean optical "
    "flow (Farneback, at least 0.1 px) within one frame, one to one: pairs / (onsets + peaks - pairs); null where "
    "neither has an event",
    "av_align_null": "mean and standard deviation of the same score with the flow's peaks rotated in time",
    "watched": "what pocket's watcher sees strike in the film, against the onsets of the sound (our detector)",
    "f1": "2 pairs / (heard + seen), one-to-one pairs within the tolerance",
    "null": "mean and standard deviation of the score with what was seen rotated in time by 40 shifts",
}


def sounds_in(places: Sequence[Path]) -> list[Path]:
    """The sounds that these paths mean: a folder means the sound files in it, by name.

    Raises BadInputError for a folder without one.
    """
    sounds: list[Path] = []
    for place in places:
        if not place.is_dir():
            sounds.append(place)
            continue
        found = sorted(p for p in place.iterdir() if p.suffix.lower() in SOUNDS and not p.name.startswith("."))
        found = [path for path in found if MARK not in path.suffixes]
        if not found:
            raise BadInputError(f"{place}: there is no sound in this folder (looked for {', '.join(SOUNDS)})")
        sounds.extend(found)
    return sounds


def check_film(outputs: Outputs, sound: Path, overwrite: bool) -> None:
    """Raises BadInputError where a film for `sound` cannot be written as this."""
    if outputs.take.suffix.lower() not in FILM_SUFFIXES:
        known = ", ".join(FILM_SUFFIXES)
        raise BadInputError(f"{outputs.take}: its suffix does not say what to write; known are {known}")
    outputs.refuse_to_replace(sound)
    if not overwrite:
        outputs.refuse_to_overwrite(picture=True)


def make_film(
    system: PictureSystem, sound: Path, request: PictureRequest, outputs: Outputs, progress: Progress = quiet
) -> dict[str, Any]:
    """Makes the film and writes it, its recipe, its report and its contact sheet; the report is returned.

    What is there already is replaced; each file is whole or not there. Raises BadInputError for a request that the
    system cannot serve and FailureError if it makes other than the plan's number of frames of one size.
    """
    from synchresis.delivery.contact_sheet import draw
    from synchresis.delivery.film_recipe import recipe_of

    outputs.take.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".synchresis-", dir=outputs.take.parent) as room:
        heard = probe_sound(sound)
        plan = system.prepare(sound, request, progress)
        silent = Path(room) / "film.mp4"
        write_film(silent, _checked(system, plan, progress), plan.fps, crf=CRF)
        # Of the picture what lasts as long as the sound: the last frame begins before its end.
        film = replace(probe(silent), duration=plan.duration)

        progress("measure", 0.0)
        onsets = _onsets_of(heard)
        seen = _watched(film, system.device)
        report = report_of(system, plan, request, heard, film, onsets, seen, outputs.take.suffix.lower())
        progress("measure", 1.0)

        progress("write", 0.0)
        mux(film, sound, outputs.take, overwrite=True)
        if outputs.take.suffix.lower() != ".mkv":
            end_picture_at(outputs.take, plan.duration)
        write_json(outputs.recipe, recipe_of(system, sound, request, outputs.take.suffix))
        write_json(outputs.report, report)
        progress("write", 1.0)

        progress("draw", 0.0)
        draw(outputs.picture, film, heard, onsets, seen, f"{sound.name}: a film by {system.name}, led by {plan.mode}")
        progress("draw", 1.0)
    return report


def _checked(system: PictureSystem, plan: PicturePlan, progress: Progress) -> Iterator[np.ndarray]:
    """The pictures of a plan as they come, in all as many as it promises, uint8 and of one size."""
    expected, made, shape = frame_count(plan.duration, plan.fps), 0, None
    for picture in system.pictures(plan, progress):
        shape = shape or picture.shape
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape != shape or shape[2] != 3:
            raise FailureError(f"{system.name} made a picture {picture.dtype} {list(picture.shape)}: frame {made}")
        made += 1
        yield picture
    if made != expected:
        raise FailureError(f"{system.name} made {made} frames where the sound has room for {expected}")


# Measuring


def _onsets_of(sound: Clip) -> Onsets:
    detector = OnsetDetector(RATE)
    for block in stream_sound(sound, RATE, span=sound.span):
        detector.push(block)
    return detector.finish()


def _watched(film: Clip, device: str) -> Onsets:
    """What pocket's watcher sees strike."""
    from synchresis.encoders.watcher import pick, watch
    from synchresis.systems.packaged import packaged_watcher

    return pick(watch(film, packaged_watcher(device)))


def report_of(
    system: PictureSystem,
    plan: PicturePlan,
    request: PictureRequest,
    heard: Clip,
    film: Clip,
    onsets: Onsets,
    seen: Onsets,
    suffix: str,
) -> dict[str, Any]:
    """The report as it is written: plain numbers, lists and strings."""
    assert film.video is not None
    notes = list(plan.notes)
    if system.untrained is not None:
        notes.append(f"{system.name} is untrained ({Path(system.untrained).name}): this is noise")
    how = "samples unchanged" if suffix == ".mkv" else "encoded anew, the container holds no plain samples"
    return {
        "mode": plan.mode,
        "prompt": request.prompt,
        "notes": notes,
        "timing": {
            "sound_seconds": rounded(float(plan.duration)),
            "frames": film.video.frames,
            "fps": rounded(float(plan.fps)),
            "width": film.video.width,
            "height": film.video.height,
        },
        "sound": {
            "source": heard.audio[0].codec,
            "track": "FLAC" if suffix == ".mkv" else "AAC",
            "how": how,
            "rate": heard.audio[0].rate,
            "channels": heard.audio[0].channels,
        },
        "av_align": _av_align(heard, film, notes),
        "watched": _agreement(onsets, seen, heard),
        "told_seconds": None if plan.onsets is None else [rounded(float(t)) for t in plan.onsets.times],
        "definitions": DEFINITIONS,
    }


def _av_align(heard: Clip, film: Clip, notes: list[str]) -> dict[str, Any] | None:
    """AV-Align of the sound and the frames that were made, and what it is for the same film at other times."""
    from synchresis.evaluation import alignment, flow
    from synchresis.evaluation import onsets as reference

    assert film.video is not None
    if heard.duration > ALIGNED_SECONDS:
        notes.append(f"AV-Align is not computed for sounds over {ALIGNED_SECONDS // 60} minutes")
        return None
    rate = heard.audio[0].rate
    sounding = reference.onset_times(reference.resampled(stream_sound(heard, span=heard.span), rate))
    # At native size; an odd edge was repeated for H.264, which moves nothing.
    fps = float(film.video.fps)
    moving = alignment.flow_peaks(flow.flow_curve(film.path), fps)

    def score(times: np.ndarray) -> float | None:
        return alignment.av_align(sounding, times, fps)

    value, null = score(moving), alignment.shift_null(score, moving, float(heard.duration))
    return {
        "value": rounded(value),
        "null": {"mean": rounded(null.mean), "deviation": rounded(null.deviation)},
        "z": rounded(None if value is None else null.z(value)),
        "onsets_of_sound": len(sounding),
        "peaks_of_flow": len(moving),
    }


def _agreement(onsets: Onsets, seen: Onsets, heard: Clip) -> dict[str, Any]:
    scores: dict[str, Any] = {"heard": len(onsets), "seen": len(seen)}
    for tolerance in TOLERANCES:

        def score(times: np.ndarray, tolerance: float = tolerance) -> float:
            return f1(times, onsets.times, tolerance)

        mean, deviation = shift_null(score, seen.times, heard.span)
        scores[f"within_{round(tolerance * 1000)}_ms"] = {
            "f1": rounded(score(seen.times)),
            "null": {"mean": rounded(mean), "deviation": rounded(deviation)},
        }
    scores["heard_seconds"] = [rounded(float(t)) for t in onsets.times]
    scores["seen_seconds"] = [rounded(float(t)) for t in seen.times]
    return scores
