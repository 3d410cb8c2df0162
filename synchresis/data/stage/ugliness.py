"""What stands between the stage and the eye: camera, light, lens, sensor and compression."""

from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np

from .canvas import View
from .motion import Wander, draw_wander, smooth
from .things import hue

RATES: tuple[tuple[str, float], ...] = (  # source frame rates and how often they are drawn
    ("25", 0.22),
    ("30", 0.16),
    ("30000/1001", 0.16),
    ("24", 0.1),
    ("24000/1001", 0.12),
    ("15", 0.08),
    ("12", 0.04),
    ("20", 0.04),
    ("50", 0.04),
    ("60", 0.04),
)

STILL = Wander(np.zeros(1), np.zeros(1), np.zeros(1))


def draw_rate(rng: np.random.Generator) -> Fraction:
    shares = np.array([share for _, share in RATES])
    return Fraction(RATES[int(rng.choice(len(RATES), p=shares / shares.sum()))][0])


@dataclass(frozen=True)
class Look:
    """One camera and one compressor. `phase` (in frames) is the moment in its interval that a frame shows."""

    x: Wander = STILL
    y: Wander = STILL
    roll: Wander = STILL
    zoom: Wander = STILL
    drift: tuple[float, float, float] = (0.0, 0.0, 0.0)  # of x, y and log zoom, a second
    middle: float = 0.0  # the instant at which the drift is zero
    phase: float = 0.0
    samples: int = 1  # instants averaged in one frame
    shutter: float = 0.5  # of the frame interval
    contrast: float = 1.0
    brightness: float = 0.0
    flicker: Wander = STILL
    fades: tuple[tuple[float, float], ...] = ()  # (instant of black, seconds it takes)
    softness: float = 0.0  # standard deviation of the lens blur, in picture heights
    noise: float = 0.0  # standard deviation, grey levels
    quality: int | None = None  # of JPEG

    def view(self, t: np.ndarray) -> View:
        away = t - self.middle
        zoom = np.exp(self.zoom(t) + self.drift[2] * away)
        return View(self.x(t) + self.drift[0] * away, self.y(t) + self.drift[1] * away, self.roll(t), zoom)

    def gain(self, t: np.ndarray) -> np.ndarray:
        """Brightness factor [T]."""
        gain = 1.0 + self.flicker(t)
        for black, length in self.fades:
            gain = gain * smooth(np.abs(t - black) / length)
        return np.clip(gain, 0.0, 2.0)


def draw_look(rng: np.random.Generator, hardness: float, start: float, end: float) -> Look:
    """A camera for the span; every fault is likelier and larger with `hardness`."""
    h = hardness

    def chance(p: float) -> bool:
        return bool(rng.random() < p * min(1.0, 0.35 + h))

    x = y = roll = zoom = STILL
    drift = (0.0, 0.0, 0.0)
    if chance(0.95):
        size = 0.004 + 0.02 * h * rng.random()
        fast = rng.uniform(1.0, 7.0)
        x, y = draw_wander(rng, size, 0.2, fast), draw_wander(rng, size, 0.2, fast)
        roll, zoom = draw_wander(rng, size * 0.8, 0.2, fast), draw_wander(rng, size * 0.8, 0.1, 2.0)
        if rng.random() < 0.5:
            drift = tuple(rng.normal(0, 0.02 + 0.05 * h, 3).tolist())
    return Look(
        x,
        y,
        roll,
        zoom,
        drift,
        (start + end) / 2,
        float(rng.uniform(0.0, 0.5)),
        3 if chance(0.7) else 1,
        float(rng.uniform(0.25, 0.6)),
        float(np.exp(rng.normal(0, 0.15 + 0.2 * h))),
        float(rng.normal(0, 6 + 14 * h)),
        draw_wander(rng, rng.uniform(0.01, 0.08), 1, 12) if chance(0.3) else STILL,
        ((start, rng.uniform(0.2, 0.6)),) if chance(0.08) else ((end, rng.uniform(0.2, 0.6)),) if chance(0.08) else (),
        float(rng.uniform(0.003, 0.004 + 0.012 * h)) if chance(0.5) else 0.0,
        float(rng.uniform(1, 3 + 9 * h)) if chance(0.9) else 0.0,
        int(rng.integers(15 + int(25 * (1 - h)), 71)) if chance(0.9) else None,
    )


