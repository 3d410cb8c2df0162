"""AV-Align over 10 s clips: the engine beside a plain implementation of the definition, in one run.

    python benchmarks/av_align.py [--clips 6] [--size 480x360] [--fps 30] [--workers 2]

Plain: cv2.VideoCapture, cvtColor, calcOpticalFlowFarneback for every pair of frames, librosa's onset_strength and
onset_detect on the sound decoded to 16 bits, one clip after the other (librosa's compiled parts are warmed up first).
Ours: `evaluate` with the definition av-align/2025. The scores must be equal; exit code 1 if not. Rows with reference:
three systems on the same films, which the plain one decodes and measures anew for each.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import cv2
import librosa
import numpy as np

from synchresis.data.stage import film
from synchresis.evaluation import evaluate
from synchresis.evaluation.alignment import av_align, flow_peaks
from synchresis.media import SoundWriter, read_sound, write_film


def render(folder: Path, clips: int, size: tuple[int, int], fps: int) -> None:
    """Films with their sound, and three folders of sounds for them."""
    for i in range(clips):
        made = film(i, size=size, seconds=10.0, fps=fps)
        (folder / "true").mkdir(exist_ok=True)
        write_film(folder / "true" / f"{i:03d}.mp4", made.frames, made.fps, made.sound)
        sound = read_sound(folder / "true" / f"{i:03d}.mp4")
        for k in range(3):
            (folder / f"system{k}").mkdir(exist_ok=True)
            with SoundWriter(folder / f"system{k}" / f"{i:03d}.wav", int(sound.rate), sound.values.shape[1]) as writer:
                writer.write(np.roll(sound.values, k * 1000, axis=0))


def plain(picture: Path, sound: Path) -> float | None:
    """The definition, one library call per step."""
    capture = cv2.VideoCapture(str(picture))
    fps = capture.get(cv2.CAP_PROP_FPS)
    before, flow = None, []
    while True:
        there, frame = capture.read()
        if not there:
            break
        grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
        if before is not None:
            x = cv2.calcOpticalFlowFarneback(before, grey, None, 0.5, 3, 15, 3, 5, 1.2, 0)
            flow.append(float(np.mean(cv2.cartToPolar(x[..., 0], x[..., 1])[0])))
        before = grey
    flow.insert(0, flow[0])
    decoded = read_sound(sound)
    wave = np.clip(np.round(decoded.values * 32768), -32768, 32767).mean(axis=1).astype(np.float32) / 32768
    wave = librosa.resample(wave, orig_sr=float(decoded.rate), target_sr=22_050)
    strength = librosa.onset.onset_strength(y=wave, sr=22_050)
    onsets = librosa.frames_to_time(librosa.onset.onset_detect(onset_envelope=strength, sr=22_050), sr=22_050)
    return av_align(onsets, flow_peaks(np.array(flow), fps), fps)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--size", default="480x360", help="WIDTHxHEIGHT")
    parser.add_argument("--fps", type=int, default=30)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    asked = parser.parse_args()
    width, height = (int(part) for part in asked.size.split("x"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        render(folder, asked.clips, (height, width), asked.fps)
        names = sorted(path.stem for path in (folder / "true").iterdir())
        librosa.onset.onset_detect(y=np.random.default_rng(0).normal(0, 1, 22_050).astype(np.float32))
        systems = [folder / f"system{k}" for k in range(3)]
        failed = False
        for count, label in ((1, "one system"), (3, "three systems on the same films")):
            start = time.perf_counter()
            expected = {
                (s.name, n): plain(folder / "true" / f"{n}.mp4", s / f"{n}.wav") for s in systems[:count] for n in names
            }
            slow = time.perf_counter() - start
            start = time.perf_counter()
            out = folder / f"out{count}"
            report = evaluate(systems[:count], folder / "true", ["av-align/2025"], out=out, workers=asked.workers)
            quick = time.perf_counter() - start
            got = {(s.name, r["id"]): r["scores"]["av-align/2025"]["value"] for s in report.systems for r in s.records}
            same = got == expected
            failed |= not same
            takes = count * len(names)
            start = time.perf_counter()
            evaluate(systems[:count], folder / "true", ["alignment", "onsets"], out=out, workers=asked.workers)
            more = time.perf_counter() - start
            print(f"{label}, {len(names)} clips of 10 s at {asked.size}, {asked.fps} fps, {asked.workers} workers")
            print(f"    plain {takes / slow:.2f} takes/s, ours {takes / quick:.2f} takes/s: {slow / quick:.1f} times")
            print(f"    scores {'equal' if same else 'DIFFER'}")
            print(f"    all of alignment and onsets, pictures known: {takes / more:.1f} takes/s", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
