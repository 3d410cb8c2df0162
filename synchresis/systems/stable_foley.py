"""Stable-Foley: sound for a picture under a loudness that one can draw (Gramaccioni et al. 2024, arXiv 2412.15023).

Stable Audio Open's diffusion transformer, frozen, with a control branch beside it. The branch is told an envelope, as a
waveform that went through the same audio encoder as the sound; both are told CAVP's look at the picture, one CLAP
embedding of a sound that it should be like, and two numbers. Guidance acts on picture and sound, never on the envelope.

The envelope is what leads. It comes from a file or a recording, from onsets in a file, from a Video2RMS mapper where
the system has one (the authors' first stage, which they never released), and else from pocket's watcher.
Sources: Stable-Foley spec; what the published code does and we do differently is listed in docs/stable_foley.md.
"""

from __future__ import annotations

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
from synchresis.diffusion.noise import normal
from synchresis.diffusion.objectives import Network, V
from synchresis.diffusion.windows import Span, cut, windowed
from synchresis.encoders import cavp as eye
from synchresis.encoders import clap as ear
from synchresis.encoders.rms_features import MOTION, mapper_features
from synchresis.errors import BadInputError
from synchresis.media import Clip, probe, read_loudness, read_sound
from synchresis.nn import cavp as cavp_net
from synchresis.nn.cavp import CAVP, CAVPConfig
from synchresis.nn.conditioners import NumberConditioner
from synchresis.nn.control import ControlledDiT
from synchresis.nn.dit import DiTConfig
from synchresis.nn.oobleck import Oobleck, OobleckConfig
from synchresis.nn.rms_mapper import RMSMapper, RMSMapperConfig, mapper_config
from synchresis.systems.foley_envelope import encode_envelope, predicted_classes, reference_sound, struck, wave_of_curve
from synchresis.systems.published import Published, need_picture
from synchresis.systems.request import Progress, SoundRequest, quiet, settings_of
from synchresis.systems.stable_audio import (
    OOBLECK,
    SAMPLERS,
    check_sigmas,
    model_configs,
    peak_normalised,
    sample,
    sampler_named,
    sound_blocks,
    weights_file,
)
from synchresis.systems.weights import KeyReport, Loaded, fill, read_tensors, skeleton, taken
from synchresis.timeline import Track, sample_count
from synchresis.timeline import rms_codes as rms
from synchresis.timeline.envelope import rms_envelope
from synchresis.timeline.files import read_onsets
from synchresis.timeline.onsets import Onsets

# What is published -----------------------------------------------------------------------

FULL: dict[str, Any] = {
    "sample_rate": 44100,
    "window": 216,  # latents denoised together: training had 215, ten seconds need a third of one more
    "denoiser": {
        "io_channels": 64,
        "embed_dim": 1536,
        "depth": 24,
        "num_heads": 24,
        "cond_token_dim": 768,
        "global_cond_dim": 1536,
        "project_cond_tokens": False,
        "transformer_type": "continuous_transformer",
    },
    "control_depth": 4,
    "codec": OOBLECK,
    "own_control_codec": False,
    "conditioner": {"cond_dim": 768, "min_val": 0, "max_val": 512},
    "cavp": {"base_channels": 64, "stage_blocks": [3, 4, 6, 3], "embed_dim": 512},
    "frames": {"rate": 4, "side": 224},
    "clap": ear.HTSAT_TINY,
    "envelope": {"rms_window": rms.RMS_WINDOW, "box_window": rms.BOX_WINDOW},
    "rms_mapper": None,
    # Where the published training differs from what was meant. Another training has other values: see the docs.
    "quirks": {
        "clap_rate": 44100,         # CLAP hears this rate as if it were 48 kHz
        "clap_mel": "htk",          # mels of the fusion ear for weights that learned with "slaney"
        "seconds_constant": True,   # told 0 and 10 s whatever the film
        "envelope_sampled": False,  # published: True, the envelope's latents are drawn; here their mean is taken
    },
}


def _small() -> dict[str, Any]:
    config: dict[str, Any] = json.loads(json.dumps(FULL))
    config["denoiser"] |= {
        "io_channels": 8,
        "embed_dim": 128,
        "depth": 4,
        "num_heads": 2,
        "cond_token_dim": 64,
        "global_cond_dim": 128,
        "ff_kwargs": {"mult": 1},
    }
    config["control_depth"] = 2
    config["codec"]["latent_dim"] = 8
    for side, latent in (("encoder", 16), ("decoder", 8)):
        config["codec"][side]["config"] |= {"channels": 4, "c_mults": [1, 1, 2, 2, 4], "latent_dim": latent}
    config["conditioner"]["cond_dim"] = 64
    config["cavp"] = {"base_channels": 4, "stage_blocks": [1, 1, 1, 1], "embed_dim": 24}
    config["frames"]["side"] = 64
    config["clap"] = ear.SMALL
    return config


