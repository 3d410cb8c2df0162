"""The report against sounds whose every figure is known."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arithmetic import RATE, ArithmeticPlan

from synchresis.delivery.report import measure, report_of, strongest_onsets
from synchresis.media import SoundWriter
from synchresis.timeline import Track
from synchresis.timeline.onsets import Onsets


def written(path: Path, sound: np.ndarray) -> Path:
    with SoundWriter(path, RATE, sound.shape[1], "FLOAT") as writer:
        writer.write(sound)
    return path


def bursts(times: list[float], seconds: float) -> np.ndarray:
    """White noise of 0.2 s, dying away, at each time."""
    sound = np.zeros((round(seconds * RATE), 1), np.float32)
    noise = np.random.default_rng(0).normal(0, 0.1, round(0.2 * RATE)) * np.exp(-np.arange(0.2 * RATE) / 2000)
    for time in times:
        first = round(time * RATE)
        sound[first : first + len(noise), 0] += noise
    return sound


def plan(onsets: list[float] | None, told: Track | None = None, seconds: float = 4.0) -> ArithmeticPlan:
    marks = None if onsets is None else Onsets(np.array(onsets), np.ones(len(onsets)))
    return ArithmeticPlan("onsets", Fraction(seconds), marks, told, 0, ["a note"])


def test_levels_of_a_known_sine(tmp_path: Path) -> None:
    wave = np.sin(2 * np.pi * 997 * np.arange(4 * RATE) / RATE)
    wave[: 2 * RATE] = 0
    report = report_of(measure(written(tmp_path / "x.wav", 0.5 * wave[:, None])), plan(None))
    level: dict[str, Any] = report["level"]
    assert level["sample_peak_dbfs"] == pytest.approx(-6.02, abs=0.01)
    assert level["true_peak_dbtp"] == pytest.approx(-6.02, abs=0.05)
    # Gated: only the half that sounds counts, but for the blocks that straddle its beginning.
    assert level["integrated_lufs"] == pytest.approx(-9.03, abs=0.4)
    assert level["silent_share"] == 0.5
    assert level["clipped_samples"] == 0
    assert report["timing"] == {
        "picture_seconds": 4.0,
        "sound_seconds": 4.0,
        "samples": 4 * RATE,
        "rate": RATE,
        "channels": 1,
    }
    assert (report["mode"], report["notes"], report["alignment"]) == ("onsets", ["a note"], None)


def test_clipping_is_counted_and_silence_has_no_level(tmp_path: Path) -> None:
    sound = np.zeros((RATE, 2), np.float32)
    sound[100:110, 0], sound[200:205, 1] = 1.0, -1.3
    level = report_of(measure(written(tmp_path / "x.wav", sound)), plan(None))["level"]
    assert (level["clipped_samples"], level["sample_peak_dbfs"]) == (15, pytest.approx(2.279, abs=0.001))
    silent = report_of(measure(written(tmp_path / "y.wav", np.zeros((RATE, 1)))), plan(None))["level"]
    assert (silent["sample_peak_dbfs"], silent["integrated_lufs"], silent["silent_share"]) == (None, None, 1.0)


def test_alignment_counts_what_is_in_place_and_sets_chance_beside_it(tmp_path: Path) -> None:
    measured = measure(written(tmp_path / "x.wav", bursts([0.5, 1.3, 2.9], 4.0)))
    exact = report_of(measured, plan([0.5, 1.3, 2.9]))["alignment"]
    assert (exact["told"], exact["heard"]) == (3, 3)
    assert exact["within_60_ms"]["f1"] == 1.0
    assert exact["within_60_ms"]["f1_null"]["mean"] < 0.3
    half = report_of(measured, plan([0.58, 1.3, 2.4, 2.9]))["alignment"]
    assert half["within_60_ms"]["f1"] == pytest.approx(2 * 2 / 7, abs=1e-4)
    assert half["within_100_ms"]["f1"] == pytest.approx(2 * 3 / 7, abs=1e-4)
    # One told: only the strongest heard one counts. All three bursts are equally strong but for rounding.
    assert report_of(measured, plan([3.7]))["alignment"]["within_60_ms"]["f1_count_matched"] == 0.0


def test_the_strongest_onsets() -> None:
    onsets = Onsets(np.array([1.0, 2.0, 3.0]), np.array([0.2, 0.9, 0.5]))
    assert strongest_onsets(onsets, 2).times.tolist() == [2.0, 3.0]
    assert len(strongest_onsets(onsets, 9)) == 3


def test_loudness_following(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    told = Track(np.repeat(rng.uniform(0.01, 0.2, 40), 10), Fraction(100))
    sound = (rng.normal(0, 1, 4 * RATE) * told.resample(RATE, kind="nearest").values)[:, None]
    followed = report_of(measure(written(tmp_path / "x.wav", sound)), plan(None, told))["loudness_following"]
    assert followed["correlation"] > 0.95
    assert abs(followed["null"]["mean"]) < 0.2
    assert followed["rms_told_dbfs"] == pytest.approx(followed["rms_heard_dbfs"], abs=0.3)
    flat = np.full((4 * RATE, 1), 0.1, np.float32)
    unmoved = report_of(measure(written(tmp_path / "y.wav", flat)), plan(None, told))["loudness_following"]
    assert abs(unmoved["correlation"]) < 0.3
