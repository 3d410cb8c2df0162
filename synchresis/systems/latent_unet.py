"""What the systems with a UNet over AudioLDM's latents share: noise levels, sampling, windows, decoding.

VTA-LDM and STA-V2A denoise latents [B, 8, T, 16] (25 a second, 16 bands) with diffusers' UNet2DConditionModel on the
discrete schedule of Stable Diffusion 2.1. While sampling, a latent of one instant is one column: [B, 8 * 16, T], so
that noise and windows go along time. Sources: VTA-LDM spec sections 5 and 6, STA-V2A spec sections 6 to 9.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from synchresis.codecs import audioldm
from synchresis.codecs.audioldm import HOP, RATE, MelCodec
from synchresis.diffusion import samplers
from synchresis.diffusion.noise import Noise
from synchresis.diffusion.objectives import Network
from synchresis.diffusion.unipc import unipc
from synchresis.errors import BadInputError
from synchresis.systems.request import Progress, quiet
from synchresis.systems.weights import KeyReport, fill, read_tensors
from synchresis.timeline import sample_count

WINDOW, OVERLAP = 256, 64     # latents: the trained 10.24 s, and what neighbouring windows share
SAMPLERS = ("ddpm", "dpmpp", "unipc")
SPACINGS = ("leading", "trailing", "linspace")
DEFAULT_STEPS = {"ddpm": 300, "dpmpp": 25, "unipc": 25}
# The published sampler keeps its spacing; the fast ones begin at the noisiest level, which "leading" misses.
DEFAULT_SPACING = {"ddpm": "leading", "dpmpp": "trailing", "unipc": "trailing"}

# The scheduler of stabilityai/stable-diffusion-2-1, as far as it matters.
SD_21: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "steps_offset": 1,
}

# Published files ---------------------------------------------------------------------------------------


def fill_codec(codec: nn.Module, file: Path) -> KeyReport:
    """Reads `audioldm-s-full.ckpt`, given by itself or by its folder, into a `MelCodec`."""
    file = file / "audioldm-s-full.ckpt" if file.is_dir() else file
    if not file.is_file():
        raise BadInputError(
            f"{file} is not there: the codec is in audioldm-s-full.ckpt, which lies in the later uploads of "
            "ariesssxu/vta-ldm-clip4clip-v-large; say where with --part audioldm=FILE"
        )
    named = audioldm.original_checkpoint(read_tensors(file), file)
    return fill(codec, named, component="codec", source=file, ignored=audioldm.ELSEWHERE)


def summary(file: Path) -> dict[str, Any]:
    """The training arguments: the first line of summary.jsonl."""
    if not file.is_file():
        raise BadInputError(f"{file} is not there: give the published folder, which has it")
    try:
        arguments = json.loads(file.read_text(encoding="utf-8").splitlines()[0])
        if not isinstance(arguments, dict):
            raise ValueError("its first line is no JSON object")
    except (OSError, ValueError, IndexError) as error:
        raise BadInputError(f"{file} does not hold the training arguments: {error}") from error
    return arguments


# Noise levels ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Schedule:
    """A discrete schedule: `alphas` [N] is the share of signal power (alpha bar) at each timestep."""

    alphas: Tensor
    prediction: str
    offset: int

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> Schedule:
        """From a scheduler_config.json of diffusers. Raises ValueError for one that samples by other rules."""
        count, kind = config["num_train_timesteps"], config["beta_schedule"]
        low, high = config["beta_start"], config["beta_end"]
        if config.get("trained_betas") is not None or config.get("clip_sample") or config.get("rescale_betas_zero_snr"):
            raise ValueError("schedules with trained_betas, clip_sample or rescale_betas_zero_snr are not known")
        if kind == "scaled_linear":
            betas = torch.linspace(low**0.5, high**0.5, count, dtype=torch.float32) ** 2
        elif kind == "linear":
            betas = torch.linspace(low, high, count, dtype=torch.float32)
        else:
            raise ValueError(f"beta_schedule is {kind!r}; known are scaled_linear and linear")
        prediction = config.get("prediction_type", "epsilon")
        if prediction not in ("epsilon", "v_prediction"):
            raise ValueError(f"prediction_type is {prediction!r}; known are epsilon and v_prediction")
        return cls(torch.cumprod(1 - betas, 0), prediction, config.get("steps_offset", 0))

    def timesteps(self, steps: int, spacing: str) -> list[int]:
        """`steps` falling timesteps, as diffusers' DDPM spaces them. With "leading" the first may lie far from the
        noisiest level, at 898 of 999 for 300 steps, or beyond it (spec section 6).
        """
        count = len(self.alphas)
        if not 1 <= steps <= count:
            raise BadInputError(f"{steps} steps: ask for 1 to {count}")
        if spacing == "leading":
            return [i * (count // steps) + self.offset for i in reversed(range(steps))]
        if spacing == "trailing":
            return [round(t) - 1 for t in np.arange(count, 0, -count / steps)[:steps]]
        if spacing == "linspace":
            return [int(t) for t in np.linspace(0, count - 1, steps).round()[::-1]]
        raise BadInputError(f"spacing {spacing!r}: choose from {', '.join(SPACINGS)}")

    def alpha(self, timestep: int) -> float:
        return float(self.alphas[timestep])

    def sigma(self, timestep: int) -> float:
        """Noise over signal."""
        return math.sqrt((1 - self.alpha(timestep)) / self.alpha(timestep))

    def clean(self, x: Tensor, prediction: Tensor, timestep: int) -> Tensor:
        """The estimate of the clean latents from what the network predicts at x."""
        alpha = self.alpha(timestep)
        if self.prediction == "v_prediction":
            return alpha**0.5 * x - (1 - alpha) ** 0.5 * prediction
        return (x - (1 - alpha) ** 0.5 * prediction) / alpha**0.5


# Sampling -------------------------------------------------------------------------------------------


def ddpm(
    network: Network,
    x: Tensor,
    schedule: Schedule,
    timesteps: Sequence[int],
    noise: Noise,
    watch: samplers.Watch | None = None,
) -> Tensor:
    """Ancestral sampling with the small variance (Ho et al. 2020): x [B, ...] is unit noise at timesteps[0].

    Noise of step i is stream 1 + i; the last step, to no noise at all, takes none.
    """
    for i, (t, following) in enumerate(pairwise([*timesteps, None])):
        assert t is not None
        denoised = schedule.clean(x, network(x, x.new_full((len(x),), t)), t)
        if watch:
            watch(i, x, denoised)
        if following is None:
            return denoised
        alpha, alpha_next = schedule.alpha(t), schedule.alpha(following)
        step = alpha / alpha_next
        x = (alpha_next**0.5 * (1 - step) * denoised + step**0.5 * (1 - alpha_next) * x) / (1 - alpha)
        x = x + math.sqrt((1 - alpha_next) / (1 - alpha) * (1 - step)) * noise(1 + i)
    return x


def sample(
    network: Network,
    noise: Noise,
    schedule: Schedule,
    *,
    sampler: str = "ddpm",
    steps: int | None = None,
    spacing: str | None = None,
    progress: Progress = quiet,
    watch: samplers.Watch | None = None,
) -> Tensor:
    """Latents of the shape of the noise, by the sampler of this name (`SAMPLERS`).

    `network` takes timesteps of the schedule. None means `DEFAULT_STEPS` and `DEFAULT_SPACING`. Raises BadInputError
    for a sampler, steps or spacing that cannot be.
    """
    if sampler not in SAMPLERS:
        raise BadInputError(f"{sampler!r} is no sampler: choose from {', '.join(SAMPLERS)}")
    steps = DEFAULT_STEPS[sampler] if steps is None else steps
    spacing = DEFAULT_SPACING[sampler] if spacing is None else spacing
    times = schedule.timesteps(steps, spacing)
    if times[0] >= len(schedule.alphas):
        raise BadInputError(
            f"{steps} steps with spacing {spacing} begin at timestep {times[0]}, beyond the noisiest "
            f"({len(schedule.alphas) - 1}): take fewer steps, or --set spacing=trailing"
        )

    def told(i: int, x: Tensor, denoised: Tensor) -> None:
        progress("generate", (i + 1) / len(times))
        if watch:
            watch(i, x, denoised)

    with torch.no_grad():
        if sampler == "ddpm":
            return ddpm(network, noise(0), schedule, times, noise, told)
        sigmas = [schedule.sigma(t) for t in times]
        at = dict(zip(sigmas, times, strict=True))

        def denoiser(x: Tensor, sigma: float) -> Tensor:
            scaled = x / math.sqrt(1 + sigma**2)
            return schedule.clean(scaled, network(scaled, x.new_full((len(x),), at[sigma])), at[sigma])

        run = samplers.dpmpp_2m if sampler == "dpmpp" else unipc
        # These samplers keep the signal at its full size and let the noise grow, so the start is larger than unit.
        return run(denoiser, noise(0) * math.sqrt(1 + sigmas[0] ** 2), [*sigmas, 0.0], watch=told)


# The network ----------------------------------------------------------------------------------------


def columns(latents: Tensor) -> Tensor:
    """[B, 8, T, 16] to [B, 8 * 16, T]."""
    return latents.transpose(2, 3).flatten(1, 2)


def pictured(x: Tensor, bins: int) -> Tensor:
    """[B, 8 * bins, T] to [B, 8, T, bins]."""
    return x.unflatten(1, (-1, bins)).transpose(2, 3).contiguous()


class Remembering:
    """Cross-attention for sampling, in place of diffusers' own: what does not depend on the step is computed once.

    Keys and values of a context stay for as long as the context tensor lives. A row of zeros, which is what guidance
    holds against, has no keys and values to attend to: its result is the bias of the last layer, at no cost. With
    gradients it is diffusers' own.
    """

    def __init__(self) -> None:
        from diffusers.models.attention_processor import AttnProcessor2_0

        self.stock = AttnProcessor2_0()
        self.kept = WeakTensorKeyDictionary()

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        context = encoder_hidden_states
        plain = hidden_states.ndim == 3 and not attn.residual_connection and attn.rescale_output_factor == 1.0
        if context is None or torch.is_grad_enabled() or not plain or attn.norm_cross or attn.to_k.bias is not None:
            return self.stock(attn, hidden_states, context, attention_mask, temb)
        if context not in self.kept:
            self.kept[context] = self._keys_of(attn, context)
        keys, values, rows = self.kept[context]
        if rows is not None and not len(rows):
            return attn.to_out[0](torch.zeros_like(hidden_states[:, :1])).expand_as(hidden_states)
        asking = hidden_states if rows is None else hidden_states[rows]
        mask = attention_mask if attention_mask is None or rows is None else attention_mask[rows]
        queries = attn.to_q(asking).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
        answer = F.scaled_dot_product_attention(queries, keys, values, None if mask is None else mask[:, None])
        answer = attn.to_out[0](answer.transpose(1, 2).flatten(2))
        if rows is None:
            return answer
        whole = attn.to_out[0](torch.zeros_like(hidden_states[:1, :1])).expand_as(hidden_states).clone()
        whole[rows] = answer
        return whole

    def _keys_of(self, attn: Any, context: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        alive = context.flatten(1).any(dim=1)
        rows = None if bool(alive.all()) else alive.nonzero()[:, 0]
        told = context if rows is None else context[rows]
        keys, values = (
            layer(told).unflatten(-1, (attn.heads, -1)).transpose(1, 2).contiguous() for layer in (attn.to_k, attn.to_v)
        )
        return keys, values, rows


class Shared:
    """Self-attention that no context has come before, in place of diffusers' own.

    The branches of guidance ask it the same, `copies` times in a batch, and it answers once.
    """

    def __init__(self) -> None:
        from diffusers.models.attention_processor import AttnProcessor2_0

        self.stock = AttnProcessor2_0()
        self.copies = 1

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        asking = hidden_states[: len(hidden_states) // self.copies]
        answer = self.stock(attn, asking, encoder_hidden_states, attention_mask, temb)
        return answer.repeat(self.copies, *[1] * (answer.ndim - 1))


def remember(network: Any) -> Shared:
    """Puts `Remembering` into every cross-attention of a diffusers UNet or ControlNet, and `Shared` into the first
    self-attention, which it returns. The network's tensors stay as they are.
    """
    processors: dict[str, Any] = dict(network.attn_processors)
    processors |= {name: Remembering() for name in processors if ".attn2." in name}
    shared = Shared()
    first = next(name for name in processors if ".attn1." in name and name.startswith("down_blocks."))
    network.set_attn_processor(processors | {first: shared})
    return shared


def copies(x: Tensor, t: Tensor) -> int:
    """2 where the second half of a batch is the first again, else 1. On a CPU: elsewhere asking costs more than it
    saves.
    """
    half = len(x) // 2
    if x.device.type != "cpu" or torch.is_grad_enabled() or len(x) % 2 or len(t) != len(x):
        return 1
    return 2 if torch.equal(t[:half], t[half:]) and torch.equal(x[:half], x[half:]) else 1


@dataclass(frozen=True)
class Told:
    """A context [B, S, D] as the network takes it, and its mask [B, S], None where all of it counts."""

    context: Tensor
    mask: Tensor | None


class Denoiser:
    """A UNet on columns [B, 8 * bins, T], in the shape that `synchresis.diffusion.guidance.guided` binds."""

    def __init__(self, unet: Any, bins: int) -> None:
        self.unet, self.bins = unet, bins
        self.shared = remember(unet)

    def prepare(self, context: Tensor, mask: Tensor) -> Told:
        """What the network is told about each item: tokens [B, S, D], of which those count where the mask is true."""
        return Told(context, None if bool(mask.all()) else mask)

    def __call__(self, x: Tensor, t: Tensor, prepared: Told) -> Tensor:
        latents = pictured(x, self.bins)
        self.shared.copies = copies(x, t)
        try:
            out = self.unet(latents, t, prepared.context, encoder_attention_mask=prepared.mask, return_dict=False)[0]
        finally:
            self.shared.copies = 1  # whoever else calls the network, calls it with any batch
        return columns(out)


def padded(sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Token sequences [S_i, D] as one context [B, S, D], zeros behind the shorter, and the mask [B, S] that says so."""
    context = nn.utils.rnn.pad_sequence(list(sequences), batch_first=True)
    lengths = torch.tensor([len(s) for s in sequences], device=context.device)
    return context, torch.arange(context.shape[1], device=context.device) < lengths[:, None]


# Length and sound -----------------------------------------------------------------------------------


def latent_count(duration: Fraction, codec: MelCodec, unet_config: Mapping[str, Any]) -> int:
    """Latents that cover a film, in whole cells of the UNet's coarsest level (8 latents, 0.32 s)."""
    multiple = 2 ** (len(unet_config["block_out_channels"]) - 1)
    latents = -(-sample_count(duration, RATE) // (HOP * codec.fold))
    return max(-(-latents // multiple), 1) * multiple


def sound_blocks(
    codec: MelCodec, x: Tensor, samples: int, progress: Callable[[str, float], None] = quiet
) -> Iterator[np.ndarray]:
    """The sound of sampled columns [1, 8 * 16, T] in blocks [n, 1] float32 at 16 kHz, `samples` in all."""
    sent = 0
    with torch.no_grad():
        blocks = codec.sounds(pictured(x, codec.bins))
    while sent < samples:
        with torch.no_grad():
            block = next(blocks)[: samples - sent]
        sent += len(block)
        progress("decode", sent / samples)
        yield block.float().cpu().numpy()[:, None]
