"""Whether pocket's films are in time: contacts that its watcher reads in them, against the onsets of the sound.

    python benchmarks/picture_timing.py                    # held-out sounds of the stage, every kind
    python benchmarks/picture_timing.py --films 4 --seconds 5 --sheet films.jpg
    python benchmarks/picture_timing.py --weights FOLDER   # of another training

For each kind, films are rendered on the stage with seeds that no training uses, their sound alone is given to
pocket, and the watcher looks at the film that comes back. F1 is one-to-one within 100 ms against the onsets that our
detector finds in the sound; the null is the same score with what was seen rotated in time by 40 shifts. The ceiling is
the watcher on the stage's own film of that sound. For the shift, 0.52 s of silence are put before the sound: what is
seen in the second film is compared with what was seen in the first, moved by as much.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import cv2
import numpy as np

from synchresis.data.stage import Film, film
from synchresis.encoders.motion import RATE, SIDE
from synchresis.encoders.watcher import pick, view_grids, watched_of
from synchresis.media import SoundWriter
from synchresis.systems.packaged import packaged_watcher
from synchresis.systems.picturing import PictureRequest
from synchresis.systems.pocket_picture import PocketPicture
from synchresis.timeline.onsets import f1, shift_null
from synchresis.timeline.time import Span
from synchresis.training.picture import KINDS

FIRST_SEED = 900_000
TOLERANCE = 0.1
SHIFT = 0.52


COLUMNS = ("F1", "null", "ceiling", "moved", "seen", "heard", "s/s")


@dataclass(frozen=True)
class Score:
    """Of one film: F1 against the sound, its null, F1 of the stage's own film, F1 of the moved film against this one,
    onsets seen and heard, and seconds of work for a second of film."""

    f1: float
    null: float
    ceiling: float
    moved: float
    seen: int
    heard: int
    work: float


def pictured(system: PocketPicture, samples: np.ndarray, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """The frames, 25 a second, and the onsets heard, of a sound at 32 kHz."""
    with tempfile.TemporaryDirectory() as room:
        sound = Path(room) / "sound.wav"
        with SoundWriter(sound, 32_000) as writer:
            writer.write(samples)
        plan = system.prepare(sound, PictureRequest(seed=seed))
        return list(system.pictures(plan)), plan.onsets.times


def contacts(frames: Sequence[np.ndarray]) -> np.ndarray:
    """Times at which pocket's watcher sees something strike in frames at 25 a second."""
    grey = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames)
    large = (cv2.resize(frame, (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_LINEAR) for frame in grey)
    timed = (((i + 0.5) / RATE, frame) for i, frame in enumerate(large))
    return pick(watched_of(view_grids(timed), packaged_watcher())).times


def score(system: PocketPicture, made: Film, seed: int) -> tuple[Score, list[np.ndarray]]:
    began = time.perf_counter()
    frames, heard = pictured(system, made.sound.values, seed)
    work = (time.perf_counter() - began) / float(made.duration)
    seen = contacts(frames)
    null, _ = shift_null(lambda times: f1(times, heard, TOLERANCE), seen, Span(0, made.duration))
    late, _ = pictured(system, np.pad(made.sound.values, (round(SHIFT * 32_000), 0)), seed)
    again = contacts(late) - SHIFT
    return Score(
        f1(seen, heard, TOLERANCE),
        null,
        f1(contacts(list(made.frames)), heard, TOLERANCE),
        f1(again, seen, TOLERANCE),
        len(seen),
        len(heard),
        work,
    ), frames


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--films", type=int, default=4, help="of every kind")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--weights", help="a folder; default: those in the package")
    parser.add_argument("--sheet", type=Path, help="a picture with frames around the first onset of every film")
    asked = parser.parse_args()
    system = PocketPicture.load(asked.weights, "cpu")
    rows, every = [], []
    print(f"{'':8}" + "".join(f"{column:>9}" for column in COLUMNS))
    for kind in KINDS:
        scores = []
        for number in range(asked.films):
            made = film(FIRST_SEED + number, size=(128, 128), seconds=asked.seconds, kinds=[kind], ugly=False)
            one, frames = score(system, made, number)
            scores.append(astuple(one))
            first = round(made.onsets.times[0] * RATE)
            around = [min(max(first + away, 0), len(frames) - 1) for away in (-8, -5, -3, -1, 0, 1, 3, 5, 8)]
            rows.append(np.concatenate([frames[i] for i in around], axis=1))
        print(f"{kind:8}" + "".join(f"{value:9.2f}" for value in np.mean(scores, axis=0)), flush=True)
        every += scores
    print(f"{'all':8}" + "".join(f"{value:9.2f}" for value in np.mean(every, axis=0)))
    if asked.sheet is not None:
        cv2.imwrite(str(asked.sheet), cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
