"""What LoVA costs at its full size: seconds of a denoising step and memory, over the length of the film.

    OMP_NUM_THREADS=1 python benchmarks/lova_cost.py
    python benchmarks/lova_cost.py --device cuda --half --steps 5

Every line is a process of its own, so that memory is its own peak: weights, conditions and activations. A step is the
denoiser on the guidance batch of two with the published position tables, 22 pictures a second beside it; its
conditions are prepared once (also shown). The weights are random: their values change neither time nor memory. Decoding
is the same for every second of film and done in pieces, so its memory does not depend on the length. CLIP looks at
pictures in batches of 20. Torch is all this needs, and transformers unless `--looked 0`.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time

import torch
from torch import nn

FPS, RATE, RATIO = 22, 44_100, 2048
LENGTHS = (10, 30, 60, 120)
DECODED = (10, 30)


def filled(module: nn.Module, device: str, dtype: torch.dtype) -> nn.Module:
    """A module made on the meta device, with small random weights."""
    module = module.to_empty(device=device)
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            if name.endswith("inv_freq"):
                value.copy_(10000.0 ** (-torch.arange(len(value)) / len(value)))
            elif value.ndim > 1:
                value.normal_(0, 0.02)
            else:
                value.fill_(1.0 if name.endswith("gamma") else 0.0)
    return module.to(dtype).eval()


def peak_gib(device: str) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def clock(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def step(seconds: int, device: str, dtype: torch.dtype, steps: int) -> dict[str, float]:
    from synchresis.diffusion.guidance import classifier_free
    from synchresis.nn.dit import DiT, DiTConfig

    with torch.device("meta"):
        net = DiT(
            DiTConfig(
                io_channels=64, embed_dim=1536, depth=24, num_heads=24, cond_token_dim=768, project_cond_tokens=False,
                global_cond_dim=1536, positions="learned", context_positions=True, max_positions=3000,
            )
        )  # fmt: skip
    net = filled(net, device, dtype)
    latents, pictures = math.ceil(seconds * RATE / RATIO), seconds * FPS
    context = torch.randn(1, pictures, 768, device=device, dtype=dtype)
    x = torch.randn(1, 64, latents, device=device, dtype=dtype)
    t = torch.full((1,), 0.7, device=device, dtype=dtype)
    with torch.no_grad():
        start = clock(device)
        guided = classifier_free(net, {"cross": context}, 7.0)
        prepared = clock(device) - start
        if device == "cuda":
            guided(x, t)  # kernels are chosen at the first call
        start = clock(device)
        for _ in range(steps):
            guided(x, t)
        spent = (clock(device) - start) / steps
    return {"latents": latents, "pictures": pictures, "prepare": prepared, "step": spent, "gib": peak_gib(device)}


def decode(seconds: int, device: str, dtype: torch.dtype) -> dict[str, float]:
    from synchresis.nn.oobleck import Oobleck, OobleckConfig

    chunk = 96  # as synchresis.systems.stable_audio decodes
    with torch.device("meta"):
        codec = Oobleck(OobleckConfig())
    codec = filled(codec, device, dtype)
    del codec.encoder
    latents = torch.randn(1, 64, math.ceil(seconds * RATE / RATIO), device=device, dtype=dtype)
    with torch.no_grad():
        start = clock(device)
        for piece in codec.decode_chunks(latents, chunk):
            piece.cpu()
        spent = (clock(device) - start) / seconds
    return {"per_second": spent, "gib": peak_gib(device)}


def look(pictures: int, device: str, dtype: torch.dtype) -> dict[str, float]:
    from synchresis.encoders import clip

    net = clip.build(clip.VIT_L_14).to(device, dtype)
    seen = torch.randn(pictures, 3, 224, 224, dtype=dtype)
    start = clock(device)
    clip.embed(net, seen)
    return {"per_picture": (clock(device) - start) / pictures, "gib": peak_gib(device)}


def apart(*arguments: str) -> dict[str, float]:
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--half", action="store_true", help="bfloat16 instead of float32")
    parser.add_argument("--steps", type=int, default=1, help="steps that are averaged")
    parser.add_argument("--lengths", type=int, nargs="*", default=LENGTHS, help="seconds of film")
    parser.add_argument("--decoded", type=int, nargs="*", default=DECODED, help="seconds of film that are decoded")
    parser.add_argument("--looked", type=int, default=20, help="pictures that CLIP looks at")
    parser.add_argument("--one", choices=("step", "decode", "look"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    dtype = torch.bfloat16 if given.half else torch.float32
    if given.one:
        (size,) = given.lengths
        if given.one == "step":
            result = step(size, given.device, dtype, given.steps)
        else:
            result = {"decode": decode, "look": look}[given.one](size, given.device, dtype)
        print(json.dumps(result))
        return
    options = ["--device", given.device, "--steps", str(given.steps), *(["--half"] if given.half else [])]
    where = torch.cuda.get_device_name() if given.device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{where}, {str(dtype).removeprefix('torch.')}, guidance batch of 2")
    print("film s | latents | pictures | prepare s | step s | 150 steps | peak GiB")
    for seconds in given.lengths:
        r = apart("--one", "step", "--lengths", str(seconds), *options)
        whole = f"{r['step'] * 150 / 60:.1f} min"
        size = f"{seconds:6} | {r['latents']:7} | {r['pictures']:8}"
        print(f"{size} | {r['prepare']:9.2f} | {r['step']:6.3f} | {whole:>9} | {r['gib']:8.2f}", flush=True)
    for seconds in given.decoded:
        r = apart("--one", "decode", "--lengths", str(seconds), *options)
        print(f"decode {seconds} s: {r['per_second']:.3f} s per second of film, peak {r['gib']:.2f} GiB", flush=True)
    if given.looked:
        r = apart("--one", "look", "--lengths", str(given.looked), *options)
        print(f"CLIP: {r['per_picture']:.3f} s per picture, peak {r['gib']:.2f} GiB", flush=True)


if __name__ == "__main__":
    main()
