"""Objectives, training times, and the distribution shift."""

from __future__ import annotations

import pytest
import torch

from synchresis.diffusion.objectives import FLOW, Objective, V, masked_mse, shift_times, training_times


@pytest.mark.parametrize("objective", [V, FLOW], ids=["v", "flow"])
def test_a_perfect_prediction_gives_back_signal_and_noise(objective: Objective) -> None:
    clean, noise, t = torch.randn(5, 3, 7), torch.randn(5, 3, 7), torch.linspace(0, 1, 5)
    x = objective.noised(clean, noise, t)
    prediction = objective.target(clean, noise, t)
    torch.testing.assert_close(objective.denoised(x, prediction, t), clean, atol=1e-5, rtol=0)
    torch.testing.assert_close(objective.noise(x, prediction, t), noise, atol=1e-5, rtol=0)
    torch.testing.assert_close(x[0], clean[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(x[-1], noise[-1], atol=1e-6, rtol=0)
    alpha, sigma = objective.levels(0.25)
    torch.testing.assert_close(x[1], alpha * clean[1] + sigma * noise[1])


def test_uniform_times_are_spread_over_the_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    t = training_times(64, generator)
    assert torch.equal((t.sort().values * 64).floor(), torch.arange(64.0))
    assert not torch.equal(t, t.sort().values)
    assert not torch.equal(t, training_times(64, generator))


@pytest.mark.parametrize(("kind", "centre"), [("logit_normal", 0.0), ("log_snr", 1.2)])
def test_other_times(kind: str, centre: float) -> None:
    t = training_times(20000, torch.Generator().manual_seed(0), kind)  # type: ignore[arg-type]
    assert 0 < float(t.min()) < float(t.max()) < 1
    assert float(torch.logit(t).mean()) == pytest.approx(centre, abs=0.06)
    with pytest.raises(ValueError, match="known are"):
        training_times(4, torch.Generator(), "cosine")  # type: ignore[arg-type]


def test_loss_looks_only_where_the_mask_is() -> None:
    a, b = torch.zeros(2, 3, 5), torch.ones(2, 3, 5)
    b[1, :, 2:] = 100
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    assert float(masked_mse(a, b, mask)) == 1
    assert float(masked_mse(a, b)) > 1000
    assert float(masked_mse(a, b, torch.zeros(2, 5))) == 0


def test_shift_moves_towards_noise_and_keeps_the_ends() -> None:
    t = torch.linspace(0, 1, 50)
    for sine in (False, True):
        short, long = shift_times(t, 256, sine=sine), shift_times(t, 4096, sine=sine)
        assert bool((long[1:-1] > short[1:-1]).all())
        assert bool((short[1:-1] > t[1:-1]).all())
        assert bool((long.diff() > 0).all())
        torch.testing.assert_close(long[[0, -1]], torch.tensor([0.0, 1.0]))
    assert torch.equal(shift_times(t, 10), shift_times(t, 256))
