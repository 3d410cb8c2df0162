"""A film from a seed: what makes the picture also makes the sound."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import Any

import cv2
import numpy as np

from synchresis.errors import BadInputError
from synchresis.timeline import Onsets, Track, as_fraction, detect_onsets, rms_envelope, sample_count

from .. import sounds
from .canvas import Canvas, Shape
from .scenes import Placed, covered, make, put
from .silent import silent
from .things import Cast, shade
from .ugliness import Finish, Look, backdrop, background_matrix, draw_look, draw_rate

SOUND_RATE = 32000
CONFIDENCE_RATE = 50
CHUNK = 64  # frames whose shapes are computed together; bounds the memory of long films

# Purposes of a seed: each has a generator of its own, so that one does not disturb the other.
PLAN, SCENE, PICTURE, GRAIN, SOUND = range(5)

IMPACT_SHARE = 0.78  # of the films' sources are separate contacts, the rest goes on and on


@dataclass(frozen=True, eq=False)
class Shot:
    """One scene between two cuts: what is behind, what acts, what passes in front, and the camera."""

    start: float
    end: float
    sources: tuple[Placed, ...]
    behind: tuple[Placed, ...]
    front: tuple[Placed, ...]
    look: Look
    floor: tuple[float, float, float] | None
    rough: float

    def shapes(self, t: np.ndarray) -> list[Shape]:
        """Everything in painting order at instants [T]."""
        out: list[Shape] = []
        for placed in self.behind:
            out += placed.shapes(t)
        if self.floor is not None:
            ground = self.sources[0].floor()
            if ground is not None:
                corners = np.broadcast_to(ground.points, (len(t), *ground.points.shape[1:]))
                edge = corners.copy()
                edge[:, 2:] = corners[:, :2][:, ::-1] + 0.012 * (corners[:, 2:] - corners[:, :2][:, ::-1])
                out += [Shape(corners, np.array(self.floor)), Shape(edge, np.array(shade(self.floor, 1.25)))]
        for placed in (*self.sources, *self.front):
            out += placed.shapes(t)
        return out


@dataclass(frozen=True, eq=False)
class Film:
    """A rendered film. Times are in seconds from the first frame; frame i is shown from i / fps on.

    size: (height, width). duration: seconds, exact. onsets: the true contacts. visible: [n] 0..1, how well each
    onset can be seen (size x change of speed x not covered x in the frame x not at a cut x light). kinds: what
    sounds. caption: a sentence. hardness: 0..1.
    """

    seed: int
    size: tuple[int, int]
    duration: Fraction
    fps: Fraction
    kinds: tuple[str, ...]
    caption: str
    hardness: float
    shots: tuple[Shot, ...]
    onsets: Onsets
    visible: np.ndarray
    level: float
    reverberant: bool
    recordings: tuple[Any, ...]

    @property
    def count(self) -> int:
        """Number of frames; together they cover the duration."""
        return math.ceil(self.duration * self.fps)

    @property
    def frames(self) -> Iterator[np.ndarray]:
        """All pictures in order, uint8 [H, W, 3] RGB; a new iterator at each use."""
        return self.pictures(range(self.count))

    def pictures(self, numbers: Iterable[int]) -> Iterator[np.ndarray]:
        """The frames with these numbers (not decreasing), uint8 [H, W, 3] RGB: each a function of its number only,
        so that a reader at a lower rate draws only what it needs. A number asked again is not drawn again."""
        wanted = list(numbers)
        for shot_number, shot in enumerate(self.shots):
            mine = [n for n in wanted if self._shot_of(n) == shot_number]
            yield from self._shot_pictures(shot_number, shot, mine)

    def instant(self, number: int) -> float:
        """The moment in seconds which frame `number` shows (the first one of its exposure)."""
        return (number + self.shots[self._shot_of(number)].look.phase) / float(self.fps)

    def _shot_of(self, number: int) -> int:
        time = number / float(self.fps)
        return max(k for k, shot in enumerate(self.shots) if k == 0 or shot.start <= time)

    def _shot_pictures(self, shot_number: int, shot: Shot, numbers: list[int]) -> Iterator[np.ndarray]:
        if not numbers:
            return
        cv2.setNumThreads(1)
        height, width = self.size
        look, last = shot.look, -1
        wall = backdrop(_generator(self.seed, PICTURE, shot_number), self.size, shot.rough)
        finish = Finish(look, self.size, _generator(self.seed, GRAIN, shot_number))
        still = shown = None
        for begin in range(0, len(numbers), CHUNK):
            part = numbers[begin : begin + CHUNK]
            each = look.shutter * np.arange(look.samples) / max(look.samples - 1, 1)
            t = ((np.array(part)[:, None] + look.phase + each) / float(self.fps)).ravel()
            view, gains = look.view(t), look.gain(t)
            canvas = Canvas(self.size, shot.shapes(t), view)
            steady = np.ptp(view.x) + np.ptp(view.y) + np.ptp(view.roll) + np.ptp(view.zoom) == 0
            for i, number in enumerate(part):
                if shown is not None and number == last:
                    yield shown.copy()
                    continue
                first = i * look.samples
                if still is None or not steady:
                    matrix = background_matrix(view, first + look.samples // 2, self.size)
                    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
                    still = cv2.warpAffine(wall, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT)
                picture = still.copy()
                canvas.draw(picture, first)
                for extra in range(1, look.samples):
                    other = still.copy()
                    canvas.draw(other, first + extra)
                    picture = cv2.addWeighted(picture, extra / (extra + 1), other, 1 / (extra + 1), 0)
                picture = finish(picture, number, float(gains[first]))
                shown, last = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), number
                yield shown

    @cached_property
    def sound(self) -> Track:
        """32 kHz mono float32, as long as the duration; made when first asked for."""
        total = np.zeros(sample_count(self.duration, SOUND_RATE), np.float32)
        for shot_number, shot in enumerate(self.shots):
            rng = _generator(self.seed, SOUND, shot_number)
            mixed = self._shot_sound(shot, rng)
            first = round(shot.start * SOUND_RATE)
            stop = min(first + len(mixed), len(total))
            total[first:stop] = mixed[: stop - first]
        return Track(total, Fraction(SOUND_RATE))

    def _shot_sound(self, shot: Shot, rng: np.random.Generator) -> np.ndarray:
        """The sound of one shot, cut off at its end (5 ms fade)."""
        length = shot.end - shot.start
        events: list[tuple[float, np.ndarray]] = []
        for placed in shot.sources:
            act = placed.act
            if len(act.contacts):
                used = _recording(act.kind, self.recordings, rng) if self.recordings and rng.random() < 0.5 else None
                body = sounds.draw_body(act.kind, rng) if act.kind in sounds.IMPACTS else None
                for k, (time, strength) in enumerate(zip(act.contacts.times, act.contacts.strengths, strict=True)):
                    if used is not None:
                        events.append((time - shot.start, used * np.float32(strength)))
                    elif body is not None:
                        sound = sounds.strike(
                            body, float(strength), rng, SOUND_RATE, turn=k if act.kind == "clock" else None
                        )
                        events.append((time - shot.start, sound))
            if act.control is not None:
                t = shot.start + (np.arange(int(np.ceil(length * 100))) + 0.5) / 100
                body = sounds.draw_body(act.kind, rng)
                events.append((0.0, sounds.texture(body, np.clip(act.control(t), 0, 1), rng, SOUND_RATE)))
        mixed = sounds.place(events, length, SOUND_RATE)
        if self.reverberant and len(mixed):
            mixed = sounds.reverberate(mixed, rng, SOUND_RATE)
        mixed = (mixed * self.level).astype(np.float32)
        if shot is not self.shots[-1]:
            fade = min(len(mixed), 160)
            mixed[len(mixed) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
        return mixed

    @cached_property
    def loudness(self) -> Track:
        """RMS of the sound in cells of 10 ms (100 Hz, linear)."""
        return rms_envelope(self.sound, 100)

    @cached_property
    def visible_source(self) -> Track:
        """50 Hz, 0..1: is a thing in sight that sounds, or sounds within 0.4 s, or did 0.3 s ago."""
        cells = math.ceil(self.duration * CONFIDENCE_RATE)
        t = (np.arange(cells) + 0.5) / CONFIDENCE_RATE
        seen = np.zeros(cells)
        for time, visible in zip(self.onsets.times, self.visible, strict=True):
            near = (t > time - 0.4) & (t < time + 0.3)
            seen[near] = np.maximum(seen[near], visible)
        for shot in self.shots:
            inside = (t >= shot.start) & (t < shot.end)
            for placed in shot.sources:
                if placed.act.control is not None:
                    size = placed.act.extent * placed.scale
                    place = placed.world(np.array([placed.act.centre]))
                    speed = placed.act.activity * placed.scale
                    clear = _seen(shot, t[inside], np.repeat(place, int(inside.sum()), 0), size, speed, self.size)
                    level = np.clip(placed.act.control(t[inside]) * 4, 0, 1)
                    seen[inside] = np.maximum(seen[inside], clear * level)
        return Track(seen.astype(np.float32), Fraction(CONFIDENCE_RATE))


def _generator(seed: int, purpose: int, number: int = 0) -> np.random.Generator:
    return np.random.default_rng([seed, purpose, number])


def _recording(kind: str, recordings: Sequence[Any], rng: np.random.Generator) -> np.ndarray:
    """One struck moment of a recording (of this kind if there is one), from its attack on, at most 1.2 s."""
    same = [r for r in recordings if r.label == kind] or list(recordings)
    samples = np.asarray(same[int(rng.integers(len(same)))].samples, np.float32)
    onsets = detect_onsets(Track(samples, Fraction(SOUND_RATE)))
    first, stop = 0, len(samples)
    if len(onsets):
        pick = int(rng.integers(len(onsets)))
        first = round(onsets.times[pick] * SOUND_RATE)
        if pick + 1 < len(onsets):
            stop = round((onsets.times[pick + 1] - 0.01) * SOUND_RATE)
    piece = samples[first : min(stop, first + round(1.2 * SOUND_RATE))].copy()
    fade = min(len(piece), 320)
    piece[len(piece) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return piece / max(float(np.abs(piece).max(initial=0.0)), 1e-4)


def _seen(
    shot: Shot,
    t: np.ndarray,
    places: np.ndarray,
    sizes: np.ndarray | float,
    speeds: np.ndarray | float,
    size: tuple[int, int],
) -> np.ndarray:
    """How well things at `places` [T, 2] can be seen at t [T]: 0..1 from their size and speed on the picture, how
    much of them is in the frame, and the light."""
    view = shot.look.view(t)
    spot = view.project(places[:, None])[:, 0]
    diameter = np.asarray(sizes) * view.zoom
    half = np.array([size[1] / size[0] / 2, 0.5])
    inside = np.clip((half - np.abs(spot)) / np.maximum(diameter, 0.02)[:, None] + 0.5, 0, 1).prod(axis=1)
    large = np.clip((diameter - 0.015) / 0.09, 0, 1)
    quick = 1 - np.exp(-np.asarray(speeds) * view.zoom / 0.6)
    light = np.clip((shot.look.gain(t) - 0.15) / 0.4, 0, 1)
    return inside * large * quick * light


def _events(shots: Sequence[Shot], size: tuple[int, int]) -> tuple[Onsets, np.ndarray]:
    """All contacts of the film in order, and how well each is seen."""
    times, strengths, visible = [np.zeros(0)], [np.zeros(0)], [np.zeros(0)]
    cuts = [shot.start for shot in shots[1:]]
    for shot in shots:
        for number, placed in enumerate(shot.sources):
            c = placed.contacts()
            if not len(c):
                continue
            clear = _seen(shot, c.times, c.places, c.sizes, c.jolts, size)
            before = (*shot.sources[number + 1 :], *shot.front)
            for k, time in enumerate(c.times):
                if before and clear[k] > 0:
                    shapes = [s for other in before for s in other.shapes(np.array([time]))]
                    clear[k] *= 1 - covered(shapes, c.places[k], c.sizes[k])
                near = min((abs(time - cut) for cut in cuts), default=1.0)
                clear[k] *= np.clip((near - 0.02) / 0.08, 0, 1)
            times.append(c.times)
            strengths.append(c.strengths)
            visible.append(clear)
    every = np.concatenate(times)
    order = np.argsort(every, kind="stable")
    return Onsets(every[order], np.concatenate(strengths)[order]), np.concatenate(visible)[order]


def _cuts(rng: np.random.Generator, seconds: float, hardness: float, ugly: bool) -> list[float]:
    """Starts and end of the shots: a quarter of ugly films, more of hard ones, have a cut (two in long films)."""
    edges = [0.0, seconds]
    if ugly and seconds >= 1.5:
        for _ in range(1 + int(seconds // 8)):
            if rng.random() < 0.13 + 0.35 * hardness:
                edges.append(float(rng.uniform(0.5, seconds - 0.5)))
    edges.sort()
    return [edge for edge, after in pairwise(edges) if after - edge > 0.4 or edge == 0.0] + [seconds]


def _draw_kinds(rng: np.random.Generator, ugly: bool) -> tuple[str, ...]:
    """What sounds in a film of its own choice: nothing in a tenth of ugly films, otherwise one or two kinds."""
    if ugly and rng.random() < 0.1:
        return ()
    count = 2 if ugly and rng.random() < 0.2 else 1
    pools = [sounds.IMPACTS if rng.random() < IMPACT_SHARE else sounds.TEXTURES for _ in range(count)]
    return tuple(dict.fromkeys(str(rng.choice(pool)) for pool in pools))


def _shot(
    seed: int, number: int, span: tuple[float, float], aspect: float, hardness: float, kinds: Sequence[str], ugly: bool
) -> Shot:
    rng = _generator(seed, SCENE, number)
    rough = float(np.clip(0.15 + 0.85 * hardness * rng.uniform(0.6, 1.4), 0, 1)) if ugly else 0.0
    cast = Cast(rng, span[0], span[1], aspect, hardness, rough)
    sources = tuple(put(make(kind, cast), cast, k, len(kinds)) for k, kind in enumerate(kinds))
    behind: list[Placed] = []
    front: list[Placed] = []
    if ugly:
        for _ in range(int(rng.binomial(3, 0.1 + 0.4 * hardness)) if sources else int(rng.integers(1, 4))):
            placed = put(silent(cast), cast, extra=float(rng.uniform(0.5, 1.1)) if sources else 1.0)
            (front if sources and rng.random() < 0.25 + 0.2 * hardness else behind).append(placed)
    floor = None
    if not ugly or rng.random() < 0.7:
        base = rng.uniform(40, 190) + rng.normal(0, 12, 3)
        floor = tuple(np.clip(base, 10, 240).tolist()) if sources else None
    look = draw_look(rng, hardness, *span) if ugly else Look(middle=sum(span) / 2)
    return Shot(span[0], span[1], sources, tuple(behind), tuple(front), look, floor, rough)


def film(
    seed: int,
    *,
    size: tuple[int, int] = (96, 96),
    seconds: float = 3.0,
    fps: Any = None,
    kinds: Sequence[str] | None = None,
    ugly: bool = True,
    recordings: Sequence[Any] | None = None,
    hardness: float | None = None,
) -> Film:
    """The film of a seed: a pure function of its arguments.

    size: (height, width) in pixels. seconds: length. fps: source rate (number, fraction or text); drawn from 12 to
    60 when None, 25 for a film that is not ugly. kinds: what sounds (names out of KINDS; empty for nothing); drawn
    when None. ugly: with the faults of real footage and silent motion; False gives a clean film for people.
    hardness: 0 (large, central, clean) .. 1 (small, hidden, rough); drawn when None, mostly low. recordings: objects
    with `samples` (32 kHz mono) and `label`, which take the place of half of the impact sounds.
    BadInputError for a kind, size, length or hardness that cannot be.
    """
    if seed < 0:
        raise BadInputError(f"seed {seed} is negative: give a whole number from 0 on")
    if min(size) < 16:
        raise BadInputError(f"size {size[0]}x{size[1]} is too small: at least 16 pixels a side")
    if seconds <= 0:
        raise BadInputError(f"seconds {seconds} is not a length: give a number above 0")
    if hardness is not None and not 0 <= hardness <= 1:
        raise BadInputError(f"hardness {hardness} is out of range: give 0 (easy) to 1 (ugliest)")
    for kind in kinds or ():
        if kind not in sounds.KINDS:
            raise BadInputError(f"kind {kind!r} is not on the stage: choose from {', '.join(sounds.KINDS)}")
    rng = _generator(seed, PLAN)
    drawn_hardness, drawn_rate, drawn_kinds = float(rng.beta(1.0, 2.0)), draw_rate(rng), _draw_kinds(rng, ugly)
    hardness = (drawn_hardness if ugly else 0.0) if hardness is None else float(hardness)
    rate = (drawn_rate if ugly else Fraction(25)) if fps is None else as_fraction(fps)
    if rate <= 0:
        raise BadInputError(f"fps {fps} is not a frame rate: give a number above 0")
    kinds = drawn_kinds if kinds is None else tuple(kinds)
    edges = _cuts(rng, float(seconds), hardness, ugly)
    level = float(10 ** (rng.uniform(-12, 0) / 20)) if ugly else 0.9
    reverberant = bool(rng.random() < 0.4) and ugly
    given, shots = kinds, []
    aspect = size[1] / size[0]
    for number, span in enumerate(pairwise(edges)):
        shots.append(_shot(seed, number, span, aspect, hardness, given, ugly))
        given = kinds if rng.random() < 0.5 else tuple(kinds[:1])
    onsets, visible = _events(shots, size)
    captions = dict.fromkeys(placed.act.caption for shot in shots for placed in shot.sources)
    caption = "; ".join(captions) or "silence"
    return Film(
        int(seed),
        (int(size[0]), int(size[1])),
        as_fraction(seconds),
        rate,
        kinds,
        caption,
        hardness,
        tuple(shots),
        onsets,
        visible,
        level,
        reverberant,
        tuple(recordings or ()),
    )
