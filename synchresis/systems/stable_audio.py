"""What the systems on Stable Audio's latents share: their JSON configurations, sampling by name, and decoding.

Latents are [B, channels, T] at rate / ratio per second (44100 / 2048 in the published systems). Sources: LoVA spec
sections 4, 6 and 9.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synchresis.diffusion import samplers
from synchresis.diffusion.noise import noise_source
from synchresis.diffusion.objectives import Network, Objective
from synchresis.errors import BadInputError
from synchresis.nn.oobleck import Oobleck
from synchresis.systems.request import Progress, quiet

_SIDE = {"channels": 128, "c_mults": [1, 2, 4, 8, 16], "strides": [2, 4, 4, 8, 8], "use_snake": True}

# The autoencoder of Stable Audio Open as a configuration of stable-audio-tools describes it.
OOBLECK: dict[str, Any] = {
    "encoder": {"type": "oobleck", "config": {"in_channels": 2, **_SIDE, "latent_dim": 128}},
    "decoder": {"type": "oobleck", "config": {"out_channels": 2, **_SIDE, "latent_dim": 64, "final_tanh": False}},
    "bottleneck": {"type": "vae"},
    "latent_dim": 64,
    "downsampling_ratio": 2048,
    "io_channels": 2,
}

# The first of each is what the published systems sample with.
ON_SIGMAS = ("dpmpp-3m-sde", "dpmpp-2m-sde", "dpmpp-2m", "heun", "lms", "dpm-2")
SAMPLERS: dict[str, tuple[str, ...]] = {
    "v": (*ON_SIGMAS, "v-ddim"),
    "flow": ("euler", "pingpong", "rk4", "dpmpp"),
}
CHUNK = 96  # latents decoded at once: 4.5 s, under 1 GB at full size
PEAK = 10 ** (-1 / 20)  # of a normalised sound: -1 dBFS, so that lossy coding does not clip it


# Configurations


def model_configs(weights: Path) -> dict[Path, dict[str, Any]]:
    """The stable-audio-tools configurations beside a weights file: every `model_config*.json` in its folder, or the
    one that has the name of the file. Raises BadInputError for one that cannot be read.
    """
    own = weights.with_suffix(".json")
    found = [own] if own.is_file() else sorted(weights.parent.glob("model_config*.json"))
    configs = {}
    for path in found:
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(config["model"]["diffusion"]["config"], dict):
                raise TypeError("model.diffusion.config is no object")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInputError(f"{path} is not a configuration of stable-audio-tools: {error!r}") from error
        configs[path] = config
    return configs


def layout_of(denoiser_keys: Iterable[str]) -> str:
    """The generation of the code that a DiT's tensors come from, which the JSON does not say: "lova" or "current".

    Where neither generation's own tensors are there, both read the file alike.
    """
    old = ("transformer.pos_emb_cond.", ".to_scale_shift_gate.1.weight")
    return "lova" if any(mark in key for key in denoiser_keys for mark in old) else "current"


def weights_file(place: Path) -> Path:
    """`place` itself, or the one weights file in this folder. Raises BadInputError for none or several."""
    if not place.is_dir():
        return place
    found = sorted(p for p in place.iterdir() if p.suffix in (".safetensors", ".ckpt", ".pt", ".pth"))
    if len(found) != 1:
        names = ", ".join(p.name for p in found) or "none"
        raise BadInputError(f"{place} should hold one weights file (.safetensors or .ckpt), not {names}: name the file")
    return found[0]


# Sampling


def sampler_named(name: str, objective: Objective) -> str:
    """The sampler's own name: "auto" is the first for the objective, and stable-audio-tools' "k-" may stand in front.

    Raises BadInputError listing what there is for one that is unknown or made for another objective.
    """
    known = SAMPLERS[objective.kind]
    plain = known[0] if name == "auto" else name.removeprefix("k-")
    if plain not in known:
        other = any(plain in names for names in SAMPLERS.values())
        why = f"does not sample a {objective.kind} model" if other else "is no sampler"
        raise BadInputError(f"{name!r} {why}: choose from {', '.join(known)}")
    return plain


def check_sigmas(sampler: str, sigma_min: float, sigma_max: float) -> None:
    """Raises BadInputError for noise levels that a sampler on sigmas cannot run along."""
    if sampler in ON_SIGMAS and not 0 < sigma_min <= sigma_max:
        raise BadInputError(
            f"--set sigma_min={sigma_min:g} must be above 0 and at most sigma_max, which is {sigma_max:g}"
        )


def sample(
    network: Network,
    channels: int,
    length: int,
    *,
    seed: int,
    sampler: str = "auto",
    steps: int,
    sigma_min: float,
    sigma_max: float,
    objective: Objective,
    device: str,
    progress: Progress = quiet,
) -> Tensor:
    """Latents [1, channels, length] from the noise of the place, by the sampler of this name (see `SAMPLERS`).

    `sigma_min` and `sigma_max` are for the samplers that run on sigmas; the others run from pure noise to none, where
    rk4 and v-ddim take equal steps of time and the rest equal steps of log SNR. Raises BadInputError for a sampler,
    steps or sigmas that cannot be.
    """
    name = sampler_named(sampler, objective)
    if steps < 1:
        raise BadInputError(f"{steps} steps are too few: ask for 1 or more")
    check_sigmas(name, sigma_min, sigma_max)
    noise = noise_source([seed], channels, length, device=device)

    def watch(i: int, _x: Tensor, _denoised: Tensor) -> None:
        progress("generate", (i + 1) / steps)

    with torch.no_grad():
        if name in ON_SIGMAS:
            sigmas, denoiser = samplers.log_sigmas(steps, sigma_min, sigma_max), samplers.v_denoiser(network)
            start = noise(0) * sigmas[0]
            if name == "dpmpp-3m-sde":
                return samplers.dpmpp_3m_sde(denoiser, start, sigmas, noise, watch=watch)
            if name == "dpmpp-2m-sde":
                return samplers.dpmpp_2m_sde(denoiser, start, sigmas, noise, watch=watch)
            if name == "dpmpp-2m":
                return samplers.dpmpp_2m(denoiser, start, sigmas, watch=watch)
            if name == "heun":
                return samplers.heun(denoiser, start, sigmas, watch=watch)
            if name == "lms":
                return samplers.lms(denoiser, start, sigmas, watch=watch)
            return samplers.dpm_2(denoiser, start, sigmas, watch=watch)
        if name == "v-ddim":
            return samplers.v_ddim(network, noise(0), samplers.linear_times(steps), watch=watch)
        if name == "rk4":
            return samplers.rk4(network, noise(0), samplers.linear_times(steps), watch=watch)
        times = samplers.flow_times(steps)
        if name == "pingpong":
            return samplers.pingpong(network, noise(0), times, noise, watch=watch)
        if name == "dpmpp":
            return samplers.flow_dpmpp(network, noise(0), times, watch=watch)
        return samplers.euler(network, noise(0), times, watch=watch)


# Decoding


def sound_blocks(
    codec: Oobleck, latents: Tensor, samples: int, progress: Progress = quiet, chunk: int = CHUNK
) -> Iterator[np.ndarray]:
    """The sound of latents [1, C, T] in blocks [n, channels] float32, `samples` in all.

    The pieces are the whole decode to rounding (`Oobleck.decode_chunks`), while memory depends on `chunk` alone.
    Raises ValueError where T latents hold fewer samples.
    """
    held = latents.shape[-1] * codec.config.ratio
    if samples > held:
        raise ValueError(f"{latents.shape[-1]} latents hold {held} samples, not {samples}")
    pieces, sent = codec.decode_chunks(latents, chunk), 0
    while sent < samples:
        with torch.no_grad():
            block = next(pieces)[0, :, : samples - sent]
        sent += block.shape[-1]
        progress("decode", sent / samples)
        yield np.ascontiguousarray(block.T.float().cpu().numpy())


def peak_normalised(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The blocks [n, channels] float32 scaled so that their largest sample is `PEAK`; silence stays silence.

    The blocks wait in a file until the largest is known. The published systems divide by the peak too, but of a whole
    batch, and get 0 / 0 from silence (LoVA spec 10.7).
    """
    peak, shapes = 0.0, []
    with tempfile.TemporaryFile(prefix="synchresis-") as waiting:
        for block in blocks:
            waiting.write(np.ascontiguousarray(block, np.float32).tobytes())
            shapes.append(block.shape)
            peak = max(peak, float(np.abs(block).max(initial=0.0)))
        waiting.seek(0)
        for shape in shapes:
            block = np.frombuffer(waiting.read(4 * shape[0] * shape[1]), np.float32).reshape(shape)
            yield block * np.float32(PEAK / peak if peak else 1.0)
