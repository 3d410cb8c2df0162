"""Training of the watcher on films of the stage.

Films are rendered once into a shelf of motion grids (`render_shelf`), from which the training reads
(`fit_watcher`); `train_watcher` does both and writes the weights. Every label is weighted by how well its event
can be seen: an unseen onset is not a negative, it is left out (notes on watching: invisible labels set the
ceiling). Everything is a function of its seeds.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from synchresis.encoders.motion import CHANNELS, RATE, SEEN_RATE, frame_numbers, motion_grids
from synchresis.nn.watcher import Watcher, WatcherConfig, loudness_code, save_watcher
from synchresis.timeline import Track
from synchresis.timeline.onsets import match, pick_peaks
from synchresis.training.loop import train
from synchresis.training.onsets import onset_labels

FILMS = 3000
STEPS = 1700
FRAMES = 75
"""Of one film: 3 s."""
CELLS = 2 * FRAMES
MOST_ONSETS = 48
FLOW = (0, 1, 2, 3, 7, 8)
DIFFERENCE = (4, 5, 6)


@dataclass(frozen=True)
class Shelf:
    """Films as the watcher is trained on them. N films, T frames at 25 Hz, 2 T cells at 50 Hz, K onsets at most.

    grids float16 [N, T, 9, 12, 12]; times (s, NaN where there is none), strengths and visible float32 [N, K];
    loudness float32 [N, 2 T], linear over the loudest of the film; source float32 [N, 2 T], 0..1: how well what
    sounds can be seen.
    """

    grids: torch.Tensor
    times: torch.Tensor
    strengths: torch.Tensor
    visible: torch.Tensor
    loudness: torch.Tensor
    source: torch.Tensor

    def __len__(self) -> int:
        return len(self.grids)


def training_film(seed: int) -> Any:
    """The film of the stage with this seed; every third one drawn large and clean, as a watcher learns first."""
    from synchresis.data.stage import film

    easy = 0.3 * float(np.random.default_rng([seed, 3]).random())
    return film(seed, hardness=easy if seed % 3 == 0 else None)


def shelf_of(films: Sequence[Any]) -> Shelf:
    """Watches films of the stage (`synchresis.data.stage.Film`, 96 x 96 pixels, 3 s)."""
    rows = [_row(film) for film in films]
    return Shelf(*(torch.stack([row[i] for row in rows]) for i in range(6)))


def _row(film: Any) -> tuple[torch.Tensor, ...]:
    numbers = frame_numbers(film.fps, FRAMES, film.count)
    times = [float(number / film.fps) for number in numbers]
    pictures = map(_gray, film.pictures(numbers))
    grids = np.stack(list(motion_grids(zip(times, pictures, strict=True))))
    known = len(film.onsets)
    if known > MOST_ONSETS:
        raise ValueError(f"a film has {known} onsets, more than the {MOST_ONSETS} a shelf has room for")
    onsets = np.full((3, MOST_ONSETS), np.nan, np.float32)
    onsets[:, :known] = film.onsets.times, film.onsets.strengths, film.visible
    loudness = np.zeros(CELLS, np.float32)
    told = film.loudness.resample(2 * RATE, kind="mean").values[:CELLS]
    loudness[: len(told)] = told / max(float(told.max()), 1e-6)
    return (
        torch.from_numpy(grids).half(),
        *torch.from_numpy(onsets),
        torch.from_numpy(loudness),
        torch.from_numpy(film.visible_source.values[:CELLS].astype(np.float32)),
    )


def _gray(picture: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)


def render_shelf(
    folder: Path, seeds: Sequence[int], film_of: Callable[[int], Any], per_file: int = 50
) -> None:
    """Renders the films of `seeds` into `folder`, `per_file` to a file; files that are there already are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, len(seeds), per_file):
        path = folder / f"{seeds[first]:09d}.safetensors"
        if not path.exists():
            shelf = shelf_of([film_of(seed) for seed in seeds[first : first + per_file]])
            beside = path.with_suffix(".part")
            save_file({name: value.contiguous() for name, value in vars(shelf).items()}, beside)
            beside.rename(path)


def load_shelf(folder: Path, most: int | None = None) -> Shelf:
    """All films of a folder in the order of their seeds, or the first `most`."""
    files = [load_file(path) for path in sorted(folder.glob("*.safetensors"))]
    if not files:
        raise FileNotFoundError(f"{folder}: no rendered films here; call render_shelf first")
    return Shelf(**{name: torch.cat([file[name] for file in files])[:most] for name in files[0]})


