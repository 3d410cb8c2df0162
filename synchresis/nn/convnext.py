"""ConvNeXt block in one dimension (Liu et al. 2022): the plain unit of pocket's codec."""

import torch
from torch import nn


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, then a pointwise expansion, added to the input. [B, C, T] to [B, C, T]."""

    def __init__(self, channels: int, kernel: int = 7, expansion: int = 3) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.expand = nn.Linear(channels, expansion * channels)
        self.contract = nn.Linear(expansion * channels, channels)
        nn.init.trunc_normal_(self.contract.weight, std=0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm(self.depthwise(x).transpose(1, 2))
        h = self.contract(nn.functional.gelu(self.expand(h), approximate="tanh"))
        return x + h.transpose(1, 2)
