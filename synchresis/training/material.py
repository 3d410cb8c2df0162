"""The sounds that pocket's codec and generator learn from: recordings and formula sounds, laid out anew each time.

An item is ten seconds of one thing. Recordings are cut into their events and thrown on a timeline, or looped; and
then, often, *re-shaped*: multiplied by a gain that has nothing to do with them. Without that the level always fits
the thing that sounds, and a generator takes the one for the other (a sea that follows a dog's barks is then
neither). See docs/pocket.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from multiprocessing import get_context

import numpy as np
import torch

from synchresis.codecs import mel
from synchresis.data import sounds
from synchresis.data.recordings import Recording, words
from synchresis.timeline.onsets import detect_onsets
from synchresis.timeline.track import Track
from synchresis.training.onsets import strengths_in_cells

SECONDS = 10.24
SAMPLES = round(SECONDS * mel.RATE)
CELLS = SAMPLES // mel.HOP
EVENTFUL = ("dog", "rooster", "baby", "sneez", "clock")   # recordings that are made of separate events


@dataclass(frozen=True)
class Pool:
    """Items ready to learn from.

    shapes [N, 128, CELLS] float16, level [N, CELLS] dB, onsets [N, CELLS] strengths, labels [N], reshaped [N] whether
    the level has nothing to do with the label.
    """

    shapes: torch.Tensor
    level: torch.Tensor
    onsets: torch.Tensor
    labels: list[str]
    reshaped: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


def phrases(label: str) -> tuple[str, ...]:
    """What a person would call the sound with this label."""
    return sounds.WORDS[label] if label in sounds.WORDS else words(label)


def _fade(sound: np.ndarray, samples: int) -> np.ndarray:
    ramp = np.linspace(0.0, 1.0, min(samples, len(sound) // 2), dtype=np.float32)
    faded = sound.copy()
    faded[: len(ramp)] *= ramp
    faded[len(faded) - len(ramp) :] *= ramp[::-1]
    return faded


def _stretch(sound: np.ndarray, factor: float) -> np.ndarray:
    """Faster and higher, or slower and lower: linear interpolation is enough for a few per cent."""
    return np.interp(np.arange(0, len(sound) - 1, factor), np.arange(len(sound)), sound).astype(np.float32)


def _events(sound: np.ndarray) -> list[np.ndarray]:
    """The parts of a recording that stand out of its own quiet, each with 30 ms before it."""
    cells = sound[: len(sound) // mel.HOP * mel.HOP].reshape(-1, mel.HOP)
    level = 10.0 * np.log10(np.square(cells).mean(1) + 1e-10)
    smooth = np.convolve(level, np.full(7, 1 / 7), mode="same")
    active = smooth > max(level.max() - 28.0, -65.0)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], active.astype(np.int8), [0]])))
    found = []
    for first, last in edges.reshape(-1, 2):
        if last - first >= 5:
            found.append(_fade(sound[max(first - 3, 0) * mel.HOP : (last + 4) * mel.HOP], 160))
    return found or [sound]


def _scatter(events: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Events at random instants, drawn with replacement, each at its own level."""
    out = np.zeros(SAMPLES, dtype=np.float32)
    rate = np.exp(rng.uniform(np.log(0.3), np.log(3.0)))          # a second
    at = rng.exponential(1.0 / rate) if rng.random() < 0.7 else 0.0
    rhythm = rng.random() < 0.3
    step = 1.0 / rate
    while at < SECONDS - 0.05:
        event = events[int(rng.integers(len(events)))] * np.float32(10 ** (rng.uniform(-12, 0) / 20))
        first = int(at * mel.RATE)
        piece = event[: SAMPLES - first]
        out[first : first + len(piece)] += piece
        at += step if rhythm else max(0.06, rng.exponential(step))
    return out


