"""The one thing about edit lists that FFmpeg's mp4 writer leaves out: an end before the last frame."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from ..timeline import sample_count

# Where a box's contents begin and end in the file.
_Range = tuple[int, int]


def end_picture_at(path: Path, duration: Fraction) -> None:
    """Shortens the edit list of the first track of an mp4 or mov file, in place, to `duration` seconds.

    The frames after it stay in the file and are not shown. ISO 14496-12: the last entry of `elst` says how much
    of the media is presented, counted in the time scale of `mvhd`.
    """
    with path.open("r+b") as file:
        moov = _inside(file, (0, path.stat().st_size), b"moov")
        movie, _ = _inside(file, moov, b"mvhd")
        version = _read(file, movie, ">B")
        scale = _read(file, movie + (20 if version else 12), ">I")
        edits, _ = _inside(file, _inside(file, _inside(file, moov, b"trak"), b"edts"), b"elst")
        version, count = _read(file, edits, ">B"), _read(file, edits + 4, ">I")
        form, size = (">Q", 20) if version else (">I", 12)
        file.seek(edits + 8 + (count - 1) * size)
        file.write(struct.pack(form, sample_count(duration, scale)))


def _inside(file: BinaryIO, within: _Range, name: bytes) -> _Range:
    """The contents of the first box of that name."""
    at, end = within
    while at < end:
        size, head = _read(file, at, ">I"), 8
        file.seek(at + 4)
        kind = file.read(4)
        if size == 1:
            size, head = _read(file, at + 8, ">Q"), 16
        if kind == name:
            return at + head, at + size
        at += size or end
    raise ValueError(f"no {name.decode()} in the file just written")


def _read(file: BinaryIO, at: int, form: str) -> int:
    file.seek(at)
    return int(struct.unpack(form, file.read(struct.calcsize(form)))[0])