SIZES: dict[str, dict[str, Any]] = {"full": FULL, "small": _small()}

PARTS = {
    "clap": "the CLAP that hears what the sound should be like, which no checkpoint of Stable-Foley holds: LAION's "
    "file 630k-audioset-best.pt (hub lukewys/laion_clap), or a transformers folder or hub id, laion/clap-htsat-unfused",
    "cavp": "the CAVP that looks at the picture, only for Stable Audio Open alone: Diff-Foley's file "
    "cavp_epoch66.ckpt. Stable-Foley's checkpoint has its own, with other statistics",
    "rms_mapper": "a Video2RMS that predicts the loudness from the picture, as "
    "synchresis.nn.rms_mapper.save_mapper writes it; may be left out",
}

STEPS, GUIDANCE = 100, 7.0
SECONDS = (0.0, 10.0)     # what the published model was always told
PROJECTION_SEED = 12345   # of the projections that no file of Stable Audio Open has
BRANCH_ALONE = "control branch and projections, from Stable Audio Open alone"  # what is untrained there
ENVELOPE_STREAM = 1 << 41  # the noise of the envelope's latents, out of the way of the sampler's
LEVEL = 0.15              # the loudest value of an envelope: that of the published demonstration is 0.145
NO_CONTROL = -1.0         # the constant waveform that training put in place of an envelope


@dataclass(frozen=True)
class Settings:
    """What can be told to Stable-Foley besides seed, steps and guidance."""

    strength: float = field(default=1.0, metadata={"help": "scale of what the envelope adds; 0 ignores the envelope"})
    level: float = field(
        default=LEVEL,
        metadata={
            "help": "loudest value of an envelope that is a curve (files, watcher), on the scale of sounds whose peak "
            "is 1; 0 takes a curve's values as they are. A recording is brought to a peak of 1 instead"
        },
    )
    curve: str = field(
        default="loudness",
        metadata={
            "help": "an envelope file is a momentary loudness, which gets level= and the two filters of training, or "
            "the final envelope, which is taken as it is",
            "choices": ("loudness", "final"),
        },
    )
    envelope_sampled: bool = field(
        default=False, metadata={"help": "draw the envelope's latents, as the published code does, not their mean"}
    )
    sampler: str = field(default="auto", metadata={"help": "auto, or " + ", ".join(SAMPLERS["v"])})
    sigma_min: float = field(default=0.3, metadata={"help": "lowest noise level of the samplers on sigmas"})
    sigma_max: float = field(default=500.0, metadata={"help": "highest noise level of the samplers on sigmas"})
    window: float = field(default=0.0, metadata={"help": "seconds denoised together; 0: the ten that it was taught"})
    overlap: float = field(default=0.25, metadata={"help": "share of a window that it has in common with the next"})
    scale_phi: float = field(
        default=0.0, metadata={"help": "0..1: how far a guided step keeps the spread of the unguided one"}
    )
    normalise: bool = field(default=True, metadata={"help": "bring the loudest sample to -1 dBFS"})


# The networks ----------------------------------------------------------------------------


