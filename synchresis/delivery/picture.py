"""The picture of a take: frames, waveform, spectrogram, onsets and loudness over one axis of time, on one
PNG.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from synchresis.delivery.loudness import RATE
from synchresis.delivery.report import Measured
from synchresis.media import Clip, frames, stream_sound
from synchresis.systems.request import Plan
from synchresis.timeline import Track, sample_count, written_beside

COLUMNS = 1200
STRIP = 10
WIDTH = 12.0  # inches
STRIP_HEIGHT = 120

FFT = 2048
BANDS = 128
LOWEST_HZ, HIGHEST_HZ = 40.0, 20000.0
RANGE_DB = 80.0
FLOOR_DB = -70.0

TOLD, HEARD = "#d1495b", "#30638e"


def draw(path: Path, clip: Clip, plan: Plan, sound: Path, measured: Measured) -> None:
    """Writes the PNG. The films and sounds are read in a stream; what is kept has COLUMNS columns.

    A clip without a picture has no strip of frames.
    """
    columns = columns_of(sound, sample_count(Fraction(measured.samples, measured.rate), RATE))
    with matplotlib.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        heights = [1.75, 3.15, 2.3]
        if clip.video:
            heights.insert(0, WIDTH * 0.94 / STRIP * clip.video.height / clip.video.width)
        figure = Figure(figsize=(WIDTH, sum(heights) + 0.6), dpi=110, layout="constrained")
        axes = list(figure.subplots(len(heights), 1, height_ratios=heights, sharex=True))
        duration = float(plan.duration)
        axes[0].set_title(f"{clip.path.name}: {duration:.2f} s, led by {plan.mode}", loc="left")
        if clip.video:
            draw_frames(axes[0], clip, duration)
        wave, spectrum, loudness = axes[-3:]
        draw_wave(wave, columns, duration)
        _draw_spectrum(spectrum, columns, duration)
        _draw_loudness(loudness, plan, measured)
        for axis in axes[-3:]:
            _draw_onsets(axis, plan, measured)
        axes[0].set_xlim(0, duration)
        axes[-1].set_xlabel("seconds")
        with written_beside(path) as part:
            # Without the name of the library in the file, the same take gives the same bytes.
            figure.savefig(part, format="png", metadata={"Software": None})


@dataclass(frozen=True, eq=False)
class Columns:
    """The sound over COLUMNS equal stretches: lowest and highest sample, and power in BANDS bands."""

    low: np.ndarray
    high: np.ndarray
    power: np.ndarray


def columns_of(sound: Path, samples: int) -> Columns:
    """Of the first `samples` samples at 48 kHz, which is all of a sound's file, read in a stream."""
    count = min(COLUMNS, max(samples, 1))
    low, high = np.zeros(count), np.zeros(count)
    power, windows = np.zeros((count, BANDS)), np.zeros(count)

    def column(first: int, many: int, step: int) -> np.ndarray:
        return np.minimum((first + np.arange(many) * step) * count // max(samples, 1), count - 1)

    hop = min(max(samples // count, FFT // 8), FFT)
    bands = (np.geomspace(LOWEST_HZ, HIGHEST_HZ, BANDS + 1) * FFT / RATE).astype(int)
    # `begun` counts the middles of windows: the first one is half in the silence before the sound.
    heard, begun, waiting = 0, 0, np.zeros(FFT // 2, np.float32)
    for block in stream_sound(sound, RATE, mono=True):
        at = column(heard, len(block), 1)
        np.minimum.at(low, at, block[:, 0])
        np.maximum.at(high, at, block[:, 0])
        heard += len(block)
        # The end is filled up with silence, so that the last windows are whole.
        tail = np.zeros(FFT if heard == samples else 0, np.float32)
        waiting = np.concatenate([waiting, block[:, 0], tail])
        if len(waiting) < FFT:
            continue
        views = np.lib.stride_tricks.sliding_window_view(waiting, FFT)[::hop]
        energy = np.square(np.abs(np.fft.rfft(views * np.hanning(FFT))))
        at = column(begun, len(views), hop)
        np.add.at(power, at, np.add.reduceat(energy, bands, axis=1)[:, :BANDS])
        np.add.at(windows, at, 1)
        waiting, begun = waiting[hop * len(views) :], begun + hop * len(views)
    # A column in which no window has its middle shows the one before it.
    shown = np.maximum.accumulate(np.where(windows > 0, np.arange(count), 0))
    return Columns(low, high, (power / np.maximum(windows, 1)[:, None])[shown])


def draw_frames(axis: Axes, clip: Clip, duration: float) -> None:
    """STRIP frames, each over its part of the axis, at the middle of which it was taken."""
    assert clip.video is not None
    width = max(2, round(STRIP_HEIGHT * clip.video.width / clip.video.height))
    times = [Fraction(clip.duration) * (2 * i + 1) / (2 * STRIP) for i in range(STRIP)]
    for i, (_, frame) in enumerate(frames(clip, times=times, size=(STRIP_HEIGHT, width))):
        axis.imshow(frame, extent=(i * duration / STRIP, (i + 1) * duration / STRIP, 0, 1), aspect="auto")
    axis.set_ylim(0, 1)
    axis.set_yticks([])
    axis.spines["left"].set_visible(False)


def draw_wave(axis: Axes, columns: Columns, duration: float) -> None:
    """The waveform over `duration` seconds."""
    times = (np.arange(len(columns.low)) + 0.5) * duration / len(columns.low)
    axis.fill_between(times, columns.low, columns.high, color="#444444", linewidth=0.4)
    reach = max(float(np.abs([columns.low, columns.high]).max()), 1e-3)
    axis.set_ylim(-reach, reach)
    axis.set_ylabel("wave")


def _draw_spectrum(axis: Axes, columns: Columns, duration: float) -> None:
    decibels = 10 * np.log10(columns.power.T + 1e-12)
    top = float(decibels.max())
    edges = np.geomspace(LOWEST_HZ, HIGHEST_HZ, BANDS + 1)
    times = np.linspace(0, duration, columns.power.shape[0] + 1)
    axis.pcolormesh(times, edges, decibels, vmin=top - RANGE_DB, vmax=top, cmap="magma", rasterized=True)
    axis.set_yscale("log")
    axis.set_ylabel("Hz")


def _draw_loudness(axis: Axes, plan: Plan, measured: Measured) -> None:
    if plan.told is not None and len(plan.told):
        axis.plot(plan.told.times(), _decibels(plan.told), color=TOLD, linewidth=1.4, label="told")
    if len(measured.envelope):
        axis.plot(measured.envelope.times(), _decibels(measured.envelope), color=HEARD, linewidth=0.8, label="heard")
    axis.set_ylim(FLOOR_DB, 3)
    axis.set_ylabel("RMS, dBFS")
    axis.legend(loc="upper right", frameon=False, ncols=2)


def _draw_onsets(axis: Axes, plan: Plan, measured: Measured) -> None:
    """Told onsets from the top down to the middle, heard ones from the bottom up to it."""
    if plan.onsets is not None:
        for time in plan.onsets.times:
            axis.axvline(time, 0.5, 1.0, color=TOLD, linewidth=0.9)
    for time in measured.onsets.times:
        axis.axvline(time, 0.0, 0.5, color=HEARD, linewidth=0.9)


def _decibels(track: Track) -> np.ndarray:
    return 20 * np.log10(np.maximum(track.values, 10 ** (FLOOR_DB / 20)))
