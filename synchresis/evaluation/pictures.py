"""Picture against picture, and one alone ("Metrics" 9). Frames are uint8 RGB; values have peak 1."""

from __future__ import annotations

import numpy as np


def psnr(frame: np.ndarray, reference: np.ndarray) -> float:
    """dB of two frames uint8 [H, W, 3]; 100 where they are equal."""
    error = np.mean(np.square(frame.astype(np.float64) - reference)) / 255.0**2
    return float(-10.0 * np.log10(error)) if error > 1e-10 else 100.0


def ssim(frame: np.ndarray, reference: np.ndarray) -> float:
    """Wang et al. (2004): Gaussian window 11, sigma 1.5, K 0.01 and 0.03, mean over channels and over the pixels
    whose window lies inside the frame; uint8 [H, W, 3]."""
    import cv2

    x, y = frame.astype(np.float64) / 255.0, reference.astype(np.float64) / 255.0
    inner = (slice(5, -5), slice(5, -5))

    def blur(values: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(values, (11, 11), 1.5)[inner]

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    both = blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mean_x * mean_y + c1) * (2 * both + c2)
    return float(np.mean(top / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))))


class Flicker:
    """Mean absolute difference of neighbouring frames, 0..1 (VBench prints 1 minus this)."""

    def __init__(self) -> None:
        self._before: np.ndarray | None = None
        self._sum, self._count = 0.0, 0

    def push(self, frame: np.ndarray) -> None:
        """The next frame, uint8 [H, W, 3]."""
        import cv2

        if self._before is not None:
            self._sum += float(np.mean(cv2.absdiff(frame, self._before))) / 255.0
            self._count += 1
        self._before = frame

    def value(self) -> float | None:
        """None for fewer than two frames."""
        return self._sum / self._count if self._count else None
