"""Video2RMS: what is seen, to classes of loudness.

Stable-Foley's first stage was never released. As far as it is known (Stable-Foley spec section 9): features of frames
and of flow; three convolutions over time, as in RegNet's encoder; a bidirectional LSTM; raised to the rate of the
labels; 64 classes of mu-law companded loudness. Widths are ours, the layers and their order are the paper's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from synchresis.errors import BadInputError
from synchresis.timeline.beside import written_beside
from synchresis.timeline.rms_codes import CLASSES


@dataclass(frozen=True)
class RMSMapperConfig:
    """Sizes of an `RMSMapper`. `labels_per_frame` is the rate of the labels over that of the features (30 Hz each)."""

    features: int
    width: int = 256
    lstm: int = 128
    layers: int = 2
    dropout: float = 0.5
    classes: int = CLASSES
    labels_per_frame: float = 1.0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RMSMapperConfig:
        """Reads a JSON object with these fields. Raises ValueError for an unknown one."""
        if strangers := sorted(values.keys() - {f.name for f in fields(cls)}):
            raise ValueError(f"unknown options of an RMS mapper: {', '.join(strangers)}")
        return cls(**values)


class RMSMapper(nn.Module):
    """Features [B, T, features] to logits [B, round(T labels_per_frame), classes].

    `mean` and `std` (buffers, set by training) are those of the features.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: RMSMapperConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.features))
        self.register_buffer("std", torch.ones(config.features))
        layers: list[nn.Module] = []
        for dim_in in (config.features, config.width, config.width):
            layers += [
                nn.Conv1d(dim_in, config.width, 5, padding=2),
                nn.BatchNorm1d(config.width),
                nn.ReLU(),
                nn.Dropout(config.dropout),
            ]
        self.convs = nn.Sequential(*layers)
        self.lstm = nn.LSTM(config.width, config.lstm, config.layers, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * config.lstm, config.classes)

    def forward(self, features: Tensor) -> Tensor:
        x = (features - self.mean) / self.std
        x = self.convs(x.transpose(1, 2)).transpose(1, 2)
        x, _ = self.lstm(x)
        length = round(features.shape[1] * self.config.labels_per_frame)
        if length != x.shape[1]:
            x = F.interpolate(x.transpose(1, 2), size=length, mode="linear").transpose(1, 2)
        return self.out(x)


def save_mapper(net: RMSMapper, path: Path) -> Path:
    """Writes a mapper as safetensors with its sizes in the header: what `--part rms_mapper=PATH` takes."""
    described = {"rms_mapper": json.dumps(vars(net.config))}
    with written_beside(path) as part:
        save_file({k: v.contiguous() for k, v in net.state_dict().items()}, part, metadata=described)
    return path


def mapper_config(path: Path) -> RMSMapperConfig:
    """The sizes of a mapper that `save_mapper` wrote. Raises BadInputError for another file."""
    try:
        with safe_open(path, "pt") as file:
            return RMSMapperConfig.from_dict(json.loads((file.metadata() or {})["rms_mapper"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{path} is not an RMS mapper written by save_mapper: {error!r}") from error
    except SafetensorError as error:
        raise BadInputError(f"{path} is not a safetensors file: {error}") from error
