"""Pocket's films as layers: a background, a few bodies, and a pose for each body at every frame.

Layers are RGBA pictures, premultiplied, on a canvas a quarter larger than the frame, so that what moves in from
outside is there. They show the scene at one reference instant; a body's pose at a frame says how it has moved since:
the way of its middle (x, y), and what its turning and stretching add at one radius from it (2 x 2), in picture
heights, and whether it is shown (1 or -1). So a zero pose is the reference itself, and every number of a pose is a
distance that can be seen. World coordinates are those of the stage: the origin in the middle of the picture, y down.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 128        # pixels of a layer
SPREAD = 1.25     # picture heights that a layer shows
POSE = 7
_LEAST_RADIUS = 0.02


def anchors(coverage: Tensor) -> tuple[Tensor, Tensor]:
    """Middle [..., 2] and radius [...] (root mean square distance) of bodies by their coverage [..., S, S].

    Of a body that is nowhere on the canvas the middle is the origin and the radius the smallest.
    """
    side = coverage.shape[-1]
    line = ((torch.arange(side, device=coverage.device) + 0.5) / side - 0.5) * SPREAD
    mass = coverage.sum((-1, -2)).clamp_min(1e-6)
    x = (coverage.sum(-2) * line).sum(-1) / mass
    y = (coverage.sum(-1) * line).sum(-1) / mass
    spread_x = (coverage.sum(-2) * line.square()).sum(-1) / mass - x.square()
    spread_y = (coverage.sum(-1) * line.square()).sum(-1) / mass - y.square()
    radius = (spread_x + spread_y).clamp_min(0).sqrt().clamp_min(_LEAST_RADIUS)
    return torch.stack([x, y], -1), radius


def poses_of(motion: Tensor, shown: Tensor, middle: Tensor, radius: Tensor) -> Tensor:
    """Poses [T, K, POSE] of affine motions [T, K, 2, 3] (point p goes to p + motion @ (p, 1)) and shown [T, K]."""
    linear, shift = motion[..., :2], motion[..., 2]
    way = (linear @ middle[..., None])[..., 0] + shift
    return torch.cat([way, (linear * radius[..., None, None]).flatten(-2), shown[..., None] * 2.0 - 1.0], dim=-1)


def motions_of(poses: Tensor, middle: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse of `poses_of`: motions [T, K, 2, 3] and booleans shown [T, K]."""
    linear = poses[..., 2:6].unflatten(-1, (2, 2)) / radius[..., None, None]
    shift = poses[..., :2] - (linear @ middle[..., None])[..., 0]
    return torch.cat([linear, shift[..., None]], dim=-1), poses[..., 6] > 0


def compose(layers: Tensor, poses: Tensor, size: tuple[int, int] = (SIDE, SIDE)) -> Tensor:
    """Frames [T, 3, height, width] in 0..1 of layers [1 + K, 4, S, S] (the background first) in poses [T, K, POSE].

    Bodies cover each other in the order of the layers. Past the canvas the background goes on as at its edge. A pose
    that would turn a body inside out hides it.
    """
    height, width = size
    y, x = torch.meshgrid(_line(height, 1.0), _line(width, width / height), indexing="ij")
    place = torch.stack([x, y], -1).to(layers)
    out = F.grid_sample(layers[:1, :3], place[None] * 2 / SPREAD, align_corners=False, padding_mode="border")
    out = out.expand(len(poses), -1, -1, -1)
    middle, radius = anchors(layers[1:, 3])
    motions, shown = motions_of(poses, middle, radius)
    turn = motions[..., :2] + torch.eye(2).to(motions)
    area = torch.linalg.det(turn)
    for k, layer in enumerate(layers[1:]):
        there = shown[:, k] & (area[:, k] > 1e-3)
        if not there.any() or layer[3].max() < 0.1:
            continue
        back = torch.linalg.inv(torch.where(there[:, None, None], turn[:, k], torch.eye(2).to(turn)))
        source = torch.einsum("tij,thwj->thwi", back, place - motions[:, k, None, None, :, 2])
        body = F.grid_sample(layer.expand(len(poses), -1, -1, -1), source * 2 / SPREAD, align_corners=False)
        body = body * there[:, None, None, None]
        out = body[:, :3] + out * (1 - body[:, 3:])
    return out.clamp(0.0, 1.0)


def _line(count: int, extent: float) -> Tensor:
    """Middles of `count` pixels over `extent` picture heights."""
    return ((torch.arange(count) + 0.5) / count - 0.5) * extent
