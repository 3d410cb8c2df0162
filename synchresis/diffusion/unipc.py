"""UniPC (Zhao et al. 2023): a predictor whose next evaluation also corrects the step that led to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from synchresis.diffusion.samplers import Denoiser, Watch


def unipc(denoiser: Denoiser, x: Tensor, sigmas: Sequence[float], watch: Watch | None = None) -> Tensor:
    """Second order with B(h) = exp(h) - 1 on estimates of the clean signal; deterministic, one evaluation a step.

    On sigma = noise over signal, as the k-diffusion family (`synchresis.diffusion.samplers`); the last sigma is 0.
    """
    past: list[tuple[Tensor, float]] = []  # estimates and their sigmas, latest first
    before = x
    for i, (sigma, following) in enumerate(pairwise(sigmas)):
        denoised = denoiser(x, sigma)
        if watch:
            watch(i, x, denoised)
        if following == 0:
            return denoised
        if past:
            x = _corrected(before, denoised, sigma, past)
        past = [(denoised, sigma), *past][:2]
        before, x = x, _predicted(x, following, past)
    return x


def _predicted(x: Tensor, following: float, past: Sequence[tuple[Tensor, float]]) -> Tensor:
    estimate, sigma = past[0]
    h = math.log(sigma / following)
    gain = -math.expm1(-h)
    ahead = (1 - gain) * x + gain * estimate
    if len(past) > 1:
        older, sigma_older = past[1]
        ahead = ahead + gain / 2 * (older - estimate) / (math.log(sigma / sigma_older) / h)
    return ahead


def _corrected(before: Tensor, arrived: Tensor, sigma: float, past: Sequence[tuple[Tensor, float]]) -> Tensor:
    """The step from `past[0]` to `sigma` again, now that the estimate there is known."""
    estimate, sigma_before = past[0]
    h = math.log(sigma_before / sigma)
    gain = -math.expm1(-h)
    base = (1 - gain) * before + gain * estimate
    if len(past) == 1:
        return base + gain / 2 * (arrived - estimate)
    older, sigma_older = past[1]
    r = math.log(sigma_before / sigma_older) / h  # place of the older estimate, where the step runs from 0 to 1
    # Weights that make the step exact for estimates that are linear or quadratic along it.
    first = (-gain / -h - 1) / -gain
    second = ((-gain / -h - 1) / -h - 0.5) * 2 / -gain
    of_older = (second - first) / (r - 1)
    return base + gain * (of_older * (older - estimate) / r + (first - of_older) * (arrived - estimate))
