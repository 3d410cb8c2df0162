"""VTA-LDM: a latent diffusion UNet that hears a film through frame features (Xu et al. 2024, arXiv 2407.07464).

CLIP looks at two pictures a second. Each embedding goes through one linear layer, and the sequence is what a UNet of
Stable Diffusion's shape attends to while it denoises AudioLDM's latents; AudioLDM's autoencoder and vocoder make
16 kHz mono of them. Films up to the trained 10.24 s are denoised at once, longer ones in windows that share one noise.

The authors published the first of their models. The others differ in what looks (`synchresis.encoders.video`), in words
put before the pictures, and in positions: here they are configurations. Source: VTA-LDM spec; what the published code
does and we do differently is listed in docs/vta_ldm.md.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from synchresis.codecs import audioldm
from synchresis.codecs.audioldm import RATE, MelCodec
from synchresis.diffusion.guidance import Branch, guided
from synchresis.diffusion.noise import noise_source
from synchresis.diffusion.objectives import Network
from synchresis.diffusion.windows import Span, windowed
from synchresis.encoders import clip as clip_eye
from synchresis.encoders import clip_text, video
from synchresis.errors import BadInputError
from synchresis.media import Clip
from synchresis.systems import config_of
from synchresis.systems.latent_unet import (
    DEFAULT_STEPS,
    OVERLAP,
    SAMPLERS,
    SD_21,
    SPACINGS,
    WINDOW,
    Denoiser,
    Schedule,
    fill_codec,
    latent_count,
    padded,
    sample,
    sound_blocks,
    summary,
)
from synchresis.systems.published import Published, need_picture
from synchresis.systems.request import Progress, SoundRequest, quiet, settings_of
from synchresis.systems.video_weights import read as read_encoder
from synchresis.systems.video_weights import weights_in
from synchresis.systems.weights import (
    Loaded,
    fill,
    read_tensors,
    skeleton,
    taken,
)
from synchresis.timeline import Track, sample_count
from synchresis.timeline.onsets import Onsets

GUIDANCE = 3.0

# What is published ----------------------------------------------------------------------------------

UNET: dict[str, Any] = {  # configs/diffusion_model_config_large_2048.json, as far as it says more than the defaults
    "sample_size": [32, 2],
    "in_channels": 8,
    "out_channels": 8,
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    "block_out_channels": [320, 640, 640, 1280],
    "attention_head_dim": [5, 10, 20, 20],  # how many heads, whatever the name says
    "layers_per_block": 2,
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "upcast_attention": True,
}
UNET_FILES = {
    "diffusion_model_config_large_2048.json": UNET,
    "diffusion_model_config_large.json": UNET | {"cross_attention_dim": 1024},
}
SCHEDULERS = ("stabilityai/stable-diffusion-2-1", "stabilityai/stable-diffusion-2-1-base")

# What the published checkpoint was trained with and a new one would not be.
QUIRKS: dict[str, bool] = {
    "raw_pixels": True,       # CLIP gets values 0..1 without its mean and spread
    "zero_null": True,        # guidance is against zeros after the linear layer; else against that of no picture
    "leading_spacing": True,  # DDPM's timesteps begin at 898 of 999
}
OUR_QUIRKS: dict[str, bool] = {"raw_pixels": False, "zero_null": True, "leading_spacing": False}

PARTS = {
    "tokenizer": "CLIP's tokenizer.json, only to give the model words (--prompt), which it was trained without: a "
    "folder or hub id, openai/clip-vit-large-patch14",
    "audioldm": "audioldm-s-full.ckpt, only where the published folder lacks it",
}


def _base(unet: Mapping[str, Any], encoder: Mapping[str, Any], codec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "unet": dict(unet),
        "scheduler": SD_21,
        "encoder": dict(encoder),
        "text": None,
        "positions": False,
        "codec": dict(codec),
        "quirks": OUR_QUIRKS,
    }


_SMALL_UNET = UNET | {
    "block_out_channels": [32, 32, 64, 64],
    "attention_head_dim": [2, 2, 4, 4],
    "layers_per_block": 1,
    "cross_attention_dim": 48,
}


def _sizes() -> dict[str, dict[str, Any]]:
    """The published model, then the variants of its README, each at full size and small."""
    sizes: dict[str, dict[str, Any]] = {}
    for size, unet, encoders, codec, text in (
        ("full", UNET, video.FULL, audioldm.FULL, clip_text.VIT_L_14),
        ("small", _SMALL_UNET, video.SMALL, audioldm.SMALL, clip_text.SMALL),
    ):
        base = _base(unet, encoders["clip"], codec)
        sizes[size] = base | {"quirks": QUIRKS}
        for kind in video.KINDS[1:]:
            sizes[f"{size}-{kind}"] = base | {"encoder": encoders[kind]}
        sizes[f"{size}-text"] = base | {"text": text}
        sizes[f"{size}-pe"] = base | {"positions": True}
    return sizes


SIZES = _sizes()


@dataclass(frozen=True)
class Settings:
    """What can be told to VTA-LDM besides seed, steps and guidance."""

    sampler: str = field(
        default="ddpm",
        metadata={"help": "ddpm as published (300 steps), dpmpp or unipc (25 steps)", "choices": SAMPLERS},
    )
    spacing: str = field(
        default="auto",
        metadata={
            "help": "which noise levels the steps stand at; auto: the sampler's own",
            "choices": ("auto", *SPACINGS),
        },
    )
    frames: str = field(
        default="time",
        metadata={
            "help": "pictures by their time, or by number as the published code counts them, which drifts by 3.3 % at "
            "29.97 fps",
            "choices": ("time", "number"),
        },
    )
    length: str = field(
        default="film",
        metadata={
            "help": "how much is denoised: as long as the film, or never less than the trained 10.24 s, cut afterwards",
            "choices": ("film", "trained"),
        },
    )


# The networks ---------------------------------------------------------------------------------------


def build(config: Mapping[str, Any]) -> dict[str, nn.Module]:
    """The networks by name: "unet", "encoder", "projection", "codec", and "text" where the model takes words.

    Raises KeyError, TypeError or ValueError for a configuration that describes none.
    """
    from diffusers import UNet2DConditionModel

    networks: dict[str, nn.Module] = {
        "unet": UNet2DConditionModel(**config["unet"]),
        "encoder": video.build(config["encoder"]),
        "projection": nn.Linear(video.width(config["encoder"]), config["unet"]["cross_attention_dim"]),
        "codec": MelCodec(config["codec"]),
    }
    Schedule.from_dict(config["scheduler"])
    if config["unet"]["in_channels"] != networks["codec"].channels:
        raise ValueError("the UNet and the codec do not have the same channels")
    if strangers := config["quirks"].keys() ^ QUIRKS.keys():
        raise ValueError(f"quirks are {', '.join(QUIRKS)}: see {', '.join(sorted(strangers))}")
    if config["text"] is not None:
        text = config["text"] if "tokenizer_bytes" in config["text"] else clip_text.untrained(config["text"])
        if text["network"]["projection_dim"] != video.width(config["encoder"]):
            raise ValueError("words and pictures go through one linear layer: their embeddings must be as wide")
        networks["text"] = clip_text.ClipText(text)
    return networks


# Published files ------------------------------------------------------------------------------------

_EXTRACTOR = "vid_fea_extractor."
_IGNORED = {
    r".*\.position_ids": "a list of numbers 0, 1, 2 … that is not learned",
    rf"{re.escape(_EXTRACTOR)}clip_text\..*": "CLIP's text tower: no tokenizer was given",
}
_ELSEWHERE = ("ib", "lb", "jepa", "cavp", "vivit", "denseav", "of")


def read_original(path: Path, parts: dict[str, Path]) -> Loaded:
    """The published accelerate folder: summary.jsonl, pytorch_model_2.bin and audioldm-s-full.ckpt.

    `pytorch_model.bin` is the codec without its scale, and `_1` the mel front end: both are left. Raises BadInputError
    naming what is missing or does not fit.
    """
    if not path.is_dir():
        raise BadInputError(f"{path} should be the published folder, with summary.jsonl and pytorch_model_2.bin")
    arguments = summary(path / "summary.jsonl")
    unet_config, scheduler = _described(path, arguments)
    file = path / "pytorch_model_2.bin"
    tensors = read_tensors(file)
    looking = taken(tensors, f"{_EXTRACTOR}clip_vision.")
    reading = taken(tensors, f"{_EXTRACTOR}clip_text.")
    linear = taken(tensors, f"{_EXTRACTOR}linear_layer.")
    unet = taken(tensors, "unet.")
    prefixes = ("unet.", *(f"{_EXTRACTOR}{part}." for part in ("clip_vision", "linear_layer")))
    rest = {name: value for name, value in tensors.items() if not name.startswith(prefixes)}
    config: dict[str, Any] = {
        "unet": unet_config,
        "scheduler": scheduler,
        "encoder": video.FULL["clip"] | {"normalise": False, "network": _vision_sizes(file, looking)},
        "text": None,
        "positions": bool(arguments.get("pe")),
        "codec": audioldm.FULL,
        "quirks": QUIRKS,
    }
    if "tokenizer" in parts:
        tokenizer = clip_text.read_tokenizer(parts["tokenizer"])
        config["text"] = {"network": _text_sizes(file, reading), "tokenizer_bytes": len(tokenizer)}
        rest = {name: value for name, value in rest.items() if not name.startswith(f"{_EXTRACTOR}clip_text.")}
    try:
        with skeleton():
            networks = build(config)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(f"{path}: its configuration does not describe VTA-LDM's networks: {error!r}") from error
    reports = [
        fill(networks["unet"], unet | rest, component="unet", source=file, ignored=_IGNORED),
        fill(networks["encoder"], looking, component="encoder", source=file, ignored=_IGNORED),
        fill(networks["projection"], linear, component="projection", source=file),
    ]
    if "text" in networks:
        words = {f"tower.{name}": value for name, value in reading.items()} | {"tokenizer_json": tokenizer}
        reports.append(fill(networks["text"], words, component="text", source=file, ignored=_IGNORED))
    reports.append(fill_codec(networks["codec"], parts.get("audioldm", path / "audioldm-s-full.ckpt")))
    return Loaded("vta_ldm", config, networks, reports)


def _described(path: Path, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The UNet's configuration and the scheduler's: from files in the folder, else those that are known by name."""
    other = [name for name in _ELSEWHERE if arguments.get(name)]
    if other or "clip" not in str(arguments.get("fea_encoder_name", "clip")):
        raise BadInputError(
            f"{path / 'summary.jsonl'} is of a model that looks through {', '.join(other) or 'another network'}: its "
            "layout was never published"
        )
    if arguments.get("unet_model_name"):
        raise BadInputError(f"{path / 'summary.jsonl'}: a pretrained image UNet (unet_model_name) is not known here")
    unet_name = Path(str(arguments.get("unet_model_config"))).name
    unet = _json_in(path, unet_name) or UNET_FILES.get(unet_name)
    scheduler_name = str(arguments.get("scheduler_name"))
    scheduler = _json_in(path, "scheduler_config.json") or (SD_21 if scheduler_name in SCHEDULERS else None)
    if unet is None or scheduler is None:
        lost = unet_name if unet is None else f"scheduler_config.json of {scheduler_name}"
        raise BadInputError(f"{path} names a configuration that is not known: put {lost} into the folder")
    unet = {name: value for name, value in unet.items() if not name.startswith("_") and name != "dual_cross_attention"}
    return unet, {name: value for name, value in scheduler.items() if not name.startswith("_")}


