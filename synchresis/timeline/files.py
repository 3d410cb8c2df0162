"""Onsets and envelopes as files that a person can read, edit and give back: CSV, JSON, MIDI, WAV.

CSV: columns time,strength or time,rms. JSON: the same by name. MIDI: one tick is 1 ms; onsets are notes whose
velocity is 127 times the strength, an envelope is the 14 bit controller 11/43 (expression) at 100 Hz. WAV:
48 kHz float; an onset is one sample of the height of its strength, an envelope is a 1 kHz square wave whose RMS
is the envelope. What quantise_onsets and quantise_envelope give is read back equal from all four.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from synchresis.errors import BadInputError
from synchresis.timeline import midi
from synchresis.timeline.beside import written_beside
from synchresis.timeline.envelope import rms_envelope
from synchresis.timeline.onsets import Onsets, detect_onsets
from synchresis.timeline.time import Span, as_fraction, sample_count
from synchresis.timeline.track import Track

_WAV_RATE = 48000
_ENVELOPE_RATE = Fraction(100)
_VELOCITIES, _CONTROLS = 127, 16383
_NOTE, _NOTE_LENGTH = 60, 10  # middle C, ms
_COARSE, _FINE = 11, 43  # the two halves of the expression controller
_CLICK = 0.0008  # samples closer than this (s) are one click; clicks may be 1 ms apart
_SQUARE = _WAV_RATE // 1000 // 2  # samples of half a period at 1 kHz

_SUFFIXES = (".csv", ".json", ".mid", ".wav")


def quantise_onsets(onsets: Onsets) -> Onsets:
    """The nearest onsets that every format holds: whole milliseconds, strengths k/127 with k of 1 to 127.

    Of several in one millisecond the strongest stays; what lies before 0 is left out.
    """
    strongest: dict[int, int] = {}
    for time, strength in zip(onsets.times, onsets.strengths, strict=True):
        ms, level = round(time * 1000), round(min(max(float(strength), 0), 1) * _VELOCITIES)
        if ms >= 0:
            strongest[ms] = max(strongest.get(ms, 1), level)
    times = np.array(list(strongest), np.float64) / 1000
    return Onsets(times, np.array(list(strongest.values()), np.float64) / _VELOCITIES)


def quantise_envelope(track: Track) -> Track:
    """The nearest envelope that every format holds: 100 Hz from time 0, values k/16383 up to 1.

    At another rate or start the power is averaged over the new cells.
    """
    if track.rate != _ENVELOPE_RATE or track.start != 0:
        count = sample_count(track.span.end, _ENVELOPE_RATE)
        power = Track(np.square(track.values.astype(np.float64)), track.rate, track.start)
        whole = Span(Fraction(0), count / _ENVELOPE_RATE)
        track = Track(np.sqrt(power.resample(_ENVELOPE_RATE, whole, "mean").values), _ENVELOPE_RATE)
    levels = np.round(np.clip(track.values.astype(np.float64), 0, 1) * _CONTROLS)
    return Track(levels / _CONTROLS, _ENVELOPE_RATE)


def write_onsets(path: str | Path, onsets: Onsets) -> None:
    """Writes onsets by the suffix of `path` (.csv, .json, .mid, .wav); MIDI and WAV hold them as quantised."""
    path, rows = _known(path), list(zip(onsets.times.tolist(), onsets.strengths.tolist(), strict=True))
    with written_beside(path) as part:
        if path.suffix.lower() == ".csv":
            _write_csv(part, "strength", rows)
        elif path.suffix.lower() == ".json":
            _write_json(part, {"onsets": [{"time": time, "strength": strength} for time, strength in rows]})
        elif path.suffix.lower() == ".mid":
            part.write_bytes(_onsets_to_midi(quantise_onsets(onsets)))
        else:
            _write_clicks(part, quantise_onsets(onsets))


def read_onsets(path: str | Path) -> Onsets:
    """Onsets from .csv, .json, .mid or .wav clicks; in any other sound file they are looked for.

    Raises BadInputError, naming file and line, for what cannot be understood.
    """
    path = _there(path)
    suffix = path.suffix.lower()
    if suffix == ".csv":
        rows = list(_read_csv(path, "strength", highest=1))
    elif suffix == ".json":
        rows = _onsets_from_json(path)
    elif suffix in (".mid", ".midi"):
        events, _ = _read_midi(path)
        rows = [
            (float(event.time), event.second / _VELOCITIES)
            for event in events
            if event.kind == midi.NOTE_ON and event.second
        ]
    else:
        return _onsets_from_sound(_read_sound_file(path))
    return Onsets(np.array([row[0] for row in rows]), np.array([row[1] for row in rows]))


def write_envelope(path: str | Path, track: Track) -> None:
    """Writes a loudness track [T] (linear RMS) by the suffix of `path`; MIDI and WAV hold it as quantised.

    CSV times are the centres of the cells.
    """
    path = _known(path)
    values = track.values.astype(np.float64).reshape(-1)
    with written_beside(path) as part:
        if path.suffix.lower() == ".csv":
            centres = (track.start + (i + Fraction(1, 2)) / track.rate for i in range(len(values)))
            _write_csv(part, "rms", zip(map(float, centres), values.tolist(), strict=True))
        elif path.suffix.lower() == ".json":
            document = {"rate": str(track.rate), "start": str(track.start), "rms": values.tolist()}
            _write_json(part, document)
        elif path.suffix.lower() == ".mid":
            part.write_bytes(_envelope_to_midi(quantise_envelope(track)))
        else:
            _write_square(part, quantise_envelope(track))


def read_envelope(path: str | Path) -> Track:
    """A loudness track from .csv, .json or .mid; any sound file is measured (RMS of 10 ms cells).

    CSV rows at even distances are cells; at uneven ones, points joined by straight lines, read at 100 Hz. Raises
    BadInputError, naming file and line, for what cannot be understood.
    """
    path = _there(path)
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return _envelope_from_rows(path, list(_read_csv(path, "rms", highest=math.inf)))
    if suffix == ".json":
        return _envelope_from_json(path)
    if suffix in (".mid", ".midi"):
        return _envelope_from_midi(*_read_midi(path))
    measured = rms_envelope(_read_sound_file(path), _ENVELOPE_RATE)
    return Track(_on_grid(measured.values, _CONTROLS), measured.rate, measured.start)


def _known(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise BadInputError(f"{path}: the name must end in {', '.join(_SUFFIXES)}")
    return path


def _there(path: str | Path) -> Path:
    path = Path(path)
    if path.is_dir():
        raise BadInputError(f"{path}: is a folder; give the name of a file")
    if not path.exists():
        raise BadInputError(f"{path}: there is no such file")
    return path


def _on_grid(values: np.ndarray, steps: int) -> np.ndarray:
    """Values that lie on the grid k/steps but for the rounding of float32, put exactly on it."""
    values = values.astype(np.float64)
    nearest = np.round(values * steps) / steps
    return np.where(np.abs(values - nearest) < 1e-6, nearest, values)


# CSV


def _write_csv(path: Path, value: str, rows: Any) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["time", value])
        writer.writerows(rows)


def _read_csv(path: Path, value: str, highest: float) -> Iterator[tuple[float, float]]:
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path}: is not text; a CSV file with the columns time,{value} is needed") from error
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    header = [cell.strip().lower() for cell in lines[first].split(",")] if lines else []
    if header != ["time", value]:
        raise BadInputError(f"{path}, line {first + 1}: the first line must be time,{value}")
    for number, line in enumerate(lines[first + 1 :], first + 2):
        if line.strip():
            yield _row(f"{path}, line {number}", line.split(","), value, highest)


def _row(place: str, cells: list[Any], value: str, highest: float) -> tuple[float, float]:
    if len(cells) != 2:
        raise BadInputError(f"{place}: needs two numbers, time and {value}, not {len(cells)}")
    numbers = []
    for cell in cells:
        try:
            numbers.append(float(cell))
        except (TypeError, ValueError) as error:
            raise BadInputError(f"{place}: {cell!r} is not a number") from error
    time, level = numbers
    if not (math.isfinite(time) and time >= 0):
        raise BadInputError(f"{place}: the time must be 0 or more seconds, not {time}")
    if not (math.isfinite(level) and 0 <= level <= highest):
        upper = f" to {highest}" if math.isfinite(highest) else " or more"
        raise BadInputError(f"{place}: {value} must be 0{upper}, not {level}")
    return time, level


def _envelope_from_rows(path: Path, rows: list[tuple[float, float]]) -> Track:
    if not rows:
        raise BadInputError(f"{path}: holds no values")
    times, values = np.array(rows).T
    if len(rows) > 1 and (np.diff(times) <= 0).any():
        raise BadInputError(f"{path}: times must increase, but {times[1:][np.diff(times) <= 0][0]} s does not")
    first = as_fraction(str(rows[0][0]))
    rate = _ENVELOPE_RATE
    if len(rows) > 1:
        rate = ((len(rows) - 1) / (as_fraction(str(rows[-1][0])) - first)).limit_denominator(10**5)
    even = float(first) + np.arange(len(rows)) / float(rate)
    if np.abs(times - even).max() < 1e-6:
        start = first - 1 / (2 * rate)
        # A start a hair beside 0 comes of the shortest decimals in which the times are written.
        return Track(values, rate, Fraction(0) if abs(start) < Fraction(1, 10**9) else start)
    centres = (np.arange(sample_count(str(times[-1]), _ENVELOPE_RATE)) + 0.5) / float(_ENVELOPE_RATE)
    return Track(np.interp(centres, times, values), _ENVELOPE_RATE)


# JSON


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1) + "\n")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise BadInputError(f"{path}, line {error.lineno}: is not JSON ({error.msg})") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path}: is not text; JSON is needed") from error
    if not isinstance(document, dict):
        raise BadInputError(f"{path}: must be a JSON object")
    return document


def _onsets_from_json(path: Path) -> list[tuple[float, float]]:
    entries = _read_json(path).get("onsets")
    if not isinstance(entries, list):
        raise BadInputError(f'{path}: needs "onsets": a list of {{"time": s, "strength": 0 to 1}}')
    rows = []
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or not {"time", "strength"} <= set(entry):
            raise BadInputError(f"{path}, onset {number}: needs time and strength")
        rows.append(_row(f"{path}, onset {number}", [entry["time"], entry["strength"]], "strength", 1))
    return rows


def _envelope_from_json(path: Path) -> Track:
    document = _read_json(path)
    values = document.get("rms")
    if not isinstance(values, list) or not values:
        raise BadInputError(f'{path}: needs "rate" (Hz) and "rms", a list of numbers')
    levels = [_row(f"{path}, value {i}", [0, v], "rms", math.inf)[1] for i, v in enumerate(values, 1)]
    try:
        rate, start = as_fraction(document.get("rate", 100)), as_fraction(document.get("start", 0))
        return Track(np.array(levels), rate, start)
    except (TypeError, ValueError) as error:
        raise BadInputError(f"{path}: rate and start must be numbers, the rate above 0") from error


# MIDI


def _read_midi(path: Path) -> tuple[list[midi.Event], Fraction]:
    try:
        return midi.decode(path.read_bytes())
    except ValueError as error:
        raise BadInputError(f"{path}: {error}") from error


def _onsets_to_midi(onsets: Onsets) -> bytes:
    starts = [round(time * 1000) for time in onsets.times]
    events, end = [], 0
    for i, (start, strength) in enumerate(zip(starts, onsets.strengths, strict=True)):
        end = min(start + _NOTE_LENGTH, starts[i + 1] if i + 1 < len(starts) else math.inf)
        events.append((start, midi.NOTE_ON, _NOTE, round(strength * _VELOCITIES)))
        events.append((int(end), midi.NOTE_OFF, _NOTE, 0))
    return midi.encode(events, int(end))


def _envelope_to_midi(track: Track) -> bytes:
    """A controller holds its value, so only changes are written, each where its cell begins."""
    events, previous = [], 0
    step = int(1000 / track.rate)
    for i, level in enumerate(np.round(track.values * _CONTROLS).astype(int).tolist()):
        if level != previous:
            events.append((i * step, midi.CONTROL, _COARSE, level >> 7))
            events.append((i * step, midi.CONTROL, _FINE, level & 0x7F))
        previous = level
    return midi.encode(events, len(track) * step)


def _envelope_from_midi(events: list[midi.Event], end: Fraction) -> Track:
    """The value that the controller has where each cell begins."""
    changes = [(Fraction(0), 0)]
    for event in events:
        level = changes[-1][1]
        if event.kind == midi.CONTROL and event.first == _COARSE:
            changes.append((event.time, event.second << 7))
        elif event.kind == midi.CONTROL and event.first == _FINE:
            changes.append((event.time, level & ~0x7F | event.second))
    count = math.ceil(end * _ENVELOPE_RATE)
    # The first cell that each change reaches; the last change to reach a cell is the one it keeps.
    cells = np.array([math.ceil(time * _ENVELOPE_RATE) for time, _ in changes])
    levels = np.array([level for _, level in changes], np.float64)
    reached = np.searchsorted(cells, np.arange(count), side="right") - 1
    return Track(levels[reached] / _CONTROLS, _ENVELOPE_RATE)


# WAV and other sound


def _write_clicks(path: Path, onsets: Onsets) -> None:
    places = np.round(onsets.times * _WAV_RATE).astype(int)
    samples = np.zeros(int(places[-1]) + 1 if len(places) else 1, np.float32)
    samples[places] = onsets.strengths
    _write_wav(path, samples)


def _write_square(path: Path, track: Track) -> None:
    cell = _WAV_RATE // int(track.rate)
    signs = np.where(np.arange(len(track) * cell) // _SQUARE % 2, -1, 1)
    _write_wav(path, (np.repeat(track.values, cell) * signs).astype(np.float32))


def _write_wav(path: Path, samples: np.ndarray) -> None:
    import soundfile

    soundfile.write(path, samples, _WAV_RATE, subtype="FLOAT")


def _read_sound_file(path: Path) -> Track:
    import soundfile

    try:
        values, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise BadInputError(f"{path}: is not a sound file that can be read ({error.error_string})") from error
    return Track(values, Fraction(rate))


def _onsets_from_sound(sound: Track) -> Onsets:
    """Clicks where the file is silent but for them, otherwise the onsets of the recording."""
    height = np.abs(sound.values).max(axis=1) if len(sound) else np.zeros(0)
    places = np.flatnonzero(height)
    if len(places) > len(height) / 20 and len(places) > 1:
        return detect_onsets(Track(sound.values.mean(axis=1), sound.rate))
    if not len(places):
        return Onsets(np.zeros(0), np.zeros(0))
    gap = int(_CLICK * sound.rate)
    begins = np.flatnonzero(np.diff(places, prepend=-gap - 1) > gap)
    strengths = np.maximum.reduceat(height[places], begins)
    return Onsets(places[begins] / float(sound.rate), _on_grid(np.minimum(strengths, 1), _VELOCITIES))
