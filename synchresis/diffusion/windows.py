"""A denoiser over any length from one that is good at a certain length.

At every step the network looks at overlapping windows and its predictions are cross-faded into one (the
joint diffusion of MultiDiffusion, Bar-Tal et al. 2023), so there is one noisy latent over the whole film
and no seam to hide afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from synchresis.diffusion.objectives import Network

Span = tuple[int, int]


def windows(total: int, size: int, overlap: int) -> list[Span]:
    """Spans (start, stop) of `size` positions that cover `total`, neighbours sharing at least `overlap`.

    The last one is aligned to the end. `total` up to `size` gives one span. Raises ValueError unless
    total > 0 and 0 <= overlap < size.
    """
    if total <= 0 or not 0 <= overlap < size:
        raise ValueError(f"no windows of {size} with overlap {overlap} over {total}")
    if total <= size:
        return [(0, total)]
    hop = size - overlap
    starts = [*range(0, total - size, hop), total - size]
    return [(start, start + size) for start in starts]


def blending(spans: Sequence[Span], total: int) -> list[np.ndarray]:
    """A weight curve float32 per span, cross-faded over what neighbours share; they sum to 1 everywhere."""
    curves = []
    for i, (start, stop) in enumerate(spans):
        place = np.arange(stop - start) + 0.5
        curve = np.ones(stop - start)
        if i > 0 and spans[i - 1][1] > start:
            curve = np.minimum(curve, place / (spans[i - 1][1] - start))
        if i + 1 < len(spans) and spans[i + 1][0] < stop:
            curve = np.minimum(curve, place[::-1] / (stop - spans[i + 1][0]))
        curves.append(curve)
    sums = np.zeros(total)
    for (start, stop), curve in zip(spans, curves, strict=True):
        sums[start:stop] += curve
    return [
        (curve / sums[start:stop]).astype(np.float32)
        for (start, stop), curve in zip(spans, curves, strict=True)
    ]


def cut(x: Tensor, spans: Sequence[Span]) -> Tensor:
    """The spans of x [1, ..., T] as a batch [len(spans), ..., size]."""
    return torch.cat([x[..., start:stop] for start, stop in spans])


def windowed(
    make: Callable[[Sequence[Span]], Network], total: int, size: int, overlap: int, batch: int = 8
) -> Network:
    """A network over x [1, C, total] that runs windows of `size` in batches of `batch` and blends them.

    `make(spans)` is called once for every batch of windows, before the sampling, and gives the network
    for x [len(spans), C, size] with the conditions of those spans: there they are cut and prepared.
    Guidance belongs inside. Up to `size` positions there is one span and x may be a batch. Memory of the
    prepared conditions grows with the film, that of the network's inside only with `batch`.
    """
    if batch < 1:
        raise ValueError("batch must be at least 1")
    spans = windows(total, size, overlap)
    if len(spans) == 1:
        return make(spans)
    weights = [torch.from_numpy(curve) for curve in blending(spans, total)]
    groups = [slice(i, i + batch) for i in range(0, len(spans), batch)]
    networks = [make(spans[group]) for group in groups]

    def run(x: Tensor, t: Tensor) -> Tensor:
        if x.shape[0] != 1 or x.shape[-1] != total:
            raise ValueError(f"windows over {total} positions take x [1, C, {total}], not {tuple(x.shape)}")
        out = torch.zeros_like(x)
        for group, network in zip(groups, networks, strict=True):
            part = network(cut(x, spans[group]), t.expand(len(spans[group])))
            for (start, stop), y, weight in zip(spans[group], part, weights[group], strict=True):
                out[0, :, start:stop] += y * weight.to(y)
        return out

    return run
