"""Whether memory grows with the film: peak memory of a command on a film of 1 minute and on one of 10.

    python benchmarks/memory.py                                  # synchresis sound FILM --overwrite --out OUT
    python benchmarks/memory.py --media                          # reading and muxing only, no model
    python benchmarks/memory.py --minutes 1 10 --size 360 640 -- COMMAND with {film} and {out}

Renders the films (a moving block, AAC noise, 25 fps), runs the command on each in a process of its own and reads
the peak resident memory of that process from the system. The design allows the longest 10 % more than the shortest;
exit code 1 if it took more.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from synchresis.media import write_film
from synchresis.timeline import Track

FPS = 25
ALLOWED = 1.10
SOUND = [str(Path(sys.executable).with_name("synchresis")), "sound", "{film}", "--overwrite", "--out", "{out}"]
MEDIA = [sys.executable, __file__, "--read-and-mux", "{film}", "{out}"]


def moving_block(seconds: int, height: int, width: int) -> Iterator[np.ndarray]:
    texture = np.random.default_rng(0).integers(0, 60, (height, width, 3)).astype(np.uint8)
    side = height // 4
    for i in range(seconds * FPS):
        picture = texture.copy()
        x = int((np.sin(i / 9) + 1) / 2 * (width - side))
        picture[side : 2 * side, x : x + side] = 220
        yield picture


def render(path: Path, minutes: float, height: int, width: int) -> None:
    seconds = round(minutes * 60)
    noise = np.random.default_rng(1).normal(0, 0.05, seconds * 16000).astype(np.float32)
    write_film(path, moving_block(seconds, height, width), FPS, Track(noise, 16000), crf=30, preset="ultrafast")


def read_and_mux(film: Path, out: Path) -> None:
    """What sounding does to a film, without a model: watch it, write a sound, put it under the film."""
    from synchresis.media import SoundWriter, frames, mux, probe, stream_sound

    clip = probe(film)
    for _ in frames(clip, rate=25, size=(96, 96)):
        pass
    sound = out.with_suffix(".wav")
    with SoundWriter(sound, 48000, 1, "PCM_24") as writer:
        for block in stream_sound(clip, 48000, mono=True, span=clip.span):
            writer.write(block)
    mux(clip, sound, out, original="keep", overwrite=True)


def measured(command: list[str], film: Path, out: Path) -> dict[str, float]:
    """Runs the command; its peak resident memory (MiB) and how long it took (s)."""
    # Words, not a format string: a command may hold braces of its own.
    words = [word.replace("{film}", str(film)).replace("{out}", str(out)) for word in command]
    began = time.monotonic()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)}\nended with exit code {process.returncode}")
    scale = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB here
    return {"peak_mib": round(usage.ru_maxrss / scale, 1), "seconds": round(time.monotonic() - began, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 10], help="lengths of the films")
    parser.add_argument("--size", type=int, nargs=2, default=[180, 320], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--media", action="store_true", help="reading and muxing only")
    parser.add_argument("--read-and-mux", type=Path, nargs=2, metavar=("FILM", "OUT"), help=argparse.SUPPRESS)
    parser.add_argument("--render", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("command", nargs="*", help="what to run instead, with {film} and {out}")
    options = parser.parse_args()
    if options.read_and_mux:
        return read_and_mux(*options.read_and_mux)
    if options.render:
        film, minutes, height, width = options.render
        return render(Path(film), float(minutes), int(height), int(width))

    command = options.command or (MEDIA if options.media else SOUND)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for minutes in options.minutes:
            film = Path(folder) / f"film_{minutes:g}.mp4"
            # In a process of its own: what this one ever held would count as the peak of its children.
            subprocess.run(
                [sys.executable, __file__, "--render", film, str(minutes), *map(str, options.size)], check=True
            )
            results.append({"minutes": minutes, **measured(command, film, Path(folder) / "out.mp4")})
            print(json.dumps(results[-1]), flush=True)
    ratio = results[-1]["peak_mib"] / results[0]["peak_mib"]
    print(json.dumps({"ratio": round(ratio, 3), "allowed": ALLOWED}))
    sys.exit(ratio > ALLOWED)


if __name__ == "__main__":
    main()
