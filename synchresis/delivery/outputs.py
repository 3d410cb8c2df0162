"""Where takes are written: names chosen, and refused, before any work is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from synchresis.errors import BadInputError

if TYPE_CHECKING:
    from synchresis.media import Clip

SOUND_SUFFIXES = (".wav", ".flac")
FILM_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi")
ORIGINALS = ("drop", "keep", "mix")

# What is taken for a film in a folder, and what is known to be a sound without a picture.
FILMS = (
    *FILM_SUFFIXES,
    ".m4v",
    ".mpg",
    ".mpeg",
    ".ts",
    ".mts",
    ".m2ts",
    ".wmv",
    ".flv",
    ".ogv",
    ".3gp",
    ".mxf",
)
SOUNDS = (*SOUND_SUFFIXES, ".mp3", ".m4a", ".aac", ".ogg", ".opus", ".aif", ".aiff")

MARK = ".synchresis"


@dataclass(frozen=True)
class Outputs:
    """Where everything about one take lies: all beside one another, under one name."""

    take: Path

    @property
    def recipe(self) -> Path:
        return self.take.with_suffix(".recipe.json")

    @property
    def report(self) -> Path:
        return self.take.with_suffix(".report.json")

    @property
    def picture(self) -> Path:
        return self.take.with_suffix(".png")

    def refuse_to_overwrite(self, picture: bool) -> None:
        """Raises BadInputError if one of the files is there already."""
        for path in [self.take, self.recipe, self.report, *([self.picture] if picture else [])]:
            if path.exists():
                raise BadInputError(f"{path}: is there already; give another name, or --overwrite to replace it")

    def refuse_to_replace(self, source: Path) -> None:
        """Raises BadInputError if the take would take the place of the file that it is made from."""
        if self.take.resolve() == source.resolve():
            raise BadInputError(f"{source}: the take would replace its own clip; give another --out")


def clips_in(places: Sequence[Path]) -> list[Path]:
    """The clips that these paths mean: a folder means the films in it (not in its folders), by name, without
    takes.

    Raises BadInputError for a folder without a film.
    """
    clips: list[Path] = []
    for place in places:
        if not place.is_dir():
            clips.append(place)
            continue
        found = sorted(path for path in place.iterdir() if _is_film(path))
        if not found:
            raise BadInputError(f"{place}: there is no film in this folder (looked for {', '.join(FILMS)})")
        clips.extend(found)
    return clips


def outputs_for(
    clips: Sequence[Path], out: Path | None, sound_only: bool, variants: int, suffix: str | None = None
) -> list[list[Outputs]]:
    """For each clip, where each of its variants goes.

    `out` is a file (it ends in a suffix that can be written; for one clip), a folder, or None: beside the
    clip. In a folder the takes of NAME.mp4 are NAME.synchresis.mp4; several variants are counted,
    NAME.synchresis.1.mp4. `suffix` replaces the one that follows from the clip. Raises BadInputError where
    this cannot be, also where two takes would get one name.
    """
    if out is not None and out.suffix.lower() in SOUND_SUFFIXES + FILM_SUFFIXES and not out.is_dir():
        if len(clips) > 1:
            raise BadInputError(f"--out {out}: is one file for {len(clips)} clips; give a folder")
        if sound_only and out.suffix.lower() in FILM_SUFFIXES:
            raise BadInputError(f"--out {out}: is a film, but --sound-only asks for {' or '.join(SOUND_SUFFIXES)}")
        bases = [out]
    else:
        if out is not None and not out.is_dir() and (out.exists() or out.suffix):
            raise BadInputError(
                f"--out {out}: is no folder, and {out.suffix or 'this'} cannot be written; "
                f"known are {', '.join(SOUND_SUFFIXES + FILM_SUFFIXES)}"
            )
        bases = [(out or clip.parent) / f"{clip.stem}{MARK}{suffix or _suffix_for(clip, sound_only)}" for clip in clips]
    outputs = [[Outputs(_variant(base, k, variants)) for k in range(1, variants + 1)] for base in bases]
    names = [(path.resolve(), clip) for clip, group in zip(clips, outputs, strict=True) for path in _files(group)]
    first: dict[Path, Path] = {}
    for name, clip in names:
        if first.setdefault(name, clip) is not clip:
            raise BadInputError(f"{first[name]} and {clip} would both write {name.name}; sound them one by one")
    return outputs


def check_form(path: Path, original: str, clip: Clip) -> None:
    """Raises BadInputError where a take of `clip` cannot be given out as this."""
    suffix = path.suffix.lower()
    if suffix not in SOUND_SUFFIXES + FILM_SUFFIXES:
        known = ", ".join(SOUND_SUFFIXES + FILM_SUFFIXES)
        raise BadInputError(f"{path}: its suffix does not say what to write; known are {known}")
    if original not in ORIGINALS:
        raise BadInputError(f"original: {original!r} is none of {', '.join(ORIGINALS)}")
    if suffix in FILM_SUFFIXES and clip.video is None:
        raise BadInputError(f"{clip.path}: has no picture to put the sound on; ask for --sound-only")
    if suffix in SOUND_SUFFIXES and original != "drop":
        raise BadInputError(f"original: {original!r} needs a film to put the sound on, and {path} is none")


def _is_film(path: Path) -> bool:
    return (
        path.is_file()
        and path.suffix.lower() in FILMS
        and not path.name.startswith(".")
        and MARK not in path.suffixes  # a take of an earlier run
    )


def _suffix_for(clip: Path, sound_only: bool) -> str:
    """The clip's own container, in which everything that it holds has its place; Matroska for the unusual
    ones.
    """
    suffix = clip.suffix.lower()
    if sound_only or suffix in SOUNDS:
        return ".wav"
    if suffix == ".m4v":
        return ".mp4"
    return suffix if suffix in FILM_SUFFIXES else ".mkv"


def _variant(base: Path, number: int, variants: int) -> Path:
    return base if variants == 1 else base.with_name(f"{base.stem}.{number}{base.suffix}")


def _files(group: Sequence[Outputs]) -> list[Path]:
    return [path for outputs in group for path in (outputs.take, outputs.recipe)]