def _loop(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A steady sound made long enough: cuts of it joined by crossfades of 50 ms."""
    out = np.zeros(SAMPLES, dtype=np.float32)
    cross = mel.RATE // 20
    at = 0
    while at < SAMPLES:
        length = int(rng.uniform(0.4, 1.0) * len(sound))
        first = int(rng.integers(0, len(sound) - length + 1))
        piece = _fade(sound[first : first + length], cross)[: SAMPLES - at]
        out[at : at + len(piece)] += piece
        at += max(length - cross, cross)
    return out


def _smooth_noise(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """A slow random walk of about unit spread, one value a cell."""
    knots = max(3, int(SECONDS / seconds))
    return np.interp(np.linspace(0, knots - 1, CELLS), np.arange(knots), rng.standard_normal(knots)).astype(np.float32)


def _strokes(rng: np.random.Generator) -> np.ndarray:
    """The gain, in dB, of a sound that is struck: sudden rises, exponential decays."""
    time = np.arange(CELLS) * mel.HOP / mel.RATE
    gain = np.full(CELLS, -60.0)
    for at in np.sort(rng.uniform(0, SECONDS, rng.integers(2, 14))):
        decay = 8.7 / np.exp(rng.uniform(np.log(0.04), np.log(0.7)))   # dB a second
        after = time - at
        gain = np.maximum(gain, np.where(after >= 0, rng.uniform(-14, 0) - decay * after, -60.0))
    return gain


def _reshape(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    slow = float(np.exp(rng.uniform(np.log(0.15), np.log(3.0))))
    gain_db = _strokes(rng) if rng.random() < 0.5 else 12.0 * _smooth_noise(rng, slow)
    gain = 10.0 ** (np.clip(gain_db, -60, 12) / 20)
    cells = np.interp(np.arange(SAMPLES) / mel.HOP - 0.5, np.arange(CELLS), gain)
    return (sound * cells).astype(np.float32)


def _tilt(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random gentle tilt of the spectrum, as rooms and microphones make."""
    spectrum = np.fft.rfft(sound)
    octaves = np.log2(np.maximum(np.arange(len(spectrum)) * mel.RATE / len(sound), 40.0) / 1000.0)
    return np.fft.irfft(spectrum * 10 ** (rng.normal(0, 1.2) * octaves / 20), len(sound)).astype(np.float32)


def recorded(recording: Recording, rng: np.random.Generator) -> tuple[np.ndarray, bool]:
    """Ten seconds made of one recording, [SAMPLES] float32 with a peak of at most 1; and whether they are reshaped."""
    sound = _stretch(recording.samples, float(np.exp(rng.normal(0.0, 0.05))))
    eventful = any(word in recording.label for word in EVENTFUL)
    if recording.fold is None:
        out = _scatter([sound], rng)
    elif eventful and rng.random() < 0.6:
        out = _scatter(_events(sound), rng)
    else:
        out = _loop(sound, rng)
    reshaped = rng.random() < (0.3 if eventful else 0.5)
    if reshaped:
        out = _reshape(out, rng)
    return _finish(_tilt(out, rng), rng), reshaped


def rendered(kind: str, rng: np.random.Generator) -> tuple[np.ndarray, bool]:
    """Ten seconds of a formula sound: strikes thrown on a timeline, or a texture under a wandering control."""
    reshaped = False
    body = sounds.draw_body(kind, rng)
    if kind in sounds.IMPACTS:
        out = _scatter([sounds.strike(body, float(s), rng, mel.RATE) for s in rng.uniform(0.2, 1.0, 5)], rng)
    else:
        control = np.clip(0.6 + 0.4 * _smooth_noise(rng, np.exp(rng.uniform(np.log(0.3), np.log(4.0)))), 0, 1)
        out = sounds.texture(body, control, rng, mel.RATE)[:SAMPLES].astype(np.float32)
        out = np.pad(out, (0, SAMPLES - len(out)))
        reshaped = rng.random() < 0.3
        if reshaped:
            out = _reshape(out, rng)
    return _finish(out, rng), reshaped


def _finish(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    peak = float(np.abs(sound).max())
    gain = 10 ** (rng.uniform(-12, 0) / 20) / peak if peak > 1e-4 else 1.0
    return (sound * np.float32(gain)).astype(np.float32)


def analyse(sound: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Shapes [128, CELLS] float16, level [CELLS] dB and onset strengths [CELLS] of one item."""
    samples = torch.from_numpy(sound)[None]
    found = detect_onsets(Track(sound, Fraction(mel.RATE)))
    onsets = torch.from_numpy(strengths_in_cells(found, CELLS, Fraction(mel.RATE, mel.HOP)))
    return mel.shapes(samples)[0].half(), mel.level_db(samples)[0], onsets


_shared: list[Recording] = []  # what a worker was given at its start


def _share(recordings: Sequence[Recording]) -> None:
    torch.set_num_threads(1)
    _shared[:] = recordings


def _item(task: tuple[str, int, int, int]) -> tuple[str, bool, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    kind, which, seed, number = task
    rng = np.random.default_rng([seed, number])
    label = _shared[which].label if kind == "recorded" else kind
    sound, reshaped = recorded(_shared[which], rng) if kind == "recorded" else rendered(kind, rng)
    return label, reshaped, analyse(sound)


def tasks(recordings: Sequence[Recording], count: int, seed: int) -> list[tuple[str, int, int, int]]:
    """What each of `count` items is made of: 60 % field recordings, 12 % struck one-shots, the rest formula sounds."""
    rng = np.random.default_rng([seed, 2**31])
    field = [i for i, r in enumerate(recordings) if r.fold is not None]
    shots = [i for i, r in enumerate(recordings) if r.fold is None]
    made: list[tuple[str, int, int, int]] = []
    for number in range(count):
        share = rng.random()
        if share < 0.6 and field:
            made.append(("recorded", field[number % len(field)], seed, number))
        elif share < 0.72 and shots:
            made.append(("recorded", shots[rng.integers(len(shots))], seed, number))
        else:
            made.append((sounds.KINDS[number % len(sounds.KINDS)], 0, seed, number))
    return made


def build_pool(recordings: Sequence[Recording], count: int, seed: int, workers: int = 1) -> Pool:
    """Lay out and analyse `count` items; the same arguments give the same pool, whatever the number of workers."""
    jobs = tasks(recordings, count, seed)
    if workers > 1:
        # Spawned, not forked: a fork of a process whose torch has threads may wait for them for ever.
        with get_context("spawn").Pool(workers, _share, (list(recordings),)) as processes:
            items = processes.map(_item, jobs, chunksize=8)
    else:
        _shared[:] = recordings
        items = [_item(job) for job in jobs]
    return Pool(
        shapes=torch.stack([item[2][0] for item in items]),
        level=torch.stack([item[2][1] for item in items]),
        onsets=torch.stack([item[2][2] for item in items]),
        labels=[item[0] for item in items],
        reshaped=torch.tensor([item[1] for item in items]),
    )
