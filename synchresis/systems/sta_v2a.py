"""STA-V2A: words and picture through a control branch over a text-to-audio UNet (Ren et al. 2024, arXiv 2409.08601).

CAVP looks at four pictures a second. A local branch, trained to tell onsets, makes a hidden feature of them at 25 Hz,
the rate of the latents: it is the condition of a ControlNet. A global branch pools them into four tokens, which follow
the prompt's tokens in the context of both the UNet and the ControlNet. AudioLDM's codec makes 16 kHz mono of it all.
Films up to the trained 10.24 s are denoised at once, longer ones in windows that share one noise.

Sources: STA-V2A spec; what the published code does and we do differently is listed in docs/sta_v2a.md.
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
import torch.nn.functional as F
from torch import Tensor, nn

from synchresis.codecs import audioldm
from synchresis.codecs.audioldm import RATE, MelCodec
from synchresis.diffusion.guidance import Branch, guided
from synchresis.diffusion.noise import noise_source, normal
from synchresis.diffusion.objectives import Network
from synchresis.diffusion.windows import Span, windowed
from synchresis.encoders import cavp as eye
from synchresis.encoders import text as reader
from synchresis.encoders.text import TextEncoder
from synchresis.errors import BadInputError
from synchresis.media import Clip
from synchresis.nn import cavp as cavp_net
from synchresis.nn.attentive import AttentivePooling, PoolingConfig
from synchresis.nn.cavp import CAVP, CAVPConfig
from synchresis.nn.onset_head import LocalBranch, LocalConfig
from synchresis.systems import config_of
from synchresis.systems.latent_unet import (
    DEFAULT_STEPS,
    OVERLAP,
    SAMPLERS,
    SD_21,
    SPACINGS,
    WINDOW,
    Schedule,
    columns,
    fill_codec,
    latent_count,
    pictured,
    remember,
    sample,
    sound_blocks,
    summary,
)
from synchresis.systems.published import Published, need_picture
from synchresis.systems.request import Progress, SoundRequest, quiet, settings_of
from synchresis.systems.weights import KeyReport, Loaded, fill, randomise, read_tensors, skeleton, taken
from synchresis.timeline import Onsets, Track, pick_peaks, sample_count

GUIDANCE = 3.0
STEPS = DEFAULT_STEPS | {"ddpm": 200}
BATCH = 2                   # windows denoised at once
TRAINED_SECONDS = 10        # of pictures: 40 rows
KEEP_STREAM = 1 << 40       # the noise of the pooling's dropout, out of the way of the sampler's
ONSET_THRESHOLD = 0.5       # probability from which on a peak is an onset
QUIET, STRUCK, DECAY = 0.004, 0.15, 0.12  # the loudness that `watch` draws: bed, attack (linear RMS), and seconds

# What is published ----------------------------------------------------------------------------------

UNET: dict[str, Any] = {  # inferred (spec section 6): the authors name a folder that is not in their repository
    "sample_size": [256, 16],
    "in_channels": 8,
    "out_channels": 8,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "block_out_channels": [128, 256, 384, 640],
    "attention_head_dim": 8,  # how many heads, whatever the name says
    "layers_per_block": 2,
    "cross_attention_dim": 1024,
}

# What the published checkpoint was trained with, or its code does, and ours would not.
QUIRKS: dict[str, bool] = {
    "controlnet_sees_padding": True,  # the UNet gets the text's mask, the ControlNet attends to padding as well
    "zero_rows_pooled": True,         # a shorter film is the beginning of one of 10.24 s, whose features end in zeros
    "pooling_dropout": False,         # published: True, half of the pooling's hidden values are dropped, always
}
OUR_QUIRKS = dict.fromkeys(QUIRKS, False)

FULL: dict[str, Any] = {
    "unet": UNET,
    "unet_source": "inferred",
    "scheduler": SD_21,
    "local": {"input": 512, "hidden": 256, "width": 128, "windows": [1, 2, 4, 8]},
    "pooling": {"input": 512, "embed": 1024, "tokens": 4},
    "text": reader.MT5_LARGE | {"tokenizer_bytes": 0},
    "cavp": {"base_channels": 64, "stage_blocks": [3, 4, 6, 3], "embed_dim": 512},
    "side": eye.SIDE,
    "codec": audioldm.FULL,
    "video_dropped": False,  # whether training dropped the picture, so that guidance can act on it by itself
    "quirks": QUIRKS,
}

SMALL: dict[str, Any] = FULL | {
    "unet": UNET | {"block_out_channels": [16, 16, 32, 32], "attention_head_dim": 2, "layers_per_block": 1,
                    "cross_attention_dim": 48, "norm_num_groups": 8},
    "local": {"input": 24, "hidden": 32, "width": 16, "windows": [1, 2, 4, 8]},
    "pooling": {"input": 24, "embed": 48, "tokens": 4},
    "text": reader.SMALL | {"tokenizer_bytes": 0},
    "cavp": {"base_channels": 4, "stage_blocks": [1, 1, 1, 1], "embed_dim": 24},
    "side": 64,
    "codec": audioldm.SMALL,
    "video_dropped": True,
    "quirks": OUR_QUIRKS,
}  # fmt: skip

SIZES: dict[str, dict[str, Any]] = {"full": FULL, "small": SMALL}

PARTS = {
    "text": "the tokenizer and config.json of the text encoder whose weights the checkpoint holds: a folder or hub id, "
    "google/mt5-large (or google/flan-t5-large, where summary.jsonl says so)",
    "audioldm": "audioldm-s-full.ckpt with the codec; not needed where it lies in saved/pretrained_model",
    "t2a": "the text-to-audio folder that summary.jsonl names, for the sizes in its unet/config.json; without it they "
    "are those of the published checkpoint as far as known",
    "cavp": "Diff-Foley's cavp_epoch66.ckpt, only where the checkpoint holds no extract_cavp.*",
}


@dataclass(frozen=True)
class Settings:
    """What can be told to STA-V2A besides seed, steps and guidance."""

    sampler: str = field(
        default="ddpm",
        metadata={"help": "ddpm as published (200 steps), dpmpp or unipc (25 steps)", "choices": SAMPLERS},
    )
    spacing: str = field(
        default="auto",
        metadata={
            "help": "which noise levels the steps stand at; auto: the sampler's own",
            "choices": ("auto", *SPACINGS),
        },
    )
    video_guidance: float = field(
        default=1.0,
        metadata={
            "help": "weight of the picture, beside --guidance for the words; only for models whose training dropped "
            "the picture at times, and 1 (no guidance) for all others"
        },
    )


# The networks ---------------------------------------------------------------------------------------


class OnsetCondition(nn.Module):
    """The published condition embedding: one 3 x 3 convolution, zero at the start of training."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.conv_out = nn.Conv2d(width, channels, 3, padding=1)
        for param in self.conv_out.parameters():
            nn.init.zeros_(param)

    def forward(self, onset: Tensor, bins: int) -> Tensor:
        """The onset feature [B, T, width], the same in every band, to [B, channels, T, bins]."""
        return self.conv_out(onset.transpose(1, 2)[..., None].expand(-1, -1, -1, bins))


