"""The films that a system learns from: the list, what each of them teaches, and where that waits.

    {"film": "hammer.mp4", "prompt": "a hammer on wood"}      a line of films.jsonl; the prompt may be left out

What a film teaches (features of its picture, latents of its sound) is computed once. It waits in a file per film, named
by the content of the film and by what computed it, and is read again whenever a step draws it: memory does not grow
with the films.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Generic, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from synchresis.errors import BadInputError, FailureError
from synchresis.systems.request import Progress, quiet
from synchresis.timeline.beside import written_beside
from synchresis.timeline.time import Number, Span, as_fraction

NAMES = {"film": "film", "prompt": "prompt", "video_location": "film", "captions": "prompt"}
"""What a line of a list may say; the second two are the names in STA-V2A's own lists."""

SHOWN = 6     # bad lines that an error names
SHORTEST = 1  # second: shorter films teach nothing

Lesson = dict[str, Tensor]
"""What a stretch of a film teaches: tensors by name."""

T = TypeVar("T")


@dataclass(frozen=True)
class Film:
    """A film to learn from, and what is said of it in words. `said` is where it was named, for a person."""

    path: Path
    prompt: str
    said: str


# The list


def read_films(place: Path) -> list[Film]:
    """The films of a list (a JSON object a line) or of a folder, in order. Places in a list are relative to it.

    Raises BadInputError for a list that cannot be read, for one or a folder that names no film, and naming the number
    of every line that says something else. Whether the films are there is seen when they are read.
    """
    if place.is_dir():
        from synchresis.delivery.outputs import clips_in

        return [Film(path, "", str(path)) for path in clips_in([place])]
    try:
        lines = place.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise BadInputError(f"--films {place} should be a folder of films or a list of them: {error}") from error
    films, bad = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            told = _line(line)
            said = f"{place.name}, line {number}: {told['film']}"
            films.append(Film(place.parent / told["film"], told.get("prompt", ""), said))
        except ValueError as error:
            bad.append(f"line {number} {error}")
    if bad:
        more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        raise BadInputError(
            f'{place}: {"; ".join(bad[:SHOWN])}{more}. A line is {{"film": PLACE, "prompt": WORDS}}, '
            "the prompt may be left out"
        )
    if not films:
        raise BadInputError(f"{place} names no film")
    return films


def _line(line: str) -> dict[str, str]:
    try:
        content = json.loads(line)
    except ValueError as error:
        raise ValueError("is not JSON") from error
    if not isinstance(content, dict):
        raise ValueError("is no object")
    if strangers := sorted(content.keys() - NAMES.keys()):
        raise ValueError(f"has {', '.join(strangers)}, which is not known")
    told: dict[str, str] = {}
    for name, value in content.items():
        if NAMES[name] in told:
            raise ValueError(f"says its {NAMES[name]} twice")
        if value is None and NAMES[name] == "prompt":
            value = ""
        if not isinstance(value, str):
            raise ValueError(f"has a {name} that is no text")
        told[NAMES[name]] = value
    if not told.get("film"):
        raise ValueError("names no film")
    return told


# What they teach


class Lessons(Sequence[T], Generic[T]):
    """The stretches of all films that could be read, each read from its file when it is asked for.

    `films` were read; `skipped` says of each other one where it was named and why it was left out.
    """

    def __init__(
        self,
        stretches: Sequence[tuple[Film, Path, int]],
        make: Callable[[Film, Lesson], T],
        films: Sequence[Film],
        skipped: Sequence[str],
    ) -> None:
        self.stretches, self.make, self.films, self.skipped = stretches, make, films, skipped

    def __len__(self) -> int:
        return len(self.stretches)

    def __getitem__(self, index: int) -> T:  # type: ignore[override]
        film, file, number = self.stretches[index]
        begin = f"{number}."
        with safe_open(file, "pt") as kept:
            names = [name for name in kept.keys() if name.startswith(begin)]  # noqa: SIM118 (it is no dictionary)
            return self.make(film, {name.removeprefix(begin): kept.get_tensor(name) for name in names})


def learned_from(
    films: Sequence[Film],
    read: Callable[[Film], list[Lesson]],
    make: Callable[[Film, Lesson], T],
    *,
    folder: Path,
    key: str,
    progress: Progress = quiet,
    say: Callable[[str], None] = lambda text: None,
) -> Lessons[T]:
    """What the films teach, from the files in `folder` or else `read`, which says it of a film in stretches.

    `key` stands for all that the lessons depend on besides the film. A film that cannot be read or teaches nothing is
    left out; each is named to `say`, then how many there were. Raises BadInputError where that is all of them.
    """
    stretches: list[tuple[Film, Path, int]] = []
    good: list[Film] = []
    skipped: list[str] = []
    for i, film in enumerate(films):
        progress("read", i / len(films))
        try:
            file = folder / f"{content_hash(film.path)[:24]}-{key[:16]}.safetensors"
            if not file.is_file():
                _keep(file, read(film))
            count = _count(file)
        except (BadInputError, FailureError, OSError) as error:
            skipped.append(f"{film.said}: left out: {error}")
            continue
        good.append(film)
        stretches += [(film, file, number) for number in range(count)]
    progress("read", 1.0)
    for text in skipped:
        say(text)
    if skipped:
        say(f"{len(skipped)} of {len(films)} films are left out")
    if not good:
        raise BadInputError(f"none of the {len(films)} films can be learned from. {skipped[0]}")
    return Lessons(stretches, make, good, skipped)


def _keep(file: Path, lessons: Sequence[Lesson]) -> None:
    if not lessons:
        raise BadInputError("there is nothing in it to learn from")
    named = {f"{i}.{name}": v.contiguous().cpu() for i, lesson in enumerate(lessons) for name, v in lesson.items()}
    with written_beside(file) as part:
        save_file(named, part)


def _count(file: Path) -> int:
    try:
        with safe_open(file, "pt") as kept:
            return 1 + max(int(name.split(".")[0]) for name in kept.keys())  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise BadInputError(f"{file} is damaged: delete it") from error


@contextmanager
def lessons_folder(cache: Path | None) -> Iterator[Path]:
    """Where lessons wait: `cache`, which is made and stays, or a folder that is gone afterwards."""
    if cache is None:
        with tempfile.TemporaryDirectory(prefix="synchresis-") as folder:
            yield Path(folder)
        return
    if cache.exists() and not cache.is_dir():
        raise BadInputError(f"--cache {cache} is a file: name a folder")
    cache.mkdir(parents=True, exist_ok=True)
    yield cache


def content_hash(path: Path) -> str:
    """sha256 of a file. Raises BadInputError where there is none."""
    if not path.is_file():
        raise BadInputError(f"{path}: there is no such file")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stretches(duration: Number, longest: Number, grid: Number) -> list[Span]:
    """A film that is longer than `longest` (s) in spans of that length, one after the other; a shorter one as it is.

    Batches are cut to their shortest item, so the last span is no shorter: it begins so much earlier, on `grid` (s).
    Raises BadInputError for a film under `SHORTEST`.
    """
    duration, longest, grid = as_fraction(duration), as_fraction(longest), as_fraction(grid)
    if duration < SHORTEST:
        raise BadInputError(f"it is shorter than {SHORTEST} s")
    if duration <= longest:
        return [Span(Fraction(0), duration)]
    last = (duration - longest) // grid * grid
    starts = [i * longest for i in range(int(last // longest) + 1)]
    starts += [last] if last > starts[-1] else []
    return [Span(start, start + longest) for start in starts]
