"""Video2RMS: what is seen, to classes of loudness.

Stable-Foley's first stage was never released. As far as it is known (Stable-Foley spec section 9): features of frames
and of flow; three convolutions over time, as in RegNet's encoder; a bidirectional LSTM; raised to the rate of the
labels; 64 classes of mu-law companded loudness. Widths are ours, the layers and their order are the paper's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synchresis.diffusion.windows import blending, windows
from synchresis.timeline.rms_codes import CLASSES

WINDOW, OVERLAP = 300, 100  # of feature frames that are looked at together: 10 s at 30 Hz, 3.3 s


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


@torch.no_grad()
def predict(net: RMSMapper, features: Tensor) -> Tensor:
    """The most probable class at each label [T'] int64, for features [T, features] of any length above 0.

    A film of over 300 frames is looked at in overlapping windows, whose probabilities are cross-faded. The network
    must be in `eval`. Raises ValueError for no features, and where windows do not fall on whole labels.
    """
    ratio = net.config.labels_per_frame
    spans = windows(len(features), WINDOW, OVERLAP)
    edges = [(round(a * ratio), round(b * ratio)) for a, b in spans]
    if any(len(spans) > 1 and b - a != round(WINDOW * ratio) for a, b in edges):
        raise ValueError(f"{ratio} labels per frame: windows do not begin on a label")
    total = torch.zeros(edges[-1][1], net.config.classes)
    device = next(net.parameters()).device
    for (start, stop), (first, last), curve in zip(spans, edges, blending(edges, edges[-1][1]), strict=True):
        probability = net(features[None, start:stop].to(device))[0].softmax(-1).cpu()
        total[first:last] += probability * torch.from_numpy(curve)[:, None]
    return total.argmax(-1)
