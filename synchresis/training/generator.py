"""Training of pocket's generator: rectified flow on the codec's latents, told by words, a reference, onsets, loudness.

What it is told is spoiled on purpose: the loudness is blurred and its absolute level taken off, each condition is
left out at times, so that each can be given alone and each can be guided (Ho and Salimans 2022).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from synchresis.diffusion.objectives import FLOW, training_times
from synchresis.nn.mel_vae import MelVAE
from synchresis.nn.sounder import CELLS, Sounder, SounderConfig, control_tensor, reference_statistics
from synchresis.training.loop import train
from synchresis.training.material import Pool, phrases

CROP = 128                    # latents: 5.12 s
BATCH = 16
LEVEL_SCALE_DB = 20.0
LEVEL_FLOOR_DB = -60.0        # under the loud part of the sound


def relative_level(level: torch.Tensor) -> torch.Tensor:
    """Level [..., cells] in dB to units of 20 dB relative to its own 95th percentile, floored at -60 dB."""
    loud = torch.quantile(level, 0.95, dim=-1, keepdim=True).clamp_min(-60.0)
    return (level - loud).clamp(LEVEL_FLOOR_DB, 12.0) / LEVEL_SCALE_DB


def blurred(level: torch.Tensor, cells: int) -> torch.Tensor:
    """A relative level [B, cells'] seen through a box of `cells` 10 ms cells, in power."""
    if cells <= 1:
        return level
    power = (level * LEVEL_SCALE_DB * 0.230259).exp()
    padded = torch.nn.functional.pad(power[:, None], (cells // 2, cells - 1 - cells // 2), mode="replicate")
    mean = torch.nn.functional.avg_pool1d(padded, cells, stride=1)[:, 0]
    return (mean.clamp_min(1e-9).log() / 0.230259).clamp_min(LEVEL_FLOOR_DB) / LEVEL_SCALE_DB


@dataclass(frozen=True)
class Batch:
    latents: torch.Tensor     # [B, latent + 4, CROP], normalised
    told_level: torch.Tensor  # [B, 4 CROP], relative, blurred
    onsets: torch.Tensor      # [B, 4 CROP]
    reference: torch.Tensor   # [B, 256]
    texts: list[str]
    reshaped: torch.Tensor    # [B], whether the level has nothing to do with the text


@dataclass(frozen=True)
class Encoded:
    """The pool through the codec: latents [N, latent + 4, T] as they are, with what goes beside them."""

    latents: torch.Tensor
    level: torch.Tensor       # [N, cells], relative
    onsets: torch.Tensor      # [N, cells]
    references: torch.Tensor  # [N, 2, 256], of the first and the second half
    labels: list[str]
    reshaped: torch.Tensor    # [N]


@torch.no_grad()
def encode_pool(pool: Pool, vae: MelVAE) -> Encoded:
    latents, references = [], []
    level = relative_level(pool.level)
    for first in range(0, len(pool), 32):
        shapes = pool.shapes[first : first + 32].float()
        mean, _ = vae.encode(shapes)
        own = level[first : first + 32]
        folded = own.reshape(len(own), -1, CELLS).transpose(1, 2)
        latents.append(torch.cat([mean, folded], dim=1))
        loud = (own > -1.5).float()
        half = shapes.shape[-1] // 2
        references.append(torch.stack([reference_statistics(shapes[..., :half], loud[:, :half]),
                                       reference_statistics(shapes[..., half:], loud[:, half:])], dim=1))
    return Encoded(torch.cat(latents), level, pool.onsets, torch.cat(references), pool.labels, pool.reshaped)


def batches(data: Encoded, mean: torch.Tensor, std: torch.Tensor, draw: torch.Generator) -> Iterator[Batch]:
    length = data.latents.shape[-1]

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=draw))

    while True:
        rows = torch.randint(len(data.labels), (BATCH,), generator=draw).tolist()
        firsts = [number(0, length - CROP + 1) for _ in rows]
        blur = [1, 1, 3, 9, 21, 41][number(0, 6)]
        texts = []
        for row in rows:
            said = phrases(data.labels[row])
            texts.append(said[number(0, len(said))])
        crops = [data.latents[r, :, a : a + CROP] for r, a in zip(rows, firsts, strict=True)]
        cells = [slice(CELLS * a, CELLS * (a + CROP)) for a in firsts]
        yield Batch(
            latents=(torch.stack(crops) - mean) / std,
            told_level=blurred(torch.stack([data.level[r, c] for r, c in zip(rows, cells, strict=True)]), blur),
            onsets=torch.stack([data.onsets[r, c] for r, c in zip(rows, cells, strict=True)]),
            reference=torch.stack([data.references[r, number(0, 2)] for r in rows]),
            texts=texts,
            reshaped=data.reshaped[rows],
        )


def loss_of(net: Sounder, batch: Batch, draw: torch.Generator) -> torch.Tensor:
    """Velocity error of the rectified flow at a logit-normal time (Esser et al. 2024)."""
    size = len(batch.texts)

    def chance(probability: float) -> torch.Tensor:
        return torch.rand(size, generator=draw) < probability

    wordless = chance(0.2)
    texts = [None if drop else text for drop, text in zip(wordless.tolist(), batch.texts, strict=True)]
    told = net.told(texts, batch.reference, chance(0.35))
    control = control_tensor(batch.told_level, batch.onsets, CROP)
    free = chance(0.25)
    # A level that has nothing to do with the text must be told: or the text learns that anything goes.
    with_level, with_onsets = (chance(0.5) & ~free) | batch.reshaped, chance(0.6) & ~free
    keep = torch.stack([with_level, with_onsets], dim=1).repeat_interleave(CELLS + 1, dim=1)[..., None]
    control = torch.where(keep, control, torch.zeros(()))
    t = training_times(size, draw, "logit_normal")
    noise = torch.randn(batch.latents.shape, generator=draw)
    velocity = net(FLOW.noised(batch.latents, noise, t), t, net.prepare(told, control))
    return (velocity - FLOW.target(batch.latents, noise, t)).square().mean()


def train_generator(
    pool: Pool,
    vae: MelVAE,
    steps: int,
    seed: int,
    report: Callable[[int, float], None] | None = None,
    config: SounderConfig | None = None,
    start: Sounder | None = None,
) -> Sounder:
    """A generator trained on the pool as the codec sees it: from nothing, or on from `start`."""
    torch.manual_seed(seed)
    net = start or Sounder(config or SounderConfig(latent=vae.config.latent))
    data = encode_pool(pool, vae)
    if start is None:
        net.latent_mean.copy_(data.latents.mean(dim=(0, 2))[:, None])
        net.latent_std.copy_(data.latents.std(dim=(0, 2))[:, None].clamp_min(0.05))
    draw = torch.Generator().manual_seed(seed + 1)
    weights = train(
        net,
        batches(data, net.latent_mean, net.latent_std, draw),
        lambda batch: loss_of(net, batch, draw),  # type: ignore[arg-type]
        steps=steps,
        peak=1.5e-3 if start is None else 1e-3,
        report=report,
    )
    net.load_state_dict(weights)
    return net.eval()
