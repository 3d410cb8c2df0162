"""The loudness of whatever a person gives: an envelope that was drawn, or a recording."""

from __future__ import annotations

from pathlib import Path

from ..timeline import Track
from ..timeline.envelope import rms_envelope
from ..timeline.files import read_envelope
from .sound import read_sound

_DRAWN = (".csv", ".json", ".mid", ".midi", ".wav")


def read_loudness(path: str | Path) -> Track:
    """An envelope file as `timeline.files.read_envelope` reads it, or the RMS of any other file with a sound, a film's
    too, in cells of 10 ms: linear, at 100 Hz.

    Raises BadInputError for a file that cannot be read or has no sound.
    """
    path = Path(path)
    return read_envelope(path) if path.suffix.lower() in _DRAWN else rms_envelope(read_sound(path), 100)