def batches(shelf: Shelf, seed: int, size: int = 16, frames: int = 64) -> Iterator[tuple[torch.Tensor, ...]]:
    """Endless batches: grids [B, frames, 9, 12, 12], onset label and weight, loudness and its weight [B],
    source [B, 2 frames].

    Each film is taken once per pass, cut at a random place, and spoiled: mirrored, turned, faster or slower,
    with noise, and at times blind to flow or to differences, since on real footage the two fail differently.
    """
    rng = np.random.default_rng(seed)
    labels, weights = onset_labels(shelf.times, shelf.strengths, shelf.visible, CELLS, 2 * RATE)
    codes = loudness_code(shelf.loudness)
    seen = seen_share(shelf)
    order = np.zeros(0, np.int64)
    while True:
        if len(order) < size:
            order = np.concatenate([order, rng.permutation(len(shelf))])
        films, order = order[:size], order[size:]
        starts = rng.integers(0, FRAMES - frames + 1, size)
        grids = [shelf.grids[k, s : s + frames] for k, s in zip(films, starts, strict=True)]
        cells = [(k, slice(2 * s, 2 * (s + frames))) for k, s in zip(films, starts, strict=True)]
        yield (
            spoiled(torch.stack(grids).float(), rng),
            torch.stack([labels[k, part] for k, part in cells]),
            torch.stack([weights[k, part] for k, part in cells]),
            torch.stack([codes[k, part] for k, part in cells]),
            seen[films],
            torch.stack([shelf.source[k, part] for k, part in cells]),
        )


def seen_share(shelf: Shelf) -> torch.Tensor:
    """How much of each film's sound has its source in sight, 0..1 [N]; 1 for a silent film."""
    total = shelf.loudness.sum(dim=1)
    return torch.where(total > 0, (shelf.loudness * shelf.source).sum(dim=1) / total.clamp_min(1e-6), 1.0)


