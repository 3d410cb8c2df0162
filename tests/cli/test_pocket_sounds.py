"""The whole way with the real system: films of the stage, sounded by pocket with the weights in the package."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import synchresis
from synchresis.cli import run
from synchresis.media import SoundWriter, probe, read_sound
from synchresis.timeline import sample_count
from synchresis.timeline.files import read_onsets, write_onsets
from synchresis.timeline.onsets import Onsets

PROGRAM = Path(sys.executable).with_name("synchresis")


@pytest.fixture(scope="module")
def strikes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five strikes on metal in five seconds, well apart; the true contacts lie beside the film."""
    path = tmp_path_factory.mktemp("stage") / "strikes.mp4"
    options = ["--kind", "metal", "--seconds", "5", "--size", "160x120", "--fps", "25"]
    assert run(["render", "12", "--out", str(path), *options]) == 0
    assert len(read_onsets(path.with_suffix(".onsets.csv"))) == 5
    return path


def sounded(film: Path, out: Path, *options: str | Path) -> dict[str, Any]:
    """The report of a take."""
    assert run(["sound", str(film), "--out", str(out), *map(str, options)]) == 0
    report: dict[str, Any] = json.loads(out.with_suffix(".report.json").read_text())
    return report


def test_the_program_sounds_a_film_and_its_recipe_repeats_it(strikes: Path, tmp_path: Path) -> None:
    film, again = tmp_path / "take.mp4", tmp_path / "again.mp4"
    made = subprocess.run(
        [PROGRAM, "sound", strikes, "--out", film, "--seed", "3", "--picture", "--json"], capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["takes"][0]["path"] == str(film)
    remade = subprocess.run(
        [PROGRAM, "sound", "--recipe", film.with_suffix(".recipe.json"), "--out", again, "--picture"],
        capture_output=True,
        text=True,
    )
    assert (remade.returncode, remade.stdout) == (0, f"{again}\n"), remade.stderr
    for suffix in (".mp4", ".recipe.json", ".report.json", ".png"):
        assert film.with_suffix(suffix).read_bytes() == again.with_suffix(suffix).read_bytes(), suffix
    clip = probe(film)
    assert clip.duration == probe(strikes).duration
    assert len(read_sound(film, 48000, mono=True).values) == 5 * 48000
    assert {path.suffix for path in tmp_path.iterdir()} == {".mp4", ".json", ".png"}


def test_a_strike_that_is_seen_is_heard_in_its_place(strikes: Path, tmp_path: Path) -> None:
    """Against the true contacts, which neither the watcher nor the generator was told."""
    report = sounded(strikes, tmp_path / "take.wav")
    assert report["mode"] == "onsets"
    truth = read_onsets(strikes.with_suffix(".onsets.csv")).times
    heard = np.array(report["alignment"]["heard_seconds"])
    hits = sum(bool(len(heard)) and np.abs(heard - time).min() <= 0.1 for time in truth)
    assert hits >= len(truth) - 1
    assert len(heard) <= len(truth) + 2
    assert report["alignment"]["within_60_ms"]["f1"] >= 0.8
    assert report["level"]["clipped_samples"] == 0


def test_moving_one_onset_moves_one_sound(strikes: Path, tmp_path: Path) -> None:
    """By 500 ms, within 50; the others stay within 20 ms."""
    assert run(["watch", str(strikes), "--out", str(tmp_path / "seen.csv")]) == 0
    seen = read_onsets(tmp_path / "seen.csv")
    assert len(seen) >= 3
    times = np.append(seen.times, 5.0)
    moved = int(np.argmax(np.diff(times)))  # the one with most room after it
    assert np.diff(times)[moved] > 0.75
    edited = seen.times.copy()
    edited[moved] += 0.5
    write_onsets(tmp_path / "edited.csv", Onsets(edited, seen.strengths))
    reports = [
        sounded(strikes, tmp_path / f"{name}.wav", "--onsets", tmp_path / f"{name}.csv") for name in ("seen", "edited")
    ]
    before, after = (np.array(report["alignment"]["heard_seconds"]) for report in reports)

    def nearest(heard: np.ndarray, time: float) -> float:
        return float(heard[np.abs(heard - time).argmin()])

    for i, time in enumerate(seen.times):
        if i == moved:
            assert nearest(after, time + 0.5) - nearest(before, time) == pytest.approx(0.5, abs=0.05)
            assert np.abs(after - time).min() > 0.1
        else:
            assert nearest(after, time) - nearest(before, time) == pytest.approx(0.0, abs=0.02)


def test_a_recording_gives_the_loudness(strikes: Path, tmp_path: Path) -> None:
    """A hum that swells three times, as a voice would: the sound swells with it."""
    rate = 44100
    time = np.arange(5 * rate) / rate
    swell = 0.3 * np.clip(np.sin(2 * np.pi * 0.6 * time), 0.0, 1.0) + 1e-3
    with SoundWriter(tmp_path / "voice.wav", rate) as writer:
        writer.write(swell * np.sin(2 * np.pi * 180 * time))
    report = sounded(strikes, tmp_path / "take.wav", "--envelope", tmp_path / "voice.wav")
    assert report["mode"] == "loudness"
    assert report["loudness_following"]["correlation"] > 0.8
    assert report["loudness_following"]["null"]["mean"] < 0.5


def test_words_reference_seed_and_steps_change_the_take(strikes: Path, tmp_path: Path) -> None:
    truth = strikes.with_suffix(".onsets.csv")
    reference = tmp_path / "reference.wav"
    with SoundWriter(reference, 48000) as writer:
        writer.write(np.random.default_rng(0).normal(0, 0.1, 48000))
    options: dict[str, list[str | Path]] = {
        "plain": [],
        "prompt": ["--prompt", "rain"],
        "like": ["--like", reference],
        "seed": ["--seed", "1"],
        "steps": ["--steps", "4"],
    }
    takes = {}
    for name, given in options.items():
        sounded(strikes, tmp_path / f"{name}.wav", "--onsets", truth, *given)
        takes[name] = (tmp_path / f"{name}.wav").read_bytes()
    assert len(set(takes.values())) == len(takes)


def test_python_and_command_line_make_one_take(strikes: Path, tmp_path: Path) -> None:
    sounded(strikes, tmp_path / "shell.wav", "--seed", "2", "--prompt", "metal")
    take = synchresis.load("pocket").sound(strikes, prompt="metal", seed=2)
    assert (take.samples.shape, take.rate) == ((5 * 48000, 1), 48000)
    assert take.save(tmp_path / "python.wav").read_bytes() == (tmp_path / "shell.wav").read_bytes()
    assert take.report == json.loads((tmp_path / "shell.report.json").read_text())


@pytest.mark.parametrize(("seconds", "fps"), [("0.04", "25"), ("0.5", "30000/1001"), ("7.3", "12")])
def test_any_length(tmp_path: Path, seconds: str, fps: str) -> None:
    """One frame; a fraction of a window; more than a window."""
    film = tmp_path / "film.mp4"
    options = ["--kind", "wood", "--seconds", seconds, "--fps", fps, "--size", "64x64"]
    assert run(["render", "2", "--out", str(film), *options]) == 0
    report = sounded(film, tmp_path / "take.wav")
    clip = probe(film)
    assert report["timing"]["samples"] == len(read_sound(tmp_path / "take.wav").values)
    assert report["timing"]["samples"] == sample_count(clip.duration, 48000)
