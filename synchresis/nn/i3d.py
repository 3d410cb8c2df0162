"""I3D (Carreira and Zisserman 2017) as the VideoGPT route of FVD uses it: moving picture to 400 Kinetics logits.

"Encoders", section 9. Inception-v1 with a time axis. Its convolutions and poolings pad as TensorFlow's "same" does,
which depends on the size of what comes in. Key names are those of `i3d_pretrained_400.pt`.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIZE = 224

# Widths of an Inception block: 1x1, 1x1 -> 3x3, 1x1 -> 3x3, pooled -> 1x1.
MIXED = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
# Kernel and stride of the pooling before a block.
POOLS = {"Mixed_3b": ((1, 3, 3), (1, 2, 2)), "Mixed_4b": ((3, 3, 3), (2, 2, 2)), "Mixed_5b": ((2, 2, 2), (2, 2, 2))}


def pad_same(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Zeros around the last three axes; of an odd number the extra one goes to the end."""
    sides: list[int] = []
    for size, k, s in zip(reversed(x.shape[-3:]), reversed(kernel), reversed(stride), strict=True):
        total = max(k - (size % s or s), 0)
        sides += [total // 2, total - total // 2]
    return F.pad(x, sides)


def max_pool_same(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """The padding is zero, not minus infinity; after a ReLU that is no difference."""
    return F.max_pool3d(pad_same(x, kernel, stride), tuple(kernel), tuple(stride))


class Unit(nn.Module):
    """Convolution, norm, ReLU."""

    def __init__(self, inner: int, outer: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride = [kernel] * 3, [stride] * 3
        self.conv3d = nn.Conv3d(inner, outer, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(outer)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv3d(pad_same(x, self.kernel, self.stride))))


class Mixed(nn.Module):
    def __init__(self, inner: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.b0 = Unit(inner, widths[0])
        self.b1a, self.b1b = Unit(inner, widths[1]), Unit(widths[1], widths[2], 3)
        self.b2a, self.b2b = Unit(inner, widths[3]), Unit(widths[3], widths[4], 3)
        self.b3b = Unit(inner, widths[5])

    def forward(self, x: Tensor) -> Tensor:
        pooled = max_pool_same(x, (3, 3, 3), (1, 1, 1))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], 1)


class Logits(nn.Module):
    def __init__(self, inner: int, classes: int) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(inner, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3d(x)


class I3D(nn.Module):
    """Picture [B, 3, T, 224, 224] in -1..1, T of 9 or more (the kit asks for 10), to logits [B, classes].

    The mean of the logits over time is what FVD is computed on. `thin` divides every width (for tests).
    """

    def __init__(self, classes: int = 400, thin: int = 1) -> None:
        super().__init__()
        self.logits = Logits(1024 // thin, classes)
        self.Conv3d_1a_7x7 = Unit(3, 64 // thin, 7, 2)
        self.Conv3d_2b_1x1 = Unit(64 // thin, 64 // thin)
        self.Conv3d_2c_3x3 = Unit(64 // thin, 192 // thin, 3)
        inner = 192 // thin
        for name, published in MIXED.items():
            widths = [width // thin for width in published]
            self.add_module(name, Mixed(inner, widths))
            inner = widths[0] + widths[2] + widths[4] + widths[5]
        self.pool = nn.AvgPool3d((2, 7, 7), 1)

    def forward(self, x: Tensor) -> Tensor:
        x = max_pool_same(self.Conv3d_1a_7x7(x), (1, 3, 3), (1, 2, 2))
        x = self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x))
        for name in MIXED:
            if name in POOLS:
                x = max_pool_same(x, *POOLS[name])
            x = self.get_submodule(name)(x)
        return self.logits(self.pool(x)).mean((2, 3, 4))


def prepare(frames: Tensor) -> Tensor:
    """Frames [T, H, W, 3] of 0..255 to the network's [1, 3, T, 224, 224]: short side to 224, centre, -1..1.

    Bilinear without antialiasing, the long side rounded up ("VideoGPT" kit).
    """
    x = frames.permute(0, 3, 1, 2).float() / 255.0
    height, width = x.shape[-2:]
    short = min(height, width)
    size = (SIZE if height == short else math.ceil(height * SIZE / short),
            SIZE if width == short else math.ceil(width * SIZE / short))
    x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
    top, left = (size[0] - SIZE) // 2, (size[1] - SIZE) // 2
    x = x[..., top : top + SIZE, left : left + SIZE]
    return ((x - 0.5) * 2.0).transpose(0, 1)[None]
