"""UniPC against what it must solve exactly, and against diffusers'."""

import math

import pytest
import torch
from torch import Tensor

from synchresis.diffusion.samplers import dpmpp_2m
from synchresis.diffusion.unipc import unipc

SIGMAS = [14.0, 5.0, 2.0, 0.9, 0.4, 0.15, 0.0]


def gaussian(x: Tensor, sigma: float) -> Tensor:
    """The best estimate where the clean signal is normal with mean 2 and spread 0.5."""
    return 2.0 + (x - 2.0) * 0.25 / (0.25 + sigma**2)


def test_it_lands_nearer_to_the_exact_flow_than_dpm_solver() -> None:
    start = torch.linspace(-30, 30, 7)[None]
    exact = 2.0 + (start - 2.0) * 0.5 / math.sqrt(0.25 + SIGMAS[0] ** 2)
    errors = {run.__name__: float((run(gaussian, start, SIGMAS) - exact).abs().max()) for run in (unipc, dpmpp_2m)}
    assert errors["unipc"] < 0.6 * errors["dpmpp_2m"]


def test_error_falls_with_the_square_of_the_step_at_least() -> None:
    start = torch.linspace(-30, 30, 7, dtype=torch.float64)[None]
    exact = 2.0 + (start - 2.0) * math.sqrt((0.25 + 0.2**2) / (0.25 + 14.0**2))
    errors = []
    for steps in (8, 16, 32):
        sigmas = torch.logspace(math.log10(14.0), math.log10(0.2), steps + 1, dtype=torch.float64).tolist()
        seen: list[Tensor] = []
        unipc(gaussian, start, [*sigmas, 0.0], watch=lambda i, x, _d, seen=seen: seen.append(x))
        errors.append(float((seen[-1] - exact).abs().max()))
    assert errors[0] > 3.5 * errors[1] > 12 * errors[2]


@pytest.mark.parametrize("steps", [2, 3, 25])
def test_same_as_the_schedulers_of_diffusers(steps: int) -> None:
    from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler

    from synchresis.systems.latent_unet import SD_21, Schedule, sample

    draw = torch.Generator().manual_seed(0)
    start, mixing = torch.randn(2, 8, 5, generator=draw), torch.randn(8, 8, generator=draw) * 0.3

    def network(x: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(torch.einsum("cd,bdt->bct", mixing, x)) * torch.cos(t / 300)[:, None, None]

    for name, kind in (("dpmpp", DPMSolverMultistepScheduler), ("unipc", UniPCMultistepScheduler)):
        scheduler = kind(**SD_21, timestep_spacing="trailing")
        scheduler.set_timesteps(steps)
        x = start
        for t in scheduler.timesteps:
            x = scheduler.step(network(x, t.expand(2).float()), t, x).prev_sample
        ours = sample(network, lambda stream: start, Schedule.from_dict(SD_21), sampler=name, steps=steps)
        torch.testing.assert_close(ours, x, atol=1e-5, rtol=0)
