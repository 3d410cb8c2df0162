"""The watcher's network: motion grids of a film to onset, loudness and confidence.

That a motion stops *somewhere* is a local fact, so a stack of dilated convolutions in time looks at each cell
of the picture alone, and the onset is the log-sum-exp of the cells' logits. A global branch over the mean and
the maximum of the cells adds what is not local: rhythm, cuts, loudness, and whether a source is seen at all.
Centred in time, with a finite field of view (`Watcher.field`): a film may be watched in pieces.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from einops import rearrange
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class WatcherConfig:
    channels: int = 9
    """Numbers per cell of the motion grid."""
    flow_channels: tuple[int, ...] = (0, 1, 2, 3, 7, 8)
    """Which of them are speeds (pixels per frame); the others are differences over contrast."""
    width: int = 48
    global_width: int = 64
    dilations: tuple[int, ...] = (1, 2, 4)
    before: int = 1
    """Frames before and after that are stacked at the input."""
    after: int = 2
    confidence_frames: int = 75
    """Length of the window in which confidence looks for a source."""
    dropout: float = 0.1
    """Of the local branch whole channels are dropped, of the global branch single values."""


class Seen(NamedTuple):
    """Two values per frame (50 Hz). `onset`, `confidence`: logits; `loudness`: about 0..1 (compressed)."""

    onset: Tensor
    loudness: Tensor
    confidence: Tensor


class Watcher(nn.Module):
    """Motion grids [B, T, channels, 12, 12] at 25 Hz -> `Seen`, each [B, 2 T] at 50 Hz."""

    def __init__(self, config: WatcherConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or WatcherConfig()
        stacked = config.channels * (1 + config.before + config.after)
        scale = torch.full((config.channels, 1, 1), 10.0)
        scale[list(config.flow_channels)] = 4.0
        self.scale: Tensor
        self.register_buffer("scale", scale, persistent=False)
        self.stem = nn.Conv2d(stacked, config.width, 3, stride=2, padding=1)
        self.local = nn.ModuleList(_InTime(config.width, d) for d in config.dilations)
        self.local_norm = nn.LayerNorm(config.width)
        self.local_onset = nn.Linear(config.width, 2)
        self.gather = nn.Linear(2 * config.width, config.global_width)
        self.wide = nn.ModuleList(_InTime(config.global_width, d) for d in config.dilations)
        self.wide_norm = nn.LayerNorm(config.global_width)
        self.wide_onset = nn.Linear(config.global_width, 2)
        self.loudness = nn.Linear(config.global_width, 2)
        self.confidence = nn.Linear(3 * config.global_width, 2)
        self.dropout = nn.Dropout(config.dropout)
        # The sum over 36 cells begins log(36) above the bias; an onset is rare.
        nn.init.constant_(self.local_onset.bias, -5.5)
        nn.init.normal_(self.local_onset.weight, std=0.02)
        nn.init.zeros_(self.wide_onset.weight)
        nn.init.zeros_(self.wide_onset.bias)
        nn.init.zeros_(self.loudness.weight)
        nn.init.constant_(self.loudness.bias, 0.2)

    @property
    def field(self) -> int:
        """Frames on either side that can influence a value."""
        config = self.config
        in_time = 2 * sum(config.dilations)
        return max(config.before, config.after) + 2 * in_time + config.confidence_frames // 2

    def forward(self, grids: Tensor) -> Seen:
        config = self.config
        batch, frames = grids.shape[:2]
        grids = torch.sign(grids) * torch.log1p(self.scale * grids.abs())
        padded = F.pad(grids, (0, 0, 0, 0, 0, 0, config.before, config.after))
        near = [padded[:, i : i + frames] for i in range(1 + config.before + config.after)]
        x = rearrange(torch.cat(near, dim=2), "b t c h w -> (b t) c h w")
        x = rearrange(self.stem(x), "(b t) c h w -> b t (h w) c", b=batch)
        for layer in self.local:
            x = layer(x)
        x = F.silu(self.local_norm(x)) * self.dropout(x.new_ones(batch, 1, 1, config.width))
        cells = self.local_onset(x).logsumexp(dim=2)

        g = self.gather(torch.cat([x.mean(dim=2), x.amax(dim=2)], dim=-1)).unsqueeze(2)
        for layer in self.wide:
            g = layer(g)
        g = self.dropout(F.silu(self.wide_norm(g.squeeze(2))))
        onset = cells + self.wide_onset(g)
        confidence = self.confidence(torch.cat([g, _around(g, config.confidence_frames)], dim=-1))
        return Seen(onset.flatten(1), self.loudness(g).flatten(1), confidence.flatten(1))


class _InTime(nn.Module):
    """Residual convolution of five steps in time: [B, T, cells, C] -> the same."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv2d(width, width, (5, 1), padding=(2 * dilation, 0), dilation=(dilation, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = F.silu(self.norm(x)).permute(0, 3, 1, 2)
        return x + self.conv(h).permute(0, 2, 3, 1)


def _around(x: Tensor, window: int) -> Tensor:
    """[B, T, C] -> [B, T, 2 C]: mean and maximum over the odd `window` around each step, where it exists."""
    x = x.transpose(1, 2)
    mean = F.avg_pool1d(x, window, stride=1, padding=window // 2, count_include_pad=False)
    most = F.max_pool1d(x, window, stride=1, padding=window // 2)
    return torch.cat([mean, most], dim=1).transpose(1, 2)


LOUDNESS_SCALE = 20.0


def loudness_code(relative: Tensor) -> Tensor:
    """Linear amplitude over the loudest of the clip (0..1) to what the network tells (0..1, compressed)."""
    return torch.log1p(LOUDNESS_SCALE * relative) / math.log1p(LOUDNESS_SCALE)


def relative_loudness(code: Tensor) -> Tensor:
    """The inverse of `loudness_code`; codes outside 0..1 are cut."""
    return torch.expm1(code.clamp(0.0, 1.0) * math.log1p(LOUDNESS_SCALE)) / LOUDNESS_SCALE


def save_watcher(path: Path | str, net: Watcher, notes: dict[str, str] | None = None) -> None:
    """Writes the weights as safetensors, with the configuration and `notes` in its metadata."""
    weights = {name: value.detach().contiguous() for name, value in net.state_dict().items()}
    save_file(weights, str(path), {"config": json.dumps(asdict(net.config)), **(notes or {})})


def load_watcher(path: Path | str) -> Watcher:
    """The network of `save_watcher`, ready for use. Raises RuntimeError when the weights do not fit."""
    with safe_open(str(path), framework="pt") as file:
        told = json.loads(file.metadata()["config"])
        weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    told = {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()}
    net = Watcher(WatcherConfig(**told))
    net.load_state_dict(weights)
    return net.eval()
