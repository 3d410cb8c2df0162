"""Training of Video2RMS: cross entropy against loudness classes whose neighbours count a little too.

    net = train_mapper([(features, envelope), ...], steps=2000, seed=0)
    save_mapper(net, Path("mapper.safetensors"))  # of synchresis.nn.rms_mapper

A clip is features [T, F] and the envelope that sounded, amplitudes [T'] 0..1 at the rate of the labels, both from the
clip's beginning (`synchresis.encoders.rms_features` makes the first, `rms_codes.envelope_of` the second).
Sources: Stable-Foley spec section 9.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from synchresis.nn.rms_mapper import RMSMapper, RMSMapperConfig
from synchresis.timeline.rms_codes import classes_of, smoothed
from synchresis.training.loop import train

Pair = tuple[np.ndarray, np.ndarray]
CROP = 300   # frames of features: 10 s at 30 Hz
BATCH = 16


def smoothed_cross_entropy(logits: Tensor, wanted: Tensor) -> Tensor:
    """Mean over all positions of - sum(wanted log softmax(logits)); both [..., classes]."""
    return -(wanted * logits.log_softmax(-1)).sum(-1).mean()


def batches(
    pairs: Sequence[Pair], config: RMSMapperConfig, draw: torch.Generator, size: int, crop: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Features [size, crop', F] and smoothed labels [size, T', classes] of random places of random clips.

    crop' is `crop`, or the length of the shortest clip where that is less.
    """
    crop = min(crop, *(len(features) for features, _ in pairs))
    ratio = config.labels_per_frame
    soft = [torch.from_numpy(smoothed(classes_of(envelope), levels=config.classes)) for _, envelope in pairs]
    seen = [torch.from_numpy(np.asarray(features, np.float32)) for features, _ in pairs]
    while True:
        features, labels = [], []
        for clip in torch.randint(len(pairs), (size,), generator=draw).tolist():
            first = int(torch.randint(len(seen[clip]) - crop + 1, (1,), generator=draw))
            begin = round(first * ratio)
            features.append(seen[clip][first : first + crop])
            labels.append(soft[clip][begin : begin + round(crop * ratio)])
        yield torch.stack(features), torch.stack(labels)


def train_mapper(
    pairs: Sequence[Pair],
    config: RMSMapperConfig | None = None,
    *,
    steps: int,
    seed: int = 0,
    peak: float = 1e-3,
    batch: int = BATCH,
    crop: int = CROP,
    report: Callable[[int, float], None] | None = None,
) -> RMSMapper:
    """A mapper trained on clips, in `eval`. Raises ValueError for no clips or pairs that are not of one length."""
    if not pairs:
        raise ValueError("no clips to learn from")
    config = config or RMSMapperConfig(features=pairs[0][0].shape[1])
    for i, (features, envelope) in enumerate(pairs):
        wanted = round(len(features) * config.labels_per_frame)
        if features.shape[1:] != (config.features,) or len(envelope) < wanted:
            raise ValueError(f"clip {i}: features {features.shape} and {len(envelope)} values of the envelope")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = RMSMapper(config)
        every = np.concatenate([np.asarray(features, np.float32) for features, _ in pairs])
        net.mean.copy_(torch.from_numpy(every.mean(0)))
        net.std.copy_(torch.from_numpy(every.std(0)).clamp_min(1e-3))
        draw = torch.Generator().manual_seed(seed + 1)

        def loss_of(item: object) -> Tensor:
            return smoothed_cross_entropy(net(item[0]), item[1])  # type: ignore[index]

        material = batches(pairs, config, draw, batch, crop)
        net.load_state_dict(train(net, material, loss_of, steps=steps, peak=peak, report=report))
    return net.eval()
