"""The contact sheet of a film made for a sound: its frames over the waveform, with what is heard and what is seen."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from synchresis.delivery.loudness import RATE
from synchresis.delivery.picture import HEARD, STRIP, TOLD, WIDTH, columns_of, draw_frames, draw_wave
from synchresis.media import Clip
from synchresis.timeline import sample_count, written_beside
from synchresis.timeline.onsets import Onsets


def draw(path: Path, film: Clip, sound: Clip, heard: Onsets, seen: Onsets, title: str) -> None:
    """Writes the PNG: STRIP frames evenly over the film, and under them the waveform.

    Onsets of the sound go from the top of the waveform to its middle, those that the watcher sees in the film from
    the bottom up to it. Film and sound are read in a stream.
    """
    assert film.video is not None
    columns = columns_of(sound.path, sample_count(sound.duration, RATE))
    duration = float(film.duration)
    with matplotlib.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        heights = [WIDTH * 0.94 / STRIP * film.video.height / film.video.width, 2.2]
        figure = Figure(figsize=(WIDTH, sum(heights) + 0.8), dpi=110, layout="constrained")
        strip, wave = figure.subplots(2, 1, height_ratios=heights, sharex=True)
        strip.set_title(f"{title} ({duration:.2f} s, {float(film.video.fps):.4g} frames a second)", loc="left")
        draw_frames(strip, film, duration)
        draw_wave(wave, columns, duration)
        _draw_instants(wave, heard, seen)
        strip.set_xlim(0, duration)
        wave.set_xlabel("seconds")
        with written_beside(path) as part:
            # Without the name of the library in the file, the same film gives the same bytes.
            figure.savefig(part, format="png", metadata={"Software": None})


def _draw_instants(axis: Axes, heard: Onsets, seen: Onsets) -> None:
    for times, bottom, top, colour, label in (
        (heard.times, 0.5, 1.0, TOLD, "heard in the sound"),
        (seen.times, 0.0, 0.5, HEARD, "seen in the film"),
    ):
        for i, time in enumerate(times):
            axis.axvline(time, bottom, top, color=colour, linewidth=0.9, label=None if i else label)
    if len(heard) or len(seen):
        axis.legend(loc="upper right", frameon=False, ncols=2)
