"""Folders of takes to clips, paired by id; and one clip in memory, decoded once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np

from synchresis.errors import BadInputError
from synchresis.evaluation import envelopes, flow, onsets
from synchresis.media import Clip, probe, read_sound
from synchresis.timeline import written_beside

SEEN_VERSION = 1  # of what is kept of a picture

SOUNDS = (".wav", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".aac")
FILMS = (".mp4", ".mov", ".mkv", ".webm", ".avi")


@dataclass(frozen=True)
class Files:
    """The file that sounds and the file that shows of one clip: often one and the same."""

    sound: Path | None
    picture: Path | None


def find(folder: Path) -> dict[str, Files]:
    """Clips of a folder by id: the path below it without its suffix, sorted.

    Of NAME.wav beside NAME.mp4 the one sounds and the other shows. Raises BadInputError where there is no such folder,
    where it holds no media, or where two sounds (or films) have one name.
    """
    if not folder.is_dir():
        raise BadInputError(f"{folder}: there is no such folder")
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.rglob("*")):
        suffix = path.suffix.lower()
        if suffix not in SOUNDS + FILMS or path.name.startswith("."):
            continue
        kind = "sound" if suffix in SOUNDS else "picture"
        kinds = found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), {})
        if kind in kinds:
            raise BadInputError(f"{path} and {kinds[kind].name} are both the {kind} of one clip; remove one")
        kinds[kind] = path
    if not found:
        raise BadInputError(f"{folder}: holds no sound and no film")
    return {
        name: Files(kinds.get("sound") or kinds["picture"], kinds.get("picture"))
        for name, kinds in sorted(found.items())
    }


def content(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Material:
    """One clip in memory. Everything is decoded when it is first asked for, and once. Errors are BadInputError."""

    def __init__(self, files: Files, cache: Path | None = None) -> None:
        self.files, self.cache = files, cache

    @cached_property
    def hashes(self) -> tuple[str, str]:
        """sha256 of the file that sounds and of the one that shows ("" for none)."""
        sound, picture = (content(path) if path else "" for path in (self.files.sound, self.files.picture))
        return sound, picture

    @cached_property
    def sounds(self) -> bool:
        """Whether there is a sound at all."""
        return self.files.sound is not None and bool(probe(self.files.sound).audio)

    @cached_property
    def _sounding(self) -> Clip:
        if self.files.sound is None:
            raise BadInputError("has no sound")
        clip = probe(self.files.sound)
        if not clip.audio:
            raise BadInputError(f"{clip.path}: has no sound")
        return clip

    @cached_property
    def film(self) -> Clip | None:
        """The file that shows, or None where nothing does."""
        path = self.files.picture
        if path is None:
            return None
        clip = probe(path)
        return clip if clip.video is not None else None

    @cached_property
    def rate(self) -> int:
        """Hz of the sound as it is in the file."""
        return self._sounding.audio[0].rate

    @cached_property
    def sound(self) -> np.ndarray:
        """[T, C] float32 on the axis of its file's picture, at its own rate. Nothing is replaced: an empty, silent or
        broken (NaN) sound raises BadInputError where it is empty or broken."""
        values = read_sound(self._sounding).values
        if len(values) == 0:
            raise BadInputError(f"{self.files.sound}: its sound is empty")
        if not np.isfinite(values).all():
            raise BadInputError(f"{self.files.sound}: its sound holds values that are not numbers")
        return values

    @cached_property
    def duration(self) -> float:
        """Seconds of the picture, else of the sound."""
        return float(self.film.duration) if self.film else len(self.sound) / self.rate

    def mono(self, rate: int) -> np.ndarray:
        """[T] float32: mean of the channels at `rate` Hz (soxr HQ)."""
        wave = self.sound.mean(axis=1)
        if rate == self.rate:
            return wave
        import soxr

        return soxr.resample(wave, self.rate, rate, quality="HQ")

    @cached_property
    def wave(self) -> np.ndarray:
        """[T] at 22 050 Hz as the onset metrics hear it."""
        return onsets.resampled([self.sound], self.rate)

    @cached_property
    def strength(self) -> np.ndarray:
        """Onset strength at 43 Hz."""
        return onsets.onset_strength(self.wave)

    @cached_property
    def onsets(self) -> np.ndarray:
        """Onset times (s) by librosa's defaults."""
        return onsets.pick_frames(self.strength) * (onsets.HOP / onsets.RATE)

    @cached_property
    def firm_onsets(self) -> np.ndarray:
        """Sample indices at 22 050 Hz of the onsets with delta 0.3."""
        return onsets.pick_frames(self.strength, 0.3) * onsets.HOP

    @cached_property
    def own_onsets(self) -> np.ndarray:
        """Onset times (s) by our own detector."""
        from synchresis.timeline import Track, detect_onsets

        return detect_onsets(Track(self.sound.mean(axis=1), Fraction(self.rate))).times

    @cached_property
    def level(self) -> np.ndarray:
        """RMS per 10 ms."""
        from synchresis.timeline import Track, rms_envelope

        return rms_envelope(Track(self.sound, Fraction(self.rate))).values

    @cached_property
    def tfoley(self) -> np.ndarray:
        """T-Foley's envelope of the wave over its peak."""
        return envelopes.tfoley_envelope(envelopes.over_peak(self.wave))

    @cached_property
    def seen(self) -> Seen:
        """Everything that is wanted of the picture, in one pass. Raises BadInputError where there is none."""
        if self.film is None:
            raise BadInputError(f"{self.files.picture or self.files.sound}: has no picture")
        if self.cache is None:
            return look(self.film)
        path = self.cache / "pictures" / f"{self.hashes[1]}-{SEEN_VERSION}.npz"
        if path.exists():
            with np.load(path) as kept:
                flicker = None if np.isnan(kept["flicker"]) else float(kept["flicker"])
                return Seen(kept["flow"], float(kept["fps"]), flicker, list(kept["strip"]))
        seen = look(self.film)
        unknown = np.nan if seen.flicker is None else seen.flicker
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_beside(path) as part, part.open("wb") as file:
            np.savez(file, flow=seen.flow, fps=seen.fps, flicker=unknown, strip=np.array(seen.strip))
        return seen

    @cached_property
    def features(self) -> np.ndarray:
        """The 208 numbers that the set distances without a network compare."""
        from synchresis.evaluation.features import logmel_features

        return logmel_features(self.wave)

    @cached_property
    def facts(self) -> dict[str, float | None]:
        """Loudness, true peak, clipping, silence."""
        from synchresis.evaluation.waveforms import level_facts

        return level_facts(self.sound, self.rate)


@dataclass(frozen=True, eq=False)
class Seen:
    """flow: see `flow.curve_of`; fps; flicker (None for one frame); strip: eight small frames uint8 [h, w, 3]."""

    flow: np.ndarray
    fps: float
    flicker: float | None
    strip: list[np.ndarray]


def look(clip: Clip) -> Seen:
    """Decodes a film once: every frame goes to the flow, to the flicker and, now and then, to the strip."""
    import cv2

    from synchresis.evaluation import pictures
    from synchresis.media import frames

    assert clip.video is not None
    wanted = {round((k + 0.5) * clip.video.frames / 8) for k in range(8)}
    strip: list[np.ndarray] = []
    size = (96, max(2, round(96 * clip.video.height / clip.video.width)))
    flicker = pictures.Flicker()

    def passing() -> Iterator[np.ndarray]:
        for i, (_, picture) in enumerate(frames(clip)):
            if i in wanted:
                strip.append(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
            flicker.push(picture)
            yield picture

    curve = flow.curve_of(flow.grey(passing()))
    return Seen(curve, float(clip.video.fps), flicker.value(), strip)
