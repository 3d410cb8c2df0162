"""Noise that belongs to a place.

The value at (seed, stream, channel, position) is a hash of those four numbers made normal, so cutting a
film into windows, batching or resuming never changes the noise, and it is the same for every device, for
it is drawn by numpy on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

Noise = Callable[[int], Tensor]
"""Unit normal noise of a stream: 0 is where a sampling starts, 1 + i belongs to its step i."""

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 0xFFFFFFFFFFFFFFFF
_MAX_CHANNELS = 1 << 20


def _mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014) on uint64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _key(seed: int, stream: int) -> np.ndarray:
    key = _mix(np.array([seed & _MASK], np.uint64) + np.uint64(_GOLDEN))
    return _mix(key + np.array([stream & _MASK], np.uint64) * np.uint64(_GOLDEN))


def normal(seed: int, channels: int, start: int, stop: int, stream: int = 0) -> np.ndarray:
    """Unit normal noise [channels, stop - start] float32 of the latent positions start..stop.

    Any slice of positions or of leading channels equals the same slice of the whole. `stream` tells apart
    independent noises of one seed. Raises ValueError unless 0 <= start <= stop and channels < 2**20.
    """
    if not 0 <= start <= stop or not 0 < channels < _MAX_CHANNELS:
        raise ValueError(f"no noise of {channels} channels at positions {start}..{stop}")
    positions = np.arange(start, stop, dtype=np.uint64) * np.uint64(_MAX_CHANNELS)
    counter = positions + np.arange(channels, dtype=np.uint64)[:, None]
    key = _key(seed, stream)
    first = _mix(_mix(counter * np.uint64(_GOLDEN) + key) ^ key)
    second = _mix(first + np.uint64(_GOLDEN))
    # Box-Muller; 53 bits each, the first in (0, 1] so that its logarithm is finite.
    radius = np.sqrt(-2 * np.log(((first >> np.uint64(11)) + np.uint64(1)) * 2.0**-53))
    angle = 2 * np.pi * ((second >> np.uint64(11)) * 2.0**-53)
    return (radius * np.cos(angle)).astype(np.float32)


def noise_source(
    seeds: Sequence[int],
    channels: int,
    length: int,
    *,
    start: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Noise:
    """Noise [B, channels, length] of positions start..start + length, one item of the batch per seed."""

    def draw(stream: int) -> Tensor:
        items = [normal(seed, channels, start, start + length, stream) for seed in seeds]
        return torch.from_numpy(np.stack(items)).to(device=device, dtype=dtype)

    return draw
