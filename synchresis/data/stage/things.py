"""The cast: what an act is told and gives back, colours of materials, and the bodies that appear in several kinds."""

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from .canvas import Body, Colour, Shape, ellipse, rectangle


@dataclass(frozen=True)
class Cast:
    """What a scene is built from: its own generator, the seconds it lasts, and how ugly it may be.

    hardness: 0 large, slow and clean .. 1 small, fast and rough. rough: how strongly bodies are textured (0..1).
    """

    rng: np.random.Generator
    start: float
    end: float
    aspect: float
    hardness: float
    rough: float


@dataclass(frozen=True)
class Contacts:
    """The instants at which an act sounds, and what the eye can see of each (all arrays [n], places [n, 2]).

    strengths: 0..1. places: where, in picture heights. sizes: diameter of the moving body. jolts: its change of
    speed there, picture heights per second.
    """

    times: np.ndarray
    strengths: np.ndarray
    places: np.ndarray
    sizes: np.ndarray
    jolts: np.ndarray

    def __len__(self) -> int:
        return len(self.times)


def contacts(
    times: np.ndarray, strengths: np.ndarray, places: np.ndarray, size: np.ndarray | float, jolts: np.ndarray
) -> Contacts:
    """Contacts in order of time; `places` may be one point, `size` one number."""
    times = np.asarray(times, np.float64)
    order = np.argsort(times, kind="stable")
    n = len(times)
    spread = np.broadcast_to(np.asarray(places, np.float64), (n, 2))
    sizes = np.broadcast_to(np.asarray(size, np.float64), (n,))
    strengths = np.clip(np.asarray(strengths, np.float64), 0.05, 1.0)
    return Contacts(times[order], strengths[order], spread[order], sizes[order], np.asarray(jolts)[order])


NOTHING = contacts(np.zeros(0), np.zeros(0), np.zeros((0, 2)), 0.0, np.zeros(0))


@dataclass(frozen=True)
class Act:
    """One thing that happens: how it looks, when it sounds, and what to call it.

    shapes: instants [T] -> shapes in painting order. control: instants [T] -> level 0..1 of a continuous sound, or
    None for separate events. centre, extent: where a continuous sound is seen, and how large. activity: how fast
    it visibly moves (picture heights per second) when its control is 1. room: height of all that belongs to it.
    floor: height of the ground it stands on.
    turnable: gravity does not matter, so the act may be rotated and mirrored freely.
    """

    kind: str
    caption: str
    shapes: Callable[[np.ndarray], list[Shape]]
    contacts: Contacts = field(default_factory=lambda: NOTHING)
    control: Callable[[np.ndarray], np.ndarray] | None = None
    centre: tuple[float, float] = (0.0, 0.0)
    extent: float = 0.4
    activity: float = 0.0
    room: float = 0.9
    floor: float | None = None
    turnable: bool = False


def mix(a: Colour | np.ndarray, b: Colour | np.ndarray, share: float) -> Colour:
    """Colour between a (share 0) and b (share 1)."""
    return tuple(float(x) * (1 - share) + float(y) * share for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


def shade(colour: Colour, factor: float) -> Colour:
    return tuple(min(255.0, c * factor) for c in colour)  # type: ignore[return-value]


def hue(degrees: float, saturation: float, value: float) -> Colour:
    """A colour from hue (0..360), saturation and value (0..1)."""
    pixel = np.array([[[degrees % 360 / 2, saturation * 255, value * 255]]], np.uint8)
    b, g, r = cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0].tolist()
    return (b, g, r)


def paint(kind: str, rng: np.random.Generator) -> Colour:
    """A colour that belongs to the material."""
    u = rng.uniform
    if kind == "wood":
        return hue(u(20, 38), u(0.45, 0.7), u(0.45, 0.85))
    if kind in ("metal", "bell", "clock", "engine"):
        return (
            hue(u(30, 50), u(0.5, 0.7), u(0.6, 0.85))
            if rng.random() < 0.3
            else hue(u(190, 230), u(0.05, 0.2), u(0.4, 0.8))
        )
    if kind == "glass":
        return hue(u(150, 210), u(0.12, 0.35), u(0.75, 0.95))
    if kind == "skin":
        return hue(u(12, 28), u(0.3, 0.6), u(0.35, 0.9))
    return hue(u(0, 360), u(0.5, 0.85), u(0.5, 0.95))


def texture(body: Body, box: tuple[float, float, float, float], colour: Colour, cast: Cast) -> Body:
    """Patches inside the rectangle (width, height, x, y) of a body, so that its motion can be seen."""
    rng = cast.rng
    width, height, x, y = box
    for _ in range(int(rng.integers(2, 4 + int(5 * cast.rough)))):
        w, h = width * rng.uniform(0.06, 0.4), height * rng.uniform(0.06, 0.4)
        cx = x + (width - w) * rng.uniform(-0.45, 0.45)
        cy = y + (height - h) * rng.uniform(-0.45, 0.45)
        tone = shade(colour, float(np.exp(rng.uniform(-1, 1) * (0.15 + 0.5 * cast.rough))))
        corners = rectangle(w, h, cx, cy) + rng.uniform(-0.2, 0.2, (4, 2)) * [w, h]
        body.add(corners, tone, convex=False)
    return body