def build_denoiser(unet_config: Mapping[str, Any], width: int) -> tuple[Any, Any]:
    """The UNet, and its ControlNet with an `OnsetCondition` of `width` channels."""
    from diffusers import ControlNetModel, UNet2DConditionModel

    unet = UNet2DConditionModel(**{k: v for k, v in unet_config.items() if not k.startswith("_")})
    if unet.class_embedding is not None or unet.config.addition_embed_type is not None:
        raise ValueError("a UNet with class or additional embeddings has nothing to embed here")
    control = ControlNetModel.from_unet(unet, load_weights_from_unet=False)
    control.controlnet_cond_embedding = OnsetCondition(width, unet.config.block_out_channels[0])
    return unet, control


@dataclass(frozen=True)
class Prepared:
    """What does not depend on the step: the context [B, S, D], who masks it, and the embedded onset feature."""

    context: Tensor
    mask: Tensor | None
    control_mask: Tensor | None
    embedded: Tensor


class ControlledUNet:
    """UNet and ControlNet on columns [B, 8 * bins, T], in the shape that `guidance.guided` binds.

    With `sees_padding` the ControlNet attends to all of the context, whatever the mask says (spec section 6).
    """

    def __init__(self, unet: Any, control: Any, bins: int, sees_padding: bool = False) -> None:
        self.unet, self.control, self.bins, self.sees_padding = unet, control, bins, sees_padding
        remember(unet)
        remember(control)

    def prepare(self, context: Tensor, mask: Tensor, onset: Tensor) -> Prepared:
        """For tokens [B, S, D], of which those count where the mask is true, and the onset feature [B, T, width]."""
        masked = None if bool(mask.all()) else mask
        embedded = self.control.controlnet_cond_embedding(onset, self.bins)
        return Prepared(context, masked, None if self.sees_padding else masked, embedded)

    def residuals(self, latents: Tensor, t: Tensor, told: Prepared) -> tuple[list[Tensor], Tensor]:
        """What the ControlNet adds to the UNet's skips and to its middle.

        diffusers' own pass embeds the condition at every step and has no mask for the context, so it is written here.
        """
        net = self.control
        emb = net.time_embedding(net.time_proj(t).to(latents.dtype))
        mask = told.control_mask
        bias = None if mask is None else ((1 - mask.to(latents.dtype)) * -10000.0)[:, None]
        x = net.conv_in(latents) + told.embedded
        skips = [x]
        for block in net.down_blocks:
            if getattr(block, "has_cross_attention", False):
                x, more = block(x, emb, encoder_hidden_states=told.context, encoder_attention_mask=bias)
            else:
                x, more = block(x, emb)
            skips += more
        if getattr(net.mid_block, "has_cross_attention", False):
            x = net.mid_block(x, emb, encoder_hidden_states=told.context, encoder_attention_mask=bias)
        else:
            x = net.mid_block(x, emb)
        downs = [layer(skip) for layer, skip in zip(net.controlnet_down_blocks, skips, strict=True)]
        return downs, net.controlnet_mid_block(x)

    def __call__(self, x: Tensor, t: Tensor, prepared: Prepared) -> Tensor:
        latents = pictured(x, self.bins)
        downs, mid = self.residuals(latents, t, prepared)
        out = self.unet(
            latents,
            t,
            prepared.context,
            encoder_attention_mask=prepared.mask,
            down_block_additional_residuals=downs,
            mid_block_additional_residual=mid,
            return_dict=False,
        )[0]
        return columns(out)


