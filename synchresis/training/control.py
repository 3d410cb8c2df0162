"""Training of Stable-Foley's control branch beside the frozen base.

    items = [Item(*sound_latents(codec, sound, draw), cross, global_cond) for ...]
    train_control(net, items, no_control(codec, length), steps=..., batch=48)

v-objective at logit-normal times. The tokens of picture and sound are left out with probability 0.1 per item, in both
networks together; the envelope is replaced by the latents of a constant -1 with probability 0.2 per item. Only the
branch learns, its own Fourier features of time among the rest. Source: Stable-Foley spec sections 2, 3, 6 and 7.

Where the published training differs from what was meant, this is what was meant: the control is dropped per item, not
per batch; networks that are frozen stay in `eval`, so that CAVP's statistics do not drift; silence is refused instead
of becoming NaN; the weights are averaged over the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from synchresis.diffusion.guidance import drop
from synchresis.diffusion.objectives import V, masked_mse, training_times
from synchresis.nn.control import ControlledDiT
from synchresis.nn.oobleck import Oobleck
from synchresis.timeline.rms_codes import BOX_WINDOW, RMS_WINDOW, envelope_of
from synchresis.training.loop import train

CROSS_DROP, CONTROL_DROP = 0.1, 0.2
NO_CONTROL = -1.0  # the constant waveform that stands for "no control"


@dataclass(frozen=True)
class Item:
    """A stretch of sound with what the networks are told of it; all stretches of one length.

    latents and envelope [C, T]; cross [S, D] tokens of picture and sound; global_cond [G].
    """

    latents: Tensor
    envelope: Tensor
    cross: Tensor
    global_cond: Tensor


@torch.no_grad()
def sound_latents(
    codec: Oobleck, sound: np.ndarray, draw: torch.Generator, rms_window: int = RMS_WINDOW, box: int = BOX_WINDOW
) -> tuple[Tensor, Tensor]:
    """Latents of a mono sound [N] at a peak of 1 and of its envelope, each [C, N // ratio].

    The sound's are drawn, as its sign is; the envelope's are their mean. Raises ValueError for silence, for values that
    are no numbers, and for less than a latent.
    """
    peak = float(np.abs(sound).max(initial=0.0))
    if not np.isfinite(peak) or peak < 1e-4 or len(sound) < codec.config.ratio:
        raise ValueError("a sound to learn from is silent, shorter than a latent, or holds values that are no numbers")
    sign = 1.0 if torch.rand((), generator=draw) < 0.5 else -1.0
    wave = sound.astype(np.float64) * (sign / peak)
    envelope = envelope_of(wave, rms_window, box)
    both = torch.from_numpy(np.stack([wave, envelope]).astype(np.float32))
    mean, std = codec.encode(both[:, None].expand(-1, codec.config.audio_channels, -1))
    noise = torch.randn(mean[0].shape, generator=draw)
    return codec.sample(mean[0], std[0], noise), mean[1]


@torch.no_grad()
def no_control(codec: Oobleck, length: int) -> Tensor:
    """The latents [C, length] of the waveform that stands for no control."""
    wave = torch.full((1, codec.config.audio_channels, length * codec.config.ratio), NO_CONTROL)
    return codec.encode(wave)[0][0]


def freeze_base(net: ControlledDiT) -> None:
    """Leaves only the control branch to learn: the base, and the branch's map that nothing uses, stay."""
    net.model.requires_grad_(False)
    net.model.eval()
    net.controlnet.requires_grad_(True)
    net.controlnet.transformer.project_out.requires_grad_(False)


def loss_of(
    net: ControlledDiT,
    items: Sequence[Item],
    absent: Tensor,
    draw: torch.Generator,
    *,
    cross_drop: float = CROSS_DROP,
    control_drop: float = CONTROL_DROP,
) -> Tensor:
    """One training step's loss over a batch of items; `absent` [C, T] is what `no_control` gives."""
    device = next(net.parameters()).device
    latents = torch.stack([item.latents for item in items])
    envelope = torch.stack([item.envelope for item in items])
    cross = drop(torch.stack([item.cross for item in items]), cross_drop, draw)
    kept = torch.rand(len(items), generator=draw) >= control_drop
    envelope = torch.where(kept[:, None, None], envelope, absent.expand_as(envelope))
    global_cond = torch.stack([item.global_cond for item in items])
    t = training_times(len(items), draw, "logit_normal")
    noise = torch.randn(latents.shape, generator=draw)
    prediction = net(
        V.noised(latents, noise, t).to(device),
        t.to(device),
        cross=cross.to(device),
        global_cond=global_cond.to(device),
        control=envelope.to(device),
    )
    return masked_mse(prediction, V.target(latents, noise, t).to(device))


def train_control(
    net: ControlledDiT,
    items: Sequence[Item],
    absent: Tensor,
    *,
    steps: int,
    batch: int,
    seed: int = 0,
    peak: float = 1e-4,
    cross_drop: float = CROSS_DROP,
    control_drop: float = CONTROL_DROP,
    report: Callable[[int, float], None] | None = None,
) -> ControlledDiT:
    """Trains the branch of `net` in place, its averaged weights at the end, and returns it in `eval`.

    Raises ValueError for no items, FloatingPointError for a loss that is not finite.
    """
    if not items:
        raise ValueError("no sounds to learn from")
    freeze_base(net)
    draw = torch.Generator().manual_seed(seed)

    def batches() -> Iterator[object]:
        while True:
            yield [items[i] for i in torch.randint(len(items), (batch,), generator=draw).tolist()]

    def loss(chosen: object) -> Tensor:
        drops = {"cross_drop": cross_drop, "control_drop": control_drop}
        return loss_of(net, chosen, absent, draw, **drops)  # type: ignore[arg-type]

    weights = train(net.controlnet, batches(), loss, steps=steps, peak=peak, weight_decay=1e-3, report=report)
    net.controlnet.load_state_dict(weights)
    return net.eval()
