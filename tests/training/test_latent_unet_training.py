"""A UNet over latents learns: targets, weights, dropped conditions, joined clips, and one batch by heart."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from synchresis.systems.latent_unet import SD_21, Schedule
from synchresis.training.latent_unet import (
    Batch,
    Example,
    Trainee,
    batch_loss,
    joined,
    loss_of,
    min_snr_weights,
    noised,
    train_latent_unet,
)
from synchresis.training.mixing import a_weighted_levels, mix

SCHEDULE = Schedule.from_dict(SD_21)


class Line(nn.Module):
    """In place of the UNet: says what it was told, and remembers it."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.told: list[tuple[torch.Tensor, torch.Tensor]] = []

    def forward(
        self, x: torch.Tensor, t: torch.Tensor, context: torch.Tensor, encoder_attention_mask: torch.Tensor,
        return_dict: bool,
    ) -> tuple[torch.Tensor]:  # fmt: skip
        self.told.append((context, encoder_attention_mask))
        return (x * self.scale + context.mean((1, 2))[:, None, None, None],)


def batch(size: int, seed: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    mask = torch.ones(size, 4, dtype=torch.bool)
    mask[1::2, 2:] = False
    features = torch.randn(size, 4, 6, generator=draw) * mask[..., None]
    return Batch(torch.randn(size, 8, 8, 16, generator=draw), features, mask)


def test_targets_say_the_clean_latents() -> None:
    clean, noise, t = torch.randn(3, 8, 8, 16), torch.randn(3, 8, 8, 16), torch.tensor([0, 400, 999])
    noisy, target = noised(SCHEDULE, clean, noise, t)
    for i, step in enumerate(t.tolist()):
        torch.testing.assert_close(SCHEDULE.clean(noisy[i], target[i], step), clean[i], atol=1e-4, rtol=0)
    other = Schedule.from_dict(SD_21 | {"prediction_type": "epsilon"})
    assert torch.equal(noised(other, clean, noise, t)[1], noise)


def test_weights_in_both_forms() -> None:
    t = torch.arange(1000)
    snr = SCHEDULE.alphas / (1 - SCHEDULE.alphas)
    right, published = min_snr_weights(SCHEDULE, t), min_snr_weights(SCHEDULE, t, form="epsilon")
    assert float(published[snr < 5].min()) == float(published[snr < 5].max()) == 1.0
    torch.testing.assert_close(right, published * snr / (snr + 1))
    assert float(right[999]) < 0.01 < float(published[999])


def test_loss_weighs_whole_items() -> None:
    prediction, target = torch.zeros(2, 8, 4, 16), torch.ones(2, 8, 4, 16)
    assert float(loss_of(prediction, target, torch.tensor([1.0, 3.0]))) == 2.0


def test_dropped_items_are_told_zeros_that_all_count_and_the_others_what_they_saw() -> None:
    line = Line()
    trainee = Trainee(line, nn.Linear(6, 6))
    draw = torch.Generator().manual_seed(0)
    given = batch(400)
    batch_loss(trainee, given, SCHEDULE, draw, dropped=0.1)
    context, mask = line.told[0]
    zero = (context == 0).flatten(1).all(1)
    assert 20 <= int(zero.sum()) <= 60
    assert bool(mask[zero].all())
    assert torch.equal(mask[~zero], given.mask[~zero])
    assert not bool(context[~zero][~given.mask[~zero]].any())
    line.told.clear()
    batch_loss(trainee, given, SCHEDULE, draw, dropped=0.0)
    assert not bool((line.told[0][0] == 0).flatten(1).all(1).any())


def test_the_linear_layer_learns_too() -> None:
    torch.manual_seed(0)
    trainee = Trainee(Line(), nn.Linear(6, 6))
    before = trainee.projection.weight.detach().clone()
    train_latent_unet(trainee, itertools.repeat(batch(4)), SCHEDULE, steps=3, seed=0, peak=1e-2)
    assert float((trainee.projection.weight.detach() - before).abs().max()) > 1e-5


def test_a_unet_learns_one_batch_by_heart() -> None:
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=[8, 16], in_channels=8, out_channels=8, block_out_channels=[32, 32],
        down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"], up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"],
        layers_per_block=1, cross_attention_dim=16, attention_head_dim=2, norm_num_groups=8,
    )  # fmt: skip
    trainee = Trainee(unet, nn.Linear(6, 16))
    given = batch(4)

    def loss() -> float:
        draw = torch.Generator().manual_seed(99)
        with torch.no_grad():
            return float(np.mean([float(batch_loss(trainee, given, SCHEDULE, draw, dropped=0.0)) for _ in range(16)]))

    before = loss()
    train_latent_unet(trainee, itertools.repeat(given), SCHEDULE, steps=90, seed=0, peak=4e-3, decay=0.9)
    assert not trainee.training
    assert loss() < 0.7 * before


def example(value: float, seconds: int, rate: int = 16_000, fps: Fraction = Fraction(2)) -> Example:
    sound = value * torch.arange(seconds * rate, dtype=torch.float32)
    return Example(value * torch.arange(int(seconds * fps), dtype=torch.float32)[:, None], fps, sound, rate)


def test_clips_are_joined_at_one_instant_of_both_axes() -> None:
    both = joined(example(1.0, 10), example(-1.0, 10), cut=7, length=163_840)
    assert both.features[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, *(-float(i) for i in range(7, 20))]
    assert len(both.sound) == 163_840
    assert float(both.sound[55_999]) == 55_999.0
    assert float(both.sound[56_000]) == -56_000.0
    assert float(both.sound[-1]) == 0.0
    short = joined(example(1.0, 10), example(-1.0, 5), cut=7, length=160_000)
    assert short.features[:, 0].tolist()[7:] == [-7.0, -8.0, -9.0] + [-9.0] * 10
    with pytest.raises(ValueError, match="different rates"):
        joined(example(1.0, 10), example(1.0, 10, rate=48_000), 7, 160_000)
    with pytest.raises(ValueError, match="outside"):
        joined(example(1.0, 10), example(1.0, 3), 7, 160_000)


def test_sounds_are_mixed_as_the_ear_weighs_them() -> None:
    """Two tones of one level: the low one, which the ear hears less, is given more of the mixture."""
    time = np.arange(16_000) / 16_000
    low, high = np.sin(2 * np.pi * 100 * time), np.sin(2 * np.pi * 2000 * time)
    difference = a_weighted_levels(high, 16_000).max() - a_weighted_levels(low, 16_000).max()
    assert difference == pytest.approx(19.1 + 1.2, abs=0.6)  # IEC 61672: -19.1 dB at 100 Hz, +1.2 dB at 2 kHz
    mixed = mix(low, high, 0.5, 16_000)
    shares = [2 * abs(float(np.dot(mixed, tone))) / len(time) for tone in (low, high)]
    assert 20 * np.log10(shares[0] / shares[1]) == pytest.approx(difference, abs=0.1)
    assert shares[0] ** 2 + shares[1] ** 2 == pytest.approx(1.0, abs=1e-3)
    quiet = np.zeros(500)
    assert np.isfinite(mix(quiet, quiet, 0.5, 16_000)).all()
