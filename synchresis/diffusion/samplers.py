"""Samplers as plain functions: from noise to a signal through a falling list of noise levels.

Two families. The first runs on times t in 0..1 and takes a network: `euler`, `rk4`, `flow_dpmpp`,
`pingpong` for rectified flow and `v_ddim` for the v-objective. The second runs on sigma = noise over
signal and takes a denoiser (x, sigma) -> clean estimate, see `v_denoiser` and `flow_denoiser`: the
k-diffusion family. Everyone returns the last state. Noise of stochastic samplers comes from the given
`noise`, stream 1 + i at step i. `watch(i, x, denoised)` is called at every step with the state before it
and the estimate there. Sources: LoVA spec sections 6 and 9; Karras et al. 2022 (heun, dpm_2); Lu et al.
2022 (DPM-Solver++).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from torch import Tensor

from synchresis.diffusion.noise import Noise
from synchresis.diffusion.objectives import Network, V

Denoiser = Callable[[Tensor, float], Tensor]
Watch = Callable[[int, Tensor, Tensor], None]


# Schedules ----------------------------------------------------------------------------------------


def flow_times(steps: int, sigma_max: float = 1.0) -> list[float]:
    """steps + 1 times, linear in log SNR from -6 (or that of `sigma_max` < 1) to 2; the ends are exact."""
    start = -6.0 if sigma_max >= 1 else math.log((1 - sigma_max) / sigma_max + 1e-6)
    log_snr = np.linspace(start, 2.0, steps + 1)
    times = (1 / (1 + np.exp(log_snr))).tolist()
    return [sigma_max, *times[1:-1], 0.0]


def linear_times(steps: int, sigma_max: float = 1.0) -> list[float]:
    """steps + 1 times from sigma_max to 0 in equal steps."""
    return np.linspace(sigma_max, 0.0, steps + 1).tolist()


def log_sigmas(steps: int, low: float, high: float) -> list[float]:
    """steps sigmas from high to low, linear in their logarithm, and a final 0 (polyexponential, rho 1)."""
    return [*np.exp(np.linspace(math.log(high), math.log(low), steps)).tolist(), 0.0]


# From networks to denoisers -----------------------------------------------------------------------


def v_denoiser(network: Network) -> Denoiser:
    """The clean estimate of a v-network at x = z + sigma e."""

    def denoise(x: Tensor, sigma: float) -> Tensor:
        scale = math.sqrt(sigma**2 + 1)
        t = _time(x, math.atan(sigma) * 2 / math.pi)
        return x / scale**2 - network(x / scale, t) * (sigma / scale)

    return denoise


def flow_denoiser(network: Network) -> Denoiser:
    """The clean estimate of a rectified-flow network at x = z + sigma e."""

    def denoise(x: Tensor, sigma: float) -> Tensor:
        t = sigma / (1 + sigma)
        x = x * (1 - t)
        return x - network(x, _time(x, t)) * t

    return denoise


def _time(x: Tensor, t: float) -> Tensor:
    return x.new_full((x.shape[0],), t)


# On times -----------------------------------------------------------------------------------------


def euler(network: Network, x: Tensor, times: Sequence[float], watch: Watch | None = None) -> Tensor:
    """Straight steps along the flow. x [B, C, T] is the state at times[0] (unit noise if that is 1)."""
    for i, (t, following) in enumerate(pairwise(times)):
        flow = network(x, _time(x, t))
        if watch:
            watch(i, x, x - t * flow)
        x = x + (following - t) * flow
    return x


def rk4(network: Network, x: Tensor, times: Sequence[float], watch: Watch | None = None) -> Tensor:
    """Classical Runge-Kutta along the flow; four evaluations a step."""
    for i, (t, following) in enumerate(pairwise(times)):
        h = following - t
        k1 = network(x, _time(x, t))
        k2 = network(x + h / 2 * k1, _time(x, t + h / 2))
        k3 = network(x + h / 2 * k2, _time(x, t + h / 2))
        k4 = network(x + h * k3, _time(x, following))
        if watch:
            watch(i, x, x - t * k1)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return x


def flow_dpmpp(network: Network, x: Tensor, times: Sequence[float], watch: Watch | None = None) -> Tensor:
    """DPM-Solver++ (2M) for rectified flow: second order, one evaluation a step."""
    old: Tensor | None = None
    h_old = math.inf
    for i, (t, following) in enumerate(pairwise(times)):
        denoised = x - t * network(x, _time(x, t))
        if watch:
            watch(i, x, denoised)
        if following == 0:
            return denoised
        h = math.log((1 - following) / following) - (math.log((1 - t) / t) if t < 1 else -math.inf)
        direction = denoised
        if old is not None:
            direction = denoised + (denoised - old) * (h / h_old / 2)
        x = following / t * x - (1 - following) * math.expm1(-h) * direction
        old, h_old = denoised, h
    return x


def pingpong(
    network: Network, x: Tensor, times: Sequence[float], noise: Noise, watch: Watch | None = None
) -> Tensor:
    """Denoise fully, noise again to the next time: for few-step, adversarially post-trained flows."""
    for i, (t, following) in enumerate(pairwise(times)):
        denoised = x - t * network(x, _time(x, t))
        if watch:
            watch(i, x, denoised)
        x = (1 - following) * denoised + following * noise(1 + i) if following else denoised
    return x


def v_ddim(
    network: Network,
    x: Tensor,
    times: Sequence[float],
    noise: Noise | None = None,
    eta: float = 0.0,
    watch: Watch | None = None,
) -> Tensor:
    """DDIM for the v-objective; `eta` 0 is deterministic, 1 is ancestral and needs `noise`."""
    if eta and noise is None:
        raise ValueError("v_ddim with eta needs noise")
    for i, (t, following) in enumerate(pairwise(times)):
        prediction = network(x, _time(x, t))
        alpha, sigma = V.levels(t)
        denoised, estimate = alpha * x - sigma * prediction, sigma * x + alpha * prediction
        if watch:
            watch(i, x, denoised)
        if following == 0:
            return denoised
        # Of the noise at the next time, `fresh` is drawn anew and the rest is the estimate.
        alpha_next, sigma_next = V.levels(following)
        fresh = eta * (sigma_next / sigma) * math.sqrt(max(1 - (alpha / alpha_next) ** 2, 0.0))
        x = alpha_next * denoised + math.sqrt(sigma_next**2 - fresh**2) * estimate
        if eta and noise is not None:
            x = x + fresh * noise(1 + i)
    return x


# On sigmas ----------------------------------------------------------------------------------------


def heun(denoiser: Denoiser, x: Tensor, sigmas: Sequence[float], watch: Watch | None = None) -> Tensor:
    """Second order with two evaluations a step. x is the state at sigmas[0], i.e. noise * sigmas[0]."""
    for i, (sigma, following) in enumerate(pairwise(sigmas)):
        denoised = denoiser(x, sigma)
        if watch:
            watch(i, x, denoised)
        if following == 0:
            return denoised
        slope = (x - denoised) / sigma
        guess = x + (following - sigma) * slope
        other = (guess - denoiser(guess, following)) / following
        x = x + (following - sigma) * (slope + other) / 2
    return x


def dpm_2(denoiser: Denoiser, x: Tensor, sigmas: Sequence[float], watch: Watch | None = None) -> Tensor:
    """Second order through the geometric middle of each step; two evaluations a step."""
    for i, (sigma, following) in enumerate(pairwise(sigmas)):
        denoised = denoiser(x, sigma)
        if watch:
            watch(i, x, denoised)
        if following == 0:
            return denoised
        middle = math.sqrt(sigma * following)
        guess = x + (middle - sigma) * (x - denoised) / sigma
        x = x + (following - sigma) * (guess - denoiser(guess, middle)) / middle
    return x


def lms(
    denoiser: Denoiser, x: Tensor, sigmas: Sequence[float], order: int = 4, watch: Watch | None = None
) -> Tensor:
    """Linear multistep (Adams-Bashforth on the given sigmas): one evaluation a step."""
    slopes: list[Tensor] = []
    for i, (sigma, following) in enumerate(pairwise(sigmas)):
        denoised = denoiser(x, sigma)
        if watch:
            watch(i, x, denoised)
        slopes = [(x - denoised) / sigma, *slopes][:order]
        places = [sigmas[i - j] for j in range(len(slopes))]
        for j, slope in enumerate(slopes):
            # The integral over the step of the polynomial that is 1 at places[j] and 0 at the others.
            basis = np.polynomial.Polynomial([1.0])
            for k, place in enumerate(places):
                if k != j:
                    basis *= np.polynomial.Polynomial([-place, 1.0]) / (places[j] - place)
            integral = basis.integ()
            x = x + float(integral(following) - integral(sigma)) * slope
    return x


def dpmpp_2m(denoiser: Denoiser, x: Tensor, sigmas: Sequence[float], watch: Watch | None = None) -> Tensor:
    """DPM-Solver++ (2M): deterministic, second order, one evaluation a step."""
    return dpmpp_2m_sde(denoiser, x, sigmas, None, eta=0.0, watch=watch)


def dpmpp_2m_sde(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise | None,
    eta: float = 1.0,
    watch: Watch | None = None,
) -> Tensor:
    """DPM-Solver++ (2M) SDE, midpoint form; `eta` 0 is `dpmpp_2m`."""
    old: Tensor | None = None
    h_old = 0.0
    for i, (sigma, following) in enumerate(pairwise(sigmas)):
        denoised = denoiser(x, sigma)
        if watch:
            watch(i, x, denoised)
        if following == 0:
            return denoised
        h = math.log(sigma / following)
        gain = -math.expm1(-h * (1 + eta))
        x = (1 - gain) * x + gain * denoised
        if old is not None:
            x = x + gain / 2 * (h / h_old) * (denoised - old)
        x = _renoised(x, following, h, eta, noise, i)
        old, h_old = denoised, h
    return x


def dpmpp_3m_sde(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise | None,
    eta: float = 1.0,
    watch: Watch | None = None,
) -> Tensor:
    """DPM-Solver++ (3M) SDE, the default of LoVA and Stable-Foley."""
    older: list[tuple[Tensor, float]] = []  # earlier estimates and the steps that followed them, latest first
    for i, (sigma, following) in enumerate(pairwise(sigmas)):
        denoised = denoiser(x, sigma)
        if watch:
            watch(i, x, denoised)
        if following == 0:
            return denoised
        h = math.log(sigma / following)
        k = h * (1 + eta)
        x = math.exp(-k) * x - math.expm1(-k) * denoised
        second = math.expm1(-k) / k + 1
        third = second / k - 0.5
        if len(older) == 1:
            (d1, h1), *_ = older
            x = x + second * (denoised - d1) / (h1 / h)
        elif len(older) == 2:
            (d1, h1), (d2, h2) = older
            r0, r1 = h1 / h, h2 / h
            a, b = (denoised - d1) / r0, (d1 - d2) / r1
            x = x + second * (a + (a - b) * (r0 / (r0 + r1))) - third * ((a - b) / (r0 + r1))
        x = _renoised(x, following, h, eta, noise, i)
        older = [(denoised, h), *older][:2]
    return x


def dpmpp_2s_ancestral(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise | None,
    eta: float = 1.0,
    watch: Watch | None = None,
) -> Tensor:
    """DPM-Solver++ (2S): a single step of second order, two evaluations, to a level below the next, then noise.

    With `eta` 0 it goes straight to the next level, without noise.
    """
    if eta and noise is None:
        raise ValueError("a stochastic sampler needs noise")
    for i, (sigma, following) in enumerate(pairwise(sigmas)):
        denoised = denoiser(x, sigma)
        if watch:
            watch(i, x, denoised)
        # What the noise adds back makes up the difference between the two levels, in variance.
        fresh = min(following, eta * following * math.sqrt(1 - (following / sigma) ** 2))
        below = math.sqrt(following**2 - fresh**2)
        if below == 0:
            x = denoised
        else:
            middle = math.sqrt(sigma * below)
            guess = middle / sigma * x + (1 - middle / sigma) * denoised
            x = below / sigma * x + (1 - below / sigma) * denoiser(guess, middle)
        if fresh and noise is not None:
            x = x + fresh * noise(1 + i)
    return x


def _renoised(x: Tensor, sigma: float, h: float, eta: float, noise: Noise | None, step: int) -> Tensor:
    if not eta:
        return x
    if noise is None:
        raise ValueError("a stochastic sampler needs noise")
    return x + noise(1 + step) * (sigma * math.sqrt(-math.expm1(-2 * h * eta)))
