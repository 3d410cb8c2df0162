"""Standard MIDI files, as far as onsets and controller curves need them."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

# With 500 ticks to a quarter note and the default tempo of 120, a tick is a millisecond.
_TICKS_PER_QUARTER = 500
_DEFAULT_TEMPO = 500_000  # microseconds per quarter note

NOTE_OFF, NOTE_ON, CONTROL = 0x80, 0x90, 0xB0
_META, _SYSEX = 0xFF, (0xF0, 0xF7)
_END, _TEMPO = 0x2F, 0x51
_DATA_BYTES = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2}


class Event(NamedTuple):
    """One channel message at `time` (s); kind is the upper half of its status byte."""

    time: Fraction
    kind: int
    first: int
    second: int


def encode(events: Iterable[tuple[int, int, int, int]], end: int) -> bytes:
    """A file with one track: (millisecond, kind, first, second) in order of time, ending at `end` ms."""
    track, now = bytearray(b"\x00\xff\x51\x03" + _DEFAULT_TEMPO.to_bytes(3, "big")), 0
    for time, kind, first, second in events:
        track += _variable_length(time - now) + bytes([kind, first, second])
        now = time
    track += _variable_length(max(end - now, 0)) + b"\xff\x2f\x00"
    header = struct.pack(">4sIHHH", b"MThd", 6, 0, 1, _TICKS_PER_QUARTER)
    return header + struct.pack(">4sI", b"MTrk", len(track)) + bytes(track)


def decode(data: bytes) -> tuple[list[Event], Fraction]:
    """The channel messages of all tracks in order of time, and when the last track ends (s).

    Follows tempo changes, both kinds of time division, running status. Raises ValueError for what is no MIDI.
    """
    if data[:4] != b"MThd" or len(data) < 14:
        raise ValueError("is not a MIDI file")
    division = int.from_bytes(data[12:14], "big")
    messages: list[tuple[int, int, int, int]] = []
    tempos: list[tuple[int, int]] = []
    end, at = 0, 8 + int.from_bytes(data[4:8], "big")
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "big")
        if data[at : at + 4] == b"MTrk":
            end = max(end, _read_track(data[at + 8 : at + 8 + size], messages, tempos))
        at += 8 + size
    clock = _Clock(division, tempos)
    messages.sort(key=lambda message: message[0])
    return [Event(clock.seconds(tick), *rest) for tick, *rest in messages], clock.seconds(end)


def _variable_length(value: int) -> bytes:
    parts = [value & 0x7F]
    while value := value >> 7:
        parts.append(value & 0x7F | 0x80)
    return bytes(reversed(parts))


def _read_track(data: bytes, messages: list[tuple[int, int, int, int]], tempos: list[tuple[int, int]]) -> int:
    """Adds the messages (tick, kind, first, second) and tempos (tick, us) of a track; the tick of its end."""
    at, tick, status = 0, 0, 0

    def number() -> int:
        nonlocal at
        value = 0
        while True:
            byte = data[at]
            at += 1
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value

    try:
        while at < len(data):
            tick += number()
            if data[at] >= 0x80:
                status = data[at]
                at += 1
            if status == _META or status in _SYSEX:
                kind = data[at] if status == _META else None
                at += status == _META
                size = number()
                if kind == _TEMPO:
                    tempos.append((tick, int.from_bytes(data[at : at + size], "big")))
                at += size
                if kind == _END:
                    return tick
            elif status:
                count = _DATA_BYTES[status & 0xF0]
                first, second = data[at], data[at + 1] if count == 2 else 0
                messages.append((tick, status & 0xF0, first, second))
                at += count
            else:
                raise ValueError("is not a MIDI file")
    except (IndexError, KeyError) as error:
        raise ValueError("is a damaged MIDI file") from error
    return tick


class _Clock:
    """Ticks to seconds."""

    def __init__(self, division: int, tempos: list[tuple[int, int]]) -> None:
        if division & 0x8000:  # frames per second, negative, and ticks per frame
            self._fixed = Fraction(1, (256 - (division >> 8)) * (division & 0xFF or 1))
            tempos = []
        else:
            self._fixed = Fraction(_DEFAULT_TEMPO, 1_000_000 * (division or 1))
        # Each section: from which tick on, at what second it starts, how long a tick takes.
        self._sections = [(0, Fraction(0), self._fixed)]
        for tick, tempo in sorted(tempos):
            start = self.seconds(tick)
            self._sections.append((tick, start, Fraction(tempo, 1_000_000 * (division or 1))))

    def seconds(self, tick: int) -> Fraction:
        from_tick, start, step = next(s for s in reversed(self._sections) if s[0] <= tick)
        return start + (tick - from_tick) * step
