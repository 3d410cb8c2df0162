"""Networks that look at pictures alone: I3D for FVD, CLIP for CLIPSIM."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from synchresis.encoders import clip
from synchresis.errors import BadInputError
from synchresis.evaluation.networks import NetworkInfo
from synchresis.evaluation.networks.common import Network, Rows, asking, file_of, filled, tokenizer_of
from synchresis.nn import i3d
from synchresis.systems.weights import place_of, read_tensors, skeleton

WINDOW = 16  # pictures, the usual length of a clip of FVD
LEAST = 10   # the kit asks for so many


class Kinetics(Network):
    """Features [K, 400], the logits of windows of 16 pictures; a rest of under 10 is dropped."""

    module: i3d.I3D

    @classmethod
    def open(
        cls,
        info: NetworkInfo,
        place: str | Path,
        device: str,
        parts: Mapping[str, str | Path],
        sizes: dict[str, int] | None,
    ) -> Kinetics:
        path = file_of(info, place)
        with skeleton():
            module = i3d.I3D(**(sizes or {}))
        report = filled(info, module, read_tensors(path), path, {})
        network = cls(info, module, device, [report])
        network.module = module
        return network

    def look(self, frames: Iterable[np.ndarray]) -> Rows:
        rows = []
        for window in _groups(frames, WINDOW):
            if len(window) < LEAST:
                break
            with asking():
                prepared = i3d.prepare(torch.from_numpy(np.stack(window)))
                rows.append(self.module(prepared.to(self.device))[0].float().cpu().numpy())
        classes = self.module.logits.conv3d.out_channels
        return {"features": np.stack(rows) if rows else np.zeros((0, classes), np.float32)}


class Clip(Network):
    """Features of every picture [T, D], and of texts [n, D]; a CLIP in transformers' layout, its tokenizer with it."""

    module: Any
    tokenizer: Any

    @classmethod
    def open(
        cls,
        info: NetworkInfo,
        place: str | Path,
        device: str,
        parts: Mapping[str, str | Path],
        sizes: dict[str, Any] | None,
    ) -> Clip:
        from transformers import CLIPConfig, CLIPModel

        folder = place_of(place, f"weights of {info.id}")
        if not (folder / "config.json").is_file():
            raise BadInputError(f"{folder} is no folder with a config.json: {info.id} is {info.weights.where}")
        config = sizes or json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if config.get("model_type") != "clip":
            raise BadInputError(f"{folder} holds a {config.get('model_type')}, not a CLIP")
        names = [name for name in ("model.safetensors", "pytorch_model.bin") if (folder / name).is_file()]
        path = folder / names[0] if names else file_of(info, folder)
        with skeleton():
            module: nn.Module = CLIPModel(CLIPConfig(**config))
        report = filled(info, module, read_tensors(path), path, {r".*\.position_ids": "a list of numbers 0, 1, 2 …"})
        network = cls(info, module, device, [report])
        network.module, network.tokenizer = module, tokenizer_of(info, {"tokenizer": folder})
        return network

    def look(self, frames: Iterable[np.ndarray]) -> Rows:
        side = self.module.config.vision_config.image_size
        rows = []
        for group in _groups(frames, clip.BATCH):
            pictures = torch.stack([clip.seen(frame, side) for frame in group]).to(self.device)
            with asking():
                seen = self.module.vision_model(pixel_values=pictures).pooler_output
                rows.append(self.module.visual_projection(seen).float().cpu().numpy())
        width = self.module.config.projection_dim
        return {"features": np.concatenate(rows) if rows else np.zeros((0, width), np.float32)}

    def read(self, texts: Sequence[str]) -> np.ndarray:
        tokens = self.tokenizer(list(texts), padding=True, truncation=True, max_length=77, return_tensors="pt")
        with asking():
            read = self.module.text_model(**{name: value.to(self.device) for name, value in tokens.items()})
            return self.module.text_projection(read.pooler_output).float().cpu().numpy()


def _groups(frames: Iterable[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    group: list[np.ndarray] = []
    for frame in frames:
        group.append(frame)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
