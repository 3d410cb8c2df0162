"""The guided 10.24 s sampling loop of STA-V2A, ours and plainly with diffusers' pieces, side by side in one run.

    python benchmarks/controlled_unet.py                         # full size, CPU, float32
    python benchmarks/controlled_unet.py --device cuda --dtype bfloat16 --steps 20
    python benchmarks/controlled_unet.py --small                 # seconds, to see that everything runs

Same random weights, same start, same text, tokens and onset feature; the ControlNet sees padding, as the published
one does. Theirs is what a script with diffusers does at each step: [uncond; cond] through `ControlNetModel`, whose
condition embedding runs every time, and `UNet2DConditionModel`, then guidance and `DPMSolverMultistepScheduler.step`.
Ours is `latent_unet.sample` on `sta_v2a.ControlledUNet`. The two take turns; printed are seconds of a step (medians; on
a CPU processor seconds of one thread) and the median of the ratios of neighbours. Exit code 1 if the outputs differ.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from unet import seconds

from synchresis.diffusion.guidance import Branch, guided
from synchresis.diffusion.noise import noise_source
from synchresis.systems.latent_unet import SD_21, WINDOW, Schedule, columns, pictured, sample
from synchresis.systems.sta_v2a import SIZES, ControlledUNet, build_denoiser
from synchresis.systems.weights import randomise, skeleton

SCALE, BINS = 3.0, 16
WORDS, TOKENS = 12, 4     # of the prompt, and of the picture
TOLERANCE = {"float32": 1e-3, "bfloat16": 1.0, "float16": 0.3}  # of the largest value; it grows from step to step
Loop = Callable[[], Tensor]


class Plain(nn.Module):
    """The condition embedding where diffusers calls it: on the feature that was repeated over the bands."""

    def __init__(self, embedding: Any) -> None:
        super().__init__()
        self.conv_out = embedding.conv_out

    def forward(self, condition: Tensor) -> Tensor:
        return self.conv_out(condition)


def conditions(width: int, onset_width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Contexts [2, S, D] of no words and of the prompt, their mask, and the onset feature [1, T, C]."""
    draw = torch.Generator().manual_seed(1)
    context = torch.randn(2, WORDS + TOKENS, width, generator=draw)
    context[0, WORDS:] = context[1, WORDS:]
    mask = torch.ones(2, WORDS + TOKENS, dtype=torch.bool)
    mask[0, 1:WORDS] = False  # the empty string is one token
    return context, mask, torch.randn(1, WINDOW, onset_width, generator=draw)


def our_loop(nets: tuple[Any, Any], told: tuple[Tensor, Tensor, Tensor], steps: int, noise: Any) -> Loop:
    denoiser = ControlledUNet(*nets, BINS, sees_padding=True)
    context, mask, onset = told

    @torch.no_grad()
    def run() -> Tensor:
        halves = [{"context": context[i : i + 1], "mask": mask[i : i + 1], "onset": onset} for i in (0, 1)]
        network = guided(denoiser, halves[0], [Branch(halves[1], SCALE)])
        return sample(network, noise, Schedule.from_dict(SD_21), sampler="dpmpp", steps=steps, spacing="trailing")

    return run


def their_loop(nets: tuple[Any, Any], told: tuple[Tensor, Tensor, Tensor], steps: int, noise: Any) -> Loop:
    from diffusers import DPMSolverMultistepScheduler

    unet, control = nets
    control.controlnet_cond_embedding = Plain(control.controlnet_cond_embedding)
    context, mask, onset = told
    condition = onset.transpose(1, 2)[..., None].repeat(2, 1, 1, BINS)

    @torch.no_grad()
    def run() -> Tensor:
        scheduler = DPMSolverMultistepScheduler(**SD_21, timestep_spacing="trailing")
        scheduler.set_timesteps(steps, device=context.device)
        x = pictured(noise(0), BINS)
        for t in scheduler.timesteps:
            both = torch.cat([x, x])
            downs, mid = control(both, t, context, condition, return_dict=False)
            out = unet(
                both, t, context, encoder_attention_mask=mask,
                down_block_additional_residuals=downs, mid_block_additional_residual=mid,
            ).sample  # fmt: skip
            null, words = out.chunk(2)
            x = scheduler.step(null + SCALE * (words - null), t, x).prev_sample
        return columns(x)

    return run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=list(TOLERANCE))
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    dtype, config = getattr(torch, options.dtype), SIZES["small" if options.small else "full"]
    sizes, width = config["unet"], config["local"]["width"]
    ours = build_denoiser(sizes, width)
    with skeleton():
        theirs = build_denoiser(sizes, width)
    for mine, other in zip(ours, theirs, strict=True):
        randomise(mine)
        mine.to(options.device, dtype).eval().requires_grad_(False)
        other.load_state_dict(mine.state_dict(), assign=True)
        other.to(options.device).eval().requires_grad_(False)
    context, mask, onset = conditions(sizes["cross_attention_dim"], width)
    told = (context.to(options.device, dtype), mask.to(options.device), onset.to(options.device, dtype))
    noise = noise_source([0], sizes["in_channels"] * BINS, WINDOW, device=options.device, dtype=dtype)
    loops = [our_loop(ours, told, options.steps, noise), their_loop(theirs, told, options.steps, noise)]
    first, second = (loop().float() for loop in loops)
    difference = float((first - second).abs().max() / second.abs().max())
    times: list[tuple[float, float]] = []
    for turn in range(options.repetitions):
        order = loops if turn % 2 == 0 else loops[::-1]
        pair = [seconds(loop, options.device) / options.steps for loop in order]
        times.append((pair[0], pair[1]) if turn % 2 == 0 else (pair[1], pair[0]))
    mine, other = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(b / a for a, b in times)
    print(
        f"a step: ours {mine:.3f} s, diffusers {other:.3f} s, {ratio:.3f} times as fast; "
        f"largest difference {difference:.1e} of the largest value"
    )
    return 0 if difference <= TOLERANCE[options.dtype] else 1


if __name__ == "__main__":
    sys.exit(main())
