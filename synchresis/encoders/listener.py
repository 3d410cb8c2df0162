"""What pocket's painter hears: tokens of a sound, one for every frame of its films.

A token is a picture of the 40 ms of sound under a frame, and says how near the next onset is and how long ago the
last one was. Onsets are those of `synchresis.timeline.onsets.detect_onsets`, or a person's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from synchresis.codecs import mel
from synchresis.timeline.onsets import Onsets

RATE = 25                            # tokens per second
SAMPLES = mel.RATE // RATE           # of a token
CELLS = SAMPLES // mel.HOP           # of 10 ms
COARSE = 16                          # bands of a cell
SPECTRAL = CELLS * (COARSE + 2)
TOLD = CELLS + 4
FEATURES = SPECTRAL + TOLD
NEARBY = 1.0                         # seconds over which an onset is felt before and after it
_SCALE_DB, _FLOOR = 20.0, -3.0       # a level of 1 is 20 dB; softer than 60 dB under the loud parts is silence
_MARGIN = 2                          # tokens of sound that a token may depend on, each way


def heard(sound: torch.Tensor) -> torch.Tensor:
    """Sound [B, N] at 32 kHz, N a whole number of tokens (1280 samples), to [B, N / 1280, SPECTRAL].

    For each of four cells of 10 ms: the level in units of 20 dB over -40 dB, how much the spectrum grew since the
    cell before, and 16 bands relative to the level. It depends on 55 ms of sound around it and on nothing else.
    """
    level = levels(sound)
    shape = mel.shapes(sound)
    coarse = shape.unflatten(1, (COARSE, -1)).mean(2)
    power = shape * (mel.SHAPE_SCALE_DB / _SCALE_DB) + level[:, None]
    grown = torch.zeros_like(level)
    grown[:, 1:] = (power[..., 1:] - power[..., :-1]).clamp_min(0).mean(1)
    cells = torch.cat([level[:, None], grown[:, None], coarse], dim=1)
    return cells.unflatten(2, (-1, CELLS)).permute(0, 2, 3, 1).flatten(2)


def levels(sound: torch.Tensor) -> torch.Tensor:
    """Levels [B, N / 320] of cells of 10 ms, in units of 20 dB over -40 dB, of sound [B, N] at 32 kHz."""
    return (mel.level_db(sound) + 40.0) / _SCALE_DB


def heard_blocks(blocks: Iterable[np.ndarray], tokens: int) -> Iterator[torch.Tensor]:
    """The same over a stream of blocks [n] at 32 kHz, in pieces [m, SPECTRAL], `tokens` in all; silence at the end."""
    held = np.zeros(0, np.float32)
    done = before = 0
    for block in _closed(blocks):
        if block is not None:
            held = np.concatenate([held, np.asarray(block, np.float32).reshape(-1)])
        else:
            held = np.pad(held, (0, max(0, (before + tokens - done + _MARGIN) * SAMPLES - len(held))))
        ready = min(len(held) // SAMPLES - before - _MARGIN, tokens - done)
        if ready < min(8 * RATE, tokens - done):
            continue
        span = before + ready + _MARGIN
        yield heard(torch.from_numpy(held[: span * SAMPLES])[None])[0, before : before + ready]
        done += ready
        if done == tokens:
            return
        kept = min(before + ready, _MARGIN)
        held, before = held[(before + ready - kept) * SAMPLES :], kept


def _closed(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray | None]:
    yield from blocks
    yield None


def loud_level(cells: torch.Tensor) -> float:
    """The level of the loud parts of a sound by its `levels` (any shape): their 95th percentile."""
    return float(torch.quantile(cells.flatten(), 0.95))


def tokens(spectral: torch.Tensor, loud: float, onsets: Onsets, first: int = 0) -> torch.Tensor:
    """Tokens first.. of a sound: [T, SPECTRAL] as heard, with levels relative to `loud`, and TOLD more: [T, FEATURES].

    Told are the strength of an onset in each of the four cells, how near the last and the next onset are (1 there, 0
    a second away) at the beginning of the token, and their strengths. Onset times are on the clock of the whole sound.
    """
    count = len(spectral)
    relative = spectral.clone()
    relative[:, :: COARSE + 2] = (relative[:, :: COARSE + 2] - loud).clamp_min(_FLOOR)
    cells = np.zeros(count * CELLS, np.float32)
    numbers = np.floor(onsets.times * RATE * CELLS + 1e-6).astype(np.int64) - first * CELLS
    inside = (numbers >= 0) & (numbers < len(cells))
    cells[numbers[inside]] = onsets.strengths[inside]
    at = (first + np.arange(count)) / RATE
    last = np.searchsorted(onsets.times, at + 1e-9, side="right")
    times = np.concatenate([[-np.inf], onsets.times, [np.inf]])
    strengths = np.concatenate([[0.0], onsets.strengths, [0.0]])
    since = np.clip(1 - (at - times[last]) / NEARBY, 0, 1)
    until = np.clip(1 - (times[last + 1] - at) / NEARBY, 0, 1)
    near = np.stack([since, until, strengths[last] * (since > 0), strengths[last + 1] * (until > 0)], 1)
    told = np.concatenate([cells.reshape(count, CELLS), near], axis=1)
    return torch.cat([relative, torch.from_numpy(told.astype(np.float32))], dim=1)