def conditions(text: Tensor, mask: Tensor, tokens: Tensor | None, onset: Tensor) -> dict[str, Tensor]:
    """What `ControlledUNet.prepare` takes: text [B, S, D] and its mask [B, S], followed by the picture's tokens."""
    if tokens is not None:
        text, mask = torch.cat([text, tokens], 1), torch.cat([mask, mask.new_ones(tokens.shape[:2])], 1)
    return {"context": text, "mask": mask, "onset": onset}


def unseen(told: Mapping[str, Tensor], tokens: int) -> dict[str, Tensor]:
    """The same conditions without the picture: zeros for its tokens, the last of the context, and its onset feature."""
    context = told["context"].clone()
    context[:, context.shape[1] - tokens :] = 0
    return {**told, "context": context, "onset": torch.zeros_like(told["onset"])}


def build(config: Mapping[str, Any]) -> dict[str, nn.Module]:
    """The networks by name: "unet", "control", "local", "pooling" (where the model has it), "text", "cavp", "codec".

    Raises KeyError, TypeError or ValueError for a configuration that describes none.
    """
    local, eye_config = LocalConfig.from_dict(config["local"]), CAVPConfig.from_dict(config["cavp"])
    unet, control = build_denoiser(config["unet"], local.width)
    networks: dict[str, nn.Module] = {
        "unet": unet,
        "control": control,
        "local": LocalBranch(local),
        "text": TextEncoder(config["text"]),
        "cavp": CAVP(eye_config),
        "codec": MelCodec(config["codec"]),
    }
    Schedule.from_dict(config["scheduler"])
    widths = {"the UNet's context": unet.config.cross_attention_dim, "text": config["text"]["d_model"]}
    if config["pooling"] is not None:
        pooling = PoolingConfig(**config["pooling"])
        networks["pooling"] = AttentivePooling(pooling)
        widths["pooling"] = pooling.embed
        if pooling.input != eye_config.embed_dim:
            raise ValueError(f"pooling takes {pooling.input} numbers a picture, CAVP gives {eye_config.embed_dim}")
    if len(set(widths.values())) > 1:
        raise ValueError("these must be of one width: " + ", ".join(f"{k} {v}" for k, v in widths.items()))
    if local.input != eye_config.embed_dim:
        raise ValueError(f"the local branch takes {local.input} numbers a picture, CAVP gives {eye_config.embed_dim}")
    codec: MelCodec = networks["codec"]  # type: ignore[assignment]
    if not unet.config.in_channels == unet.config.out_channels == codec.channels:
        raise ValueError("the UNet and the codec do not have the same channels")
    if codec.latent_rate != local.onset_rate:
        raise ValueError(f"onsets at {local.onset_rate} Hz for latents at {codec.latent_rate} Hz")
    if strangers := config["quirks"].keys() ^ QUIRKS.keys():
        raise ValueError(f"quirks are {', '.join(QUIRKS)}: see {', '.join(sorted(strangers))}")
    return networks


