"""Contact mechanics: trajectories whose instants of contact are known exactly, as functions of time.

Every function takes instants [T] (seconds, any order, also outside the film) and gives positions [T]. Distances are
in picture heights, speeds in picture heights per second.
"""

from dataclasses import dataclass

import numpy as np


def smooth(u: np.ndarray) -> np.ndarray:
    """0 to 1 with soft start and end, for u in 0..1 (held outside)."""
    u = np.clip(u, 0.0, 1.0)
    return u * u * (3.0 - 2.0 * u)


@dataclass(frozen=True)
class Wander:
    """A smooth random signal: a sum of sines, the same at a given instant however it is asked."""

    amounts: np.ndarray
    rates: np.ndarray  # Hz
    phases: np.ndarray

    def __call__(self, t: np.ndarray) -> np.ndarray:
        t = np.asarray(t, np.float64)
        return np.sin(2 * np.pi * t[..., None] * self.rates + self.phases) @ self.amounts


def draw_wander(rng: np.random.Generator, size: float, slow: float, fast: float, count: int = 4) -> Wander:
    """A wander of rms about `size`, with components from `slow` to `fast` Hz."""
    rates = np.exp(rng.uniform(np.log(slow), np.log(fast), count))
    amounts = rng.uniform(0.4, 1.0, count)
    amounts = amounts * size * np.sqrt(2) / np.linalg.norm(amounts)
    return Wander(amounts, rates, rng.uniform(0, 2 * np.pi, count))


@dataclass(frozen=True)
class Strokes:
    """A body raised slowly, driven with growing speed, stopped dead at contact, and rebounding or resting.

    All arrays are [n], one entry per stroke, times growing. `lands` False is a stroke that is braked softly
    before contact, `miss` short of it: large, silent motion.
    """

    times: np.ndarray
    heights: np.ndarray
    lifts: np.ndarray  # seconds of raising
    drives: np.ndarray  # seconds of driving down
    powers: np.ndarray  # gap falls as 1 - u**power
    rebounds: np.ndarray  # speed after contact / speed before
    rests: np.ndarray  # gap at which the body waits after the stroke
    lands: np.ndarray  # bool
    miss: float = 0.06
    sway: Wander | None = None  # restlessness of the hand, as a share of the gap: nothing at contact

    def speeds(self) -> np.ndarray:
        """Speed of approach at contact, [n]; zero for strokes that do not land."""
        speeds = np.where(self.lands, self.heights * self.powers / self.drives, 0.0)
        return speeds * self._restless(self.times)

    def _restless(self, t: np.ndarray) -> np.ndarray:
        return np.ones(np.shape(t)) if self.sway is None else np.maximum(1.0 + self.sway(t), 0.3)

    def gap(self, t: np.ndarray) -> np.ndarray:
        """Distance [T] left between the two bodies: zero at contact, never negative."""
        t = np.asarray(t, np.float64)
        bottom = np.where(self.lands, 0.0, self.miss)
        before = np.concatenate([[-np.inf], self.times[:-1]])
        down = self.times - self.drives
        up = np.maximum(down - self.lifts, np.where(np.isfinite(before), 0.85 * before + 0.15 * down, -np.inf))
        start = self._after(np.arange(len(up)) - 1, up)

        last = np.searchsorted(self.times, t, side="right") - 1  # the stroke before t, -1 for none
        gap = self._after(last, t)
        coming = last + 1 < len(self.times)
        k = np.minimum(last + 1, len(self.times) - 1)  # the stroke that comes
        u = (t - up[k]) / np.maximum(down[k] - up[k], 1e-6)
        gap = np.where(coming & (u > 0), start[k] + (self.heights[k] - start[k]) * smooth(u), gap)
        u = np.clip((t - down[k]) / self.drives[k], 0.0, 1.0)
        fall = np.where(self.lands[k], u ** self.powers[k], smooth(u))
        driven = bottom[k] + (self.heights[k] - bottom[k]) * (1.0 - fall)
        gap = np.where(coming & (u > 0), driven, gap)
        return np.maximum(gap, 0.0) * self._restless(t)

    def _after(self, last: np.ndarray, t: np.ndarray) -> np.ndarray:
        """The gap at t after stroke `last` (-1: before all) when no other stroke is coming."""
        k = np.maximum(last, 0)
        since = np.maximum(t - self.times[k], 0.0)
        bottom = np.where(self.lands, 0.0, self.miss)[k]
        speed = (self.rebounds * self.speeds() / self._restless(self.times))[k]
        settle = 1.0 - np.exp(-since / 0.12)
        after = bottom + np.maximum(self.rests[k] - bottom, 0.0) * settle**2 + speed * since * np.exp(-since / 0.06)
        return np.where(last < 0, self.rests[0], after)


