"""How much moves from frame to frame: the curve whose maxima AV-Align takes for events of the picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np


def curve_of(pictures: Iterable[np.ndarray]) -> np.ndarray:
    """Grey frames uint8 [H, W] -> mean magnitude of the Farneback flow from the frame before, px, float64 [N].

    The first value repeats the second; a single frame gives none. Two equal frames do not have zero flow: OpenCV's
    estimate is off at the right and lower edge, and that is part of the definition.
    """
    import cv2

    values: list[float] = []
    before = None
    for picture in pictures:
        if before is not None:
            flow = cv2.calcOpticalFlowFarneback(before, picture, None, 0.5, 3, 15, 3, 5, 1.2, 0)
            values.append(float(np.mean(cv2.magnitude(flow[..., 0], flow[..., 1]))))
        before = picture
    return np.array([values[0], *values] if values else [], np.float64)


def grey(pictures: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """RGB uint8 [H, W, 3] to OpenCV's grey [H, W]."""
    import cv2

    for picture in pictures:
        yield cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)


def grey_frames(path: str | Path) -> Iterator[np.ndarray]:
    """Every frame of a film as uint8 [H, W]: colours first, then OpenCV's grey, which the definition works on."""
    from synchresis.media import frames

    return grey(picture for _, picture in frames(path))


def flow_curve(path: str | Path) -> np.ndarray:
    """Motion of each frame of a film against the one before it (the first repeats the second), px, float64 [N]."""
    return curve_of(grey_frames(path))
