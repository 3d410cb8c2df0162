"""Watching a film: when something in it sounds, how loud, and whether what sounds can be seen at all.

    watched = watch("clip.mp4", load_watcher(path))
    onsets = pick(watched)

The film streams through in pieces with a margin on either side as wide as the network's field of view: memory does
not grow with it, and the result does not depend on the pieces.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from synchresis.encoders.motion import RATE, SEEN_RATE, SIDE, VIEWS, MotionEye, change, mirrored, views
from synchresis.timeline import Track
from synchresis.timeline.onsets import Onsets, pick_peaks

if TYPE_CHECKING:
    from synchresis.media.probe import Clip
    from synchresis.nn.watcher import Watcher

PIECE = 250
"""Frames that are watched at once (10 s)."""
LEAST_PROBABILITY = 0.2
LEAST_GAP = 0.1
"""Seconds between two picked onsets."""
NEARBY = 5.0
"""Seconds on either side with which a peak is compared."""
DEPTH = 0.8
"""So much (in logits) a peak may lie under the highest near by."""


@dataclass(frozen=True)
class Watched:
    """What was seen, as tracks at 50 Hz from 0 s.

    onset: probability of an onset in each cell, 0..1. loudness: linear amplitude over the loudest, 0..1.
    confidence: 0..1, how likely it is that what sounds can be seen. change: mean absolute difference of
    neighbouring pictures over contrast, without any training: the plainest evidence.
    """

    onset: Track
    loudness: Track
    confidence: Track
    change: Track


def watch(
    clip: "Clip | Path | str", net: "Watcher", progress: Callable[[float], None] | None = None
) -> Watched:
    """Watches a whole clip. progress is told the share done, 0..1.

    The picture is read at 25 Hz and seen six times (whole, quadrants, centre), each also in the mirror; logits
    are averaged (notes on watching), confidence is that of the whole picture. Raises BadInputError where there
    is no picture.
    """
    from synchresis.media import frames, probe

    clip = probe(clip)
    pictures = frames(clip, rate=RATE, size=(2 * SIDE, 2 * SIDE), gray=True)
    return watched_of(view_grids(_told(pictures, float(clip.duration), progress)), net)


def watched_of(grids: Iterable[np.ndarray], net: "Watcher", piece: int = PIECE) -> Watched:
    """Motion grids of the views [V, 9, 12, 12] per frame, from the beginning of a film -> what is seen in it."""
    parts = [
        _watch_window(window, net)[:, 2 * first : 2 * stop]
        for window, first, stop in _pieces(grids, piece, net.field)
    ]
    values = np.concatenate(parts, axis=1) if parts else np.zeros((4, 0), np.float32)
    return Watched(*(Track(row, SEEN_RATE) for row in values))


def _told(
    pictures: Iterable[tuple[float, np.ndarray]], duration: float, progress: Callable[[float], None] | None
) -> Iterator[tuple[float, np.ndarray]]:
    for index, picture in enumerate(pictures):
        yield picture
        if progress is not None and (index + 1) % RATE == 0:
            progress(min((index + 1) / (RATE * duration), 1.0))


def view_grids(pictures: Iterable[tuple[float, np.ndarray]]) -> Iterator[np.ndarray]:
    """(time, picture uint8 [192, 192]) at 25 Hz -> motion grids of the six views, float32 [6, 9, 12, 12]."""
    eyes = [MotionEye() for _ in range(VIEWS)]
    for time, picture in pictures:
        yield np.stack([eye.see(time, view) for eye, view in zip(eyes, views(picture), strict=True)])


def _watch_window(window: np.ndarray, net: "Watcher") -> np.ndarray:
    import torch

    from synchresis.nn.watcher import relative_loudness

    seen = window.swapaxes(0, 1)
    device = next(net.parameters()).device
    both = torch.from_numpy(np.concatenate([seen, mirrored(seen)])).to(device)
    with torch.inference_mode():
        onset, loudness, confidence = net(both)
        # A quadrant without a source says nothing of the whole. Measured on 50 films of the stage, sounding
        # against silent: AUC 0.91 by the whole picture, 0.70 by the mean of all views.
        whole = confidence[[0, seen.shape[0]]].mean(dim=0).sigmoid()
        heard = torch.stack([onset.mean(dim=0).sigmoid(), relative_loudness(loudness.mean(dim=0)), whole])
        told = heard.cpu().numpy()
    return np.concatenate([told, np.repeat(change(seen[0]), 2)[None]])


def _pieces(
    grids: Iterable[np.ndarray], piece: int, margin: int
) -> Iterator[tuple[np.ndarray, int, int]]:
    """Windows over a stream, and which part of each is its own: that much plus `margin` where there is more."""
    held: list[np.ndarray] = []
    own = 0
    for grid in grids:
        held.append(grid)
        if len(held) == own + piece + margin:
            yield np.stack(held), own, own + piece
            gone = max(0, own + piece - margin)
            del held[:gone]
            own = own + piece - gone
    if len(held) > own:
        yield np.stack(held), own, len(held)


def pick(watched: Watched) -> Onsets:
    """The onsets worth a sound: times in seconds, strengths 0..1 (probability over the strongest near by).

    A threshold found on rendered films does not fit real ones, so it follows the clip: a peak counts when its
    odds are at least exp(-0.8) of those of the three highest peaks within 5 s (geometric mean), and its
    probability is at least 0.2. On the stage this keeps about three events for every four; in a film in which
    nothing happens few or none remain.
    """
    if not len(watched.onset):
        return Onsets(np.zeros(0), np.zeros(0))
    peaks = pick_peaks(watched.onset, threshold=LEAST_PROBABILITY, min_gap=LEAST_GAP)
    probability = np.clip(peaks.strengths, 1e-6, 1 - 1e-6)
    evidence = np.log(probability / (1 - probability))
    first = np.searchsorted(peaks.times, peaks.times - NEARBY)
    stop = np.searchsorted(peaks.times, peaks.times + NEARBY, side="right")
    keep, strengths = np.zeros(len(peaks), bool), np.zeros(len(peaks))
    for k, (a, b) in enumerate(zip(first, stop, strict=True)):
        highest = np.sort(evidence[a:b])[-3:].mean()
        keep[k] = evidence[k] >= highest - DEPTH
        strengths[k] = probability[k] / probability[a:b].max()
    return Onsets(peaks.times[keep], strengths[keep])