class Finish:
    """Light, lens, sensor and compression laid over drawn pictures; the noise depends on the frame's number only."""

    SLACK = 41

    def __init__(self, look: Look, size: tuple[int, int], rng: np.random.Generator):
        self.look = look
        self.size = size
        self._grain: np.ndarray | None = None
        if look.noise:
            shape = (size[0] + self.SLACK, size[1] + self.SLACK, 3)
            grain = rng.standard_normal(shape, dtype=np.float32) * look.noise + 128
            self._grain = np.clip(np.round(grain), 0, 255).astype(np.uint8)

    def __call__(self, picture: np.ndarray, number: int, gain: float) -> np.ndarray:
        """The picture as filmed: uint8 [H, W, 3], frame `number` of the film."""
        look = self.look
        sigma = look.softness * self.size[0]
        if sigma > 0.3:
            picture = cv2.GaussianBlur(picture, (0, 0), sigma)
        scale = look.contrast * gain
        if scale != 1.0 or look.brightness:
            picture = cv2.addWeighted(
                picture, scale, picture, 0.0, (128 * (1 - look.contrast) + look.brightness) * gain
            )
        if self._grain is not None:
            top, left = (number * 17 + 5) % self.SLACK, (number * 29 + 11) % self.SLACK
            grain = self._grain[top : top + self.size[0], left : left + self.size[1]]
            picture = cv2.addWeighted(picture, 1.0, grain, 1.0, -128.0)
        if look.quality is not None:
            _, packed = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, look.quality])
            picture = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR))
        return picture


def backdrop(rng: np.random.Generator, size: tuple[int, int], rough: float) -> np.ndarray:
    """A wall larger than the picture (by half on each side), uint8 [2H, 2W, 3]: a soft gradient when `rough` is 0,
    clouds of noise and clutter when it is 1."""
    height, width = size[0] * 2, size[1] * 2
    most = 0.45 if rough else 0.25  # saturation
    top, foot = (np.array(hue(rng.uniform(0, 360), rng.uniform(0.05, most), rng.uniform(0.35, 0.9))) for _ in range(2))
    foot = 0.6 * top + 0.4 * foot
    ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    wall = np.broadcast_to(top * (1 - ramp) + foot * ramp, (height, width, 3)).astype(np.float32)
    if rough == 0:  # a lit wall
        across = np.linspace(-1, 1, width, dtype=np.float32)[None, :, None] * (width / height)
        light = 1.1 - 0.22 * (across**2 + (2 * ramp - 0.9) ** 2)
        wall = wall * np.maximum(light, 0.4)
    if rough > 0.15:
        for cells in (4, 9, 24, 60):
            cloud = rng.standard_normal((cells, max(2, cells * width // height), 1)).astype(np.float32)
            wall += (
                cv2.resize(cloud, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
                * rough
                * rng.uniform(2, 18)
            )
    picture = np.ascontiguousarray(np.clip(wall, 0, 255).astype(np.uint8))
    for _ in range(int(rng.integers(0, 3 + int(14 * rough))) if rough else 0):
        middle = rng.uniform(0, 1, 2) * [width, height]
        corners = rng.normal(0, 1, (int(rng.integers(3, 7)), 2)) * height * rng.uniform(0.03, 0.12) + middle
        tone = np.clip(np.array(top) * rng.uniform(0.5, 1.5) + rng.normal(0, 12 + 25 * rough, 3), 0, 255).tolist()
        hull = cv2.convexHull(corners.astype(np.int32))
        cv2.fillPoly(picture, [hull], tone, cv2.LINE_AA)
    return picture


def background_matrix(view: View, index: int, size: tuple[int, int]) -> np.ndarray:
    """Affine map [2, 3] from picture pixels to backdrop pixels (for WARP_INVERSE_MAP) at one instant."""
    height, width = size
    c, s = np.cos(view.roll[index]) / view.zoom[index], np.sin(view.roll[index]) / view.zoom[index]
    linear = np.array([[c, s], [-s, c]])
    middle = np.array([width / 2 - 0.5, height / 2 - 0.5])
    target = np.array([width - 0.5, height - 0.5]) + np.array([view.x[index], view.y[index]]) * height
    return np.concatenate([linear, (target - linear @ middle)[:, None]], axis=1)
