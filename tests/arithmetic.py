"""A system that sounds clips by arithmetic, and a small film for it: for the tests of everything around systems."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from synchresis.errors import BadInputError
from synchresis.media import Clip, write_film
from synchresis.systems.request import Progress, SoundRequest, quiet
from synchresis.timeline import Track, sample_count
from synchresis.timeline.onsets import Onsets

RATE = 48000


@dataclass(frozen=True)
class ArithmeticPlan:
    mode: str
    duration: Fraction
    onsets: Onsets | None
    told: Track | None
    seed: int
    notes: list[str] = field(default_factory=list)
    rate: int = RATE


class ArithmeticSystem:
    """Sees an onset every 0.7 s from 0.4 s on and makes a burst of noise at each; the seed draws the noise.

    Two prompts make it fail: "refuse" as a wish it cannot serve, "crash" as a fault of the program.
    """

    name = "arithmetic"
    device = "cpu"

    def __init__(
        self,
        weights_hash: str = "f00d" * 16,
        untrained: str | None = None,
        rate: int = RATE,
        channels: int = 1,
        gain: float = 1.0,
    ) -> None:
        self.weights_hash = weights_hash
        self.untrained = untrained
        self.key_report: str | None = None
        self.rate, self.channels, self.gain = rate, channels, gain

    def watch(self, clip: Clip, progress: Progress = quiet) -> tuple[Onsets, Track, None]:
        times = np.arange(0.4, float(clip.duration), 0.7)
        envelope = np.full(sample_count(clip.duration, 100), 1e-4)
        for time in times:
            first = round(time * 100)
            envelope[first : first + 20] = 0.1 * np.exp(-np.arange(20) / 6)[: len(envelope) - first]
        return Onsets(times, np.ones(len(times))), Track(envelope, Fraction(100)), None

    def prepare(self, clip: Clip, request: SoundRequest, progress: Progress = quiet) -> ArithmeticPlan:
        if request.prompt == "refuse":
            raise BadInputError(f"{clip.path}: cannot be sounded like this")
        if request.prompt == "crash":
            raise ZeroDivisionError("a fault on purpose")
        if request.prompt == "silence":
            return ArithmeticPlan("prompt", clip.duration, None, None, request.seed, ["nothing sounds here"], self.rate)
        onsets, told, _ = self.watch(clip)
        progress("watch", 1.0)
        return ArithmeticPlan("onsets", clip.duration, onsets, told, request.seed, rate=self.rate)

    def stream(self, plan: ArithmeticPlan, progress: Progress = quiet) -> Iterator[np.ndarray]:
        total = sample_count(plan.duration, plan.rate)
        sound = np.zeros((total, self.channels), np.float32)
        if plan.told is not None:
            noise = np.random.default_rng(plan.seed).normal(0, self.gain, sound.shape)
            times = (np.arange(total) + 0.5) / plan.rate
            sound = (noise * plan.told.at(times)[:, None]).astype(np.float32)
        for first in range(0, total, 31000):
            progress("generate", first / total)
            yield sound[first : first + 31000]


def write_moving_square(path: Path, seconds: float, **options: Any) -> None:
    frames = []
    for i in range(round(seconds * 25)):
        frame = np.full((48, 64, 3), 40, np.uint8)
        frame[10:30, i % 40 : i % 40 + 20] = (200, 120, 60)
        frames.append(frame)
    tone = 0.1 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * RATE)) / RATE)
    write_film(path, frames, 25, sound=Track(tone.astype(np.float32), Fraction(RATE)), **options)
