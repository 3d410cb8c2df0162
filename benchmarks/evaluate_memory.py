"""Whether the memory of an evaluation grows with the number of clips: 100 and 1000 short clips, the offline set.

    python benchmarks/evaluate_memory.py [--clips 100 1000] [--seconds 1] [--workers 2]

Renders clips (a jumping square of 64x48, strikes of noise), evaluates each number of them in a process of its own
and reads the greatest resident memory of that process and of its workers. Exit code 1 if the largest set took over
15 % and 40 MB more than the smallest.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from synchresis.media import SoundWriter, write_film
from synchresis.timeline import Track

RATE = 16_000


def render(folder: Path, count: int, seconds: float) -> None:
    (folder / "true").mkdir()
    (folder / "takes").mkdir()
    for i in range(count):
        rng = np.random.default_rng(i)
        times = np.sort(rng.uniform(0.1, seconds - 0.15, 2))
        wave = rng.normal(0, 1e-4, round(seconds * RATE))
        for time_ in times:
            start = round(time_ * RATE)
            burst = rng.normal(0, 0.3, 1500) * np.exp(-np.arange(1500) / 300)
            wave[start : start + 1500] += burst[: len(wave) - start]
        frames = []
        for k in range(round(seconds * 25)):
            frame = np.full((48, 64, 3), 40, np.uint8)
            x = 4 + 14 * int(np.sum(times <= k / 25))
            frame[12:36, x : x + 16] = 220
            frames.append(frame)
        wave = wave.astype(np.float32)
        write_film(folder / "true" / f"{i:05d}.mp4", frames, 25, Track(wave, RATE), preset="ultrafast")
        with SoundWriter(folder / "takes" / f"{i:05d}.wav", RATE) as writer:
            writer.write(np.roll(wave, int(rng.integers(0, 3000))))


def one(folder: Path, out: Path, workers: int) -> None:
    """Runs in a process of its own: evaluates and tells the peaks."""
    from synchresis.evaluation import evaluate

    start = time.perf_counter()
    report = evaluate([folder / "takes"], folder / "true", ["offline"], out=out, workers=workers)
    peaks = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    told = {"clips": len(report.systems[0].records), "seconds": time.perf_counter() - start, "peaks": peaks}
    print(json.dumps(told))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        one(Path(asked.one[0]), Path(asked.one[1]), asked.workers)
        return 0
    peaks = []
    for count in asked.clips:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            render(folder, count, asked.seconds)
            call = [sys.executable, __file__, "--one", name, str(folder / "out"), "--workers", str(asked.workers)]
            told = json.loads(subprocess.run(call, check=True, capture_output=True, text=True).stdout)
        own, worker = told["peaks"]
        peaks.append(own + worker)
        print(f"{told['clips']} clips of {asked.seconds:g} s in {told['seconds']:.0f} s", end=": ")
        print(f"main process {own:.0f} MB, largest worker {worker:.0f} MB", flush=True)
    return int(peaks[-1] > 1.15 * peaks[0] + 40)


if __name__ == "__main__":
    sys.exit(main())
