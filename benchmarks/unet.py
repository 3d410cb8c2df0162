"""The guided 10.24 s sampling loop of VTA-LDM, ours and plainly with diffusers' pieces, side by side in one run.

    python benchmarks/unet.py                         # full size, CPU, float32
    python benchmarks/unet.py --device cuda --dtype bfloat16 --steps 20
    python benchmarks/unet.py --small                 # seconds, to see that everything runs

Both have the memory of the same random weights, the same start, and the same 20 frame features. Theirs is what a
script with diffusers does: [uncond; cond] through `UNet2DConditionModel`, guidance, `DDPMScheduler.step` or
`DPMSolverMultistepScheduler.step`; ours is `latent_unet.sample` on `latent_unet.Denoiser`. The two take turns, so that
a busy machine slows both; printed are seconds of a step (medians) and the median of the ratios of neighbours. On a CPU
they are processor seconds of one thread, which waiting for other programs does not lengthen. The ratio of 300 DDPM
steps to 25 of DPM-Solver++ follows from the seconds of a step of each. Exit code 1 if the outputs differ.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from synchresis.diffusion.guidance import Branch, guided
from synchresis.diffusion.noise import noise_source
from synchresis.systems import latent_unet
from synchresis.systems.latent_unet import SD_21, WINDOW, Denoiser, Schedule, columns, pictured, sample
from synchresis.systems.vta_ldm import SIZES
from synchresis.systems.weights import randomise, skeleton

SCALE, FRAMES, BINS = 3.0, 20, 16
# Largest difference of the latents; random weights and half the digits grow it from step to step.
TOLERANCE = {"float32": 1e-3, "bfloat16": 1.0, "float16": 0.3}
Loop = Callable[[], Tensor]


def twins(config: dict[str, Any], device: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """The same UNet twice, sharing the memory of its random weights: sampling changes how one of them attends."""
    from diffusers import UNet2DConditionModel

    ours = UNet2DConditionModel(**config)
    randomise(ours)
    ours = ours.to(device=device, dtype=dtype).eval().requires_grad_(False)
    with skeleton():
        theirs = UNet2DConditionModel(**config)
    theirs.load_state_dict(ours.state_dict(), assign=True)
    return ours, theirs.to(device).eval().requires_grad_(False)


def our_loop(unet: Any, context: Tensor, sampler: str, steps: int, noise: Callable[[int], Tensor]) -> Loop:
    denoiser = Denoiser(unet, BINS)
    mask = torch.ones(context.shape[:2], dtype=torch.bool, device=context.device)

    def run() -> Tensor:
        told, null = {"context": context, "mask": mask}, {"context": torch.zeros_like(context), "mask": mask}
        network = guided(denoiser, null, [Branch(told, SCALE)])
        return sample(network, noise, Schedule.from_dict(SD_21), sampler=sampler, steps=steps, spacing="trailing")

    return run


def their_loop(unet: Any, context: Tensor, sampler: str, steps: int, noise: Callable[[int], Tensor]) -> Loop:
    from diffusers import DDPMScheduler, DPMSolverMultistepScheduler

    kind = DDPMScheduler if sampler == "ddpm" else DPMSolverMultistepScheduler
    options = {"clip_sample": False} if sampler == "ddpm" else {}
    both = torch.cat([torch.zeros_like(context), context])
    mask = torch.ones(both.shape[:2], dtype=torch.bool, device=context.device)

    @torch.no_grad()
    def run() -> Tensor:
        scheduler = kind(**SD_21, **options, timestep_spacing="trailing")
        scheduler.set_timesteps(steps, device=context.device)
        x = pictured(noise(0), BINS)
        for i, t in enumerate(scheduler.timesteps):
            out = unet(torch.cat([x, x]), t, both, encoder_attention_mask=mask).sample
            null, told = out.chunk(2)
            v = null + SCALE * (told - null)
            if sampler == "ddpm":
                drawn, last = pictured(noise(1 + i), BINS), i + 1 == steps
                x = with_noise(scheduler, v, t, x, torch.zeros_like(drawn) if last else drawn)
            else:
                x = scheduler.step(v, t, x).prev_sample
        return columns(x)

    return run


def with_noise(scheduler: Any, v: Tensor, t: Tensor, x: Tensor, drawn: Tensor) -> Tensor:
    """`DDPMScheduler.step` with this noise in place of a drawn one."""
    from diffusers.schedulers import scheduling_ddpm

    stock = scheduling_ddpm.randn_tensor
    scheduling_ddpm.randn_tensor = lambda *args, **options: drawn
    try:
        return scheduler.step(v, t, x).prev_sample
    finally:
        scheduling_ddpm.randn_tensor = stock


def seconds(loop: Loop, device: str) -> float:
    if device != "cuda":
        began = time.process_time()
        loop()
        return time.process_time() - began
    torch.cuda.synchronize()
    began = time.perf_counter()
    loop()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=list(TOLERANCE))
    parser.add_argument("--steps", type=int, default=2, help="steps of a loop; the first of a run warms up")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--samplers", nargs="+", default=["ddpm", "dpmpp"])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    dtype = getattr(torch, options.dtype)
    config = SIZES["small" if options.small else "full"]["unet"]
    ours, theirs = twins(config, options.device, dtype)
    draw = torch.Generator().manual_seed(1)
    context = torch.randn(1, FRAMES, config["cross_attention_dim"], generator=draw).to(options.device, dtype)
    noise = noise_source([0], ours.config.in_channels * BINS, WINDOW, device=options.device, dtype=dtype)

    figures, failed = [], False
    for sampler in options.samplers:
        told = (context, sampler, options.steps, noise)
        loops = [our_loop(ours, *told), their_loop(theirs, *told)]
        first, second = (loop().float() for loop in loops)
        difference = float((first - second).abs().max() / second.abs().max())
        failed |= not difference <= TOLERANCE[options.dtype]
        times: list[tuple[float, float]] = []
        for turn in range(options.repetitions):
            order = loops if turn % 2 == 0 else loops[::-1]
            pair = [seconds(loop, options.device) / options.steps for loop in order]
            times.append((pair[0], pair[1]) if turn % 2 == 0 else (pair[1], pair[0]))
        mine, other = (statistics.median(column) for column in zip(*times, strict=True))
        ratio = statistics.median(b / a for a, b in times)
        figures.append(
            {"sampler": sampler, "ours_s": mine, "diffusers_s": other, "ratio": ratio, "difference": difference}
        )
        if not options.json:
            print(
                f"{sampler:6} a step: ours {mine:7.3f} s, diffusers {other:7.3f} s, {ratio:.3f} times as fast; "
                f"largest difference {difference:.1e} of the largest value"
            )
    cost = {f["sampler"]: f["ours_s"] * latent_unet.DEFAULT_STEPS[f["sampler"]] for f in figures}
    if {"ddpm", "dpmpp"} <= cost.keys():
        share = cost["ddpm"] / cost["dpmpp"]
        if not options.json:
            took = f"300 steps of DDPM: {cost['ddpm']:.0f} s; 25 of DPM-Solver++: {cost['dpmpp']:.0f} s"
            print(f"{took}; {share:.1f} to 1")
    if options.json:
        print(json.dumps({"figures": figures, "loops_s": cost}, indent=2))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
