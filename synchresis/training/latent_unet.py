"""Training of a UNet over latents: the noised target, its weight, dropped conditions, and joined clips.

Source: VTA-LDM spec sections 6 and 9. Where the published training does otherwise its way has a name: `epsilon` for the
weight, a dropout of 0 for the condition, and a linear layer that was left out of the optimiser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from synchresis.diffusion.guidance import drop
from synchresis.training.loop import train

DROPPED = 0.1        # of the conditions become zeros, so that guidance has something to be against
GAMMA = 5.0          # of the weight: levels cleaner than this signal-to-noise ratio count less

SnrForm = Literal["v", "epsilon"]


class Levels(Protocol):
    """What is needed of a discrete schedule (`synchresis.systems.latent_unet.Schedule`)."""

    @property
    def alphas(self) -> Tensor: ...

    @property
    def prediction(self) -> str: ...


def noised(schedule: Levels, clean: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Latents [B, ...] at the timesteps [B], and what the network should say of them."""
    alpha = schedule.alphas.to(clean)[t].reshape(-1, *[1] * (clean.ndim - 1))
    signal, sigma = alpha.sqrt(), (1 - alpha).sqrt()
    target = noise if schedule.prediction == "epsilon" else signal * noise - sigma * clean
    return signal * clean + sigma * noise, target


def min_snr_weights(schedule: Levels, t: Tensor, gamma: float = GAMMA, form: SnrForm = "v") -> Tensor:
    """The weight [B] of each timestep (Hang et al. 2023): min(snr, gamma) / (snr + 1) for a network that predicts v.

    "epsilon" divides by snr instead, as is right for one that predicts the noise and as the published training did with
    v all the same.
    """
    alpha = schedule.alphas[t]
    snr = alpha / (1 - alpha)
    return snr.clamp_max(gamma) / (snr if form == "epsilon" else snr + 1)


def loss_of(prediction: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """The mean over the batch of each item's mean square error times its weight [B]."""
    return ((prediction - target).square().flatten(1).mean(1) * weights.to(prediction)).mean()


# Material -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Example:
    """A clip: features [S, D] at `rate` Hz, and sound [N] at `sound_rate` Hz; both begin with the clip."""

    features: Tensor
    rate: Fraction
    sound: Tensor
    sound_rate: int


def joined(first: Example, second: Example, cut: int, length: int) -> Example:
    """The first clip up to its feature `cut`, then the second from its own; `length` samples of sound, `S` features.

    Picture and sound change at the same instant, cut / rate seconds, whatever the two rates are (the published code
    counts samples of the file's rate in sound of another). Where the second ends early there is silence, and its last
    feature stands. Raises ValueError for clips of different rates, or a cut outside the first.
    """
    if (first.rate, first.sound_rate) != (second.rate, second.sound_rate):
        raise ValueError("clips of different rates cannot be joined")
    if not 0 < cut < len(first.features) or cut >= len(second.features):
        raise ValueError(f"a cut at feature {cut} lies outside clips of {len(first.features)}, {len(second.features)}")
    at = round(cut / first.rate * first.sound_rate)
    features = torch.cat([first.features[:cut], second.features[cut:]])[: len(first.features)]
    standing = features[-1:].expand(len(first.features) - len(features), -1)
    before, after = (_exactly(clip.sound, length) for clip in (first, second))
    return Example(
        torch.cat([features, standing]), first.rate, torch.cat([before[:at], after[at:]]), first.sound_rate
    )


def _exactly(sound: Tensor, length: int) -> Tensor:
    return nn.functional.pad(sound[:length], (0, max(length - len(sound), 0)))


# Training -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    """Clean latents [B, 8, T, 16], features [B, S, D] with zeros behind the shorter, and which of them count [B, S]."""

    latents: Tensor
    features: Tensor
    mask: Tensor


class Trainee(nn.Module):
    """What is trained: the UNet, and the linear layer before it, which the published training forgot."""

    def __init__(self, unet: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.unet, self.projection = unet, projection

    def forward(self, noisy: Tensor, t: Tensor, features: Tensor, mask: Tensor, keep: Tensor) -> Tensor:
        """Prediction [B, 8, T, 16]; items [B] that are not kept are told zeros, all of which count."""
        context = self.projection(features) * (mask & keep[:, None])[..., None]
        unet: Any = self.unet
        return unet(noisy, t, context, encoder_attention_mask=mask | ~keep[:, None], return_dict=False)[0]


def batch_loss(
    trainee: Trainee,
    batch: Batch,
    schedule: Levels,
    draw: torch.Generator,
    *,
    dropped: float = DROPPED,
    gamma: float | None = GAMMA,
    form: SnrForm = "v",
) -> Tensor:
    """The loss of a batch at timesteps drawn evenly; `gamma` None weighs all alike."""
    size = len(batch.latents)
    t = torch.randint(len(schedule.alphas), (size,), generator=draw)
    noise = torch.randn(batch.latents.shape, generator=draw).to(batch.latents)
    keep = drop(torch.ones(size, 1), dropped, draw)[:, 0].bool().to(batch.latents.device)
    noisy, target = noised(schedule, batch.latents, noise, t)
    prediction = trainee(noisy, t.to(noisy.device), batch.features, batch.mask, keep)
    weights = torch.ones(size) if gamma is None else min_snr_weights(schedule, t, gamma, form)
    return loss_of(prediction, target, weights)


def train_latent_unet(
    trainee: Trainee,
    batches: Iterator[Batch],
    schedule: Levels,
    *,
    steps: int,
    seed: int,
    peak: float = 1e-4,
    dropped: float = DROPPED,
    gamma: float | None = GAMMA,
    form: SnrForm = "v",
    decay: float = 0.999,
    report: Callable[[int, float], None] | None = None,
) -> Trainee:
    """Trains in place for `steps` steps with a moving average of the weights, and returns it in `eval`."""
    draw = torch.Generator().manual_seed(seed)

    def one(batch: object) -> Tensor:
        assert isinstance(batch, Batch)
        return batch_loss(trainee, batch, schedule, draw, dropped=dropped, gamma=gamma, form=form)

    weights = train(trainee, batches, one, steps=steps, peak=peak, decay=decay, report=report)
    trainee.load_state_dict(weights)
    return trainee.eval()
