"""From a kind's name to an act, and from an act to its place in the picture."""

from dataclasses import dataclass

import cv2
import numpy as np

from .canvas import Shape
from .flows import engine, fire, pour, rain, rolling, scrape, wind
from .strikes import bell, clock, drop, footsteps, impact, splash
from .things import Act, Cast, Contacts


def make(kind: str, cast: Cast) -> Act:
    """An act of one of KINDS."""
    if kind in ("wood", "metal", "glass", "plastic", "drum"):
        return impact(kind, cast)
    makers = {
        "bounce": drop,
        "footsteps": footsteps,
        "splash": splash,
        "clock": clock,
        "bell": bell,
        "scrape": scrape,
        "rolling": rolling,
        "pour": pour,
        "rain": rain,
        "fire": fire,
        "wind": wind,
        "engine": engine,
    }
    return makers[kind](kind, cast)


@dataclass(frozen=True)
class Placed:
    """An act put into the picture: mirrored, turned, scaled about its centre, and moved."""

    act: Act
    matrix: np.ndarray  # [2, 2]
    offset: np.ndarray  # [2]

    @property
    def scale(self) -> float:
        return float(np.sqrt(abs(np.linalg.det(self.matrix))))

    def world(self, points: np.ndarray) -> np.ndarray:
        return points @ self.matrix.T + self.offset

    def shapes(self, t: np.ndarray) -> list[Shape]:
        """The act's shapes in the picture's coordinates at instants [T]."""
        shapes = self.act.shapes(t)
        for shape in shapes:
            shape.points = self.world(shape.points)
            shape.width *= self.scale
        return shapes

    def contacts(self) -> Contacts:
        c = self.act.contacts
        return Contacts(c.times, c.strengths, self.world(c.places), c.sizes * self.scale, c.jolts * self.scale)

    def floor(self) -> Shape | None:
        """The ground the act stands on, far to both sides and down; None if it has none."""
        if self.act.floor is None:
            return None
        y = self.act.floor
        corners = np.array([[-6, y], [6, y], [6, y + 8], [-6, y + 8]], np.float64)
        return Shape(self.world(corners)[None], np.zeros(3))


def put(act: Act, cast: Cast, slot: int = 0, slots: int = 1, extra: float = 1.0) -> Placed:
    """Choose where an act is seen: large and central when hardness is 0, small and aside when it is 1.

    slot, slots: of several acts side by side. extra: a further factor on the scale.
    """
    rng, h = cast.rng, cast.hardness
    clean = h == 0 and cast.rough == 0
    scale = 0.92 / act.room if clean else float(rng.uniform(0.9 - 0.62 * h, 1.25 - 0.3 * h))
    scale *= extra * (1.0 if slots == 1 else 0.7)
    turn = 0.0
    if act.turnable and not clean:
        turn = float(rng.uniform(-np.pi, np.pi)) if rng.random() < 0.35 * h else float(rng.normal(0, 0.05 + 0.2 * h))
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    c, s = np.cos(turn) * scale, np.sin(turn) * scale
    matrix = np.array([[c, -s], [s, c]]) @ np.diag([mirror, 1.0])
    spot = np.zeros(2)
    if slots > 1:
        spot[0] = ((slot + 0.5) / slots - 0.5) * cast.aspect * 0.95
    if not clean:
        reach = (0.04 + 0.34 * h * rng.random()) * np.array([cast.aspect, 0.8])
        spot = spot + rng.uniform(-1, 1, 2) * reach
    return Placed(act, matrix, spot - matrix @ np.array(act.centre))


def covered(shapes: list[Shape], place: np.ndarray, size: float) -> float:
    """Share 0..1 of the disc (place [2], diameter) hidden by shapes that are painted over it (T = 1 each)."""
    cells = 24
    mask = np.zeros((cells, cells), np.uint8)
    for shape in shapes:
        if shape.width or (shape.shown is not None and not shape.shown[0]):
            continue
        corners = (shape.points[0] - place) / max(size, 0.02) * cells + cells / 2
        cv2.fillPoly(mask, [np.clip(corners, -9000, 9000).astype(np.int32)], 255)
    y, x = np.mgrid[0:cells, 0:cells] - (cells - 1) / 2
    inside = x * x + y * y < (cells / 2) ** 2
    return float((mask[inside] > 0).mean())
