"""Scores made of embeddings: cosines, PAM, aesthetics, DeSync ("Metrics" 5, 6.1, 8). The networks are elsewhere."""

from __future__ import annotations

import numpy as np

from synchresis.evaluation.classes import log_softmax

DESYNC_GRID = np.linspace(-2.0, 2.0, 21)  # seconds
DESYNC_SEGMENTS = 14  # of 0.64 s every 0.32 s: 4.8 s
PAM_RATE, PAM_SECONDS = 44_100, 7


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of the rows of [..., D]; 0 for an embedding that is zero. float64 [...]."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    scale = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.sum(a * b, axis=-1) / np.maximum(scale, 1e-8)


def clipsim(frames: np.ndarray, text: np.ndarray) -> np.ndarray:
    """Mean cosine of the frames of each video [N, T, D] with its text [N, D]. float64 [N]."""
    return cosines(frames, np.asarray(text)[:, None, :]).mean(axis=1)


def pam_scores(chunks: np.ndarray, prompts: np.ndarray, log_scale: float) -> np.ndarray:
    """Probability of the first of two prompts [2, D] (clean, noisy) for chunks [N, D]. float64 [N]."""
    similarity = cosines(np.asarray(chunks)[:, None, :], np.asarray(prompts)[None])
    return np.exp(log_softmax(np.exp(float(log_scale)) * similarity))[:, 0]


def pam_chunks(samples: int, first_only: bool = False) -> list[tuple[int, int]]:
    """Chunks of 7 s at 44.1 kHz of a sound of so many samples, as (first, count that is taken before repeating).

    A shorter sound is repeated from its beginning until 7 s are full; a longer one gives its whole chunks and, if
    something is left, its last 7 s. `first_only` is the kit's `repro=True`.
    """
    size = PAM_RATE * PAM_SECONDS
    if samples <= size:
        return [(0, samples)]
    starts = [k * size for k in range(samples // size)]
    if samples % size:
        starts.append(samples - size)
    return [(start, size) for start in (starts[:1] if first_only else starts)]


def aesthetics(chunks: np.ndarray, weights: np.ndarray, owners: np.ndarray, mean: float, std: float) -> np.ndarray:
    """Raw chunk predictions [N] to one score per file: x std + mean, weighted by each chunk's share of real sound."""
    values = np.asarray(chunks, np.float64) * std + mean
    weights = np.asarray(weights, np.float64)
    files = int(np.max(owners)) + 1
    total = np.bincount(owners, weights, files)
    return np.bincount(owners, values * weights, files) / total


def desync(logits: np.ndarray) -> np.ndarray:
    """|offset| in s of the likeliest of 21 classes: logits [..., 21] -> float64 [...]."""
    return np.abs(DESYNC_GRID[np.argmax(logits, axis=-1)])


def desync_windows(segments: int, sliding: bool = False) -> list[int]:
    """First segments of the windows of 14 that are judged: the first and the last of the clip (av-benchmark), or with
    `sliding` every half window and the last. Raises ValueError for fewer segments: the clip is under 4.8 s."""
    last = segments - DESYNC_SEGMENTS
    if last < 0:
        raise ValueError(f"{segments} segments are less than the {DESYNC_SEGMENTS} (4.8 s) that are compared")
    if not sliding:
        return [0, last]
    return sorted({*range(0, last + 1, DESYNC_SEGMENTS // 2), last})