class Projected(nn.Module):
    """A feature of another network on its way to a token. Random in the published checkpoint, and never trained."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.proj_out = nn.Linear(width, dim)


class Conditions(nn.Module):
    """What becomes of pictures, the sound to be like, and the two numbers: the keys under `conditioner.`, envelope out.

    frames [B, T, 512] and audio [B, 512] are of unit length. Gives "cross" [B, T + 1, cond_dim] (frames, then the
    sound) and "global_cond" [B, 2 cond_dim]. Without `audio` its token is zero, as in the null of guidance.
    """

    def __init__(self, dim: int, frames: int, audio: int, low: float, high: float) -> None:
        super().__init__()
        self.conditioners = nn.ModuleDict(
            {
                "seconds_start": NumberConditioner(dim, low, high),
                "seconds_total": NumberConditioner(dim, low, high),
                "frames": Projected(frames, dim),
                "audio": Projected(audio, dim),
            }
        )

    def tokens(self, name: str, features: Tensor) -> Tensor:
        """`features` [B, T, D] of "frames" or "audio" as tokens [B, T, cond_dim]."""
        return self.conditioners[name].proj_out(features)  # type: ignore[operator]

    def forward(self, frames: Tensor, audio: Tensor | None, start: Tensor, total: Tensor) -> dict[str, Tensor]:
        seen = self.tokens("frames", frames)
        heard = torch.zeros_like(seen[:, :1]) if audio is None else self.tokens("audio", audio[:, None])
        numbers = [self.conditioners["seconds_start"](start), self.conditioners["seconds_total"](total)]
        return {"cross": torch.cat([seen, heard], dim=1), "global_cond": torch.cat(numbers, dim=-1)[:, 0]}


def build(config: Mapping[str, Any]) -> dict[str, nn.Module]:
    """The networks by name: "denoiser" (base and control branch), "codec", "conditioner", "cavp", "clap", and where the
    configuration says so "control_codec" (an encoder of the envelope's own) and "rms_mapper".

    Raises KeyError, TypeError or ValueError where it does not describe networks that fit together.
    """
    dit = DiTConfig.from_dict(config["denoiser"])
    codec, cavp = OobleckConfig.from_dict(config["codec"]), CAVPConfig.from_dict(config["cavp"])
    told = config["conditioner"]
    if codec.latent_dim != dit.io_channels:
        raise ValueError(f"a denoiser of {dit.io_channels} channels for latents of {codec.latent_dim}")
    if dit.cond_token_dim != told["cond_dim"] or dit.global_cond_dim != 2 * told["cond_dim"]:
        raise ValueError(
            f"tokens of {told['cond_dim']} for a denoiser that takes {dit.cond_token_dim} and twice "
            f"{dit.global_cond_dim / 2:g}"
        )
    if strange := config["quirks"].keys() ^ FULL["quirks"].keys():
        raise ValueError(f"quirks are {', '.join(FULL['quirks'])}; unknown or missing: {', '.join(sorted(strange))}")
    if config["quirks"]["clap_mel"] not in ("htk", "slaney"):
        raise ValueError(f"clap_mel is {config['quirks']['clap_mel']!r}; known are htk, slaney")
    networks: dict[str, nn.Module] = {
        "denoiser": ControlledDiT(dit, config["control_depth"]),
        "codec": Oobleck(codec),
        "conditioner": Conditions(
            told["cond_dim"], cavp.embed_dim, config["clap"]["projection_dim"], told["min_val"], told["max_val"]
        ),
        "cavp": CAVP(cavp),
        "clap": ear.build_audio(config["clap"]),
    }
    if config["own_control_codec"]:
        networks["control_codec"] = Oobleck(codec)
    if config["rms_mapper"] is not None:
        mapper = RMSMapperConfig.from_dict(config["rms_mapper"])
        if mapper.features != MOTION + cavp.embed_dim:
            raise ValueError(f"an RMS mapper of {mapper.features} features, not {MOTION + cavp.embed_dim}")
        networks["rms_mapper"] = RMSMapper(mapper)
    return networks


# Published files -------------------------------------------------------------------------

_ENVELOPE = "model.conditioner.conditioners.envelope.pretransform.model."
_EYE = "model.conditioner.conditioners.frames.stage1_model."
_CONDITIONER = "model.conditioner."
_SAO_IGNORED = {r"conditioner\.conditioners\.prompt\..*": "Stable Audio Open's words: Stable-Foley takes none"}


def read_original(path: Path, parts: dict[str, Path]) -> Loaded:
    """Stable-Foley's Lightning checkpoint, or Stable Audio Open alone, with CLAP (and CAVP) from elsewhere.

    All sizes, the number of control layers among them, are read off the tensors; heads are 64 wide unless a
    `model_config.json` lies beside. From Stable Audio Open alone the control branch starts as a copy of its first four
    layers that adds nothing yet, and the projections are random: what is made is marked as untrained.
    Raises BadInputError naming what does not fit.
    """
    file = weights_file(path)
    if "clap" not in parts:
        raise BadInputError(
            f"{file} leaves CLAP out, which Stable-Foley needs: add --part clap=630k-audioset-best.pt, or "
            "--part clap=laion/clap-htsat-unfused (fetched from the hub)"
        )
    tensors = read_tensors(file)
    if any(name.startswith("model.model.controlnet.") for name in tensors):
        return _read_checkpoint(file, tensors, parts)
    return _read_base(file, tensors, parts)


def _read_checkpoint(file: Path, tensors: dict[str, Tensor], parts: dict[str, Path]) -> Loaded:
    if "cavp" in parts:
        raise BadInputError(f"{file} has a CAVP of its own, with the statistics it learned with: leave out --part cavp")
    denoiser, codec = taken(tensors, "model.model."), taken(tensors, "model.pretransform.model.")
    own_codec, sight = taken(tensors, _ENVELOPE), taken(tensors, _EYE)
    projections = {n: v for n, v in taken(tensors, _CONDITIONER).items() if not (_CONDITIONER + n).startswith(_EYE)}
    projections = {n: v for n, v in projections.items() if not (_CONDITIONER + n).startswith(_ENVELOPE)}
    known = ("model.model.", "model.pretransform.model.", _CONDITIONER)
    strangers = {name: value for name, value in tensors.items() if not name.startswith(known)}
    same = own_codec.keys() == codec.keys() and all(torch.equal(codec[name], own_codec[name]) for name in codec)
    config = _sizes(file, taken(denoiser, "model."), codec) | {
        "control_depth": _count(denoiser, "controlnet.transformer.layers."),
        "own_control_codec": not same,
        "cavp": _cavp_sizes(sight, file),
    }
    networks, reports = _with_parts(file, config, parts)
    reports += [
        fill(networks["denoiser"], denoiser | strangers, component="denoiser", source=file),
        fill(networks["codec"], codec, component="codec", source=file),
        fill(networks["conditioner"], projections, component="conditioner", source=file),
        fill(networks["cavp"], sight, component="cavp", source=file, ignored=cavp_net.IGNORED),
    ]
    if same:
        reports.append(KeyReport("control_codec", file, 0, {"the envelope's copy equals the codec": len(own_codec)}))
    else:
        reports.append(fill(networks["control_codec"], own_codec, component="control_codec", source=file))
    return Loaded("stable_foley", config, networks, reports)


def _read_base(file: Path, tensors: dict[str, Tensor], parts: dict[str, Path]) -> Loaded:
    """Stable Audio Open 1.0: base and codec from the file, the control branch as it is before any training."""
    if "cavp" not in parts:
        raise BadInputError(
            f"{file} is Stable Audio Open alone: add --part cavp=cavp_epoch66.ckpt, or give Stable-Foley's checkpoint"
        )
    denoiser, codec = taken(tensors, "model.model."), taken(tensors, "pretransform.model.")
    numbers = taken(tensors, "conditioner.")
    numbers = {name: value for name, value in numbers.items() if name.startswith("conditioners.seconds_")}
    read = ("model.model.", "pretransform.model.", "conditioner.conditioners.seconds_")
    strangers = {name: value for name, value in tensors.items() if not name.startswith(read)}
    sight = cavp_net.cavp_keys(read_tensors(parts["cavp"]))
    config = _sizes(file, denoiser, codec) | {"cavp": _cavp_sizes(sight, parts["cavp"])}
    config["control_depth"] = max(1, int(0.2 * _count(denoiser, "transformer.layers.")))
    networks, reports = _with_parts(file, config, parts)
    controlled: ControlledDiT = networks["denoiser"]  # type: ignore[assignment]
    reports += [
        fill(controlled.model, denoiser | strangers, component="denoiser.model", source=file, ignored=_SAO_IGNORED),
        fill(networks["codec"], codec, component="codec", source=file),
        fill(networks["cavp"], sight, component="cavp", source=parts["cavp"], ignored=cavp_net.IGNORED),
    ]
    branch = controlled.controlnet
    wanted = branch.state_dict()
    start = {name: value.clone() for name, value in controlled.model.state_dict().items() if name in wanted}
    start |= {name: torch.zeros(value.shape) for name, value in wanted.items() if name.startswith("conv_")}
    branch.load_state_dict(start, assign=True)
    projections = {}
    generator = torch.Generator().manual_seed(PROJECTION_SEED)
    widths = {"frames": config["cavp"]["embed_dim"], "audio": config["clap"]["projection_dim"]}
    for kind, width in widths.items():  # as a linear map is born
        module = networks["conditioner"].get_submodule(f"conditioners.{kind}.proj_out")
        for name, value in module.state_dict().items():
            drawn = torch.rand(value.shape, generator=generator) * 2 - 1
            projections[f"conditioners.{kind}.proj_out.{name}"] = drawn * width**-0.5
    reports.append(fill(networks["conditioner"], numbers | projections, component="conditioner", source=file))
    return Loaded("stable_foley", config, networks, reports, BRANCH_ALONE)


def _with_parts(
    file: Path, config: dict[str, Any], parts: dict[str, Path]
) -> tuple[dict[str, nn.Module], list[KeyReport]]:
    """Adds CLAP's and the mapper's sizes to `config`, builds all networks without memory, and fills these two."""
    config["clap"], heard, clap_file = _read_clap(parts["clap"])
    mapper = None
    if "rms_mapper" in parts:
        mapper = parts["rms_mapper"]
        config["rms_mapper"] = dict(vars(mapper_config(mapper)))
    try:
        with skeleton():
            networks = build(config)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(f"{file}: its tensors do not describe Stable-Foley's networks: {error}") from error
    ignored = ear.IGNORED | ear.TEXT | ear.SCALES
    reports = [fill(networks["clap"], heard, component="clap", source=clap_file, ignored=ignored)]
    if mapper is not None:
        reports.append(fill(networks["rms_mapper"], read_tensors(mapper), component="rms_mapper", source=mapper))
    return networks, reports


def _sizes(file: Path, base: Mapping[str, Tensor], codec: Mapping[str, Tensor]) -> dict[str, Any]:
    """The configuration that these tensors of the base and of the codec have."""
    config: dict[str, Any] = json.loads(json.dumps(FULL))
    try:
        embed = base["transformer.project_in.weight"].shape[0]
        cond, tokens = base["to_cond_embed.0.weight"].shape[::-1]
        config["denoiser"] |= {
            "io_channels": base["preprocess_conv.weight"].shape[0],
            "embed_dim": embed,
            "depth": _count(base, "transformer.layers."),
            "num_heads": embed // 64,
            "cond_token_dim": cond,
            "project_cond_tokens": tokens != cond,
            "global_cond_dim": base["to_global_embed.0.weight"].shape[1],
            "ff_kwargs": {"mult": base["transformer.layers.0.ff.ff.0.proj.weight"].shape[0] / 2 / embed},
        }
        config["conditioner"]["cond_dim"] = cond
        config["codec"] = _codec_sizes(codec)
    except KeyError as error:
        raise BadInputError(
            f"{file} is neither a checkpoint of Stable-Foley nor Stable Audio Open: it has no {error}"
        ) from error
    for described in model_configs(file).values():
        config["denoiser"]["num_heads"] = described["model"]["diffusion"]["config"]["num_heads"]
        config["sample_rate"] = described["sample_rate"]
    return config


def _codec_sizes(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    channels, audio, _ = tensors["encoder.layers.0.weight_v"].shape
    blocks = _count(tensors, "encoder.layers.") - 3  # a convolution in front, an activation and one behind
    strided = [tensors[f"encoder.layers.{i + 1}.layers.4.weight_v"] for i in range(blocks)]
    strides = [v.shape[2] // 2 for v in strided]
    widths = [v.shape[0] // channels for v in strided]
    both = {"channels": channels, "c_mults": widths, "strides": strides, "use_snake": True}
    latent = tensors["decoder.layers.0.weight_v"].shape[1]
    return {
        "encoder": {"type": "oobleck", "config": {"in_channels": audio, **both, "latent_dim": 2 * latent}},
        "decoder": {
            "type": "oobleck",
            "config": {"out_channels": audio, **both, "latent_dim": latent, "final_tanh": False},
        },
        "bottleneck": {"type": "vae"},
        "latent_dim": latent,
        "downsampling_ratio": math.prod(strides),
        "io_channels": audio,
    }


def _cavp_sizes(tensors: Mapping[str, Tensor], file: Path) -> dict[str, Any]:
    try:
        return {
            "base_channels": tensors["video_encoder.conv1.conv.weight"].shape[0],
            "stage_blocks": [_count(tensors, f"video_encoder.layer{i}.") for i in range(1, 5)],
            "embed_dim": tensors["video_project_head.weight"].shape[0],
        }
    except KeyError as error:
        raise BadInputError(f"{file} holds no CAVP: it has no {error}") from error


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """How many different numbers follow `prefix`: the length of a module list."""
    return len({name.removeprefix(prefix).split(".")[0] for name in tensors if name.startswith(prefix)})


def _read_clap(place: Path) -> tuple[dict[str, Any], dict[str, Tensor], Path]:
    """Sizes and tensors, under transformers' names, of LAION's file or a transformers folder; and the file."""
    if not place.is_dir():
        tensors = ear.unprefixed(read_tensors(place))
        try:
            return ear.tower_of(tensors), ear.laion_keys(tensors), place
        except ValueError as error:
            raise BadInputError(f"--part clap={place}: {error}") from error
    file = next((place / n for n in ("model.safetensors", "pytorch_model.bin") if (place / n).is_file()), None)
    described = place / "config.json"
    if file is None or not described.is_file():
        raise BadInputError(f"--part clap={place} should hold config.json and model.safetensors or pytorch_model.bin")
    try:
        sizes = ear.sizes_of(json.loads(described.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadInputError(f"{described} does not describe a CLAP: {error}") from error
    return sizes, read_tensors(file), file


# The envelope ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Envelope:
    """wave: the envelope as a waveform [N] float32 at the system's rate, None where nothing leads. told: 100 Hz."""

    wave: np.ndarray | None
    told: Track | None
    onsets: Onsets | None = None
    mode: str = "loudness"
    notes: tuple[str, ...] = ()


# The system ------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class FoleyPlan:
    """What was decided before any sound is made (see `synchresis.systems.request.Plan`).

    `wave` [latents * ratio] is the envelope as a waveform, None for the "no control" of training. `sight` [S, 512]:
    value i is the picture at i / 4 s. `heard` [1, 512] is CLAP's embedding of the sound to be like.
    """

    mode: str
    duration: Fraction
    rate: int
    onsets: Onsets | None
    told: Track | None
    wave: np.ndarray | None
    sight: Track
    heard: Tensor | None
    latents: int
    window: int
    overlap: int
    seed: int
    steps: int
    guidance: float
    sampler: str
    settings: Settings
    notes: list[str]


class StableFoley(Published):
    """Sound for a picture under an envelope. Load with `synchresis.load("stable_foley", weights=…, parts={…})`."""

    name = "stable_foley"

    def __init__(self, loaded: Loaded, device: str) -> None:
        super().__init__(loaded, device)
        parts = loaded.components
        self.denoiser: ControlledDiT = parts["denoiser"]  # type: ignore[assignment]
        self.codec: Oobleck = parts["codec"]  # type: ignore[assignment]
        self.control_codec: Oobleck = parts.get("control_codec", self.codec)  # type: ignore[assignment]
        self.conditioner: Conditions = parts["conditioner"]  # type: ignore[assignment]
        self.cavp: CAVP = parts["cavp"]  # type: ignore[assignment]
        self.clap = parts["clap"]
        self.mapper: RMSMapper | None = parts.get("rms_mapper")  # type: ignore[assignment]
        self.rate: int = loaded.config["sample_rate"]
        self.latent_rate = Fraction(self.rate, self.codec.config.ratio)

    # What to make

    def prepare(self, clip: Clip, request: SoundRequest, progress: Progress = quiet) -> FoleyPlan:
        """Looks at the film, hears the reference, and finds the envelope that is to lead."""
        need_picture(clip)
        if request.prompt is not None:
            raise BadInputError("stable_foley takes no words: say how it should sound by --like FILE")
        if request.onsets is not None and request.envelope != "auto":
            raise BadInputError("stable_foley follows one envelope: give --onsets or --envelope, not both")
        settings = settings_of(Settings, request.settings, self.name)
        sampler = sampler_named(settings.sampler, V)
        check_sigmas(sampler, settings.sigma_min, settings.sigma_max)
        if not 0 <= settings.overlap < 1 or settings.window < 0 or settings.level < 0:
            raise BadInputError("--set overlap= must lie in 0..1 (below 1), window= and level= not be below 0")

        heard, notes = self._heard(request.like)
        look = self.config["frames"]
        sight = eye.frame_features(
            self.cavp, clip, look["rate"], look["side"], progress=lambda done: progress("watch", done)
        )
        latents = -(-sample_count(clip.duration, self.rate) // self.codec.config.ratio)
        envelope = self._envelope(clip, request, settings, sight, latents * self.codec.config.ratio, progress)
        window = self.config["window"]
        if settings.window:
            window = max(1, int(settings.window * float(self.latent_rate)))
        if window < latents:
            notes.append(f"denoised in windows of {float(window / self.latent_rate):.2f} s")
        return FoleyPlan(
            mode=envelope.mode,
            duration=clip.duration,
            rate=self.rate,
            onsets=envelope.onsets,
            told=envelope.told,
            wave=envelope.wave,
            sight=sight,
            heard=heard,
            latents=latents,
            window=min(window, latents),
            overlap=int(min(window, latents) * settings.overlap),
            seed=request.seed,
            steps=STEPS if request.steps is None else request.steps,
            guidance=GUIDANCE if request.guidance is None else request.guidance,
            sampler=sampler,
            settings=settings,
            notes=[*notes, *envelope.notes],
        )

    def _heard(self, like: Path | None) -> tuple[Tensor | None, list[str]]:
        """CLAP's embedding [1, D] of the reference, as this checkpoint's training let CLAP hear."""
        if like is None:
            return None, ["no --like: the sound's token is zero, as in the null of guidance; the picture alone speaks"]
        quirks = self.config["quirks"]
        sound, notes = reference_sound(like, quirks["clap_rate"])
        return ear.embed_sound(self.clap, sound, "fusion" if quirks["clap_mel"] == "htk" else "clap"), notes

    def _envelope(
        self, clip: Clip, request: SoundRequest, settings: Settings, sight: Track, samples: int, progress: Progress
    ) -> Envelope:
        """From a file or recording, a file of onsets, the mapper, or pocket's watcher; in this order."""
        if request.envelope != "auto":
            return self._given(Path(request.envelope), clip.duration, settings, samples)
        if request.onsets is not None:
            onsets = read_onsets(request.onsets)
            loudness = struck(onsets, clip.duration)
            return Envelope(self._wave(loudness, samples, settings.level), loudness, onsets, "onsets")
        if self.mapper is not None:
            return self._predicted(clip, sight, samples)
        return self._watched(clip, settings, samples, progress)

    def _wave(self, curve: Track, samples: int, level: float, final: bool = False) -> np.ndarray:
        return wave_of_curve(curve, samples, self.rate, final, level, self.config["envelope"])

    def _given(self, path: Path, duration: Fraction, settings: Settings, samples: int) -> Envelope:
        if path.suffix.lower() == ".npy":
            return self._codes(path, duration, samples)
        told = read_loudness(path)
        notes = []
        if told.span.end < duration - 1 / self.latent_rate:  # nearer, the film's own sound ends like the film
            notes.append(f"the envelope ends at {float(told.span.end):.2f} s: silence after it")
        if path.suffix.lower() in (".csv", ".json", ".mid", ".midi"):
            wave = self._wave(told, samples, settings.level, settings.curve == "final")
        else:
            recording = read_sound(probe(path), rate=self.rate, mono=True).values[:samples]
            peak = float(np.abs(recording).max(initial=0.0))
            if not math.isfinite(peak) or peak < 1e-4:
                raise BadInputError(f"{path} is silent or holds values that are not numbers: it tells no envelope")
            filters = self.config["envelope"]
            recording = np.pad(recording / peak, (0, samples - len(recording)))
            wave = rms.envelope_of(recording, filters["rms_window"], filters["box_window"]).astype(np.float32)
        return Envelope(wave, told, notes=tuple(notes))

    def _codes(self, path: Path, duration: Fraction, samples: int) -> Envelope:
        """The published first stage's file: classes 0..63, the first at the film's beginning, the last at its end."""
        try:
            codes = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise BadInputError(f"{path} is not a file of loudness classes: {error}") from error
        if codes.ndim != 1 or not len(codes) or codes.dtype.kind not in "iu" or codes.min() < 0 or codes.max() > 63:
            raise BadInputError(f"{path} should hold one row of whole numbers 0..63, not {codes.dtype} {codes.shape}")
        length = sample_count(duration, self.rate)
        wave = np.pad(rms.curve_of(codes, length), (0, samples - length))
        return Envelope(wave, rms_envelope(Track(wave[:length], Fraction(self.rate))))

    def _predicted(self, clip: Clip, sight: Track, samples: int) -> Envelope:
        """Video2RMS: class i is the envelope at i / 30 s, straight lines between."""
        assert self.mapper is not None
        features = mapper_features(clip, sight)
        classes = predicted_classes(self.mapper, torch.from_numpy(features.values)).numpy()
        instants = np.arange(len(classes)) / (float(features.rate) * self.mapper.config.labels_per_frame)
        wave = np.interp(np.arange(samples) / self.rate, instants, rms.expanded(classes)).astype(np.float32)
        return Envelope(wave, rms_envelope(Track(wave, Fraction(self.rate))))

    def _watched(self, clip: Clip, settings: Settings, samples: int, progress: Progress) -> Envelope:
        """pocket's watcher, trusted as far as pocket trusts it."""
        from synchresis.encoders.watcher import pick, watch
        from synchresis.systems.packaged import packaged_watcher
        from synchresis.systems.pocket import SURE, UNSURE, seen_loudness, sureness

        watched = watch(clip, packaged_watcher(), lambda done: progress("watch", done))
        onsets = pick(watched)
        confidence = sureness(watched, onsets)
        if confidence < UNSURE:
            note = (
                f"the watcher sees nothing that sounds (confidence {confidence:.2f}): no envelope leads; "
                "--onsets or --envelope override"
            )
            return Envelope(None, None, mode="prompt", notes=(note,))
        if confidence >= SURE and len(onsets):
            loudness = struck(onsets, clip.duration)
            return Envelope(self._wave(loudness, samples, settings.level), loudness, onsets, "onsets")
        loudness = seen_loudness(watched, onsets, clip.duration)
        note = f"the watcher is unsure of onsets (confidence {confidence:.2f}): the loudness it sees leads"
        return Envelope(self._wave(loudness, samples, settings.level), loudness, notes=(note,))

    # Sounding

    def stream(self, plan: FoleyPlan, progress: Progress = quiet) -> Iterator[np.ndarray]:
        """The sound of a plan in blocks [n, channels] float32, exactly as long as the picture."""
        latents = sample(
            self.network(plan),
            self.codec.config.latent_dim,
            plan.latents,
            seed=plan.seed,
            sampler=plan.sampler,
            steps=plan.steps,
            sigma_min=plan.settings.sigma_min,
            sigma_max=plan.settings.sigma_max,
            objective=V,
            device=self.device,
            progress=progress,
        )
        blocks = sound_blocks(self.codec, latents, sample_count(plan.duration, self.rate), progress)
        return peak_normalised(blocks) if plan.settings.normalise else blocks

    @torch.no_grad()
    def control(self, plan: FoleyPlan) -> Tensor:
        """The envelope's latents [1, C, latents], or those of the waveform that means "no control"."""
        samples = plan.latents * self.codec.config.ratio
        wave = torch.full((samples,), NO_CONTROL) if plan.wave is None else torch.from_numpy(plan.wave)
        mean, spread = encode_envelope(self.control_codec, wave)
        if not (plan.settings.envelope_sampled or self.config["quirks"]["envelope_sampled"]):
            return mean
        noise = normal(plan.seed, mean.shape[1], 0, plan.latents, ENVELOPE_STREAM)
        return Oobleck.sample(mean, spread, torch.from_numpy(noise)[None].to(mean))

    def network(self, plan: FoleyPlan) -> Network:
        """The guided denoiser of the whole film; what does not depend on the step is computed here."""
        control = self.control(plan)

        @torch.no_grad()
        def make(spans: Sequence[Span]) -> Network:
            conditions = {
                **self.conditions(plan, spans),
                "control": cut(control, spans),
                "scale_embeds": plan.settings.strength,
            }
            phi = plan.settings.scale_phi
            return classifier_free(self.denoiser, conditions, plan.guidance, dropped=("cross",), scale_phi=phi)

        return windowed(make, plan.latents, plan.window, plan.overlap, batch=1)

    def conditions(self, plan: FoleyPlan, spans: Sequence[Span]) -> dict[str, Tensor]:
        """What both networks are told about each window: the pictures in it, the sound to be like, two numbers."""
        sight, rows = plan.sight, len(plan.sight)
        if plan.window < plan.latents:
            rows = min(rows, max(1, math.floor(plan.window / self.latent_rate * sight.rate)))
        seen = []
        for start, _ in spans:
            first = min(round(start / self.latent_rate * sight.rate), len(sight) - rows)
            seen.append(torch.from_numpy(sight.values[first : first + rows]))
        starts = [float(start / self.latent_rate) for start, _ in spans]
        totals = [float(plan.duration)] * len(spans)
        if self.config["quirks"]["seconds_constant"]:
            starts, totals = [SECONDS[0]] * len(spans), [SECONDS[1]] * len(spans)
        return self.conditioner(
            torch.stack(seen).to(self.device),
            None if plan.heard is None else plan.heard.to(self.device).expand(len(spans), -1),
            torch.tensor(starts, device=self.device),
            torch.tensor(totals, device=self.device),
        )
