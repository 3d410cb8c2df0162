"""The motion grid: what moves where in a film, at 12 x 12 cells and 25 Hz.

A picture of 96 x 96 grey pixels is compared with the one before it by DIS optical flow (Kroeger et al.
2016). The median flow is taken for the camera and subtracted. Every cell of 8 x 8 pixels then tells nine
numbers (`CHANNELS`). All of them depend on two neighbouring pictures only, so a film can be watched in pieces
of any length with the same result. The numbers are raw (pixels per 1/25 s, differences over contrast); the
network compresses them.

Films seldom have 25 pictures per second. Flow is divided by the time that really passed between the two
pictures, and where a picture is shown again the last grid is held, so that no speed stutters.
"""

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np

RATE = 25
"""Pictures per second. Picture i is the film at (i + 0.5) / 25 s; grid i the way to it from the last."""
SEEN_RATE = Fraction(2 * RATE)
"""Of what the watcher tells: two values per picture (Hz)."""
SIDE = 96
CELLS = 12
CHANNELS = (
    "flow mean x",
    "flow mean y",
    "flow fastest x",
    "flow fastest y",
    "difference mean",
    "difference mean absolute",
    "difference maximal absolute",
    "camera x",
    "camera y",
)
VIEWS = 6
"""Whole picture, four quadrants, centre: see `views`."""

_PIXELS = SIDE // CELLS
_LEAST_CONTRAST = 8.0
_X = np.array([0, 2, 7])
_Y = np.array([1, 3, 8])


class MotionEye:
    """Compares each picture with the last. One per film and view; holds one picture."""

    def __init__(self) -> None:
        import cv2

        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        # Measured on a body of 24 pixels moving by 3: half resolution errs by 0.2 pixels (the quarter of the
        # preset by 0.7) at 0.2 ms more; the refinement costs as much again and gives nothing.
        self._flow.setFinestScale(1)
        self._flow.setVariationalRefinementIterations(0)
        self._last: np.ndarray | None = None
        self._time = 0.0
        self._grid = np.zeros((len(CHANNELS), CELLS, CELLS), np.float32)

    def see(self, time: float, picture: np.ndarray) -> np.ndarray:
        """A picture uint8 [96, 96] first shown at `time` (s) -> grid float32 [9, 12, 12].

        The first picture gives zeros, one with the time of the last gives the last grid.
        """
        if picture.shape != (SIDE, SIDE) or picture.dtype != np.uint8:
            raise ValueError(f"uint8 [{SIDE}, {SIDE}] is needed, not {picture.dtype} {picture.shape}")
        passed = time - self._time
        if self._last is None or passed > 1e-6:
            last, self._last, self._time = self._last, np.ascontiguousarray(picture), time
            if last is not None:
                self._grid = self._compare(last, self._last, passed)
        return self._grid

    def _compare(self, last: np.ndarray, picture: np.ndarray, passed: float) -> np.ndarray:
        flow = self._flow.calc(last, picture, None) * np.float32(1 / (RATE * passed))
        camera = np.median(flow[::2, ::2].reshape(-1, 2), axis=0)
        x, y = _cells(flow[..., 0] - camera[0]), _cells(flow[..., 1] - camera[1])
        fastest = (x * x + y * y).argmax(axis=1)

        before, now = last.astype(np.float32), picture.astype(np.float32)
        contrast = max(0.5 * float(before.std() + now.std()), _LEAST_CONTRAST)
        difference = now - before
        # A change of the whole picture (exposure, flicker) is no event; the median leaves what is local.
        difference = _cells((difference - np.median(difference[::2, ::2])) / contrast)
        size = np.abs(difference)

        every = np.arange(CELLS * CELLS)
        grid = np.empty((len(CHANNELS), CELLS * CELLS), np.float32)
        grid[0], grid[1] = x.mean(axis=1), y.mean(axis=1)
        grid[2], grid[3] = x[every, fastest], y[every, fastest]
        grid[4], grid[5], grid[6] = difference.mean(axis=1), size.mean(axis=1), size.max(axis=1)
        grid[7:9] = camera[:, None]
        return grid.reshape(len(CHANNELS), CELLS, CELLS)


def motion_grids(pictures: Iterable[tuple[float, np.ndarray]]) -> Iterator[np.ndarray]:
    """(time, picture uint8 [96, 96]) at 25 Hz -> grids float32 [9, 12, 12], as many."""
    eye = MotionEye()
    for time, picture in pictures:
        yield eye.see(time, picture)


def views(picture: np.ndarray) -> np.ndarray:
    """One picture uint8 [192, 192] -> six of [96, 96]: the whole at half size, four quadrants, the centre."""
    if picture.shape != (2 * SIDE, 2 * SIDE):
        raise ValueError(f"a picture of [{2 * SIDE}, {2 * SIDE}] is needed, not {picture.shape}")
    sums = picture.reshape(SIDE, 2, SIDE, 2).sum(axis=(1, 3), dtype=np.uint16)
    half = SIDE // 2
    return np.stack(
        [
            ((sums + 2) // 4).astype(np.uint8),
            picture[:SIDE, :SIDE],
            picture[:SIDE, SIDE:],
            picture[SIDE:, :SIDE],
            picture[SIDE:, SIDE:],
            picture[half : half + SIDE, half : half + SIDE],
        ]
    )


def mirrored(grids: np.ndarray) -> np.ndarray:
    """Grids [..., 9, 12, 12] as the film seen in a mirror (left and right changed) would give them."""
    result = grids[..., ::-1].copy()
    result[..., _X, :, :] *= -1
    return result


def transposed(grids: np.ndarray) -> np.ndarray:
    """Grids [..., 9, 12, 12] as the film with rows and columns changed would give them."""
    result = grids.swapaxes(-1, -2).copy()
    result[..., _X, :, :], result[..., _Y, :, :] = result[..., _Y, :, :], result[..., _X, :, :].copy()
    return result


def change(grids: np.ndarray) -> np.ndarray:
    """Grids [..., 9, 12, 12] -> mean absolute difference of the pictures [...], the plainest sign."""
    return grids[..., 5, :, :].mean(axis=(-1, -2))


def frame_numbers(fps: Fraction, count: int, available: int) -> list[int]:
    """Which frames of a film (number k shown from k / fps, `available` of them) lie on the 25 Hz grid.

    `count` numbers, the i-th that of the frame nearest in time to (i + 0.5) / 25 s, of two equally near the
    earlier, as the frame reader chooses.
    """
    wanted = (Fraction(2 * i + 1, 2 * RATE) * fps for i in range(count))
    return [min(math.ceil(place - Fraction(1, 2)), available - 1) for place in wanted]


def _cells(plane: np.ndarray) -> np.ndarray:
    """[96, 96] -> [144, 64]: the pixels of each cell in a row."""
    parts = plane.reshape(CELLS, _PIXELS, CELLS, _PIXELS).swapaxes(1, 2)
    return np.ascontiguousarray(parts).reshape(CELLS * CELLS, _PIXELS * _PIXELS)