# Published files ------------------------------------------------------------------------------------

_CHECKPOINT = "pytorch_model_2.bin"
_CAVP = "extract_cavp.stage1_model."
_LOCAL = ("trans_cvap_feature.", "pre_onset.")


def read_original(path: Path, parts: dict[str, Path]) -> Loaded:
    """The published layout: summary.jsonl and best/pytorch_model_2.bin, or that file itself.

    What summary.jsonl names, and `saved/pretrained_model/audioldm-s-full.ckpt` and `cvap/cavp_epoch66.ckpt`, are looked
    for in the folders around it too, as in the authors' tree; `parts` say where else. Raises BadInputError naming what
    is missing or does not fit.
    """
    file = _checkpoint(path)
    around = list(file.resolve().parents)[:5]
    described = next((a / "summary.jsonl" for a in around[:2] if (a / "summary.jsonl").is_file()), None)
    if described is None:
        raise BadInputError(f"{file} should have summary.jsonl beside it or one folder up")
    arguments = summary(described)
    tensors = read_tensors(file)
    words = _part("text", parts, around, arguments.get("text_encoder_name"))
    if words is None:
        raise BadInputError(
            f"{described} names {arguments.get('text_encoder_name')} as text encoder, whose tokenizer is not in the "
            f"checkpoint: add --part text=FOLDER or hub id, with config.json and tokenizer.json or spiece.model"
        )
    unet_config, source = _unet_config(parts, around, arguments)
    tokenizer = reader.read_tokenizer(words)
    cavp, cavp_file = _cavp(tensors, file, parts, around)
    config = {
        "unet": unet_config,
        "unet_source": source,
        "scheduler": _scheduler(parts, around, arguments),
        "local": local_config(tensors, file),
        "pooling": pooling_config(tensors, file),
        "text": reader.described(words) | {"tokenizer_bytes": len(tokenizer)},
        "cavp": cavp_config(cavp, cavp_file),
        "side": SIZES["full"]["side"],
        "codec": SIZES["full"]["codec"],
        "video_dropped": False,
        "quirks": QUIRKS,
    }
    _check_flags(arguments, config, described)
    try:
        with skeleton():
            networks = build(config)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(f"{path}: its files do not describe STA-V2A's networks: {error}") from error
    reports = fill_original(networks, tensors, file, tokenizer)
    if cavp_file != file:
        reports.append(fill(networks["cavp"], cavp, component="cavp", source=cavp_file, ignored=cavp_net.IGNORED))
    codec = _part("audioldm", parts, around, "saved/pretrained_model/audioldm-s-full.ckpt")
    if codec is None:
        raise BadInputError(
            f"{file} leaves the codec out: put audioldm-s-full.ckpt into saved/pretrained_model, or say where it is "
            "with --part audioldm=FILE"
        )
    reports.append(fill_codec(networks["codec"], codec))
    return Loaded("sta_v2a", config, networks, reports)


def fill_original(
    networks: Mapping[str, nn.Module], tensors: Mapping[str, Tensor], file: Path, tokenizer: Tensor
) -> list[KeyReport]:
    """Fills what the published checkpoint holds: all of its tensors are read, or ignored for a reason."""
    text = reader.encoder_keys(taken(tensors, "text_encoder."), file)
    given = {
        "unet": taken(tensors, "unet."),
        "control": taken(tensors, "controlnet."),
        "local": {name: value for name, value in tensors.items() if name.startswith(_LOCAL)},
        "text": text | {"tokenizer": tokenizer},
        "pooling": taken(tensors, "global_video_feature."),
        "cavp": taken(tensors, _CAVP),
    }
    prefixes = ("unet.", "controlnet.", *_LOCAL, "text_encoder.", "global_video_feature.", _CAVP)
    # What nobody asks for is offered to the UNet, which refuses what it does not know.
    given["unet"] |= {name: value for name, value in tensors.items() if not name.startswith(prefixes)}
    ignored = {"text": reader.IGNORED, "cavp": cavp_net.IGNORED}
    return [
        fill(networks[name], some, component=name, source=file, ignored=ignored.get(name))
        for name, some in given.items()
        if name in networks and (some or name != "cavp")
    ]


