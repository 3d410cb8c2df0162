"""From a request to a take: the one way that the command line and Python share.

The sound goes block by block into a file, and everything after that reads the file: no step holds a whole
film.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np

from synchresis.delivery.outputs import SOUND_SUFFIXES, Outputs, check_form
from synchresis.delivery.recipe import recipe_of
from synchresis.delivery.report import Measured, measure, report_of
from synchresis.errors import FailureError
from synchresis.media import Clip, SoundWriter, probe, read_sound, stream_sound
from synchresis.media.mux import Original, mux
from synchresis.systems.request import Plan, Progress, SoundRequest, System, quiet
from synchresis.timeline import sample_count, written_beside

CEILING_DB = -1.0  # dBTP: where the peak of a sound lies that would have clipped


@dataclass(frozen=True, eq=False)
class Take:
    """samples [N, channels] float32 at `rate` Hz, exactly as long as the picture of `clip`."""

    samples: np.ndarray
    rate: int
    recipe: dict[str, Any]
    report: dict[str, Any]
    clip: Path

    def save(self, path: str | Path, original: str = "drop", overwrite: bool = False) -> Path:
        """Writes the take, with its recipe and its report beside it, and returns where.

        A .wav (24 bit) or .flac holds the sound alone; .mp4, .mov, .mkv, .webm and .avi hold the clip with
        the sound, its picture untouched. `original` says what becomes of the clip's own sound: "drop", "keep"
        as a second track, or "mix" into the new one. These are the same bytes that the command line writes.
        Raises BadInputError for another suffix, or where there is such a file and not `overwrite`.
        """
        return _save(self, Path(path), original, overwrite)


@dataclass(frozen=True, eq=False)
class Draft:
    """A sound that was made and measured, but not yet given out. `sound` is a WAV of float samples."""

    clip: Clip
    request: SoundRequest
    system: System
    plan: Plan
    sound: Path
    measured: Measured
    report: dict[str, Any]

    def recipe(self, original: str, suffix: str) -> dict[str, Any]:
        return recipe_of(self.system, self.clip.path, self.request, original, suffix)


@contextmanager
def draft(
    system: System, clip: Clip, request: SoundRequest, folder: Path | None, progress: Progress = quiet
) -> Iterator[Draft]:
    """Makes the sound in a folder inside `folder` (None: where the operating system keeps such), gone at the end.

    A sound that would clip is turned down as a whole, so that its true peak is `CEILING_DB`; none is turned up.
    Raises BadInputError for a request that the system cannot serve and FailureError if it makes something
    else than the plan's number of finite samples.
    """
    with tempfile.TemporaryDirectory(prefix=".synchresis-", dir=folder) as room:
        plan = system.prepare(clip, request, progress)
        sound = Path(room) / "sound.wav"
        _write_sound(system, plan, sound, progress)
        progress("measure", 0.0)
        measured = measure(sound)
        notes = []
        if system.untrained is not None:
            notes.append(f"{system.name} is untrained ({Path(system.untrained).name}): this is noise")
        peak = max(measured.peak, measured.true_peak)
        if peak > 1.0:
            gain_db = CEILING_DB - 20.0 * math.log10(peak)
            sound = _turned(sound, gain_db)
            measured = measure(sound)
            notes.append(f"turned down by {-gain_db:.1f} dB so that it does not clip")
        progress("measure", 1.0)
        yield Draft(clip, request, system, plan, sound, measured, report_of(measured, plan, notes))


def make_take(system: System, clip: str | Path, request: SoundRequest, progress: Progress = quiet) -> Take:
    """A take in memory: what `System.sound` returns."""
    with draft(system, probe(clip), request, None, progress) as made:
        samples = read_sound(made.sound).values
        recipe = made.recipe(original="drop", suffix=".wav")
        return Take(samples, made.plan.rate, recipe, made.report, made.clip.path)


def deliver(made: Draft, outputs: Outputs, original: str, picture: bool, progress: Progress = quiet) -> tuple[str, ...]:
    """Writes the take, its recipe, its report and, if asked, its picture; each is whole or not there.

    What is there already is replaced. Returns a line for each stream of the clip that the film could not
    take.
    """
    progress("write", 0.0)
    recipe = made.recipe(original, outputs.take.suffix)
    lost = _write(made.clip, made.sound, outputs, original, recipe, made.report)
    progress("write", 1.0)
    if picture:
        from synchresis.delivery.picture import draw

        progress("draw", 0.0)
        draw(outputs.picture, made.clip, made.plan, made.sound, made.measured)
        progress("draw", 1.0)
    return lost


def _save(take: Take, path: Path, original: str, overwrite: bool) -> Path:
    outputs = Outputs(path)
    clip = probe(take.clip)
    check_form(path, original, clip)
    if not overwrite:
        outputs.refuse_to_overwrite(picture=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".synchresis-", dir=path.absolute().parent) as room:
        sound = Path(room) / "sound.wav"
        with SoundWriter(sound, take.rate, take.samples.shape[1], "FLOAT") as writer:
            writer.write(take.samples)
        recipe = take.recipe | {"delivery": {"suffix": path.suffix, "original": original}}
        _write(clip, sound, outputs, original, recipe, take.report)
    return path


def _write_sound(system: System, plan: Plan, sound: Path, progress: Progress) -> None:
    expected, written = sample_count(plan.duration, plan.rate), 0
    blocks = system.stream(plan, progress)
    first = next(blocks, None)
    if first is None:
        raise FailureError(f"{system.name} made no sound at all")
    with SoundWriter(sound, plan.rate, first.shape[1], "FLOAT") as writer:
        for block in chain([first], blocks):
            if not np.isfinite(block).all():
                raise FailureError(
                    f"{system.name} made samples that are no numbers, from {written / plan.rate:.2f} s on"
                )
            writer.write(block)
            written += len(block)
    if written != expected:
        raise FailureError(f"{system.name} made {written} samples where the picture has {expected}")


def _turned(sound: Path, gain_db: float) -> Path:
    """The sound with another gain, as a file beside it."""
    turned, gain = sound.with_name("turned.wav"), np.float32(10.0 ** (gain_db / 20.0))
    info = probe(sound).audio[0]
    with SoundWriter(turned, info.rate, info.channels, "FLOAT") as writer:
        for block in stream_sound(sound):
            writer.write(block * gain)
    sound.unlink()
    return turned


def _write(
    clip: Clip, sound: Path, outputs: Outputs, original: str, recipe: dict[str, Any], report: dict[str, Any]
) -> tuple[str, ...]:
    lost: tuple[str, ...] = ()
    if outputs.take.suffix.lower() in SOUND_SUFFIXES:
        _copy_sound(sound, outputs.take)
    else:
        # check_form has looked at `original`.
        lost = mux(clip, sound, outputs.take, original=cast("Original", original), overwrite=True)
    write_json(outputs.recipe, recipe)
    write_json(outputs.report, report)
    return lost


def _copy_sound(sound: Path, path: Path) -> None:
    rate, channels = probe(sound).audio[0].rate, probe(sound).audio[0].channels
    with SoundWriter(path, rate, channels, "PCM_24") as writer:
        for block in stream_sound(sound):
            writer.write(block)


def write_json(path: Path, content: dict[str, Any]) -> None:
    with written_beside(path) as part:
        part.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