def spoiled(grids: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Each film of a batch [B, T, 9, 12, 12] as it might have looked otherwise, with the same sound."""
    size = len(grids)

    def drawn(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.float32))

    sign = torch.ones(size, len(CHANNELS), 1, 1)
    mirror, turn = rng.random(size) < 0.5, rng.random(size) < 0.25
    flip = rng.random(size) < 0.15
    for i in range(size):
        if mirror[i]:
            grids[i] = grids[i].flip(-1)
            sign[i, [0, 2, 7]] *= -1
        if flip[i]:
            grids[i] = grids[i].flip(-2)
            sign[i, [1, 3, 8]] *= -1
    grids *= sign[:, None]
    for k in np.flatnonzero(turn):
        grids[k] = grids[k][:, [1, 0, 3, 2, 4, 5, 6, 8, 7]].transpose(-1, -2)
    gain = torch.ones(size, len(CHANNELS), 1, 1)
    gain[:, list(FLOW)] *= drawn(np.exp(rng.normal(0, 0.4, size)))[:, None, None, None]
    gain[:, list(DIFFERENCE)] *= drawn(np.exp(rng.normal(0, 0.3, size)))[:, None, None, None]
    blind = rng.random(size)
    gain[np.flatnonzero(blind < 0.1)[:, None], list(FLOW)] = 0.0
    gain[np.flatnonzero(blind > 0.9)[:, None], list(DIFFERENCE)] = 0.0
    grids *= gain[:, None]
    noise = drawn(rng.standard_normal(grids.shape, np.float32)) * 0.03
    noise[:, :, list(DIFFERENCE)] *= 0.3
    return grids + noise * (gain[:, None] > 0)


def loss_of(net: Watcher, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Weighted cross-entropy of the onsets, smooth L1 of the loudness where a source is seen, confidence."""
    grids, label, weight, loudness, share, source = batch
    seen = net(grids)
    onset = F.binary_cross_entropy_with_logits(seen.onset, label, weight * (1 + 3 * label))
    level = F.smooth_l1_loss(seen.loudness, loudness, beta=0.1, reduction="none").mean(dim=1)
    sure = F.binary_cross_entropy_with_logits(seen.confidence, source)
    return onset + 0.5 * (level * share).mean() + 0.1 * sure


def fit_watcher(
    shelf: Shelf,
    *,
    steps: int,
    seed: int = 0,
    peak: float = 2e-3,
    films: int = 16,
    config: WatcherConfig | None = None,
    report: Callable[[int, float], None] | None = None,
) -> Watcher:
    """A watcher with averaged weights after `steps` steps of `films` films. The same on every run with one thread."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Watcher(config)
        weights = train(
            net,
            batches(shelf, seed, films),
            lambda batch: loss_of(net, batch),  # type: ignore[arg-type]
            steps=steps,
            peak=peak,
            decay=0.998,
            weight_decay=0.03,
            report=report,
        )
    net.load_state_dict(weights)
    return net.eval()


def train_watcher(
    out: Path,
    *,
    cache: Path | None = None,
    films: int = FILMS,
    steps: int | None = None,
    seed: int = 0,
    report: Callable[[int, float], None] | None = None,
) -> Watcher:
    """Renders `films` films (seeds 0, 1, ...), trains on them and writes the weights to `out` (safetensors).

    cache: the folder in which rendered films are kept between runs; without it they are rendered for this run
    only. The packaged weights were made with the defaults.
    """
    steps = steps or STEPS
    with TemporaryDirectory() as passing:
        folder = (cache or Path(passing)) / "watcher"
        render_shelf(folder, range(films), training_film)
        net = fit_watcher(load_shelf(folder, films), steps=steps, seed=seed, report=report)
    notes = {"films": str(films), "steps": str(steps), "seed": str(seed)}
    save_watcher(out, net, notes)
    return net


def area_under_curve(values: np.ndarray, positive: np.ndarray) -> float:
    """Chance that a positive cell has the higher value (ties count half); NaN when one side is empty."""
    values, positive = np.asarray(values, np.float64), np.asarray(positive, bool)
    n, m = int(positive.sum()), int((~positive).sum())
    if not n or not m:
        return float("nan")
    _, index, count = np.unique(values, return_inverse=True, return_counts=True)
    rank = np.cumsum(count) - 0.5 * (count - 1)
    return float((rank[index][positive].sum() - n * (n + 1) / 2) / (n * m))


@dataclass(frozen=True)
class StageScores:
    """One row per film: what a curve at 50 Hz says of the visible events (visible >= 0.5) of a film."""

    auc: np.ndarray
    f1_60: np.ndarray
    f1_100: np.ndarray


def stage_scores(curves: np.ndarray, shelf: Shelf) -> StageScores:
    """Curves [N, 2 T] against the true contacts of the shelf's films; NaN for a film without visible event.

    Count-matched: as many peaks are taken as there are visible events. Around unseen events (60 ms) nothing is
    asked: a peak there is neither right nor wrong.
    """
    rows = []
    for curve, times, visible in zip(curves, shelf.times.numpy(), shelf.visible.numpy(), strict=True):
        known = ~np.isnan(times)
        told, hidden = times[known & (visible >= 0.5)], times[known & (visible < 0.5)]
        if not len(told):
            rows.append((np.nan, np.nan, np.nan))
            continue
        centres = (np.arange(len(curve)) + 0.5) / (2 * RATE)
        near = _near(centres, told)
        asked = near | ~_near(centres, hidden)
        kept = Track(np.where(asked, curve, curve.min()), SEEN_RATE)
        peaks = pick_peaks(kept, count=len(told)).times
        f1s = [2 * match(peaks, told, limit) / (len(peaks) + len(told)) for limit in (0.06, 0.1)]
        rows.append((area_under_curve(curve[asked], near[asked]), f1s[0], f1s[1]))
    return StageScores(*np.array(rows).reshape(-1, 3).T)


def _near(centres: np.ndarray, times: np.ndarray, limit: float = 0.06) -> np.ndarray:
    return (np.abs(centres[:, None] - times[None]) <= limit).any(axis=1)


@torch.inference_mode()
def seen_on(net: Watcher, shelf: Shelf, size: int = 32) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Onset logits, loudness codes and confidence logits, each [N, 2 T], of a shelf's films, seen once."""
    parts = [net(shelf.grids[i : i + size].float()) for i in range(0, len(shelf), size)]
    onset, loudness, confidence = (torch.cat([part[k] for part in parts]).numpy() for k in range(3))
    return onset, loudness, confidence