def _checkpoint(path: Path) -> Path:
    if path.is_file():
        return path
    found = [path / inside / _CHECKPOINT for inside in ("best", ".") if (path / inside / _CHECKPOINT).is_file()]
    if not found:
        raise BadInputError(f"{path} should be the published folder, with summary.jsonl and best/{_CHECKPOINT}")
    return found[0]


def _part(name: str, parts: Mapping[str, Path], around: Sequence[Path], named: Any) -> Path | None:
    """Where a part lies: as the person said, else what has this name (a path in the authors' tree) around the file."""
    if name in parts:
        return parts[name]
    found = [place / named for place in around if isinstance(named, str) and named and (place / named).exists()]
    return found[0] if found else None


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return {name: value for name, value in content.items() if not name.startswith("_")}
    except (OSError, ValueError, AttributeError) as error:
        raise BadInputError(f"{file} is no JSON object: {error}") from error


def _unet_config(
    parts: Mapping[str, Path], around: Sequence[Path], arguments: Mapping[str, Any]
) -> tuple[dict[str, Any], str]:
    """The UNet's configuration and where it is from. Its weights are the checkpoint's, never the folder's."""
    folder = _part("t2a", parts, around, arguments.get("unet_model_name"))
    if folder is None:
        return SIZES["full"]["unet"], "inferred"
    return t2a_config(folder), "t2a"


def t2a_config(folder: Path) -> dict[str, Any]:
    """unet/config.json of a text-to-audio folder."""
    file = folder / "unet" / "config.json"
    if not file.is_file():
        raise BadInputError(f"{folder} should be a text-to-audio folder: it lacks unet/config.json")
    return {name: value for name, value in _json(file).items() if name != "dual_cross_attention"}


