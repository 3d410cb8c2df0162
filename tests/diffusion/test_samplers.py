"""Samplers against exact answers.

For data from N(0, s^2) the best prediction is linear in x, and the exact flow scales the start noise by a known
factor; for data that is one single signal every sampler must land on it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from synchresis.diffusion import samplers
from synchresis.diffusion.noise import noise_source
from synchresis.diffusion.objectives import FLOW, Network, Objective, V

S = 0.5
START = noise_source([1], 1, 400, dtype=torch.float64)(0)


def gaussian(objective: Objective) -> Network:
    def network(x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = objective.levels(float(t[0]))
        variance = alpha**2 * S**2 + sigma**2
        clean, noise = alpha * S**2 / variance * x, sigma / variance * x
        return noise - clean if objective is FLOW else alpha * noise - sigma * clean

    return network


def one_signal(objective: Objective, signal: Tensor) -> Network:
    def network(x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = objective.levels(float(t[0]))
        noise = (x - alpha * signal) / sigma
        return noise - signal if objective is FLOW else alpha * noise - sigma * signal

    return network


def sigmas(steps: int) -> list[float]:
    return samplers.log_sigmas(steps, 0.002, 50)


TIMED: dict[str, tuple[Objective, Callable[..., Tensor], float, int]] = {
    # objective, sampler, tolerance at 64 steps, order of convergence
    "euler": (FLOW, samplers.euler, 0.03, 1),
    "rk4": (FLOW, samplers.rk4, 1e-6, 4),
    "flow_dpmpp": (FLOW, samplers.flow_dpmpp, 5e-3, 1),
    "v_ddim": (V, samplers.v_ddim, 0.03, 1),
}


@pytest.mark.parametrize("name", list(TIMED))
def test_exact_flow_on_times(name: str) -> None:
    objective, sampler, tolerance, order = TIMED[name]

    def error(steps: int) -> float:
        out = sampler(gaussian(objective), START, samplers.linear_times(steps))
        return float((out - S * START).norm() / (S * START).norm())

    assert error(64) < tolerance
    assert error(64) / error(32) < 0.5**order * 1.25


SIGMA: dict[str, tuple[Callable[..., Tensor], float, int]] = {
    "heun": (samplers.heun, 4e-3, 2),
    "dpm_2": (samplers.dpm_2, 4e-3, 2),
    "lms": (samplers.lms, 4e-3, 2),
    "dpmpp_2m": (samplers.dpmpp_2m, 4e-3, 2),
    "dpmpp_2s": (partial(samplers.dpmpp_2s_ancestral, noise=None, eta=0.0), 4e-3, 2),
}


@pytest.mark.parametrize("objective", [V, FLOW], ids=["v", "flow"])
@pytest.mark.parametrize("name", list(SIGMA))
def test_exact_flow_on_sigmas(name: str, objective: Objective) -> None:
    sampler, tolerance, order = SIGMA[name]
    wrap = samplers.v_denoiser if objective is V else samplers.flow_denoiser

    def error(steps: int) -> float:
        out = sampler(wrap(gaussian(objective)), START * 50, sigmas(steps))
        wanted = START * 50 * S / math.sqrt(S**2 + 50**2)
        return float((out - wanted).norm() / wanted.norm())

    assert error(64) < tolerance
    assert error(64) / error(32) < 0.5**order * 1.5


@pytest.mark.parametrize("name", ["dpmpp_2m_sde", "dpmpp_3m_sde", "dpmpp_2s_ancestral", "v_ddim"])
def test_stochastic_samplers_keep_the_spread(name: str) -> None:
    noise = noise_source([3], 1, 20000, dtype=torch.float64)
    if name == "v_ddim":
        out = samplers.v_ddim(gaussian(V), noise(0), samplers.linear_times(200), noise, eta=1.0)
    else:
        sampler = getattr(samplers, name)
        out = sampler(samplers.v_denoiser(gaussian(V)), noise(0) * 50, sigmas(200), noise)
    assert float(out.std()) == pytest.approx(S, rel=0.03)
    # and what comes out is no longer decided by the start
    assert abs(float(torch.corrcoef(torch.stack((out.ravel(), noise(0).ravel())))[0, 1])) < 0.1


def test_third_order_is_better_than_second() -> None:
    wanted = START * 50 * S / math.sqrt(S**2 + 50**2)
    denoiser = samplers.v_denoiser(gaussian(V))
    # The last jump, from the lowest sigma to 0, is the same for both and small.
    levels = samplers.log_sigmas(40, 1e-5, 50)
    third = samplers.dpmpp_3m_sde(denoiser, START * 50, levels, None, eta=0.0) - wanted
    second = samplers.dpmpp_2m(denoiser, START * 50, levels) - wanted
    assert third.norm() < 0.5 * second.norm()


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_every_sampler_lands_on_the_only_signal(steps: int) -> None:
    signal = torch.sin(torch.arange(400, dtype=torch.float64))[None, None]
    noise = noise_source([4], 1, 400, dtype=torch.float64)
    flow, v = one_signal(FLOW, signal), one_signal(V, signal)
    grid, first = samplers.flow_times(steps), sigmas(steps)[0]
    denoiser = samplers.v_denoiser(v)
    results = {
        "euler": samplers.euler(flow, START, grid),
        "flow_dpmpp": samplers.flow_dpmpp(flow, START, grid),
        "pingpong": samplers.pingpong(flow, START, grid, noise),
        "v_ddim": samplers.v_ddim(v, START, samplers.linear_times(steps), noise, eta=0.5),
        "heun": samplers.heun(denoiser, START * first, sigmas(steps)),
        "dpm_2": samplers.dpm_2(denoiser, START * first, sigmas(steps)),
        "2m_sde": samplers.dpmpp_2m_sde(denoiser, START * first, sigmas(steps), noise),
        "3m_sde": samplers.dpmpp_3m_sde(denoiser, START * first, sigmas(steps), noise),
        "2s_ancestral": samplers.dpmpp_2s_ancestral(denoiser, START * first, sigmas(steps), noise),
    }
    for name, result in results.items():
        torch.testing.assert_close(result, signal, atol=1e-7, rtol=0, msg=name)


def test_watch_sees_every_step() -> None:
    seen: list[tuple[int, Tensor, Tensor]] = []
    samplers.euler(gaussian(FLOW), START, samplers.linear_times(5), watch=lambda *step: seen.append(step))
    assert [i for i, _, _ in seen] == list(range(5))
    assert torch.equal(seen[0][1], START)
    torch.testing.assert_close(seen[0][2], torch.zeros_like(START))  # of pure noise the best guess is the mean


def test_schedules() -> None:
    for grid in (samplers.flow_times(8), samplers.linear_times(8), sigmas(8)):
        assert len(grid) == 9
        assert grid[-1] == 0
        assert all(a > b for a, b in itertools.pairwise(grid))
    assert samplers.flow_times(8)[0] == 1
    assert samplers.flow_times(8, 0.6)[0] == 0.6
    assert sigmas(8)[0] == pytest.approx(50)


def test_noise_is_asked_for() -> None:
    denoiser = samplers.v_denoiser(gaussian(V))
    for sampler in (samplers.dpmpp_2m_sde, samplers.dpmpp_3m_sde, samplers.dpmpp_2s_ancestral):
        with pytest.raises(ValueError, match="needs noise"):
            sampler(denoiser, START * 50, sigmas(4), None)
    with pytest.raises(ValueError, match="needs noise"):
        samplers.v_ddim(gaussian(V), START, samplers.linear_times(4), eta=1.0)
