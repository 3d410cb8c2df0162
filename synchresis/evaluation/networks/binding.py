"""ImageBind: sound and picture in one space. Its weights are not for commercial use."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from synchresis.evaluation.networks import NetworkInfo
from synchresis.evaluation.networks.common import Network, Rows, as_sounds, asking, file_of, filled, shrunk
from synchresis.nn import imagebind
from synchresis.systems.weights import read_tensors, skeleton

SIDE = 224
TOWERS = ("vision", "audio")
IGNORED = imagebind.IGNORED | {r"modality_\w+\.text\..*": "the text tower: no score here reads"}


def three_crops(picture: Tensor, side: int = SIDE) -> list[Tensor]:
    """The beginning, middle and end of the long side of [..., h, w], whose short side is `side`."""
    height, width = picture.shape[-2:]
    places = [(0, 0), (math.ceil((height - side) / 2), math.ceil((width - side) / 2)), (height - side, width - side)]
    return [picture[..., top : top + side, left : left + side] for top, left in places]


class Binding(Network):
    """Features [1, 1024]; neither has unit length: take a true cosine."""

    module: imagebind.ImageBind

    @classmethod
    def open(
        cls,
        info: NetworkInfo,
        place: str | Path,
        device: str,
        parts: Mapping[str, str | Path],
        sizes: imagebind.ImageBindConfig | None,
    ) -> Binding:
        path = file_of(info, place)
        with skeleton():
            module = imagebind.ImageBind(sizes, TOWERS)
        report = filled(info, module, read_tensors(path), path, IGNORED)
        network = cls(info, module, device, [report])
        network.module = module
        return network

    def embed(self, sounds: Iterable[np.ndarray]) -> list[Rows]:
        out = []
        for sound in as_sounds(sounds):
            clips = torch.stack([sound[first : first + imagebind.CLIP] for first in imagebind.clip_starts(len(sound))])
            with asking():
                features = self.module.audio(imagebind.mel_clips(clips)[None].to(self.device))
            out.append({"features": features.float().cpu().numpy()})
        return out

    def look(self, frames: Iterable[np.ndarray]) -> Rows:
        """Pictures at one in 2 s, as av-benchmark looks; a single one is taken twice. Raises ValueError for none."""
        small = [imagebind.normalise_picture(shrunk(frame, SIDE).float() / 255.0) for frame in frames]
        if not small:
            raise ValueError("no pictures")
        if len(small) == 1:
            small = small * 2
        total, count = torch.zeros(1, self.module.config.out), 0
        for before, after in pairwise(small):
            clips = torch.stack(three_crops(torch.stack([before, after], 1)))[None]
            with asking():
                total += self.module.vision(clips.to(self.device)).float().cpu()
            count += 1
        return {"features": (total / count).numpy()}
