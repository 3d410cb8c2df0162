"""Seconds per sampling step of our DiT and of diffusers' `StableAudioDiTModel`, side by side in one run.

    python benchmarks/dit.py                                     # full size, CPU, float32, 10 s and 30 s of sound
    python benchmarks/dit.py --device cuda --dtype bfloat16 --compile --graphs
    python benchmarks/dit.py --small --compile --repetitions 3   # seconds, to see that everything runs

Both share the memory of the same random weights and see the same latents, context and times. A step is one guided
prediction: a batch of two, conditioned and null, put together with a scale of 7. Each is called the way it is meant
to be called in a sampling: what does not change over the steps is made before the first, which for ours are the
keys and values of the context and for diffusers the rotary angles, as in its own pipeline. The two take turns, so
that a busy machine slows both; printed are medians and the median of the ratios of neighbours, on a CPU also that of
the processor time, which other programs disturb less.

Variants: `eager`; with `--compile` also both under `torch.compile`; with `--graphs` (CUDA only) also both captured
as CUDA graphs, compiled ones if `--compile` is given. Exit code 1 if outputs differ by more than the tolerance of
the number format.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from synchresis.diffusion.guidance import classifier_free
from synchresis.nn.dit import DiT, DiTConfig

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "nn"))
from diffusers_keys import dit_angles, dit_call, dit_twin

FULL = DiTConfig(
    io_channels=64, embed_dim=1536, depth=24, num_heads=24, cond_token_dim=768, project_cond_tokens=False,
    global_cond_dim=1536,
)  # fmt: skip
SMALL = replace(FULL, embed_dim=256, depth=3, num_heads=4, cond_token_dim=128, global_cond_dim=256)
SCALE = 7.0
RATE = 44100 / 2048  # latents per second
TOKENS = 22  # context tokens per second
# Of the largest output, which guidance has made SCALE times the size of the differences it came from.
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.1, "float16": 0.02}

Step = Callable[[Tensor, Tensor], Tensor]


def random_dit(config: DiTConfig, device: str, dtype: torch.dtype) -> DiT:
    """Random values in every weight, so that no zero hides a branch; made without a second copy."""
    with torch.device("meta"):
        net = DiT(config)
    net = net.to_empty(device=device).eval().requires_grad_(False)
    torch.manual_seed(0)
    for module in net.modules():
        for name, p in module.named_parameters(recurse=False):
            torch.nn.init.normal_(p, 1.0 if name == "gamma" else 0.0, 0.1 if p.ndim == 1 else p[0].numel() ** -0.5)
        if hasattr(module, "beta"):
            module.beta.zero_()
    rotary = net.transformer.rotary_pos_emb
    rotary.inv_freq.copy_(type(rotary)(config.head_dim).inv_freq)
    return net.to(dtype)


def our_step(net: DiT, cross: Tensor, compiled: bool) -> Step:
    network = torch.compile(net, dynamic=False) if compiled else net
    return classifier_free(network, {"cross": cross}, SCALE)


def their_step(net: DiT, cross: Tensor, latents: int, compiled: bool) -> Step:
    twin = dit_twin(net)
    twin = torch.compile(twin, dynamic=False) if compiled else twin
    both = torch.cat((torch.zeros_like(cross), cross))
    nothing = cross.new_zeros(2, net.config.global_cond_dim)
    angles = dit_angles(net.config, latents, cross.device)

    def step(x: Tensor, t: Tensor) -> Tensor:
        out = dit_call(twin, net.config, x.repeat(2, 1, 1), t.repeat(2), both, nothing, angles)
        null, conditioned = out.chunk(2)
        return null + SCALE * (conditioned - null)

    return step


def graphed(step: Step, x: Tensor, t: Tensor) -> Step:
    """The step recorded once as a CUDA graph; called, it copies its inputs in and plays it."""
    own_x, own_t = x.clone(), t.clone()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step(own_x, own_t)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = step(own_x, own_t)

    def play(x: Tensor, t: Tensor) -> Tensor:
        own_x.copy_(x)
        own_t.copy_(t)
        graph.replay()
        return out

    return play


def seconds(step: Step, x: Tensor, t: Tensor) -> tuple[float, float]:
    """How long a step took, and how long this process was on a processor for it."""
    if x.is_cuda:
        torch.cuda.synchronize()
    began, began_working = time.perf_counter(), time.process_time()
    step(x, t)
    if x.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - began, time.process_time() - began_working


def compare(ours: Step, theirs: Step, x: Tensor, t: Tensor, repetitions: int) -> dict[str, float]:
    """Warms both up, looks at their difference, and lets them take turns."""
    a, b = ours(x, t).float().clone(), theirs(x, t).float().clone()
    times = [(seconds(ours, x, t), seconds(theirs, x, t)) for _ in range(repetitions)]
    ratios = sorted(stock / own for (own, _), (stock, _) in times)
    working = {} if x.is_cuda else {"by_cpu_time": statistics.median(stock / own for (_, own), (_, stock) in times)}
    return {
        "ours_s": statistics.median(own for (own, _), _ in times),
        "diffusers_s": statistics.median(stock for _, (stock, _) in times),
        "times_faster": statistics.median(ratios),
        "lowest": ratios[0],
        "highest": ratios[-1],
        **working,
        "difference": float((a - b).abs().max() / b.abs().max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=list(TOLERANCE))
    parser.add_argument("--compile", action="store_true", help="also under torch.compile")
    parser.add_argument("--graphs", action="store_true", help="also as CUDA graphs")
    parser.add_argument("--small", action="store_true", help="three narrow layers: to try the program out")
    parser.add_argument("--depth", type=int, help="layers instead of all 24: for machines short of memory or time")
    parser.add_argument("--seconds", type=float, nargs="+", default=[10, 30], help="lengths of the sound")
    parser.add_argument("--repetitions", type=int, default=7)
    options = parser.parse_args()
    if options.graphs and not options.device.startswith("cuda"):
        parser.error("--graphs needs --device cuda")

    config = SMALL if options.small else FULL
    config = replace(config, depth=options.depth or config.depth)
    net = random_dit(config, options.device, getattr(torch, options.dtype))
    size = sum(p.numel() for p in net.parameters()) / 1e6
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.device}, {options.dtype}: ", end="")
    print(f"{config.depth} layers, {size:.0f} M weights, batch of 2, {options.repetitions} turns", flush=True)
    variants = ["eager", *["compiled"] * options.compile, *["graphs"] * options.graphs]
    apart = False
    for length in options.seconds:
        latents, tokens = int(length * RATE), int(length * TOKENS)
        generator = torch.Generator().manual_seed(1)
        like = {"device": options.device, "dtype": getattr(torch, options.dtype)}
        x = torch.randn(1, config.io_channels, latents, generator=generator).to(**like)
        cross = torch.randn(1, tokens, config.cond_token_dim, generator=generator).to(**like)
        t = torch.full((1,), 0.6).to(**like)
        for variant in variants:
            compiled = variant == "compiled" or (variant == "graphs" and options.compile)
            with torch.inference_mode():
                ours, theirs = our_step(net, cross, compiled), their_step(net, cross, latents, compiled)
                if variant == "graphs":
                    ours, theirs = graphed(ours, x, t), graphed(theirs, x, t)
                result = compare(ours, theirs, x, t, options.repetitions)
            rounded = {name: float(f"{value:.4g}") for name, value in result.items()}
            print(json.dumps({"seconds": length, "latents": latents, "tokens": tokens, "run": variant} | rounded))
            sys.stdout.flush()
            apart = apart or result["difference"] > TOLERANCE[options.dtype]
    sys.exit(apart)


if __name__ == "__main__":
    main()
