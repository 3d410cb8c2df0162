"""How a system can look at a film: five networks in one shape, from a clip to a track of features.

VTA-LDM's authors tried several and published only the first; how the others are cut in time is ours (VTA-LDM spec 7.2,
7.3). Value i of a track belongs to the instant i / rate, the beginning of its cell.

| kind | network | rate | width | looks at |
| --- | --- | --- | --- | --- |
| clip | CLIP ViT-L/14, a picture at a time | 2 Hz | 768 | one picture |
| imagebind | ImageBind huge, its vision tower; CC BY-NC-SA 4.0: not for commercial use | 2 Hz | 1024 | one picture |
| languagebind | LanguageBind_Video_FT | 2 Hz | 768 | eight pictures: 4 s |
| cavp | CAVP (Diff-Foley), contrastive with sound | 4 Hz | 512 | a window of +-2.25 s around it |
| vivit | ViViT-B/16x2, averaged over the picture | 6.25 Hz | 768 | 32 pictures: 2.56 s |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from synchresis.encoders import cavp as cavp_eye
from synchresis.encoders import clip as clip_eye
from synchresis.errors import BadInputError
from synchresis.timeline import Track, as_fraction
from synchresis.timeline.time import Number

if TYPE_CHECKING:
    from synchresis.media.probe import Clip

KINDS = ("clip", "imagebind", "languagebind", "cavp", "vivit")
SOURCES = {
    "clip": "openai/clip-vit-large-patch14",
    "imagebind": "imagebind_huge.pth of Meta, CC BY-NC-SA 4.0: not for commercial use",
    "languagebind": "LanguageBind/LanguageBind_Video_FT",
    "cavp": "cavp_epoch66.ckpt of Diff-Foley",
    "vivit": "google/vivit-b-16x2-kinetics400",
}
Looked = Callable[[float], None]
VIVIT_MEAN = VIVIT_STD = 0.5

# Configurations: `network` has the sizes, as the network's own module or library calls them.
FULL: dict[str, dict[str, Any]] = {
    "clip": {"kind": "clip", "rate": "2", "normalise": True, "network": clip_eye.VIT_L_14},
    "imagebind": {
        "kind": "imagebind", "rate": "2",
        "network": {"dim": 1280, "depth": 32, "heads": 16, "patch": 14, "side": 224, "out": 1024},
    },
    "languagebind": {
        "kind": "languagebind", "rate": "2",
        "network": {
            "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
            "image_size": 224, "patch_size": 14, "projection_dim": 768, "num_frames": 8,
        },
    },
    "cavp": {
        "kind": "cavp", "rate": "4",
        "network": {"base_channels": 64, "stage_blocks": [3, 4, 6, 3], "embed_dim": 512},
    },
    "vivit": {
        "kind": "vivit", "rate": "25/4",
        "network": {
            "image_size": 224, "num_frames": 32, "tubelet_size": [2, 16, 16], "hidden_size": 768,
            "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
        },
    },
}  # fmt: skip
_SMALL_VIT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL: dict[str, dict[str, Any]] = {
    "clip": FULL["clip"] | {"network": clip_eye.SMALL},
    "imagebind": FULL["imagebind"]
    | {"network": {"dim": 32, "depth": 2, "heads": 2, "patch": 14, "side": 28, "out": 40}},
    "languagebind": FULL["languagebind"]
    | {"network": _SMALL_VIT | {"image_size": 28, "patch_size": 14, "projection_dim": 40, "num_frames": 8}},
    "cavp": FULL["cavp"] | {"network": {"base_channels": 4, "stage_blocks": [1, 1, 1, 1], "embed_dim": 40}},
    "vivit": FULL["vivit"]
    | {"network": _SMALL_VIT | {"image_size": 32, "num_frames": 32, "tubelet_size": [2, 16, 16]}},
}


@dataclass(frozen=True)
class VideoEncoder:
    """A network that looks. `look` takes the film, tells how much is done, and gives features [T, width] at `rate`."""

    kind: str
    rate: Fraction
    width: int
    network: nn.Module
    look: Callable[[Clip, Looked | None], Track]


# Building -------------------------------------------------------------------------------------------


def build(config: Mapping[str, Any]) -> nn.Module:
    """The network of a configuration, untrained. Raises ValueError for an unknown kind."""
    kind, sizes = config["kind"], config["network"]
    if kind == "clip":
        return clip_eye.build(sizes)
    if kind == "imagebind":
        from synchresis.nn.imagebind import ImageBindConfig, ImageBindVision, TowerConfig

        tower = TowerConfig(sizes["dim"], sizes["depth"], sizes["heads"], (sizes["side"] // sizes["patch"]) ** 2)
        return ImageBindVision(ImageBindConfig(vision=tower, vision_patch=sizes["patch"], out=sizes["out"]))
    if kind == "languagebind":
        from synchresis.nn.languagebind import LanguageBindConfig, LanguageBindVideo

        return LanguageBindVideo(LanguageBindConfig.from_dict(sizes))
    if kind == "cavp":
        from synchresis.nn.cavp import CAVP, CAVPConfig

        return CAVP(CAVPConfig.from_dict(sizes))
    if kind == "vivit":
        from transformers import VivitConfig, VivitModel

        return VivitModel(VivitConfig(**sizes), add_pooling_layer=False)
    raise ValueError(f"no video encoder is called {kind!r}: choose from {', '.join(KINDS)}")


def width(config: Mapping[str, Any]) -> int:
    """Numbers of a feature."""
    name = {"clip": "projection_dim", "imagebind": "out", "languagebind": "projection_dim", "cavp": "embed_dim"}
    return int(config["network"][name.get(config["kind"], "hidden_size")])


def encoder(config: Mapping[str, Any], network: nn.Module) -> VideoEncoder:
    """The network of `build(config)`, its weights in place, as something that looks at films."""
    rate = as_fraction(config["rate"])
    sizes = config["network"]

    def look(film: Clip, looked: Looked | None = None) -> Track:
        if film.video is None:
            raise BadInputError(f"{film.path} has no picture to look at")
        if config["kind"] == "clip":
            return clip_eye.frame_features(network, film, rate=rate, normalise=config["normalise"], progress=looked)
        if config["kind"] == "cavp":
            if rate.denominator != 1:
                raise BadInputError(f"CAVP looks a whole number of times a second, not {rate}")
            return cavp_eye.frame_features(network, film, rate=int(rate), progress=looked)  # type: ignore[arg-type]
        if config["kind"] == "imagebind":
            return _by_spans(film, rate, 1, 1, sizes["side"], lambda v: _bound(network, v), looked)
        if config["kind"] == "languagebind":
            together = sizes["num_frames"]
            return _by_spans(film, rate, together, together, sizes["image_size"], network, looked)
        together, fold = sizes["num_frames"], sizes["tubelet_size"][0]
        return _by_spans(
            film, rate * fold, together, together // fold, sizes["image_size"],
            lambda v: _tubes(network, v, together // fold), looked, spread=(VIVIT_MEAN, VIVIT_STD),
        )  # fmt: skip

    return VideoEncoder(config["kind"], rate, width(config), network, look)


# Looking --------------------------------------------------------------------------------------------


@torch.no_grad()
def _by_spans(
    film: Clip,
    picture_rate: Fraction,
    together: int,
    features: int,
    side: int,
    network: Callable[[Tensor], Tensor],
    looked: Looked | None,
    spread: tuple[float, float] | None = None,
) -> Track:
    """The film in spans of `together` pictures, `picture_rate` a second, each of which gives `features` rows.

    `network` takes [1, together, 3, side, side], with CLIP's mean and spread taken off or those of `spread`. Where the
    film ends inside the last span its last picture stands still, and rows beyond the end are cut off.
    """
    rate = picture_rate * features / together
    rows_wanted = max(1, math.ceil(film.duration * rate))
    spans = -(-rows_wanted // features)
    rows: list[Tensor] = []
    for number, span in enumerate(_spans(film, picture_rate, together, spans, side, spread)):
        rows.append(network(span[None])[0].float().cpu())
        if looked is not None:
            looked((number + 1) / spans)
    return Track(torch.cat(rows)[:rows_wanted].numpy(), rate)


def _spans(
    film: Clip, rate: Fraction, together: int, count: int, side: int, spread: tuple[float, float] | None
) -> Iterator[Tensor]:
    from synchresis.media import frames

    held: list[Tensor] = []
    times: Sequence[Number] = [i / rate for i in range(count * together)]
    for _, picture in frames(film, times=times):
        values = clip_eye.seen(picture, side, normalise=spread is None)
        held.append(values if spread is None else (values - spread[0]) / spread[1])
        if len(held) == together:
            yield torch.stack(held)
            held = []


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def _bound(network: nn.Module, video: Tensor) -> Tensor:
    """A picture [1, 1, 3, H, W], shown twice as ImageBind wants stills, to [1, 1, 1024]."""
    still = video.to(_device(network))[:, :, :, None].expand(-1, -1, -1, 2, -1, -1)
    return network(still)[:, None]


def _tubes(network: nn.Module, video: Tensor, tubes: int) -> Tensor:
    """Pictures [1, T, 3, H, W] to the mean over the picture of each tube in time: [1, tubes, width]."""
    hidden = network(pixel_values=video.to(_device(network))).last_hidden_state[:, 1:]
    return hidden.unflatten(1, (tubes, -1)).mean(2)


# Positions ----------------------------------------------------------------------------------------


def positions(count: int, dim: int) -> Tensor:
    """Sinusoidal positions [count, dim], sine and cosine interleaved, base 10000 (VTA-LDM's +PE, spec 7.2)."""
    angles = np.arange(count)[:, None] * np.exp(-math.log(10_000.0) * np.arange(0, dim, 2) / dim)
    table = np.zeros((count, dim), np.float32)
    table[:, 0::2], table[:, 1::2] = np.sin(angles), np.cos(angles)[:, : dim // 2]
    return torch.from_numpy(table)
