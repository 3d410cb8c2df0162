"""Training of pocket's codec: a variational autoencoder over level-free log-mel frames (notes in docs/pocket.md)."""

from collections.abc import Callable, Iterator

import torch

from synchresis.nn.mel_vae import MelVAE, MelVAEConfig
from synchresis.training.loop import train
from synchresis.training.material import Pool

CROP = 128                    # cells: 1.28 s
BATCH = 16
KL_WEIGHT = 0.01              # per element, against losses of about 0.3


def crops(pool: Pool, seed: int) -> Iterator[torch.Tensor]:
    """Endless batches [BATCH, 128, CROP]; half of the crops are asked to hold sound rather than silence."""
    draw = torch.Generator().manual_seed(seed)
    cells = pool.shapes.shape[-1]
    while True:
        rows: list[torch.Tensor] = []
        while len(rows) < BATCH:
            item = int(torch.randint(len(pool), (1,), generator=draw))
            first = int(torch.randint(0, cells - CROP + 1, (1,), generator=draw))
            silent = bool((pool.level[item, first : first + CROP] < -60).float().mean() > 0.7)
            if not silent or len(rows) % 8 == 0:
                rows.append(pool.shapes[item, :, first : first + CROP])
        yield torch.stack(rows).float()


def loss_of(vae: MelVAE, frames: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """L1 on the bands and on their changes in time, on linear energy (against melted peaks), and the KL divergence."""
    mean, log_variance = vae.encode(frames)
    noise = torch.randn(mean.shape, generator=draw)
    decoded = vae.decode(mean + noise * (0.5 * log_variance).exp())
    near = (decoded - frames).abs().mean()
    change = (decoded.diff(dim=-1) - frames.diff(dim=-1)).abs().mean()
    # 12 dB is one unit of a shape: half of its decibels, as an amplitude.
    energy = ((decoded * 0.69).exp() - (frames * 0.69).exp()).abs().mean()
    divergence = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1.0).mean()
    return near + 0.3 * change + 0.1 * energy + KL_WEIGHT * divergence


def train_codec(
    pool: Pool,
    steps: int,
    seed: int,
    report: Callable[[int, float], None] | None = None,
    config: MelVAEConfig | None = None,
) -> MelVAE:
    """A codec trained from nothing on the pool's shapes; the same arguments give the same weights."""
    torch.manual_seed(seed)
    vae = MelVAE(config or MelVAEConfig())
    draw = torch.Generator().manual_seed(seed + 1)
    weights = train(
        vae,
        crops(pool, seed),
        lambda frames: loss_of(vae, frames, draw),  # type: ignore[arg-type]
        steps=steps,
        peak=1.5e-3,
        report=report,
    )
    vae.load_state_dict(weights)
    return vae.eval()
