"""What pocket can do, measured: every figure with N, an interval, and chance beside it.

    python benchmarks/pocket_quality.py [--only stage,loudness,hammer,real,words,like,speed] [--films 60]
        [--recordings ../shared/data] [--judge JUDGE.safetensors] [--weights FOLDER]

stage      held-out films: onsets of the watcher, and of the sound made from them, against the true contacts
loudness   the sound's loudness against the loudness track it was told (held-out films' own)
hammer     media/clips/short_4s.mp4: strikes at 0.55, 1.02, 2.28, 3.25 s
real       the watcher on real clips, with frame difference beside it (benchmarks/watching.py)
words      --prompt: an independent classifier (benchmarks/judge.py, trained on real recordings) names the class
like       --like: the spectrum moves towards the reference
speed      ten seconds of film in a fresh process

Intervals are 90 % bootstrap intervals over films or takes. Chance for onsets is the same onsets rotated in time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from judge import Judge
from judge import train as train_judge
from watching import HAMMER, real

from synchresis.codecs import mel
from synchresis.data.recordings import CLASSES, load_recordings
from synchresis.data.stage import film
from synchresis.media import probe, read_sound, write_film
from synchresis.systems import load
from synchresis.systems.pocket import Pocket
from synchresis.timeline import Onsets, Span, Track, detect_onsets, rms_envelope
from synchresis.timeline.files import write_envelope, write_onsets
from synchresis.timeline.onsets import f1, match, pick_peaks, shift_null

SHARED = Path(os.environ.get("SYNCHRESIS_SHARED", Path(__file__).parents[1] / ".." / "shared"))
HELD_OUT = 9_000_000          # the first held-out seed of the stage: training stays below


def line(name: str, values: list[float] | np.ndarray, chance: float | None = None, z: float | None = None) -> None:
    """One figure: mean, interval over films or takes, chance, N."""
    rows = np.asarray(values, np.float64)
    means = rows[np.random.default_rng(0).integers(0, len(rows), (4000, len(rows)))].mean(axis=1)
    low, high = np.quantile(means, [0.05, 0.95])
    beside = "" if chance is None else f"  chance {chance:.3f}"
    beside += "" if z is None else f"  z {z:+.1f}"
    print(f"{name:<58} {rows.mean():6.3f} [{low:.3f}, {high:.3f}]{beside}  N {len(rows)}", flush=True)


def strongest(onsets: Onsets, count: int) -> np.ndarray:
    """Times of the `count` strongest onsets, in order."""
    return np.sort(onsets.times[np.argsort(-onsets.strengths, kind="stable")[:count]])


def rotated_z(value: list[float], nulls: list[tuple[float, float]]) -> tuple[float, float]:
    """Chance, and how many standard errors the mean stands over it."""
    chance = float(np.mean([mean for mean, _ in nulls]))
    spread = float(np.sqrt(np.sum([std**2 for _, std in nulls]))) / len(nulls)
    return chance, (float(np.mean(value)) - chance) / max(spread, 1e-9)


def stage(pocket: Pocket, folder: Path, count: int, recordings: Path | None) -> None:
    """Visible events: at least 0.5 visible. Both sides give as many onsets as there are events (count-matched)."""
    seen_scores, heard_scores, told_scores, loud = [], [], [], []
    seen_nulls, heard_nulls = [], []
    seed = HELD_OUT
    while len(seen_scores) < count:
        seed += 1
        made = film(seed, size=(192, 192), seconds=4.0)
        truth = made.onsets.times[made.visible >= 0.5]
        if len(truth) < 2 or len(truth) < len(made.onsets.times):
            continue                       # films in which every contact can be seen, and which have some
        path = folder / "film.mp4"
        write_film(path, made.frames, made.fps, None)
        clip = probe(path)
        _, _, watched = pocket.watch(clip)
        seen = pick_peaks(watched.onset, count=len(truth))
        onsets = folder / "onsets.csv"
        write_onsets(onsets, seen)
        take = pocket.sound(path, onsets=onsets, prompt=made.kinds[0], seed=seed)
        sound = Track(take.samples[:, 0], take.rate)
        heard = strongest(detect_onsets(sound), len(truth))
        seen_scores.append(f1(seen.times, truth, 0.06))
        heard_scores.append(f1(heard, truth, 0.06))
        told_scores.append(f1(heard, seen.times, 0.06))
        seen_nulls.append(shift_null(lambda t, truth=truth: f1(t, truth, 0.06), seen.times, clip_span(clip)))
        heard_nulls.append(shift_null(lambda t, truth=truth: f1(t, truth, 0.06), heard, clip_span(clip)))
        told = folder / "told.csv"
        write_envelope(told, made.loudness)
        take = pocket.sound(path, envelope=told, prompt=made.kinds[0], seed=seed)
        loud.append(follows(Track(take.samples[:, 0], take.rate), made.loudness))
    line("stage: F1 at 60 ms of the watcher", seen_scores, *rotated_z(seen_scores, seen_nulls))
    line("stage: F1 at 60 ms of the sound", heard_scores, *rotated_z(heard_scores, heard_nulls))
    line("stage: F1 at 60 ms of the sound against what it was told", told_scores)
    line("stage: correlation with the loudness it was told", loud)


def clip_span(clip) -> object:


    return Span(Fraction(0), clip.duration)


def follows(sound: Track, told: Track) -> float:
    """Pearson correlation of the linear RMS at 100 Hz."""
    own = rms_envelope(sound, 100).values
    size = min(len(own), len(told.values))
    if np.std(told.values[:size]) < 1e-9 or np.std(own[:size]) < 1e-9:
        return 0.0
    return float(np.corrcoef(own[:size], told.values[:size])[0, 1])


def hammer(pocket: Pocket) -> None:
    path = SHARED / "media/clips/short_4s.mp4"
    take = pocket.sound(path, prompt="hammer on metal", seed=0)
    heard = detect_onsets(Track(take.samples[:, 0], take.rate)).times
    hits = match(heard, HAMMER, 0.1)
    extra = len(heard) - hits
    print(f"hammer: mode {take.report['mode']}, {hits} of 4 strikes within 100 ms, {extra} extra: {heard.round(2)}")


def words(pocket: Pocket, folder: Path, recordings: Path, judge_path: Path, takes: int) -> None:
    """Takes of the ten ESC-10 classes, on a film in which nothing is seen, and under recordings' own loudness."""
    judge = Judge.load(judge_path)
    still = folder / "still.mp4"
    write_film(still, (np.full((96, 96, 3), 90, np.uint8) for _ in range(125)), 25, None)
    held = [r for r in load_recordings(recordings, mel.RATE) if r.fold == 4]
    rng = np.random.default_rng(0)
    alone, own, other = [], [], []
    per_class: dict[str, list[float]] = {}
    for label, said in CLASSES.items():
        mine = [r for r in held if r.label == label]
        others = [r for r in held if r.label != label]
        for number in range(takes):
            prompt = said[number % len(said)]

            def named(envelope: str | Path, label: str = label, prompt: str = prompt, seed: int = number) -> float:
                take = pocket.sound(still, prompt=prompt, seed=seed, envelope=envelope)
                return float(judge.classify(take.samples[:, 0], take.rate)[0] == label)

            def loudness_of(recording) -> Path:
                path = folder / "loudness.csv"
                write_envelope(path, rms_envelope(Track(recording.samples, mel.RATE), 100))
                return path

            alone.append(named("auto"))
            per_class.setdefault(label, []).append(alone[-1])
            own.append(named(loudness_of(mine[number % len(mine)])))
            other.append(named(loudness_of(others[int(rng.integers(len(others)))])))
    ceiling = [float(judge.classify(r.samples, mel.RATE)[0] == r.label) for r in held]
    line("words: asked class named, prompt alone", alone, 0.1)
    line("words: under the loudness of a recording of that class", own, 0.1)
    line("words: under the loudness of another class", other, 0.1)
    line("words: the judge on held-out recordings (ceiling)", ceiling, 0.1)
    print("  " + ", ".join(f"{label} {np.mean(v):.1f}" for label, v in per_class.items()))


