"""Weights and inputs by formula, for full-size networks whose cases store outputs only.

A tensor is a function of its name, its shape and a seed. The first eight bytes of the SHA-256 of the name plus the
seed key a Philox counter; each of its 64-bit words gives one value, the sum of its four 16-bit parts, centred and
scaled to variance one. Integers only until the last step, so that every platform has the same bits.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np
import torch
from torch import Tensor

CHUNK = 1 << 15  # words at a time: what fits into a processor's cache
PAIRS = np.uint64(0x0000FFFF0000FFFF)


def write_noise(out: np.ndarray, name: str, seed: int, offset: float = 0.0, scale: float = 1.0) -> None:
    """Fills the flat array with offset + scale * noise, computed in float64 and rounded once to its type."""
    key = (int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") + seed) % 2**64
    words = np.random.Philox(key=key)
    unit = math.sqrt((2.0**32 - 1.0) / 3.0)
    for start in range(0, out.size, CHUNK):
        raw = words.random_raw(min(CHUNK, out.size - start))
        pairs = (raw & PAIRS) + ((raw >> np.uint64(16)) & PAIRS)
        total = (pairs >> np.uint64(32)) + (pairs & np.uint64(0xFFFFFFFF))
        z = (total.astype(np.int64) - 131070.0) / unit
        z *= scale
        z += offset
        out[start : start + CHUNK] = z


def offset_and_scale(name: str, shape: Sequence[int]) -> tuple[float, float]:
    """Norms near one, biases and tables of 0.1, matrices by their fan-in, convolutions by twice that."""
    last = name.rpartition(".")[2]
    if last.endswith("running_mean"):
        return 0.0, 0.1
    if last.endswith("running_var") or not shape or (len(shape) == 1 and last.endswith("weight")):
        return 1.0, 0.1
    if len(shape) == 1 or not last.endswith("weight"):
        return 0.0, 0.1
    return 0.0, (1.0 if len(shape) == 2 else math.sqrt(2.0)) / math.sqrt(math.prod(shape[1:]))


def tensor(name: str, shape: Sequence[int], seed: int, adjust: Sequence[float] = (0.0, 1.0)) -> Tensor:
    """One tensor; `adjust` is an offset and a factor that are applied to its value."""
    if name.rpartition(".")[2] == "num_batches_tracked":
        return torch.tensor(1)
    offset, scale = offset_and_scale(name, shape)
    extra, factor = adjust
    out = np.empty(math.prod(shape), np.float32)
    write_noise(out, name, seed, extra + factor * offset, factor * scale)
    return torch.from_numpy(out.reshape(shape))


def state(
    shapes: Mapping[str, Sequence[int]],
    seed: int,
    keep: Iterable[str] = (),
    adjust: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, Tensor]:
    """All tensors of these names and shapes, but for those that match a pattern of `keep`."""
    keep, adjust = tuple(keep), adjust or {}
    return {
        name: tensor(name, shape, seed, adjust.get(name, (0.0, 1.0)))
        for name, shape in shapes.items()
        if not any(fnmatchcase(name, pattern) for pattern in keep)
    }


def check(tensors: Mapping[str, Tensor], sums: Mapping[str, float]) -> None:
    """The float64 sums of those tensors that are there."""
    for name in sums.keys() & tensors.keys():
        found = float(tensors[name].double().sum())
        assert abs(found - sums[name]) <= 1e-6 * max(1.0, abs(sums[name])), f"{name}: {found}, not {sums[name]}"


def waveform(count: int, rate: int, seed: int = 0) -> np.ndarray:
    """A rising chirp that swells, two clicks a second and a little noise: float32 [count], multiples of 1/32768."""
    t = np.arange(count, dtype=np.float64) / rate
    low, high = 80.0, 0.45 * rate
    sweep = np.sin(2 * np.pi * (low * t + 0.5 * (high - low) * t * t / (count / rate)) + 0.7 * seed)
    since = np.mod(t + 0.13 * (seed % 3) + 0.1, 0.5)
    clicks = np.exp(-since * 60.0) * np.sin(2 * np.pi * (900.0 + 170.0 * (seed % 5)) * since)
    level = 0.25 * (1.0 + 0.8 * np.sin(2 * np.pi * 0.9 * t))
    hiss = np.empty(count)
    write_noise(hiss, f"waveform-{count}-{rate}", seed)
    mixed = level * sweep + 0.4 * clicks + 0.02 * hiss
    return (np.clip(np.rint(mixed * 32768.0), -32768, 32767) / 32768.0).astype(np.float32)


def frames(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Drifting waves of colour, a bright disc on its way, a little noise: uint8 [count, height, width, 3]."""
    y = np.arange(height, dtype=np.float64)[:, None] / height
    x = np.arange(width, dtype=np.float64)[None, :] / width
    out = np.empty((count, height, width, 3), np.uint8)
    speckle = np.empty(height * width)
    for i in range(count):
        phase = 0.21 * i + 0.9 * seed
        disc_x, disc_y = 0.5 + 0.35 * math.cos(0.33 * i + seed), 0.5 + 0.35 * math.sin(0.27 * i + 2 * seed)
        disc = np.where((x - disc_x) ** 2 + (y - disc_y) ** 2 < 0.02, 70.0, 0.0)
        write_noise(speckle, f"frames-{height}-{width}-{i}", seed)
        for c in range(3):
            wave = np.sin(2 * np.pi * ((c + 1) * x + (3 - c) * y) + phase * (c + 1))
            value = 110.0 + 60.0 * wave + disc + 8.0 * speckle.reshape(height, width)
            out[i, :, :, c] = np.clip(np.rint(value), 0, 255).astype(np.uint8)
    return out


def thin(values: Tensor, limit: int = 4096) -> Tensor:
    """Every n-th value, so that at most `limit` are left: how long activations are stored."""
    flat = values.reshape(-1)
    return flat[:: -(-flat.numel() // limit)]