def draw_strokes(
    rng: np.random.Generator,
    times: np.ndarray,
    height: float,
    dodge: float = 0.0,
    restless: float = 0.0,
) -> Strokes:
    """Strokes at `times` with heights around `height`; each is a silent dodge with probability `dodge`; between
    them the hand wanders by about the share `restless` of its distance."""
    n = len(times)
    room = np.diff(times, prepend=times[0] - 2.0) if n else np.zeros(0)
    heights = height * rng.uniform(0.7, 1.15, n) * np.clip(room / 0.3, 0.25, 1.0)
    lands = rng.random(n) >= dodge
    drives = np.minimum(rng.uniform(0.05, 0.2) * rng.uniform(0.85, 1.2, n), 0.42 * room)
    drives = np.where(lands, drives, np.minimum(np.maximum(drives * 2.0, 0.15), 0.5 * room))
    lifts = np.minimum(rng.uniform(0.2, 0.9) * rng.uniform(0.8, 1.2, n), 0.5 * room)
    bouncy = rng.uniform(0.0, 0.45) if rng.random() < 0.7 else 0.0
    rests = height * (rng.uniform(0.05, 0.35) if rng.random() < 0.5 else 0.0)
    return Strokes(
        np.asarray(times, np.float64),
        heights,
        lifts,
        drives,
        np.full(n, rng.uniform(1.5, 3.0)),
        bouncy * rng.uniform(0.7, 1.2, n),
        np.full(n, rests),
        lands,
        miss=height * rng.uniform(0.15, 0.4),
        sway=draw_wander(rng, restless, 0.3, 2.5) if restless else None,
    )


def ringing(t: np.ndarray, times: np.ndarray, amounts: np.ndarray, frequency: float, decay: float) -> np.ndarray:
    """Visible answer [T] of a struck body: a decaying sine after each contact."""
    since = t[:, None] - times[None, :]
    wave = np.exp(-np.maximum(since, 0) / decay) * np.sin(2 * np.pi * frequency * since)
    return np.sum(np.where(since > 0, amounts * wave, 0.0), axis=1) if len(times) else np.zeros(len(t))


def rhythm(rng: np.random.Generator, start: float, end: float, rate: float | None = None) -> np.ndarray:
    """Contact times inside [start, end]: regular, jittered, loose, or gathering speed; `rate` in events a second."""
    style = rng.integers(4)
    period = 1.0 / (np.exp(rng.uniform(np.log(0.7), np.log(3.5))) if rate is None else rate)
    lead = min(0.15, 0.2 * (end - start))
    time, times = start + lead + rng.uniform(0, 0.7) * min(period, end - start), []
    while time < end - 0.05:
        times.append(time)
        spread = (0.0, 0.08, 0.35, 0.03)[style]
        time += period * float(np.clip(1 + spread * rng.standard_normal(), 0.45, 2.2))
        if style == 3:
            period = max(period * 0.93, 0.12)
    return np.array(times or [(start + end) / 2])  # a scene is never without its event


@dataclass(frozen=True)
class Bounces:
    """A body dropped (or thrown) on the ground, bouncing ever lower until it lies still."""

    times: np.ndarray
    speeds: np.ndarray  # at each contact
    gravity: float
    height: float  # from which it falls

    def gap(self, t: np.ndarray) -> np.ndarray:
        """Height [T] of its lowest point over the ground; held at the drop height before it falls."""
        t = np.asarray(t, np.float64)
        fall = np.sqrt(2 * self.height / self.gravity)
        since = np.clip(t - (self.times[0] - fall), 0.0, fall)
        gap = self.height - 0.5 * self.gravity * since**2
        for k, time in enumerate(self.times):
            later = t >= time
            up = self.rebound * self.speeds[k]
            tau = t[later] - time
            gap[later] = np.maximum(up * tau - 0.5 * self.gravity * tau**2, 0.0)
        return np.maximum(gap, 0.0)

    @property
    def rebound(self) -> float:
        return float(self.speeds[1] / self.speeds[0]) if len(self.speeds) > 1 else 0.0


def draw_bounces(rng: np.random.Generator, first: float, end: float, height: float) -> Bounces:
    """Bounces from `height`, the first at `first`, none after `end`."""
    gravity = rng.uniform(2.5, 7.0)
    keep = rng.uniform(0.5, 0.88)
    time, speed = first, float(np.sqrt(2 * gravity * height))
    times: list[float] = []
    speeds: list[float] = []
    while not times or (speed > 0.12 and time < end):
        times.append(time)
        speeds.append(speed)
        speed *= keep
        time += 2 * speed / gravity
    return Bounces(np.array(times), np.array(speeds), gravity, height)
