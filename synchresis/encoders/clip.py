"""CLIP's eye: one embedding per picture, through transformers' CLIPVisionModelWithProjection.

The network is built from its configuration and filled by whoever has the weights; nothing is fetched here. Sources:
LoVA spec 3.1, VTA-LDM spec 7.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from synchresis.errors import BadInputError
from synchresis.timeline import Track, as_fraction
from synchresis.timeline.time import Number

if TYPE_CHECKING:
    from synchresis.media.probe import Clip

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
BATCH = 20  # pictures looked at at once

# openai/clip-vit-large-patch14, the eye of LoVA and VTA-LDM.
VIT_L_14: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
SMALL: dict[str, Any] = VIT_L_14 | {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "projection_dim": 64,
}
FIELDS = frozenset(VIT_L_14)

# What files of a whole CLIP hold besides its eye, and why that is not needed.
IGNORED = {
    r"text_model\..*": "CLIP's text tower: only pictures are looked at",
    r"text_projection\..*": "CLIP's text tower: only pictures are looked at",
    r"logit_scale": "CLIP's scale of similarities: only embeddings are used",
    r"vision_model\.embeddings\.position_ids": "a list of numbers 0, 1, 2 … that is not learned",
}


def vision_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The sizes of the eye from a transformers config.json of a CLIP or of its vision part alone.

    A field that the file leaves out has transformers' default. Raises BadInputError for another kind of model.
    """
    from transformers import CLIPConfig, CLIPVisionConfig

    kind = config.get("model_type", "clip_vision_model")
    if kind == "clip":
        full = CLIPConfig(**{k: v for k, v in config.items() if k in ("vision_config", "projection_dim")})
        sizes = full.vision_config.to_dict() | {"projection_dim": full.projection_dim}
    elif kind == "clip_vision_model":
        sizes = CLIPVisionConfig(**{k: v for k, v in config.items() if k in FIELDS}).to_dict()
    else:
        raise BadInputError(f"a model of type {kind} is no CLIP: give openai/clip-vit-large-patch14 or one like it")
    return {name: sizes[name] for name in VIT_L_14}


def build(sizes: Mapping[str, Any]) -> nn.Module:
    """A CLIPVisionModelWithProjection of these sizes (see `VIT_L_14`). Raises ValueError for an unknown field."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    if strangers := sorted(sizes.keys() - FIELDS):
        raise ValueError(f"unknown fields of a CLIP eye: {', '.join(strangers)}")
    return CLIPVisionModelWithProjection(CLIPVisionConfig(**sizes)).eval()


def seen(picture: np.ndarray, side: int, normalise: bool = True) -> Tensor:
    """A picture uint8 [H, W, 3] as CLIP was taught to see it: float32 [3, side, side].

    The shorter side becomes `side` (bicubic, with antialiasing, rounded to 8 bits as the original does), the middle is
    cut out, values become 0..1. `normalise` False leaves it at that, as VTA-LDM does.
    """
    from PIL import Image

    height, width = picture.shape[:2]
    short = min(height, width)
    size = (width * side // short, height * side // short)
    image = Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)
    left, top = (round((length - side) / 2) for length in size)
    values = np.asarray(image.crop((left, top, left + side, top + side)), np.float32) / 255
    if normalise:
        values = (values - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))


def image_side(clip: nn.Module) -> int:
    """Height and width in pixels of the pictures that this eye takes."""
    return int(clip.config.image_size)  # type: ignore[union-attr, arg-type]


@torch.no_grad()
def embed(clip: nn.Module, pictures: Tensor) -> Tensor:
    """Pictures [N, 3, side, side] to their projected embeddings [N, projection_dim], not normalised."""
    device = next(clip.parameters()).device
    return clip(pixel_values=pictures.to(device)).image_embeds


def frame_features(
    clip: nn.Module,
    film: Clip,
    *,
    rate: Number,
    times: Sequence[Number] | None = None,
    normalise: bool = True,
    batch: int = BATCH,
    progress: Callable[[float], None] | None = None,
) -> Track:
    """Embeddings [S, projection_dim] float32 of the film's pictures at the instants i / rate, as a track.

    Value i belongs to the picture shown nearest to i / rate, the beginning of its cell, as the published systems look;
    there are as many as instants lie inside the film, at least one. `times` are other instants (s, increasing), of
    which the track then says that they are 1 / rate apart. A picture that serves several instants is looked at once;
    `batch` pictures are held, not the film. Raises BadInputError where there is no picture, or no instant to look at,
    and for a rate that is not above 0.
    """
    from synchresis.media import frames

    if film.video is None:
        raise BadInputError(f"{film.path} has no picture to look at")
    rate = as_fraction(rate)
    if rate <= 0:
        raise BadInputError(f"{float(rate):g} pictures a second cannot be looked at: give a rate above 0")
    if times is None:
        times = [i / rate for i in range(max(1, math.ceil(film.duration * rate)))]
    if not times:
        raise BadInputError(f"{film.path}: there is no instant at which to look")
    side, total = image_side(clip), len(times)
    rows: list[Tensor] = []

    def looked_at() -> Iterator[tuple[int, Tensor]]:
        """Each different picture, and how many instants it serves."""
        waiting: tuple[float, Tensor] | None = None
        count = 0
        for time, picture in frames(film, times=times):
            if waiting is not None and time == waiting[0]:
                count += 1
                continue
            if waiting is not None:
                yield count, waiting[1]
            waiting, count = (time, seen(picture, side, normalise)), 1
        if waiting is not None:
            yield count, waiting[1]

    done = 0
    for group in _batches(looked_at(), batch):
        values = embed(clip, torch.stack([picture for _, picture in group])).float().cpu()
        counts = torch.tensor([count for count, _ in group])
        rows.append(values.repeat_interleave(counts, dim=0))
        done += int(counts.sum())
        if progress is not None:
            progress(done / total)
    return Track(torch.cat(rows).numpy(), rate, as_fraction(times[0]))


def _batches(items: Iterable[tuple[int, Tensor]], size: int) -> Iterator[list[tuple[int, Tensor]]]:
    group: list[tuple[int, Tensor]] = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
