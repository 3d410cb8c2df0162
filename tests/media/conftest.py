"""The corpus of films, rendered once for all tests of this room, each when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from corpus import CUT_AT, FILMS, Film, Sound, cut_copy, end_early, render, steady


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, list[float], int]]:
    """name -> (path, times of the frames and of the end on the axis of the clip, number of the first frame)."""
    folder = tmp_path_factory.mktemp("corpus")
    made: dict[str, tuple[Path, list[float], int]] = {}

    def make(name: str) -> tuple[Path, list[float], int]:
        stem = folder / name.replace(" ", "_")
        if name.startswith("edit list"):
            suffix = name.removeprefix("edit list ")
            times = steady(24, 3)
            whole = render(stem.with_name("whole_" + stem.name), Film(times, options={"g": "12"}, sounds=[Sound()]))
            path = cut_copy(whole, stem.with_suffix(f".{suffix}"), times[CUT_AT])
            return path, [float(time - times[CUT_AT]) for time in times[CUT_AT:]], CUT_AT
        if name == "early end":
            times = steady(25, 3)
            whole = render(stem.with_name("whole_early"), Film(times, options={"g": "12"}))
            path = end_early(whole, stem.with_suffix(".mp4"), Fraction(2))
            return path, [float(time) for time in times[:51]], 0
        film = FILMS[name]
        return render(stem, film), [float(time - film.times[0]) for time in film.times], 0

    def get(name: str) -> tuple[Path, list[float], int]:
        if name not in made:
            made[name] = make(name)
        return made[name]

    return get
