"""Metrics on the outputs of a classifier: KL in its published directions, inception score ("Metrics" 4)."""

from __future__ import annotations

import numpy as np


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis, float64."""
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def kl_softmax(p: np.ndarray, q: np.ndarray, floor: float = 0.0) -> np.ndarray:
    """KL(p || q) of each row of logits [N, C]; `floor` is added to q's probabilities. float64 [N].

    av-benchmark: p the reference, no floor. audioldm_eval, SpecVQGAN, STA-V2A, audiocraft: p the reference, 1e-6 (so
    that it stays under 13.8). stable-audio-metrics: p the GENERATED, 1e-6.
    """
    p, q = log_softmax(p), log_softmax(q)
    return np.sum(np.exp(p) * (p - (np.log(np.exp(q) + floor) if floor else q)), axis=-1)


def kl_sigmoid(p: np.ndarray, q: np.ndarray, floor: float = 0.0) -> np.ndarray:
    """Sum over classes of p (log p - log q) on sigmoids, without the (1 - p) terms: can be negative. [N]."""
    p, q = np.asarray(p, np.float64), np.asarray(q, np.float64)
    log_p, log_q = -np.logaddexp(0.0, -p), -np.logaddexp(0.0, -q)
    return np.sum(np.exp(log_p) * (log_p - (np.log(np.exp(log_q) + floor) if floor else log_q)), axis=-1)


def inception_score(
    logits: np.ndarray, splits: int = 10, shuffle: bool = True, seed: int = 2020
) -> tuple[float, float]:
    """exp of the mean KL(p(y|x) || p(y)) within each split: mean and population deviation over the splits.

    Logits [N, C] in the order of sorted ids: the permutation by RandomState(2020) makes the order matter. NaN where
    N is less than the number of splits.
    """
    log_p = log_softmax(logits)
    if len(log_p) < splits:
        return float("nan"), float("nan")
    if shuffle:
        order = np.random.RandomState(seed).permutation(len(log_p))
        log_p = log_p[order]
    scores = []
    for i in range(splits):
        part = log_p[i * len(log_p) // splits : (i + 1) * len(log_p) // splits]
        p = np.exp(part)
        mean = np.log(p.mean(axis=0, keepdims=True))
        scores.append(np.exp(np.mean(np.sum(p * (part - mean), axis=1))))
    return float(np.mean(scores)), float(np.std(scores))


def windows(seconds: float, rate: int = 32_000, window: float = 10.0, hop: float = 5.0) -> list[int]:
    """Where stable-audio-metrics lets its windows begin (samples): one, and so many more that they reach the end."""
    length, size, step = round(seconds * rate), round(window * rate), round(hop * rate)
    return [k * step for k in range(1 + -(-max(length - size, 0) // step))]
