"""What Video2RMS looks at, 30 times a second: how things move, and what they are.

The paper looks through TC-CLIP at frames and at RAFT's optical flow, and neither network is to be had as a package.
In their place: the motion grids of pocket's watcher (DIS optical flow and differences of pictures), averaged over 4 x 4
fields, for the flow; CAVP's features, read between their four a second, for the frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from synchresis.timeline import Track
from synchresis.timeline.rms_codes import CODE_RATE

if TYPE_CHECKING:
    from synchresis.media.probe import Clip

FIELDS = 4
MOTION = 9 * FIELDS * FIELDS + 9
"""Numbers of motion per frame: nine kinds in 4 x 4 fields, and the largest of each in the picture."""


def motion_features(film: Clip) -> np.ndarray:
    """[ceil(duration * 30), MOTION] float32, logarithmic in size. Raises BadInputError where there is no picture."""
    from synchresis.encoders.motion import SIDE, motion_grids
    from synchresis.media import frames

    def pictures() -> Iterator[tuple[float, np.ndarray]]:
        yield from frames(film, rate=CODE_RATE, size=(SIDE, SIDE), gray=True)

    rows = [_row(grid) for grid in motion_grids(pictures())]
    return np.stack(rows).astype(np.float32) if rows else np.zeros((0, MOTION), np.float32)


def _row(grid: np.ndarray) -> np.ndarray:
    kinds, cells, _ = grid.shape
    fields = grid.reshape(kinds, FIELDS, cells // FIELDS, FIELDS, cells // FIELDS).mean(axis=(2, 4))
    flat = grid.reshape(kinds, -1)
    values = np.concatenate([fields.reshape(-1), np.abs(flat).max(axis=1)])
    return np.sign(values) * np.log1p(np.abs(values))


def mapper_features(film: Clip, sight: Track) -> Track:
    """Motion and CAVP's features `sight` side by side: [T, MOTION + embed_dim] at 30 Hz from the film's beginning."""
    motion = motion_features(film)
    instants = np.arange(len(motion)) / CODE_RATE
    # CAVP saw value i at the beginning of its cell, where `Track.at` reads the centre.
    what = sight.at(instants + 0.5 / float(sight.rate))
    return Track(np.concatenate([motion, what.astype(np.float32)], axis=1), Fraction(CODE_RATE))
