"""Labels of onsets, for whatever learns to see them: pocket's watcher, pocket's generator, STA-V2A's local branch.

    labels = sound_labels(sound, cells=256)             # what a picture should have told, from its sound
    net = train_onsets([(features, labels), ...], LocalConfig(), steps=2000)

STA-V2A's own label maker was not published (spec section 4); here it is the onset detector of `timeline/onsets.py` on
a grid of 40 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from synchresis.nn.onset_head import LocalBranch, LocalConfig
from synchresis.timeline import Onsets, Track, detect_onsets
from synchresis.training.loop import train

RATE = 25               # cells a second: 40 ms
LABEL_WIDTH = 0.025     # standard deviation (s) of a soft label: sight is no sharper
UNSEEN_WIDTH = 0.06     # around an unseen onset so much (s, standard deviation) is left out of the loss

# Labels ---------------------------------------------------------------------------------------------


def strengths_in_cells(onsets: Onsets, cells: int, rate: int | Fraction = RATE, start: float = 0.0) -> np.ndarray:
    """The greatest strength of the onsets in each of `cells` cells from `start` (s) on, float32; 0 where there is none.

    An onset exactly at the beginning of a cell is in it; onsets outside of all cells are left out.
    """
    strengths = np.zeros(cells, np.float32)
    places = np.floor((onsets.times - start) * float(rate) + 1e-6).astype(int)
    inside = (places >= 0) & (places < cells)
    np.maximum.at(strengths, places[inside], onsets.strengths[inside].astype(np.float32))
    return strengths


def sound_labels(sound: Track, cells: int, rate: int | Fraction = RATE) -> Tensor:
    """1 where an onset of the sound (`detect_onsets`) lies in a cell, else 0: int64 [cells], from the sound's start."""
    return torch.from_numpy(strengths_in_cells(detect_onsets(sound), cells, rate, float(sound.start)) > 0).long()


def onset_labels(times: Tensor, strengths: Tensor, visible: Tensor, cells: int, rate: int) -> tuple[Tensor, Tensor]:
    """Onsets [N, K] (NaN where there is none) -> label and weight [N, cells].

    The label is a Gaussian, higher for stronger events. The weight is 1, falls to the event's visibility around
    an event, and is not lowered where a visible event is near an unseen one.
    """
    centres = (torch.arange(cells) + 0.5) / rate
    away = (centres - times[..., None]).nan_to_num(1e3)
    height = (0.5 + 0.5 * strengths).nan_to_num(0.0)[..., None]
    seen = visible.nan_to_num(1.0)[..., None]
    near = torch.exp(-0.5 * (away / LABEL_WIDTH) ** 2)
    around = torch.exp(-0.5 * (away / UNSEEN_WIDTH) ** 2)
    label = (height * near).amax(dim=1)
    unseen = (around * (1 - seen)).amax(dim=1)
    weight = torch.maximum(1 - unseen, (around * seen * (away.abs() < 0.5)).amax(dim=1))
    return label, weight


# The pretext task -----------------------------------------------------------------------------------


def onset_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of two classes at every position: logits [B, L, 2], labels int64 [B, L], to [B, L]."""
    return F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")


Example = tuple[Tensor, Tensor]
"""Features [T, input] of a picture at the branch's rate, and labels [L] of its sound, both from the clip's start."""


def batches(examples: Sequence[Example], size: int, draw: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
    """Features [B, T, input], rows [B, T], labels [B, L] and cells [B, L] of random clips; false is padding."""
    while True:
        chosen = [examples[i] for i in torch.randint(len(examples), (size,), generator=draw).tolist()]
        features, rows = _padded([features for features, _ in chosen])
        labels, cells = _padded([labels for _, labels in chosen])
        yield features, rows, labels, cells


def _padded(items: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    whole = torch.nn.utils.rnn.pad_sequence(list(items), batch_first=True)
    lengths = torch.tensor([len(item) for item in items])
    return whole, torch.arange(whole.shape[1]) < lengths[:, None]


def train_onsets(
    examples: Sequence[Example],
    config: LocalConfig | None = None,
    *,
    steps: int,
    seed: int = 0,
    peak: float = 1e-3,
    batch: int = 16,
    report: Callable[[int, float], None] | None = None,
) -> LocalBranch:
    """STA-V2A's local branch trained to predict onsets, in `eval`. Raises ValueError for no or ill-shaped examples."""
    if not examples:
        raise ValueError("no clips to learn from")
    config = config or LocalConfig(input=examples[0][0].shape[1])
    for i, (features, labels) in enumerate(examples):
        if features.ndim != 2 or features.shape[1] != config.input or labels.ndim != 1 or not len(features):
            raise ValueError(f"clip {i}: features {tuple(features.shape)} and labels {tuple(labels.shape)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = LocalBranch(config)

        def loss_of(given: Any) -> Tensor:
            features, rows, labels, cells = given
            losses = onset_loss(net(features, labels.shape[1], rows).logits, labels)
            return (losses * cells).sum() / cells.sum()

        draw = torch.Generator().manual_seed(seed)
        weights = train(net, batches(examples, batch, draw), loss_of, steps=steps, peak=peak, decay=0.99, report=report)
    net.load_state_dict(weights)
    return net.eval()