def block(width: float, height: float, colour: Colour, cast: Cast, x: float = 0.0, y: float = 0.0) -> Body:
    """A box centred on (x, y), light on top, dark at the foot."""
    body = Body().add(rectangle(width, height, x, y), colour)
    if cast.rough > 0.25:
        texture(body, (width * 0.92, height * 0.8, x, y), colour, cast)
    body.add(rectangle(width, height * 0.16, x, y - height * 0.42), shade(colour, 1.25))
    return body.add(rectangle(width, height * 0.1, x, y + height * 0.45), shade(colour, 0.7))


def grained(width: float, height: float, colour: Colour, cast: Cast, x: float = 0.0, y: float = 0.0) -> Body:
    """A wooden box with grain and end rings."""
    body = block(width, height, colour, cast, x, y)
    for _ in range(4):
        w, dy = width * cast.rng.uniform(0.25, 0.8), height * cast.rng.uniform(-0.3, 0.38)
        dx = (width - w) * cast.rng.uniform(-0.48, 0.48)
        body.add(rectangle(w, max(height * 0.03, 0.006), x + dx, y + dy), shade(colour, cast.rng.uniform(0.65, 0.85)))
    return body


def disc(radius: float, colour: Colour, cast: Cast, spokes: bool = True) -> Body:
    """A ball or wheel centred on the origin whose turning can be seen."""
    body = Body().add(ellipse(radius, radius), colour)
    if spokes:
        dark = shade(colour, 0.55)
        for k in range(int(cast.rng.integers(2, 5))):
            a = 2 * np.pi * k / 3 + cast.rng.uniform(-0.4, 0.4)
            fan = a + np.array([-0.35, 0.0, 0.35])
            wedge = np.concatenate([[[0.0, 0.0]], np.stack([np.cos(fan), np.sin(fan)], -1) * radius * 0.92])
            body.add(wedge, dark if k % 2 else shade(colour, 1.35))
    return body.add(ellipse(radius * 0.22, radius * 0.18, -radius * 0.4, -radius * 0.45, 10), shade(colour, 1.5))


def anvil(width: float, height: float, colour: Colour) -> Body:
    """An anvil whose face is the line y = 0."""
    w, h = width / 2, height
    face = np.array([[-w, 0], [w * 0.8, 0], [w * 1.35, h * 0.06], [w * 0.8, h * 0.32], [-w, h * 0.32]])
    waist = np.array([[-w * 0.5, h * 0.3], [w * 0.45, h * 0.3], [w * 0.35, h * 0.7], [-w * 0.4, h * 0.7]])
    foot = np.array([[-w * 0.4, h * 0.68], [w * 0.35, h * 0.68], [w * 0.8, h], [-w * 0.85, h]])
    body = Body().add(waist, shade(colour, 0.7)).add(foot, shade(colour, 0.8)).add(face, colour)
    return body.add(np.array([[-w, 0], [w * 0.8, 0], [w * 0.8, h * 0.07], [-w, h * 0.07]]), shade(colour, 1.35))


def vessel(width: float, height: float, colour: Colour, narrow: float) -> Body:
    """A glass, jar or bucket: an open shape whose rim is the line y = 0; `narrow` is the foot's share of the rim."""
    w, h = width / 2, height
    wall = np.array([[-w, 0], [w, 0], [w * narrow, h], [-w * narrow, h]])
    body = Body().add(wall, colour)
    body.add(
        np.array(
            [[-w * 0.8, h * 0.08], [-w * 0.55, h * 0.08], [-w * 0.5 * narrow, h * 0.9], [-w * 0.8 * narrow, h * 0.9]]
        ),
        shade(colour, 1.3),
    )
    body.add(np.array([[w * 0.7, h * 0.05], [w, 0], [w * narrow, h], [w * 0.75 * narrow, h]]), shade(colour, 0.75))
    return body.add(ellipse(w, max(h * 0.04, 0.008), 0, 0, 18), shade(colour, 0.6))


def drum(width: float, height: float, colour: Colour) -> tuple[Body, Body]:
    """A drum's shell and its skin, whose middle is the origin."""
    w, h, flat = width / 2, height, width * 0.1
    shell = Body().add(ellipse(w, flat, 0, h), shade(colour, 0.7)).add(rectangle(width, h, 0, h / 2), colour)
    for k in range(-2, 3):
        shell.add(rectangle(width * 0.025, h * 0.8, k * w * 0.42, h * 0.55), shade(colour, 1.5 if k % 2 else 0.6))
    rim = (
        Body().add(ellipse(w * 1.03, flat * 1.15), (120, 130, 140)).add(ellipse(w * 0.95, flat * 0.95), (205, 222, 232))
    )
    rim.add(ellipse(w * 0.3, flat * 0.3, 0, 0, 14), (190, 205, 215))
    return shell, rim
