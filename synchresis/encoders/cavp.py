"""CAVP's look at a film: a feature of unit length for each of four pictures a second.

As Stable-Foley and Diff-Foley look: pictures at i/4 s, squeezed to 224 x 224 (bilinear, with antialiasing), 0..1
without mean and spread. Source: Stable-Foley spec section 5. (The published chain has a JPEG of 320 x 240 in between.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from synchresis.errors import BadInputError
from synchresis.nn.cavp import CAVP
from synchresis.timeline import Track

if TYPE_CHECKING:
    from synchresis.media.probe import Clip

RATE = 4   # pictures a second
SIDE = 224
PIECE = 16  # pictures whose features are computed at once: 1 GB at full size with their context


def seen(picture: np.ndarray, side: int = SIDE) -> np.ndarray:
    """A picture uint8 [H, W, 3] squeezed to uint8 [side, side, 3], whatever its shape."""
    from PIL import Image

    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR))


@torch.no_grad()
def features_of(net: CAVP, pictures: Iterable[np.ndarray], piece: int = PIECE) -> Iterator[Tensor]:
    """The features of a stream of pictures uint8 [side, side, 3], in pieces [n, embed_dim] of up to `piece`.

    A picture's feature depends on `config.reach` pictures on either side. Each piece is looked at with those, and
    no others are held, so memory does not grow with the film and the pieces are what the whole would give. The network
    must be in `eval`.
    """
    reach, device = net.config.reach, next(net.parameters()).device

    def look(held: list[np.ndarray], first: int, stop: int) -> Tensor:
        video = torch.from_numpy(np.stack(held)).to(device).permute(0, 3, 1, 2).float() / 255
        maps = net.video_encoder(video.transpose(0, 1)[None])
        return F.normalize(net.project(maps[..., first:stop]), dim=-1)[0].float().cpu()

    held: list[np.ndarray] = []
    own = 0  # the first held picture whose feature was not given yet
    for picture in pictures:
        held.append(picture)
        if len(held) == own + piece + reach:
            yield look(held, own, own + piece)
            gone = max(0, own + piece - reach)
            del held[:gone]
            own += piece - gone
    if len(held) > own:
        yield look(held, own, len(held))


def frame_features(
    net: CAVP,
    film: Clip,
    rate: int = RATE,
    side: int = SIDE,
    piece: int = PIECE,
    progress: Callable[[float], None] | None = None,
) -> Track:
    """Features [S, embed_dim] float32 of unit length of the pictures nearest to i / rate, i = 0, 1 ... inside the film.

    Value i was seen at the beginning of its cell, and through its neighbours +-2.25 s around it. A film shorter than a
    cell has one. Raises BadInputError where there is no picture.
    """
    from synchresis.media import frames

    if film.video is None:
        raise BadInputError(f"{film.path} has no picture to look at")
    times = [Fraction(i, rate) for i in range(max(1, math.ceil(film.duration * rate)))]
    pictures = (seen(picture, side) for _, picture in frames(film, times=times))
    rows: list[Tensor] = []
    for part in features_of(net, pictures, piece):
        rows.append(part)
        if progress is not None:
            progress(sum(map(len, rows)) / len(times))
    return Track(torch.cat(rows).numpy(), Fraction(rate))