def like(pocket: Pocket, folder: Path, recordings: Path, takes: int) -> None:
    """Mean distance in dB between long-term spectra (128 mel bands) of take and reference, beside other references."""
    still = folder / "still.mp4"
    write_film(still, (np.full((96, 96, 3), 90, np.uint8) for _ in range(125)), 25, None)
    held = [r for r in load_recordings(recordings, mel.RATE) if r.fold == 4]
    chosen = [held[i] for i in np.random.default_rng(1).permutation(len(held))[:takes]]
    import soundfile

    def spectrum(samples: np.ndarray) -> np.ndarray:
        samples = np.ascontiguousarray(samples[: len(samples) // mel.HOP * mel.HOP], np.float32)
        power = mel.mel_matrix() @ mel.stft(torch.from_numpy(samples)).abs().square()
        db = 10 * np.log10(power.mean(-1).numpy() + 1e-12)
        return np.maximum(db - db.max(), -60)

    references, made, plain = [], [], []
    for number, recording in enumerate(chosen):
        path = folder / "reference.wav"
        soundfile.write(path, recording.samples, mel.RATE)
        for given, out in ((path, made), (None, plain)):
            take = folder / "take.wav"
            soundfile.write(take, pocket.sound(still, like=given, seed=number).samples, 48_000)
            out.append(spectrum(read_sound(take, rate=mel.RATE, mono=True).values.reshape(-1)))
        references.append(spectrum(recording.samples))
    distance = np.array([[np.abs(a - b).mean() for b in references] for a in made])
    without = [float(np.abs(a - b).mean()) for a, b in zip(plain, references, strict=True)]
    line("like: distance to the reference, dB", np.diag(distance))
    line("like: distance without --like, dB", without)
    others = (distance.sum(1) - np.diag(distance)) / (len(distance) - 1)
    line("like: distance to other references, dB", others)
    line("like: closer to its reference than without --like", (np.diag(distance) < without).astype(float), 0.5)


def speed(folder: Path, weights: Path | None) -> None:
    made = film(HELD_OUT, size=(360, 640), seconds=10.0, fps=25, ugly=False)
    path = folder / "ten.mp4"
    write_film(path, made.frames, made.fps, None)
    command = [sys.executable, "-m", "synchresis", "sound", str(path), "--overwrite", "--prompt", "wood"]
    if weights is not None:
        command += ["--weights", str(weights)]
    walls = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        walls.append(time.perf_counter() - began)
    print(f"speed: 10 s of film in {min(walls):.1f} .. {max(walls):.1f} s, process start and model load included (N 3)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="stage,hammer,real,words,like,speed")
    parser.add_argument("--films", type=int, default=60)
    parser.add_argument("--takes", type=int, default=6, help="takes per class for words, references for like x 5")
    parser.add_argument("--recordings", type=Path, default=SHARED / "data")
    parser.add_argument("--judge", type=Path, default=None)
    parser.add_argument("--weights", type=Path, default=None)
    chosen = parser.parse_args()
    only = set(chosen.only.split(","))
    pocket = load("pocket", weights=chosen.weights, device="cpu")
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room)
        if "stage" in only:
            stage(pocket, folder, chosen.films, chosen.recordings)
        if "hammer" in only:
            hammer(pocket)
        if "real" in only:
            real(pocket.watcher)
        if "words" in only:
            judge = chosen.judge
            if judge is None:
                judge = folder / "judge.safetensors"
                train_judge(chosen.recordings, 0, judge)      # five minutes
            words(pocket, folder, chosen.recordings, judge, chosen.takes)
        if "like" in only:
            like(pocket, folder, chosen.recordings, 5 * chosen.takes)
        if "speed" in only:
            speed(folder, chosen.weights)


if __name__ == "__main__":
    main()
