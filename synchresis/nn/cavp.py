"""CAVP's video tower: a SlowOnly ResNet over time that keeps time, a feature per frame.

Parameters carry the published names (`video_encoder.layer3.0.conv1.conv.weight`), those of Diff-Foley's
`cavp_epoch66.ckpt` and of the copy inside Stable-Foley's checkpoint. Source: Stable-Foley spec section 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EXPANSION = 4
POOL = 16  # frames that the pooled form of a feature covers


@dataclass(frozen=True)
class CAVPConfig:
    """Sizes of a `CAVP`; the defaults are the published ones (ResNet-50, 512 channels).

    `stage_blocks` bottlenecks in each of four stages; those of the last two look at three frames each.
    """

    base_channels: int = 64
    stage_blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    embed_dim: int = 512

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CAVPConfig:
        """Reads a JSON object with these fields. Raises ValueError for an unknown one, or other than four stages."""
        if strangers := sorted(values.keys() - {"base_channels", "stage_blocks", "embed_dim"}):
            raise ValueError(f"unknown options of CAVP: {', '.join(strangers)}")
        fields = dict(values)
        if "stage_blocks" in fields:
            first, second, third, fourth = fields["stage_blocks"]
            fields["stage_blocks"] = (first, second, third, fourth)
        return cls(**fields)

    @property
    def width(self) -> int:
        """Channels of the last stage."""
        return self.base_channels * 8 * EXPANSION

    @property
    def reach(self) -> int:
        """Frames on either side that a frame's feature depends on (9 at the published size)."""
        return self.stage_blocks[2] + self.stage_blocks[3]


class ConvNorm(nn.Module):
    """A convolution over (time, height, width) and its batch norm; `kernel` and `stride` are (in time, in space)."""

    def __init__(self, dim_in: int, dim: int, kernel: tuple[int, int], stride: int = 1) -> None:
        super().__init__()
        time, space = kernel
        self.conv = nn.Conv3d(
            dim_in, dim, (time, space, space), (1, stride, stride), (time // 2, space // 2, space // 2), bias=False
        )
        self.bn = nn.BatchNorm3d(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class Bottleneck(nn.Module):
    def __init__(self, dim_in: int, planes: int, frames: int, stride: int, reshape: bool) -> None:
        super().__init__()
        self.conv1 = ConvNorm(dim_in, planes, (frames, 1))
        self.conv2 = ConvNorm(planes, planes, (1, 3), stride)
        self.conv3 = ConvNorm(planes, planes * EXPANSION, (1, 1))
        self.downsample = ConvNorm(dim_in, planes * EXPANSION, (1, 1), stride) if reshape else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv3(F.relu(self.conv2(F.relu(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class SlowOnly(nn.Module):
    """Pictures [B, 3, T, H, W] to features [B, width, T]: averages over the picture, none over time."""

    def __init__(self, config: CAVPConfig) -> None:
        super().__init__()
        self.conv1 = ConvNorm(3, config.base_channels, (1, 7), stride=2)
        dim = config.base_channels
        for i, blocks in enumerate(config.stage_blocks):
            planes, frames = config.base_channels * 2**i, 3 if i >= 2 else 1
            stage = nn.Sequential()
            for block in range(blocks):
                stage.append(Bottleneck(dim, planes, frames, 2 if i and not block else 1, reshape=not block))
                dim = planes * EXPANSION
            self.add_module(f"layer{i + 1}", stage)

    def stages(self, x: Tensor) -> list[Tensor]:
        """The maps [B, C, T, h, w] after the stem (before its pooling) and after each of the four stages."""
        maps = [F.relu(self.conv1(x))]
        x = F.max_pool3d(maps[0], (1, 3, 3), (1, 2, 2), (0, 1, 1))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)  # type: ignore[operator]
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        return self.stages(x)[-1].mean(dim=(3, 4))


class CAVP(nn.Module):
    """Pictures [B, T, 3, H, W], 0..1 without any further normalisation, 4 a second, to features [B, T, embed_dim].

    Keep it in `eval`: the batch norms then use the statistics that they were loaded with. `logit_scale` belongs to
    its contrastive training and changes nothing here.
    """

    def __init__(self, config: CAVPConfig) -> None:
        super().__init__()
        self.config = config
        self.video_encoder = SlowOnly(config)
        self.video_project_head = nn.Linear(config.width, config.embed_dim)
        self.logit_scale = nn.Parameter(torch.tensor(2.6592))  # log(1 / 0.07)

    def project(self, pooled: Tensor) -> Tensor:
        """What `video_encoder` gave [B, width, T] to features [B, T, embed_dim] that are not of unit length."""
        return self.video_project_head(pooled.transpose(1, 2))

    def forward(self, video: Tensor, pool: bool = False) -> Tensor:
        """Features of unit length: [B, T, embed_dim]; with `pool` the largest of each 16 frames, [B, T // 16, ...].

        One window of 16 frames comes without its axis of time: [B, embed_dim].
        """
        features = self.project(self.video_encoder(video.transpose(1, 2)))
        if pool:
            features = F.max_pool1d(features.transpose(1, 2), POOL).transpose(1, 2)
            features = features[:, 0] if features.shape[1] == 1 else features
        return F.normalize(features, dim=-1)


def cavp_keys(tensors: Mapping[str, Tensor], prefixes: Sequence[str] = ("module.",)) -> dict[str, Tensor]:
    """The tensors of a published CAVP file under our names: each of `prefixes` is cut out wherever it stands."""
    renamed = {}
    for name, value in tensors.items():
        for prefix in prefixes:
            name = name.replace(prefix, "")
        renamed[name] = value
    return renamed


# What the files hold besides the video tower, and why that is not needed (see `systems.weights.fill`).
IGNORED = {r"spec_(encoder|project_head)\..*": "CAVP's audio tower: only pictures are looked at"}