def _scheduler(
    parts: Mapping[str, Path], around: Sequence[Path], arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """scheduler/scheduler_config.json of what summary.jsonl names, else that of Stable Diffusion 2.1 (spec 9)."""
    folders = [_part("", {}, around, arguments.get("scheduler_name")), parts.get("t2a")]
    files = [f / "scheduler" / "scheduler_config.json" for f in folders if f is not None]
    found = next((file for file in files if file.is_file()), None)
    return SD_21 if found is None else _json(found)


def local_config(tensors: Mapping[str, Tensor], file: Path) -> dict[str, Any]:
    """Sizes of the local branch, read off its tensors; its windows too, which the published code asks a flag for."""
    try:
        shapes = {name: tensors[f"trans_cvap_feature.{name}.weight"].shape for name in ("fc1", "fc3", "fc4")}
        given = tensors["pre_onset.l1.weight"].shape[1]
    except KeyError as error:
        raise BadInputError(f"{file} has no local branch: it lacks {error.args[0]}") from error
    width = shapes["fc4"][0]
    windows: list[int] = FULL["local"]["windows"]
    if given not in (width, width * (1 + len(windows))):
        raise BadInputError(
            f"{file}: pre_onset.l1 takes {given} numbers, which is neither the feature of {width} alone nor that with "
            f"{len(windows)} windows"
        )
    sizes = {"input": shapes["fc1"][1], "hidden": shapes["fc1"][0], "width": width}
    return sizes | {"windows": [] if given == width else windows}


def pooling_config(tensors: Mapping[str, Tensor], file: Path) -> dict[str, Any] | None:
    """Sizes of the global branch, read off its tensors; None where the model has none."""
    if not taken(tensors, "global_video_feature."):
        return None
    try:
        embed, given = tensors["global_video_feature.fc.weight"].shape
        return {"input": given, "embed": embed, "tokens": tensors["global_video_feature.conv.weight"].shape[0]}
    except (KeyError, ValueError) as error:
        raise BadInputError(f"{file}: its global branch is not whole: {error}") from error


def cavp_config(tensors: Mapping[str, Tensor], file: Path) -> dict[str, Any]:
    """Sizes of CAVP's eye, read off its tensors."""
    try:
        stem, head = tensors["video_encoder.conv1.conv.weight"], tensors["video_project_head.weight"]
    except KeyError as error:
        raise BadInputError(f"{file} holds no CAVP: it lacks {error.args[0]}") from error
    blocks = [
        len({n.split(".")[2] for n in tensors if n.startswith(f"video_encoder.layer{stage}.")}) for stage in range(1, 5)
    ]
    return {"base_channels": stem.shape[0], "stage_blocks": blocks, "embed_dim": head.shape[0]}


def _cavp(
    tensors: Mapping[str, Tensor], file: Path, parts: Mapping[str, Path], around: Sequence[Path]
) -> tuple[dict[str, Tensor], Path]:
    """CAVP's tensors and the file they are in: the checkpoint, else cavp_epoch66.ckpt."""
    inside = taken(tensors, _CAVP)
    if inside and "cavp" in parts:
        raise BadInputError(f"{file} holds its own CAVP: leave out --part cavp")
    if inside:
        return inside, file
    place = _part("cavp", parts, around, "cvap/cavp_epoch66.ckpt")
    if place is None:
        raise BadInputError(f"{file} holds no CAVP: add --part cavp=cavp_epoch66.ckpt, Diff-Foley's file")
    return cavp_net.cavp_keys(read_tensors(place)), place


def _check_flags(arguments: Mapping[str, Any], config: Mapping[str, Any], file: Path) -> None:
    """Raises BadInputError where the training arguments contradict the tensors about which branches there are.

    In the published code these options drop weights in silence when they are wrong.
    """
    there = {"use_feature_window": config["local"]["windows"], "has_global_video_feature": config["pooling"]}
    for name, found in there.items():
        if name in arguments and bool(arguments[name]) != bool(found):
            raise BadInputError(
                f"{file} says {name}={arguments[name]}, and the checkpoint's tensors say {bool(found)}: they do not "
                "belong together"
            )


# The system -----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class StaPlan:
    """What was decided before any sound is made (see `synchresis.systems.request.Plan`).

    `features` [S, D]: value i was seen at i / 4 s. `latents` are denoised in windows of `WINDOW`.
    """

    duration: Fraction
    features: Track
    latents: int
    prompt: str
    seed: int
    steps: int
    guidance: float
    settings: Settings
    notes: list[str]
    rate: int = RATE
    mode: str = "picture"
    onsets: Onsets | None = None
    told: Track | None = None


class StaV2a(Published):
    """Sound for a picture and words. Load with `synchresis.load("sta_v2a", weights=…, parts={"text": …})`."""

    name = "sta_v2a"
    rate = RATE

    def __init__(self, loaded: Loaded, device: str) -> None:
        super().__init__(loaded, device)
        self.quirks: dict[str, bool] = loaded.config["quirks"]
        networks: dict[str, Any] = loaded.components
        self.local: LocalBranch = networks["local"]
        self.pooling: AttentivePooling | None = networks.get("pooling")
        self.text: TextEncoder = networks["text"]
        self.cavp: CAVP = networks["cavp"]
        self.codec: MelCodec = networks["codec"]
        self.schedule = Schedule.from_dict(loaded.config["scheduler"])
        self.denoiser = ControlledUNet(
            networks["unet"], networks["control"], self.codec.bins, self.quirks["controlnet_sees_padding"]
        )

    # Watching

    @torch.no_grad()
    def watch(self, clip: Clip, progress: Progress = quiet) -> tuple[Onsets, Track, Track]:
        """Onsets, a loudness, and the probability of an onset in every 40 ms, as the local branch sees them.

        It was taught no loudness: the curve is drawn from the onsets, an attack for each that dies away.
        """
        need_picture(clip)
        features = self._look(clip, progress)
        cells = sample_count(clip.duration, self.local.config.onset_rate)
        logits = self.local(self._rows(features), max(cells, 1)).logits[0]
        chance = Track(logits.softmax(-1)[:, 1].cpu().numpy(), Fraction(self.local.config.onset_rate))
        onsets = pick_peaks(chance, threshold=ONSET_THRESHOLD).within(clip.span)
        return onsets, drawn_loudness(onsets, clip.duration), chance

    def _look(self, clip: Clip, progress: Progress) -> Track:
        rate, side = self.local.config.rate, self.config["side"]
        return eye.frame_features(self.cavp, clip, rate, side, progress=lambda done: progress("watch", done))

    def _rows(self, features: Track) -> Tensor:
        """Features [1, S, D]; under "zero_rows_pooled" those of a short film end in zeros."""
        rows = torch.from_numpy(features.values)[None].to(self.device)
        lacking = TRAINED_SECONDS * self.local.config.rate - rows.shape[1]
        return F.pad(rows, (0, 0, 0, max(lacking, 0))) if self.quirks["zero_rows_pooled"] else rows

    # What to make

    def prepare(self, clip: Clip, request: SoundRequest, progress: Progress = quiet) -> StaPlan:
        """Looks at the film with CAVP; the prompt, or the empty one, is read when the sound is made."""
        need_picture(clip)
        refuse_wishes(request)
        settings = settings_of(Settings, request.settings, self.name)
        if settings.video_guidance != 1.0 and not self.config["video_dropped"]:
            raise BadInputError(
                f"--set video_guidance={settings.video_guidance:g}: this model never saw its training without the "
                "picture, so there is nothing to hold the picture against; leave it at 1"
            )
        latents = latent_count(clip.duration, self.codec, self.config["unet"])
        notes = []
        if self.quirks["zero_rows_pooled"]:
            latents = max(latents, WINDOW)
        if latents > WINDOW:
            notes.append(f"denoised in windows of {WINDOW / self.codec.latent_rate:.2f} s, as long as in training")
        if self.config["unet_source"] == "inferred" and self.untrained is None:
            notes.append("the sizes of the UNet are inferred, not read: --part t2a= was not given when it was loaded")
        prompt = (request.prompt or "").strip()
        if len(self.text.token_ids(prompt)) > reader.MAX_TOKENS:
            notes.append(f"of the prompt the first {reader.MAX_TOKENS - 1} tokens count, as in training")
        if not prompt:
            notes.append("without --prompt the picture alone leads: this model was taught with captions")
        return StaPlan(
            duration=clip.duration,
            features=self._look(clip, progress),
            latents=latents,
            prompt=prompt,
            seed=request.seed,
            steps=STEPS[settings.sampler] if request.steps is None else request.steps,
            guidance=GUIDANCE if request.guidance is None else request.guidance,
            settings=settings,
            notes=notes,
        )

    # Sounding

    def stream(self, plan: StaPlan, progress: Progress = quiet) -> Iterator[np.ndarray]:
        """The sound of a plan in blocks [n, 1] float32 at 16 kHz, exactly as long as the picture."""
        channels = self.codec.channels * self.codec.bins
        x = sample(
            self.network(plan),
            noise_source([plan.seed], channels, plan.latents, device=self.device),
            self.schedule,
            sampler=plan.settings.sampler,
            steps=plan.steps,
            spacing=None if plan.settings.spacing == "auto" else plan.settings.spacing,
            progress=progress,
        )
        yield from sound_blocks(self.codec, x, sample_count(plan.duration, RATE), progress)

    @torch.no_grad()
    def network(self, plan: StaPlan) -> Network:
        """The guided denoiser of the whole film; what does not depend on the step is computed here."""
        rows = self._rows(plan.features)
        onset = self.local(rows, plan.latents).feature
        words, mask = self.text.encode(["", plan.prompt])

        @torch.no_grad()
        def make(spans: Sequence[Span]) -> Network:
            """Words against the empty string; the picture in both, or against no picture with a weight of its own."""
            many = len(spans)
            here = torch.cat([onset[:, start:stop] for start, stop in spans])
            tokens = self._tokens(rows, spans, plan.seed)
            silent, told = (
                conditions(words[i].expand(many, -1, -1), mask[i].expand(many, -1), tokens, here) for i in (0, 1)
            )
            branches = [Branch(told, plan.guidance)] if plan.prompt else []
            if plan.settings.video_guidance == 1.0:
                return guided(self.denoiser, silent, branches)
            nothing = unseen(silent, 0 if tokens is None else tokens.shape[1])
            return guided(self.denoiser, nothing, [Branch(silent, plan.settings.video_guidance), *branches])

        return windowed(make, plan.latents, WINDOW, OVERLAP, BATCH)

    def _tokens(self, rows: Tensor, spans: Sequence[Span], seed: int) -> Tensor | None:
        """What the global branch makes of the rows of each window: [len(spans), 4, D]."""
        if self.pooling is None:
            return None
        ratio = Fraction(self.local.config.rate, self.codec.latent_rate)
        found = []
        for start, stop in spans:
            last = min(math.ceil(stop * ratio), rows.shape[1])
            first = min(math.floor(start * ratio), last - 1)
            keep = None
            if self.quirks["pooling_dropout"]:
                drawn = normal(seed, self.pooling.config.embed, first, last, KEEP_STREAM) > 0
                keep = torch.from_numpy(drawn).float()[None].to(self.device)
            found.append(self.pooling(rows[:, first:last], keep=keep))
        return torch.cat(found)


def refuse_wishes(request: SoundRequest) -> None:
    """Raises BadInputError for what STA-V2A cannot be told, with the reason."""
    if request.onsets is not None:
        raise BadInputError(
            "--onsets: sta_v2a is conditioned by a hidden feature of the picture, not by onsets as a list: edit the "
            "onsets with --system pocket or stable_foley"
        )
    if request.envelope != "auto":
        raise BadInputError("--envelope: sta_v2a knows no loudness; --system pocket or stable_foley follow one")
    if request.like is not None:
        raise BadInputError("--like: sta_v2a takes words, not a reference sound; say it with --prompt")


def drawn_loudness(onsets: Onsets, duration: Fraction) -> Track:
    """100 Hz, linear RMS: a quiet bed, and on it an attack at each onset that dies away in 0.12 s."""
    cells = sample_count(duration, 100)
    envelope = np.full(cells, QUIET)
    for time, strength in zip(onsets.times, onsets.strengths, strict=True):
        first = int(time * 100)
        tail = STRUCK * strength * np.exp(-np.arange(cells - first) / (100 * DECAY))
        envelope[first:] = np.maximum(envelope[first:], tail)
    return Track(envelope.astype(np.float32), Fraction(100))


def begin(size: str, init: Path | None = None, parts: Mapping[str, Path] | None = None) -> Loaded:
    """The networks before training: those of the prior and of `parts` with their weights, the others random.

    `init` is a text-to-audio folder of diffusers (unet, scheduler). Its UNet is read into "unet", and into "control" as
    far as the ControlNet is the same; what the ControlNet adds is zero, so that at the first step the controlled UNet
    is the prior. `parts` are "text" (a folder of T5 or mT5 with its weights), "cavp" and "audioldm"; what is left out
    stays random, and the system then counts as untrained. Quirks are ours, and the picture may be dropped.
    Raises BadInputError for a size that is not known and for files that do not fit.
    """
    parts = dict(parts or {})
    if strangers := parts.keys() - {"text", "cavp", "audioldm"}:
        raise BadInputError(f"training begins with the parts text, cavp and audioldm, not {', '.join(strangers)}")
    config, size = config_of("sta_v2a", size)
    config |= {"video_dropped": True, "quirks": dict(OUR_QUIRKS)}
    if init is not None:
        config |= {"unet": t2a_config(init), "unet_source": "t2a", "scheduler": _scheduler({"t2a": init}, [], {})}
    given: dict[str, tuple[dict[str, Tensor], Path, dict[str, str]]] = {}
    if init is not None:
        names = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
        file = _one_of(init / "unet", names)
        given["unet"] = read_tensors(file), file, {}
    if "text" in parts:
        tokenizer = reader.read_tokenizer(parts["text"])
        config["text"] = reader.described(parts["text"]) | {"tokenizer_bytes": len(tokenizer)}
        file = _one_of(parts["text"], ("model.safetensors", "pytorch_model.bin"))
        tensors = reader.encoder_keys(read_tensors(file), file) | {"tokenizer": tokenizer}
        given["text"] = tensors, file, reader.IGNORED
    if "cavp" in parts:
        file = parts["cavp"]
        tensors = cavp_net.cavp_keys(read_tensors(file))
        config["cavp"] = cavp_config(tensors, file)
        given["cavp"] = tensors, file, cavp_net.IGNORED
    try:
        networks = build(config)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(f"{init or size}: these networks do not go together: {error}") from error
    reports = []
    for name, network in networks.items():
        if name in given:
            tensors, file, ignored = given[name]
            reports.append(fill(network, tensors, component=name, source=file, ignored=ignored))
        elif name != "control" and not (name == "codec" and "audioldm" in parts):
            randomise(network)
    if "audioldm" in parts:
        reports.append(fill_codec(networks["codec"], parts["audioldm"]))
    copy_encoder(networks["unet"], networks["control"])
    return Loaded("sta_v2a", config, networks, reports, untrained=None if len(parts) == 3 else size)


def _one_of(folder: Path, names: Sequence[str]) -> Path:
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found:
        raise BadInputError(f"{folder} should hold {' or '.join(names)}")
    return found[0]


def copy_encoder(unet: nn.Module, control: nn.Module) -> None:
    """The UNet's way in, into its ControlNet; the layers that are the ControlNet's own stay as they are (zero)."""
    state, own = unet.state_dict(), control.state_dict()
    control.load_state_dict({name: state.get(name, value) for name, value in own.items()})
