"""A clean film of the stage taken apart into a background, bodies, and the motion of each body.

Shapes that neighbour each other in painting order and move together, to within less than a pixel, are one body. What
stands still before anything moves is the background. The layers show the instant of the first contact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .canvas import Canvas, Shape, View
from .film import PICTURE, Film, _generator
from .ugliness import backdrop, background_matrix

CLOSE = 0.006     # picture heights by which shapes of one body may depart from its motion
FAR = 0.03        # the same where a film would have too many bodies otherwise


@dataclass(frozen=True, eq=False)
class Apart:
    """A film in layers.

    layers: uint8 [1 + K, side, side, 4] RGB, premultiplied, and coverage; the background first, then the bodies in
    painting order. motions: float32 [T, K, 2, 3]; at frame i the point p of body k of the layer is at
    p + motions[i, k] @ (p, 1), in picture heights from the middle of the picture. shown: bool [T, K].
    """

    layers: np.ndarray
    motions: np.ndarray
    shown: np.ndarray


@dataclass(eq=False)
class _Body:
    """Shapes that move as one. points: [T, P, 2], of all shapes. reference: the instant at which it is drawn."""

    shapes: list[Shape]
    points: np.ndarray
    shown: np.ndarray
    reference: int

    def __post_init__(self) -> None:
        self.motion, self.departure = _affine(self.points, self.reference)


def apart(film: Film, bodies: int, side: int, spread: float) -> Apart | None:
    """The layers of a film, side x side pixels that show `spread` picture heights, with at most `bodies` bodies.

    None where the film cannot be told apart so: a cut, a moving camera, colours that change, or too many bodies.
    """
    shot = film.shots[0]
    contact = film.onsets.times[:1] if len(film.onsets) else np.zeros(1)
    instants = np.append(np.arange(film.count) / float(film.fps), contact)
    view = shot.look.view(instants)
    still_camera = np.ptp(view.x) + np.ptp(view.y) + np.ptp(view.roll) + np.ptp(view.zoom) == 0
    shapes = shot.shapes(instants)
    if len(film.shots) > 1 or not still_camera or any(_changes_colour(shape) for shape in shapes):
        return None
    background, moving = _split(shapes, len(instants))
    found = _joined(moving, bodies)
    if len(found) > bodies or any(body.departure > FAR for body in found):
        return None

    wall = _wall(film, side, spread)
    layers = np.zeros((1 + len(found), side, side, 4), np.uint8)
    layers[0, ..., :3] = _drawn(background, len(instants) - 1, side, spread, wall)
    layers[0, ..., 3] = 255
    for layer, body in zip(layers[1:], found, strict=True):
        black = np.zeros((side, side, 3), np.uint8)
        layer[..., :3] = _drawn(body.shapes, body.reference, side, spread, black)
        layer[..., 3] = _drawn(body.shapes, body.reference, side, spread, black, white=True)[..., 0]
    motions = np.zeros((film.count, len(found), 2, 3), np.float32)
    shown = np.zeros((film.count, len(found)), bool)
    for k, body in enumerate(found):
        motions[:, k], shown[:, k] = body.motion[: film.count], body.shown[: film.count]
    return Apart(layers, motions, shown)


def _changes_colour(shape: Shape) -> bool:
    return np.ndim(shape.colour) > 1 and bool(np.ptp(shape.colour, axis=0).max() > 1)


def _split(shapes: Sequence[Shape], count: int) -> tuple[list[Shape], list[_Body]]:
    """What stands still behind everything that moves, and all that comes after, one body a shape."""
    background: list[Shape] = []
    bodies: list[_Body] = []
    for shape in shapes:
        points = np.broadcast_to(shape.points, (count, *shape.points.shape[1:])).reshape(count, -1, 2)
        shown = np.ones(count, bool) if shape.shown is None else np.broadcast_to(shape.shown, (count,))
        if not bodies and shown.all() and np.ptp(points, axis=0).max() < 1e-4:
            background.append(shape)
            continue
        twin = next((k for k, body in enumerate(bodies) if _same_again(body, shape, points, shown)), None)
        if twin is None:
            bodies.append(_body([shape], points, shown))
        else:
            both = np.where(shown[:, None, None], points, bodies[twin].points)
            bodies[twin] = _body(bodies[twin].shapes, both, bodies[twin].shown | shown)
    return background, bodies


def _same_again(body: _Body, shape: Shape, points: np.ndarray, shown: np.ndarray) -> bool:
    """Is it the same thing at another time: the next ball of a row that is dropped one after the other?"""
    alike = len(body.shapes) == 1 and body.points.shape == points.shape
    apart_in_time = shape.shown is not None and not (body.shown & shown).any()
    return alike and apart_in_time and np.allclose(body.shapes[0].colour, shape.colour)


def _body(shapes: list[Shape], points: np.ndarray, shown: np.ndarray) -> _Body:
    """While it is not shown a body stays where it was last (or will be first)."""
    if not shown.all() and shown.any():
        last = np.maximum.accumulate(np.where(shown, np.arange(len(shown)), -1))
        points = points[np.where(last < 0, int(np.argmax(shown)), last)]
    reference = len(shown) - 1 if shown[-1] else int(np.argmax(shown))
    return _Body(shapes, points, shown, reference)


def _joined(bodies: list[_Body], most: int) -> list[_Body]:
    """Neighbours that move together made one; with more and more licence while there are more than `most`."""
    found = list(bodies)
    licence = CLOSE
    while True:
        k = 0
        while k + 1 < len(found):
            both = _both(found[k], found[k + 1])
            if both is not None and both.departure < licence:
                found[k : k + 2] = [both]
                k = max(k - 1, 0)
            else:
                k += 1
        if len(found) <= most or licence >= FAR:
            return found
        licence *= 1.3


def _both(one: _Body, other: _Body) -> _Body | None:
    if one.reference != other.reference or not np.array_equal(one.shown, other.shown):
        return None
    points = np.concatenate([one.points, other.points], axis=1)
    return _Body([*one.shapes, *other.shapes], points, one.shown, one.reference)


def _affine(points: np.ndarray, reference: int) -> tuple[np.ndarray, float]:
    """The motion [T, 2, 3] that takes points [T, P, 2] from the reference to every instant, and by how much some
    point departs from it. Points in a line are not stretched across it."""
    corners = np.concatenate([points[reference], np.ones((points.shape[1], 1))], axis=1)
    ways = points - points[reference]
    ridge = np.diag([1e-6, 1e-6, 0.0]) * len(corners)
    inverse = np.linalg.solve(corners.T @ corners + ridge, corners.T)
    motion = np.einsum("jn,tni->tij", inverse, ways)
    departure = np.abs(np.einsum("tij,nj->tni", motion, corners) - ways).max()
    return motion, float(departure)


def _wall(film: Film, side: int, spread: float) -> np.ndarray:
    """The wall behind the film, `spread` picture heights of it, as BGR [side, side, 3]."""
    still = View(np.zeros(1), np.zeros(1), np.zeros(1), np.full(1, 1 / spread))
    wall = backdrop(_generator(film.seed, PICTURE, 0), (side, side), film.shots[0].rough)
    matrix = background_matrix(still, 0, (side, side))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(wall, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT)


def _drawn(
    shapes: Sequence[Shape], instant: int, side: int, spread: float, ground: np.ndarray, white: bool = False
) -> np.ndarray:
    """Shapes at one instant over `ground` (BGR), as RGB [side, side, 3]; `white` draws where they are."""
    picture = ground.copy()
    now = []
    for shape in shapes:
        points = shape.points[min(instant, len(shape.points) - 1)][None]
        colour = np.full(3, 255.0) if white else np.asarray(shape.colour, np.float64).reshape(-1, 3)[0]
        now.append(Shape(points, colour, shape.width, None, shape.convex))
    view = View(np.zeros(1), np.zeros(1), np.zeros(1), np.full(1, 1 / spread))
    Canvas((side, side), now, view).draw(picture, 0)
    return np.ascontiguousarray(picture[..., ::-1])
