"""Drawing: vector shapes in picture heights, filled by OpenCV with sub-pixel corners.

World coordinates: the origin is the middle of the picture, x to the right, y down, and the picture is one unit
high. Nothing here knows about pixels until `Canvas.draw`, so that a film for a watcher (96x96) and a film for
people (640x360) are drawn by the same code.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

SHIFT = 4  # fractional bits of OpenCV's integer corners: a sixteenth of a pixel
LIMIT = 30000  # OpenCV's polygon filler overflows on far-away corners

Colour = tuple[float, float, float]  # blue, green, red in 0..255 while drawing


@dataclass
class Shape:
    """One polygon (or several lines) at each of T instants.

    points: [T, P, 2] world units for a polygon; [T, N, P, 2] for N open lines of one colour.
    colour: [3] or [T, 3]. width: 0 fills the polygon, otherwise open lines of this width (world units).
    shown: [T] bool, or None for always. convex: the polygon is convex (filled faster).
    """

    points: np.ndarray
    colour: np.ndarray
    width: float = 0.0
    shown: np.ndarray | None = None
    convex: bool = True


@dataclass
class Body:
    """A rigid thing: polygons in its own coordinates, painted in order."""

    parts: list[tuple[np.ndarray, Colour, bool]] = field(default_factory=list)

    def add(self, points: np.ndarray, colour: Colour, convex: bool = True) -> "Body":
        self.parts.append((np.asarray(points, dtype=np.float64), colour, convex))
        return self

    def at(
        self,
        x: np.ndarray | float,
        y: np.ndarray | float,
        angle: np.ndarray | float = 0.0,
        stretch: tuple[np.ndarray | float, np.ndarray | float] = (1.0, 1.0),
        shown: np.ndarray | None = None,
        count: int | None = None,
    ) -> list[Shape]:
        """The body's shapes at T poses; every argument is a scalar or [T] (`count` gives T if all are scalars)."""
        sizes = [np.size(v) for v in (x, y, angle, *stretch)]
        n = count if count is not None else max(sizes)
        x, y, angle, sx, sy = (np.broadcast_to(np.asarray(v, np.float64), (n,)) for v in (x, y, angle, *stretch))
        c, s = np.cos(angle), np.sin(angle)
        matrix = np.stack([np.stack([c * sx, -s * sy], -1), np.stack([s * sx, c * sy], -1)], -2)  # [T, 2, 2]
        every = np.concatenate([p for p, _, _ in self.parts])
        moved = np.einsum("tij,pj->tpi", matrix, every) + np.stack([x, y], -1)[:, None]
        shapes, begin = [], 0
        for points, colour, convex in self.parts:
            end = begin + len(points)
            shapes.append(Shape(moved[:, begin:end], np.asarray(colour, np.float64), 0.0, shown, convex))
            begin = end
        return shapes


def rectangle(width: float, height: float, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    """Corners [4, 2] of a rectangle centred on (x, y)."""
    return np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [width / 2, height / 2] + [x, y]


def ellipse(rx: float, ry: float, x: float = 0.0, y: float = 0.0, corners: int = 22) -> np.ndarray:
    a = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([x + rx * np.cos(a), y + ry * np.sin(a)], -1)


def limb(a: np.ndarray, b: np.ndarray, wide: float, narrow: float, colour: np.ndarray) -> Shape:
    """A tapered piece from points a to b, both [T, 2], with half-widths `wide` at a and `narrow` at b."""
    along = b - a
    along = along / np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), 1e-9)
    across = np.stack([-along[:, 1], along[:, 0]], -1)
    points = np.stack(
        [
            a + across * wide,
            b + across * narrow,
            b + along * narrow * 0.7 + across * narrow * 0.5,
            b + along * narrow * 0.7 - across * narrow * 0.5,
            b - across * narrow,
            a - across * wide,
            a - along * wide * 0.7 - across * wide * 0.5,
            a - along * wide * 0.7 + across * wide * 0.5,
        ],
        1,
    )
    return Shape(points, np.asarray(colour, np.float64))


def knee(hip: np.ndarray, foot: np.ndarray, upper: float, lower: float, bend: float) -> np.ndarray:
    """The middle joint [T, 2] of a two-piece limb from hip to foot; `bend` (+1 or -1) is the side it bends to."""
    line = foot - hip
    length = np.clip(np.linalg.norm(line, axis=-1), 1e-6, (upper + lower) * 0.9999)
    unit = line / np.maximum(np.linalg.norm(line, axis=-1, keepdims=True), 1e-9)
    forward = (upper**2 - lower**2 + length**2) / (2 * length)
    side = np.sqrt(np.maximum(upper**2 - forward**2, 0.0))
    return hip + unit * forward[:, None] + np.stack([-unit[:, 1], unit[:, 0]], -1) * (bend * side)[:, None]


@dataclass(frozen=True)
class View:
    """Where the camera looks at T instants: centre x, y (world units), roll (radians), zoom, each [T]."""

    x: np.ndarray
    y: np.ndarray
    roll: np.ndarray
    zoom: np.ndarray

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points [T, ..., 2] to picture points [T, ..., 2], still in picture heights from the middle."""
        extra = (1,) * (points.ndim - 2)
        x, y, roll, zoom = (v.reshape(-1, *extra) for v in (self.x, self.y, self.roll, self.zoom))
        c, s = np.cos(roll) * zoom, np.sin(roll) * zoom
        dx, dy = points[..., 0] - x, points[..., 1] - y
        return np.stack([c * dx - s * dy, s * dx + c * dy], -1)


class Canvas:
    """Shapes of a scene at T instants, ready to be painted one instant after the other on pictures [H, W, 3]."""

    def __init__(self, size: tuple[int, int], shapes: Sequence[Shape], view: View):
        height, width = size
        scale, middle = height * (1 << SHIFT), np.array([width / 2 - 0.5, height / 2 - 0.5]) * (1 << SHIFT)
        total = len(view.x)
        self._items = []
        for shape in shapes:
            points = view.project(shape.points) * scale + middle
            corners = np.clip(np.round(points), -LIMIT, LIMIT).astype(np.int32)
            colours = np.broadcast_to(np.clip(shape.colour, 0, 255), (total, 3)).tolist()
            widths = None
            if shape.width:
                widths = np.clip(np.round(shape.width * height * view.zoom), 1, 255).astype(int).tolist()
            shown = None if shape.shown is None else np.broadcast_to(shape.shown, (total,)).tolist()
            self._items.append((corners, colours, widths, shown, shape.convex))

    def draw(self, picture: np.ndarray, index: int) -> None:
        """Paint instant `index` over `picture` (uint8, changed in place)."""
        for corners, colours, widths, shown, convex in self._items:
            if shown is not None and not shown[index]:
                continue
            points, colour = corners[index], colours[index]
            if widths is not None:
                lines = points if points.ndim == 3 else points[None]
                cv2.polylines(picture, list(lines), False, colour, widths[index], cv2.LINE_AA, SHIFT)
            elif convex:
                cv2.fillConvexPoly(picture, points, colour, cv2.LINE_AA, SHIFT)
            else:
                cv2.fillPoly(picture, [points], colour, cv2.LINE_AA, SHIFT)
