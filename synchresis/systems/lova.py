"""LoVA: sound for a long film in one piece (Cheng et al. 2024, arXiv 2409.15157).

CLIP looks at the picture some times a second. Its embeddings, with learned positions, are the context of a diffusion
transformer that denoises the latents of the whole film at once; Oobleck's decoder turns them into stereo sound. There
is no text, and nothing about the length: as many latents as the film needs are denoised together, up to what the
position tables hold, and beyond that in windows that share one noise.

The networks are described by a JSON of stable-audio-tools, so that later models of that family (adaptive norms, memory
tokens, rectified flow) run here too when a picture conditions them. Sources: LoVA spec; what the published code does
and we do differently is listed in docs/lova.md.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from synchresis.diffusion.guidance import classifier_free
from synchresis.diffusion.objectives import FLOW, Network, Objective, V
from synchresis.diffusion.windows import Span, windowed
from synchresis.encoders import clip as eye
from synchresis.errors import BadInputError
from synchresis.media import Clip
from synchresis.nn.conditioners import Conditioners, Routing, whole
from synchresis.nn.dit import DiT, DiTConfig
from synchresis.nn.oobleck import Oobleck, OobleckConfig
from synchresis.systems.published import Published, need_picture
from synchresis.systems.request import Progress, SoundRequest, quiet, settings_of
from synchresis.systems.stable_audio import (
    OOBLECK,
    SAMPLERS,
    check_sigmas,
    layout_of,
    model_configs,
    peak_normalised,
    sample,
    sampler_named,
    sound_blocks,
    weights_file,
)
from synchresis.systems.weights import Loaded, fill, read_tensors, skeleton, taken
from synchresis.timeline import Track, as_fraction, sample_count
from synchresis.timeline.onsets import Onsets

# What is published -----------------------------------------------------------------------

VL30: dict[str, Any] = {  # model_config_vl30.json, as far as it describes networks
    "model_type": "diffusion_cond",
    "sample_size": 1323000,
    "sample_rate": 44100,
    "fps": 8,
    "variable_length": 30,
    "audio_channels": 2,
    "model": {
        "pretransform": {
            "type": "autoencoder",
            "iterate_batch": True,
            "config": OOBLECK,
        },
        "conditioning": {
            "configs": [
                {"id": "feature", "type": "video_feature", "config": {"clip_name": "ViT-L/14", "fps": 22}},
            ],
            "cond_dim": 768,
        },
        "diffusion": {
            "cross_attention_cond_ids": ["feature"],
            "type": "dit",
            "config": {
                "io_channels": 64,
                "embed_dim": 1536,
                "depth": 24,
                "num_heads": 24,
                "cond_token_dim": 768,
                "global_cond_dim": 1536,
                "project_cond_tokens": False,
                "transformer_type": "continuous_transformer",
                "rotary_cond_emb": False,
                "use_sinusoidal_emb": False,
                "use_abs_pos_emb": True,
            },
        },
        "io_channels": 64,
    },
}

PARTS = {
    "clip": "the CLIP that looks at the picture, which LoVA's file leaves out: a transformers folder or hub id, "
    "openai/clip-vit-large-patch14",
}

# By diffusion_objective: sampler, steps and guidance. The first is LoVA's; the others are stable-audio-tools'.
DEFAULTS: dict[str, tuple[str, int, float]] = {
    "v": ("dpmpp-3m-sde", 150, 7.0),
    "rectified_flow": ("euler", 100, 7.0),
    "rf_denoiser": ("pingpong", 8, 1.0),
}
NUMBERS = ("seconds_start", "seconds_total")  # conditions that a film answers by itself


def _changed(config: Mapping[str, Any], **denoiser: Any) -> dict[str, Any]:
    """The configuration with other options of the DiT."""
    changed = copy.deepcopy(dict(config))
    changed["model"]["diffusion"]["config"] |= denoiser
    return changed


def _small() -> dict[str, Any]:
    config = _changed(VL30, io_channels=8, embed_dim=64, depth=2, num_heads=2, cond_token_dim=32, global_cond_dim=64)
    model = config["model"]
    codec = model["pretransform"]["config"]
    codec["latent_dim"] = model["io_channels"] = 8
    for side, latent in (("encoder", 16), ("decoder", 8)):
        codec[side]["config"] |= {"channels": 4, "c_mults": [1, 2, 2, 4, 4], "latent_dim": latent}
    model["conditioning"]["cond_dim"] = 32
    return config


SIZES: dict[str, dict[str, Any]] = {
    "full": {"stable_audio": VL30, "layout": "lova", "clip": eye.VIT_L_14},
    "noabs": {"stable_audio": _changed(VL30, use_abs_pos_emb=False), "layout": "current", "clip": eye.VIT_L_14},
    "small": {"stable_audio": _small(), "layout": "lova", "clip": eye.SMALL | {"projection_dim": 32}},
}


@dataclass(frozen=True)
class Settings:
    """What can be told to LoVA besides seed, steps and guidance."""

    fps: float = field(
        default=0.0,
        metadata={
            "help": "pictures a second that CLIP sees; 0: as the configuration says. The published demo has 22, the "
            "training data that the configuration names had 8"
        },
    )
    sampler: str = field(
        default="auto",
        metadata={
            "help": "auto, or for v models " + ", ".join(SAMPLERS["v"]) + "; for flow " + ", ".join(SAMPLERS["flow"])
        },
    )
    sigma_min: float = field(default=0.3, metadata={"help": "lowest noise level of the samplers on sigmas"})
    sigma_max: float = field(default=500.0, metadata={"help": "highest noise level of the samplers on sigmas"})
    window: float = field(
        default=0.0,
        metadata={"help": "seconds denoised together; 0: the whole film, or as much as the position tables hold"},
    )
    overlap: float = field(default=0.25, metadata={"help": "share of a window that it has in common with the next"})
    guidance_from: float = field(default=0.0, metadata={"help": "noise level 0..1 from which guidance acts"})
    guidance_to: float = field(default=1.0, metadata={"help": "noise level 0..1 up to which guidance acts"})
    scale_phi: float = field(
        default=0.0, metadata={"help": "0..1: how far a guided step keeps the spread of the unguided one"}
    )
    normalise: bool = field(default=True, metadata={"help": "bring the loudest sample to -1 dBFS"})


# The networks ----------------------------------------------------------------------------


def build(config: Mapping[str, Any]) -> dict[str, nn.Module]:
    """The networks by name: "denoiser", "codec", "clip", and "conditioners" where a number conditions the model.

    `config` has "stable_audio", a JSON of stable-audio-tools; "layout", the generation of its code ("lova" or
    "current"); and "clip", the sizes of the eye. Raises KeyError, TypeError or ValueError where it describes none that
    a picture alone can condition.
    """
    for name in ("sample_rate", "sample_size"):
        if not isinstance(config["stable_audio"][name], int):
            raise TypeError(f"{name} is no whole number")
    model = config["stable_audio"]["model"]
    denoiser = DiTConfig.from_dict(model["diffusion"]["config"], config["layout"])
    codec = OobleckConfig.from_dict(model["pretransform"])
    if codec.latent_dim != denoiser.io_channels:
        raise ValueError(f"a denoiser of {denoiser.io_channels} channels for latents of {codec.latent_dim}")
    kind_of(model)
    picture = picture_of(model["conditioning"])["id"]
    routing = Routing.from_dict(model["diffusion"])
    if picture not in routing.cross or picture in (*routing.global_, *routing.prepend, *routing.concat):
        raise ValueError(f"the picture, {picture}, must be what the denoiser attends to and nothing else")
    if config["clip"]["projection_dim"] != denoiser.cond_token_dim:
        raise ValueError(
            f"this CLIP's embeddings are {config['clip']['projection_dim']} wide, the denoiser takes "
            f"{denoiser.cond_token_dim}: it is another CLIP than the one it was trained with"
        )
    networks: dict[str, nn.Module] = {
        "denoiser": DiT(denoiser),
        "codec": Oobleck(codec),
        "clip": eye.build(config["clip"]),
    }
    numbers = Conditioners.from_dict(model["conditioning"])
    if len(numbers.conditioners):
        networks["conditioners"] = numbers
    return networks


def kind_of(model: Mapping[str, Any]) -> str:
    """What the denoiser was trained for, one of `DEFAULTS`."""
    kind = model["diffusion"].get("diffusion_objective", "v")
    if kind not in DEFAULTS:
        raise ValueError(f"diffusion_objective is {kind!r}; known are {', '.join(DEFAULTS)}")
    return kind


def picture_of(conditioning: Mapping[str, Any]) -> Mapping[str, Any]:
    """The condition that is the picture. Raises ValueError unless there is one and a film answers all others."""
    pictures = [c for c in conditioning["configs"] if c["type"] == "video_feature"]
    others = [c for c in conditioning["configs"] if c["type"] != "video_feature"]
    strange = [f"{c['id']} ({c['type']})" for c in others if c["type"] != "number" or c["id"] not in NUMBERS]
    if len(pictures) != 1 or strange:
        raise ValueError(
            f"LoVA is conditioned by one video_feature, and by {', '.join(NUMBERS)} at most; here are "
            f"{len(pictures)} and {', '.join(strange) or 'nothing else'}"
        )
    return pictures[0]


# Published files -------------------------------------------------------------------------

_IGNORED = {
    r"conditioner\.conditioners\.\w+\.proj_out\..*": "the original builds this projection and never applies it",
    r"diffusion_ema\..*": "a moving average kept for training",
}


def read_original(path: Path, parts: dict[str, Path]) -> Loaded:
    """LoVA's published file, or a Lightning checkpoint of its training, with CLIP from elsewhere.

    The JSON is looked for beside it (`model_config*.json`); without one it is the published configuration, with
    position tables or not ("noabs") as the file has them. Raises BadInputError naming what does not fit.
    """
    file = weights_file(path)
    if "clip" not in parts:
        raise BadInputError(
            f"{file} leaves CLIP out, which LoVA needs: add --part clip=openai/clip-vit-large-patch14 "
            "(fetched from the hub), or --part clip=FOLDER with that model's config.json and weights"
        )
    tensors = read_tensors(file)
    average = {name: value for name, value in tensors.items() if name.startswith("diffusion_ema.")}
    if any(name.startswith("diffusion.") for name in tensors):  # Lightning's training wrapper
        loose = {n: v for n, v in tensors.items() if not n.startswith(("diffusion.", "diffusion_ema."))}
        tensors = taken(tensors, "diffusion.") | loose | average
    denoiser, codec = taken(tensors, "model.model."), taken(tensors, "pretransform.model.")
    numbers = taken(tensors, "conditioner.conditioners.")
    numbers = {f"conditioners.{name}": value for name, value in numbers.items() if ".embedder." in name}
    read = ("model.model.", "pretransform.model.", *(f"conditioner.{name}" for name in numbers))
    rest = {name: value for name, value in tensors.items() if not name.startswith(read)}

    sizes, clip_tensors, clip_file = _read_clip(parts["clip"])
    config = {"stable_audio": _config_for(file, denoiser), "layout": layout_of(denoiser), "clip": sizes}
    try:
        with skeleton():
            networks = build(config)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(f"{file}: its configuration does not describe LoVA's networks: {error}") from error
    reports = [
        fill(networks["denoiser"], denoiser | rest, component="denoiser", source=file, ignored=_IGNORED),
        fill(networks["codec"], codec, component="codec", source=file),
        fill(networks["clip"], clip_tensors, component="clip", source=clip_file, ignored=eye.IGNORED),
    ]
    if "conditioners" in networks:
        reports.append(fill(networks["conditioners"], numbers, component="conditioners", source=file))
    elif numbers:
        raise BadInputError(f"{file} has number conditioners that its configuration lacks: {', '.join(numbers)}")
    return Loaded("lova", config, networks, reports)


def _config_for(file: Path, denoiser: Mapping[str, Tensor]) -> dict[str, Any]:
    """The configuration beside the weights that agrees with them about position tables, else the published one."""
    tables = "transformer.pos_emb.emb.weight" in denoiser
    beside = model_configs(file)
    if not beside:
        return _changed(VL30, use_abs_pos_emb=tables)
    fitting = {
        path: config
        for path, config in beside.items()
        if bool(config["model"]["diffusion"]["config"].get("use_abs_pos_emb", False)) == tables
    }
    if not fitting:
        names = ", ".join(p.name for p in beside)
        raise BadInputError(
            f"{file.name} has {'' if tables else 'no '}position tables, and {names} beside it says otherwise: put the "
            f"configuration that belongs to it there as {file.with_suffix('.json').name}"
        )
    config = list(fitting.values())[-1]
    if any(other["model"] != config["model"] for other in fitting.values()):
        names = ", ".join(p.name for p in fitting)
        raise BadInputError(f"{names} all lie beside {file.name}: name the right one {file.with_suffix('.json').name}")
    return config


def _read_clip(place: Path) -> tuple[dict[str, Any], dict[str, Tensor], Path]:
    """Sizes and tensors of a transformers folder of CLIP, and the file they are in."""
    names = ("model.safetensors", "pytorch_model.bin")
    file = next((place / n for n in names if (place / n).is_file()), None) if place.is_dir() else place
    described = (place if place.is_dir() else place.parent) / "config.json"
    if file is None or not described.is_file():
        raise BadInputError(f"--part clip={place} should be a folder with config.json and {' or '.join(names)}")
    try:
        sizes = eye.vision_config(json.loads(described.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise BadInputError(f"{described} does not describe a CLIP: {error}") from error
    return sizes, read_tensors(file), file


# The system ------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class LovaPlan:
    """What was decided before any sound is made (see `synchresis.systems.request.Plan`).

    `features` [S, D]: value i is the picture at i / rate. `latents` are denoised in windows of `window`, neighbours
    sharing `overlap`.
    """

    duration: Fraction
    rate: int
    features: Track
    latents: int
    window: int
    overlap: int
    seed: int
    steps: int
    guidance: float
    sampler: str
    settings: Settings
    notes: list[str]
    mode: str = "picture"
    onsets: Onsets | None = None
    told: Track | None = None


class Lova(Published):
    """Sound for a film of any length. Load with `synchresis.load("lova", weights=…, parts={"clip": …})`."""

    name = "lova"

    def __init__(self, loaded: Loaded, device: str) -> None:
        super().__init__(loaded, device)
        self.denoiser: DiT = loaded.components["denoiser"]  # type: ignore[assignment]
        self.codec: Oobleck = loaded.components["codec"]  # type: ignore[assignment]
        self.clip = loaded.components["clip"]
        self.numbers: Conditioners | None = loaded.components.get("conditioners")  # type: ignore[assignment]
        described = loaded.config["stable_audio"]
        self.rate: int = described["sample_rate"]
        self.trained = Fraction(described["sample_size"], self.rate)  # seconds
        self.latent_rate = Fraction(self.rate, self.codec.config.ratio)
        model = described["model"]
        self.kind = kind_of(model)
        self.objective: Objective = V if self.kind == "v" else FLOW
        self.routing = Routing.from_dict(model["diffusion"])
        self.picture = picture_of(model["conditioning"])
        self.latent_scale = float(model["pretransform"].get("scale", 1.0))

    # What to make

    def prepare(self, clip: Clip, request: SoundRequest, progress: Progress = quiet) -> LovaPlan:
        """Looks at the film with CLIP, and settles in how many windows it is denoised."""
        need_picture(clip)
        given = {"--prompt": request.prompt, "--like": request.like, "--onsets": request.onsets}
        given["--envelope"] = None if request.envelope == "auto" else request.envelope
        if wishes := [option for option, value in given.items() if value is not None]:
            raise BadInputError(f"lova listens to the picture alone: leave out {', '.join(wishes)}")
        settings = settings_of(Settings, request.settings, self.name)
        sampler, steps, guidance = DEFAULTS[self.kind]
        sampler = sampler_named(sampler if settings.sampler == "auto" else settings.sampler, self.objective)
        check_sigmas(sampler, settings.sigma_min, settings.sigma_max)
        if not 0 <= settings.overlap < 1 or settings.window < 0 or settings.fps < 0:
            raise BadInputError("--set overlap= must lie in 0..1 (below 1), window= and fps= not be below 0")
        if not 0 <= settings.guidance_from <= settings.guidance_to <= 1:
            raise BadInputError("--set guidance_from= and guidance_to= must rise within 0..1")

        fps = as_fraction(settings.fps or self.picture.get("config", {}).get("fps", 22))
        latents, window, notes = self._window(clip.duration, fps, settings.window)
        features = eye.frame_features(self.clip, clip, rate=fps, progress=lambda done: progress("watch", done))
        return LovaPlan(
            duration=clip.duration,
            rate=self.rate,
            features=features,
            latents=latents,
            window=window,
            overlap=self._whole_patches(window * settings.overlap),
            seed=request.seed,
            steps=steps if request.steps is None else request.steps,
            guidance=guidance if request.guidance is None else request.guidance,
            sampler=sampler,
            settings=settings,
            notes=notes,
        )

    def _window(self, duration: Fraction, fps: Fraction, asked: float) -> tuple[int, int, list[str]]:
        """Latents of the film, latents denoised together, and what the person should know about it."""
        patch = self.denoiser.config.patch_size
        latents = -(-sample_count(duration, self.rate) // (self.codec.config.ratio * patch)) * patch
        held = self.longest(fps)
        window, notes = latents if held is None else min(latents, held), []
        if asked:
            window = min(window, max(self._whole_patches(float(asked * self.latent_rate)), patch))
        if window < latents:
            reason = f"--set window={asked:g}" if asked else "the position tables hold no more"
            notes.append(f"denoised in windows of {float(window / self.latent_rate):.2f} s: {reason}")
        if window / self.latent_rate > self.trained + 1 / self.latent_rate:
            trained = f"{float(self.trained):g}"
            notes.append(f"trained on {trained} s, quality falls beyond: --set window={trained} stays within")
        return latents, window, notes

    def longest(self, fps: Fraction) -> int | None:
        """How many latents the position tables hold in one pass, with the pictures beside them; None: any number.

        Raises BadInputError where they hold not one.
        """
        config = self.denoiser.config
        if config.positions != "learned":
            return None
        lead = config.num_memory_tokens + len(self.routing.prepend) + (config.global_cond_type == "prepend")
        held = (config.max_positions - lead) * config.patch_size
        if config.context_positions:
            pictures = config.max_positions - (len(self.routing.cross) - 1)
            held = min(held, math.floor(pictures / fps * self.latent_rate))
        held = self._whole_patches(held)
        if held < 1:
            raise BadInputError(f"the position tables of {config.max_positions} hold nothing at {float(fps):g} fps")
        return held

    def _whole_patches(self, latents: float) -> int:
        patch = self.denoiser.config.patch_size
        return int(latents // patch) * patch

    # Sounding

    def stream(self, plan: LovaPlan, progress: Progress = quiet) -> Iterator[np.ndarray]:
        """The sound of a plan in blocks [n, channels] float32, exactly as long as the picture."""
        latents = sample(
            self.network(plan),
            self.denoiser.config.io_channels,
            plan.latents,
            seed=plan.seed,
            sampler=plan.sampler,
            steps=plan.steps,
            sigma_min=plan.settings.sigma_min,
            sigma_max=plan.settings.sigma_max,
            objective=self.objective,
            device=self.device,
            progress=progress,
        )
        samples = sample_count(plan.duration, self.rate)
        blocks = sound_blocks(self.codec, latents * self.latent_scale, samples, progress)
        return peak_normalised(blocks) if plan.settings.normalise else blocks

    def network(self, plan: LovaPlan) -> Network:
        """The guided denoiser of the whole film; what does not depend on the step is computed here."""
        settings = plan.settings

        @torch.no_grad()
        def make(spans: Sequence[Span]) -> Network:
            return classifier_free(
                self.denoiser,
                self.conditions(plan, spans),
                plan.guidance,
                scale_phi=settings.scale_phi,
                interval=(settings.guidance_from, settings.guidance_to),
                objective=self.objective,
            )

        return windowed(make, plan.latents, plan.window, plan.overlap, batch=1)

    def conditions(self, plan: LovaPlan, spans: Sequence[Span]) -> dict[str, Tensor]:
        """What the denoiser is told about each window: the pictures in it, and where in the film it lies."""
        rows = len(plan.features)
        if plan.window < plan.latents:
            rows = min(rows, math.ceil(plan.window / self.latent_rate * plan.features.rate))
        seen = []
        for start, _ in spans:
            first = min(round(start / self.latent_rate * plan.features.rate), len(plan.features) - rows)
            seen.append(torch.from_numpy(plan.features.values[first : first + rows]))
        known = {self.picture["id"]: whole(torch.stack(seen).to(self.device))}
        if self.numbers is not None:
            starts = [float(start / self.latent_rate) for start, _ in spans]
            seconds = {"seconds_start": starts, "seconds_total": [float(plan.duration)] * len(spans)}
            wanted = {name: torch.tensor(seconds[name], device=self.device) for name in self.numbers.conditioners}
            known |= self.numbers(wanted)
        joined = self.routing.join(known)
        # Nothing is padding here, and the published network knows no masks.
        return {name: value for name, value in joined.items() if not name.endswith("_mask")}