def _json_in(path: Path, name: str) -> dict[str, Any] | None:
    if not (path / name).is_file():
        return None
    try:
        return json.loads((path / name).read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInputError(f"{path / name} is not JSON: {error}") from error


def _vision_sizes(file: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Sizes of CLIP's eye, read off its tensors; 64 numbers a head, as in all of OpenAI's."""
    try:
        patches = tensors["vision_model.embeddings.patch_embedding.weight"]
        places = tensors["vision_model.embeddings.position_embedding.weight"]
        hidden, patch = patches.shape[0], patches.shape[-1]
        return clip_eye.VIT_L_14 | {
            "hidden_size": hidden,
            "intermediate_size": tensors["vision_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
            "num_hidden_layers": _layers(tensors),
            "num_attention_heads": max(hidden // 64, 1),
            "image_size": math.isqrt(places.shape[0] - 1) * patch,
            "patch_size": patch,
            "projection_dim": tensors["visual_projection.weight"].shape[0],
        }
    except KeyError as error:
        raise BadInputError(f"{file} lacks CLIP's eye: {_EXTRACTOR}clip_vision.{error.args[0]}") from error


def _text_sizes(file: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    try:
        words = tensors["text_model.embeddings.token_embedding.weight"]
        return clip_text.VIT_L_14 | {
            "vocab_size": words.shape[0],
            "hidden_size": words.shape[1],
            "intermediate_size": tensors["text_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
            "num_hidden_layers": _layers(tensors),
            "num_attention_heads": max(words.shape[1] // 64, 1),
            "projection_dim": tensors["text_projection.weight"].shape[0],
            "bos_token_id": words.shape[0] - 2,
            "eos_token_id": words.shape[0] - 1,
            "pad_token_id": words.shape[0] - 1,
        }
    except KeyError as error:
        raise BadInputError(f"{file} lacks CLIP's text tower: {_EXTRACTOR}clip_text.{error.args[0]}") from error


def _layers(tensors: Mapping[str, Tensor]) -> int:
    return 1 + max(int(m[1]) for name in tensors if (m := re.search(r"\.layers\.(\d+)\.", name)))


def begin(size: str, parts: Mapping[str, Path], pretrained: Path | None = None, seed: int = 0) -> Loaded:
    """A variant before its training: networks of others with their weights, UNet and linear layer drawn from `seed`.

    `size` is one of `SIZES`; `parts` are "encoder" (see `video.SOURCES`), "audioldm", and with words "text" (CLIP's
    folder, tokenizer and all). `pretrained` is a UNet to start from (+pretrain): its own state, or that of a model
    which has it under `unet.`. Raises BadInputError for parts that are missing or do not fit.
    """
    config, size = config_of("vta_ldm", size)
    config["quirks"] = dict(OUR_QUIRKS)
    wanted = {"encoder", "audioldm"} | ({"text"} if config["text"] is not None else set())
    if parts.keys() != wanted:
        raise BadInputError(f"{size} begins with the parts {', '.join(sorted(wanted))}, not {', '.join(sorted(parts))}")
    config["encoder"], encoder, seen = read_encoder(config["encoder"]["kind"], parts["encoder"])
    if config["text"] is not None:
        tokenizer = clip_text.read_tokenizer(parts["text"])
        file = weights_in(parts["text"], "openai/clip-vit-large-patch14")
        words = {name: v for name, v in read_tensors(file).items() if name.startswith("text_")}
        config["text"] = {"network": _text_sizes(file, words), "tokenizer_bytes": len(tokenizer)}
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            networks = build(config)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(f"{size}: these parts do not go together: {error}") from error
    networks["encoder"] = encoder
    reports = [seen, fill_codec(networks["codec"], parts["audioldm"])]
    if "text" in networks:
        named = {f"tower.{name}": value for name, value in words.items()} | {"tokenizer_json": tokenizer}
        reports.append(fill(networks["text"], named, component="text", source=file, ignored=_IGNORED))
    if pretrained is not None:
        tensors = read_tensors(pretrained)
        state = taken(tensors, "unet.") or tensors
        reports.append(fill(networks["unet"], state, component="unet", source=pretrained))
    return Loaded("vta_ldm", config, networks, reports)


# Which pictures -------------------------------------------------------------------------------------


def published_numbers(count: int, fps: Fraction, rate: int = 2) -> list[int]:
    """Which frames the published code asks for, of a file that says it has `count` at `fps` (spec 7.1).

    It cuts fps to a whole number, so that of 29.97 it takes every 14.5th as if there were 29 a second.
    """
    whole = math.floor(fps)
    if whole < 1:
        raise BadInputError(f"{float(fps):g} pictures a second: counted by number there are none; --set frames=time")
    return [i * whole // rate for i in range(rate * math.ceil(count / whole))]


# The system -----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class VtaPlan:
    """What was decided before any sound is made (see `synchresis.systems.request.Plan`).

    `features` [S, D]: value i was seen at i / rate. `words` [1, D] is the prompt's embedding.
    """

    duration: Fraction
    features: Track
    words: Tensor | None
    latents: int
    seed: int
    steps: int
    guidance: float
    sampler: str
    spacing: str | None
    notes: list[str]
    rate: int = RATE
    mode: str = "picture"
    onsets: Onsets | None = None
    told: Track | None = None


class VtaLdm(Published):
    """Sound for a film of any length, 16 kHz mono. Load with `synchresis.load("vta_ldm", weights=FOLDER)`."""

    name = "vta_ldm"
    rate = RATE

    def __init__(self, loaded: Loaded, device: str) -> None:
        super().__init__(loaded, device)
        config = loaded.config
        self.codec: MelCodec = loaded.components["codec"]  # type: ignore[assignment]
        self.projection = loaded.components["projection"]
        self.text: clip_text.ClipText | None = loaded.components.get("text")  # type: ignore[assignment]
        self.quirks: Mapping[str, bool] = config["quirks"]
        looks = config["encoder"]
        if looks["kind"] == "clip":
            looks = looks | {"normalise": not self.quirks["raw_pixels"]}
        self.encoder = video.encoder(looks, loaded.components["encoder"])
        self.schedule = Schedule.from_dict(config["scheduler"])
        self.positions: bool = config["positions"]
        self.denoiser = Denoiser(loaded.components["unet"], self.codec.bins)

    # What to make

    def prepare(self, clip: Clip, request: SoundRequest, progress: Progress = quiet) -> VtaPlan:
        """Looks at the film, and settles how it is sampled."""
        need_picture(clip)
        given: dict[str, object] = {"--like": request.like, "--onsets": request.onsets}
        given["--envelope"] = None if request.envelope == "auto" else request.envelope
        if wishes := [option for option, value in given.items() if value is not None]:
            raise BadInputError(f"vta_ldm follows the picture: leave out {', '.join(wishes)}")
        settings = settings_of(Settings, request.settings, self.name)
        notes = []
        if request.prompt and self.text is None:
            raise BadInputError(
                "this vta_ldm takes no words: leave out --prompt, or load the published weights with "
                "--part tokenizer=openai/clip-vit-large-patch14"
            )
        if request.prompt and self.quirks["raw_pixels"]:
            notes.append("the published weights were trained without words: expect little of --prompt")
        latents = latent_count(clip.duration, self.codec, self.loaded.config["unet"])
        if settings.length == "trained":
            latents = max(latents, WINDOW)
        if latents > WINDOW:
            notes.append(f"denoised in windows of {WINDOW / self.codec.latent_rate:.2f} s, the trained length")
        spacing = None if settings.spacing == "auto" else settings.spacing
        if spacing is None and settings.sampler == "ddpm" and not self.quirks["leading_spacing"]:
            spacing = "trailing"
        return VtaPlan(
            duration=clip.duration,
            features=self._features(clip, settings, progress),
            words=self.text([request.prompt]) if request.prompt and self.text is not None else None,
            latents=latents,
            seed=request.seed,
            steps=DEFAULT_STEPS[settings.sampler] if request.steps is None else request.steps,
            guidance=GUIDANCE if request.guidance is None else request.guidance,
            sampler=settings.sampler,
            spacing=spacing,
            notes=notes,
        )

    def _features(self, clip: Clip, settings: Settings, progress: Progress) -> Track:
        def looked(done: float) -> None:
            progress("watch", done)

        if settings.frames == "time":
            return self.encoder.look(clip, looked)
        if self.encoder.kind != "clip" or clip.video is None:
            raise BadInputError("--set frames=number is how the published CLIP model looks: leave it out")
        fps = clip.video.fps
        numbers = published_numbers(sample_count(clip.duration, fps), fps, int(self.encoder.rate))
        times = [number / fps for number in numbers if number / fps < clip.duration]
        return clip_eye.frame_features(
            self.encoder.network,
            clip,
            rate=self.encoder.rate,
            times=times,
            normalise=not self.quirks["raw_pixels"],
            progress=looked,
        )

    # Sounding

    def stream(self, plan: VtaPlan, progress: Progress = quiet) -> Iterator[np.ndarray]:
        """The sound of a plan in blocks [n, 1] float32 at 16 kHz, exactly as long as the picture."""
        x = sample(
            self.network(plan),
            noise_source([plan.seed], self.codec.channels * self.codec.bins, plan.latents, device=self.device),
            self.schedule,
            sampler=plan.sampler,
            steps=plan.steps,
            spacing=plan.spacing,
            progress=progress,
        )
        return sound_blocks(self.codec, x, sample_count(plan.duration, RATE), progress)

    def network(self, plan: VtaPlan) -> Network:
        """The guided denoiser of the whole film; what does not depend on the step is computed here."""

        @torch.no_grad()
        def make(spans: Sequence[Span]) -> Network:
            context, mask = padded([self.tokens(self._within(plan, span), plan.words) for span in spans])
            null = torch.zeros_like(context) if self.quirks["zero_null"] else self._nothing(context)
            base = {"context": null, "mask": torch.ones_like(mask)}
            return guided(self.denoiser, base, [Branch({"context": context, "mask": mask}, plan.guidance)])

        return windowed(make, plan.latents, WINDOW, OVERLAP, batch=2)

    def _nothing(self, context: Tensor) -> Tensor:
        """What the linear layer makes of no picture, in place of every token."""
        empty = torch.zeros(self.encoder.width, device=context.device)
        return self.projection(empty).expand_as(context).contiguous()

    def _within(self, plan: VtaPlan, span: Span) -> Tensor:
        """The features [S, D] that a window sees: those begun inside it, at least one. A single window sees all."""
        values = torch.from_numpy(plan.features.values).to(self.device)
        if plan.latents <= WINDOW:
            return values
        first, stop = (math.ceil(Fraction(edge, self.codec.latent_rate) * plan.features.rate) for edge in span)
        first = min(first, len(values) - 1)
        return values[first : max(stop, first + 1)]

    def tokens(self, features: Tensor, words: Tensor | None = None) -> Tensor:
        """What the UNet attends to [S, cross]: features [S, D] through the linear layer, the words before them.

        Words come as often as there are pictures (spec 7.2); positions are for pictures alone.
        """
        if words is not None:
            return self.projection(torch.cat([words.to(features).expand(len(features), -1), features]))
        if self.positions:
            features = features + video.positions(*features.shape).to(features)
        return self.projection(features)
