"""The corpus of films, rendered once for all tests of this room, each when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from corpus import CLOCK, FRAME_RATES, Film, Sound, cut_copy, render, steady

VP9 = {"codec": "libvpx-vp9", "suffix": ".webm", "options": {"deadline": "realtime", "cpu-used": "8"}}


def _variable() -> list[Fraction]:
    gaps = np.random.default_rng(7).integers(CLOCK // 120, CLOCK // 8, 40)
    return [Fraction(int(tick), CLOCK) for tick in [0, *np.cumsum(gaps)]]


FILMS: dict[str, Film] = {
    **{f"rate {float(fps):.2f}": Film(steady(fps), sounds=[Sound()]) for fps in FRAME_RATES},
    "variable rate": Film(_variable(), options={"bf": "0"}, sounds=[Sound()]),
    "variable rate mkv": Film(_variable(), suffix=".mkv", options={"bf": "0"}, sounds=[Sound(codec="flac")]),
    **{f"rotation {turn}": Film(steady(25, 1), rotation=turn) for turn in (90, 180, 270)},
    "rotation mov": Film(steady(25, 1), suffix=".mov", rotation=90),
    "rotation mkv": Film(steady(25, 1), suffix=".mkv", rotation=270),
    "start offset": Film(steady(25, start=Fraction(5, 4)), sounds=[Sound(seconds=Fraction(3))]),
    "start offset mkv": Film(
        steady(25, start=Fraction(5, 4)), suffix=".mkv", sounds=[Sound(seconds=Fraction(3), codec="flac")]
    ),
    "late sound": Film(
        steady(25),
        sounds=[Sound(seconds=Fraction(1), start=Fraction(3, 4))],
        container={"movie_timescale": "48000"},  # the delay is counted in it: 1000 would move the sound
    ),
    "short sound": Film(steady(25), suffix=".mov", sounds=[Sound(seconds=Fraction(1))]),
    "b-frames": Film(steady(30), options={"bf": "4", "b-pyramid": "normal", "g": "20"}, sounds=[Sound()]),
    "b-frames avi": Film(steady(25), suffix=".avi", sounds=[Sound(codec="pcm_s16le")]),
    "odd size": Film(steady(25, 1), pixels="yuv444p", size=(47, 63)),
    "odd size webm": Film(steady(25), size=(47, 63), sounds=[Sound(codec="libopus")], **VP9),
    "10 bit": Film(steady(25, 1), pixels="yuv420p10le"),
    "no sound": Film(steady(25, 1)),
    "two sounds": Film(steady(25), sounds=[Sound(), Sound(seed=1, language="deu", layout="mono")]),
    "two sounds mkv": Film(
        steady(25), suffix=".mkv", sounds=[Sound(codec="flac"), Sound(seed=1, codec="aac", language="deu")]
    ),
    "subtitles and chapters": Film(
        steady(25),
        sounds=[Sound()],
        subtitles="mov_text",
        chapters=[(0, 900, "Before"), (900, 2000, "After")],
        tags={"title": "Two parts", "comment": "kept", "scene": "12b"},
        container={"movflags": "use_metadata_tags"},
    ),
    "subtitles and chapters mkv": Film(
        steady(25),
        suffix=".mkv",
        sounds=[Sound(codec="flac")],
        subtitles="subrip",
        chapters=[(0, 900, "Before"), (900, 2000, "After")],
        tags={"title": "Two parts", "scene": "12b"},
    ),
    "avi": Film(steady(25), suffix=".avi", codec="mpeg4", sounds=[Sound(codec="pcm_s16le")]),
    "one frame": Film(steady(25, Fraction(1, 25))),
}
# A film of two seconds, cut between keyframes: (film, first frame shown).
CUT_AT = 17


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
        film = FILMS[name]
        return render(stem, film), [float(time - film.times[0]) for time in film.times], 0

    def get(name: str) -> tuple[Path, list[float], int]:
        if name not in made:
            made[name] = make(name)
        return made[name]

    return get


NAMES = [*FILMS, "edit list mp4", "edit list mov"]
