"""A take: one sound made for one clip, with the recipe that makes it again and the report on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, eq=False)
class Take:
    """samples [N, channels] float32 at `rate` Hz, exactly as long as the picture of `clip`."""

    samples: np.ndarray
    rate: int
    recipe: dict[str, Any]
    report: dict[str, Any]
    clip: Path

    def save(self, path: str | Path, original: str = "drop", overwrite: bool = False) -> Path:
        """Writes the take, with its recipe and its report beside it, and returns where.

        A .wav (24 bit) or .flac holds the sound alone; .mp4, .mov, .mkv, .webm and .avi hold the clip with
        the sound, its picture untouched. `original` says what becomes of the clip's own sound: "drop", "keep"
        as a second track, or "mix" into the new one. These are the same bytes that the command line writes.
        Raises BadInputError for another suffix, or where there is such a file and not `overwrite`.
        """
        from synchresis.delivery.produce import save

        return save(self, Path(path), original, overwrite)
