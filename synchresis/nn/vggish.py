"""VGGish (Hershey et al. 2017) in the layout of its torch port: 0.96 s of sound to 128 numbers ("Encoders", section 2).

Four variants of these numbers are in use, and a Frechet distance differs between them, so each has its name:

- `linear`: the last linear layer (audioldm_eval, av-benchmark, frechet-audio-distance, fadtk);
- `activated`: with a ReLU after it (the port's own forward);
- `quantised`: `activated`, then whitened by PCA and rounded to 0..255 (AudioSet's own features);
- `pca_linear`: whitened and rounded without the ReLU (frechet-audio-distance with `use_pca`).
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from synchresis.nn.mel_bank import mel_bank

RATE = 16_000
FRAME, HOP, FFT = 400, 160, 512
EXAMPLE = 96  # frames of an example
BANDS = 64
SHORTEST = (EXAMPLE - 1) * HOP + FRAME  # samples of the first example

Variant = Literal["linear", "activated", "quantised", "pca_linear"]


def examples(sound: Tensor) -> Tensor:
    """16 kHz sound [N] to log-mel examples [P, 1, 96, 64], float32; what is left after the last one is dropped.

    Magnitudes, not powers, and computed in float64 as the kits do in NumPy. P is 0 under 15 600 samples.
    """
    if len(sound) < SHORTEST:
        return torch.zeros(0, 1, EXAMPLE, BANDS, device=sound.device)
    bank = torch.from_numpy(mel_bank(BANDS, FFT, RATE, 125.0, 7500.0, "htk", area_norm=False, triangles="mel"))
    window = torch.hann_window(FRAME, dtype=torch.float64, device=sound.device)
    spectrum = torch.fft.rfft(sound.double().unfold(0, FRAME, HOP) * window, FFT).abs()
    mel = torch.log(spectrum @ bank.T.to(sound.device) + 0.01)
    count = len(mel) // EXAMPLE
    return mel[: count * EXAMPLE].reshape(count, 1, EXAMPLE, BANDS).float()


class Whitening(nn.Module):
    """PCA of Google's release, and 8-bit steps: [P, 128] to whole numbers 0..255."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.pca_eigen_vectors = nn.Parameter(torch.zeros(size, size))
        self.pca_means = nn.Parameter(torch.zeros(size, 1))

    def forward(self, x: Tensor) -> Tensor:
        white = (self.pca_eigen_vectors @ (x.T - self.pca_means)).T
        return torch.round((white.clamp(-2.0, 2.0) + 2.0) * (255.0 / 4.0))


class Vggish(nn.Module):
    """Examples [P, 1, 96, 64] to [P, 128]. `whitening` adds the PCA, which is a file of its own."""

    def __init__(
        self, widths: Sequence[int] = (64, 128, 256, 512), hidden: int = 4096, out: int = 128, whitening: bool = False
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inner = 1
        for i, width in enumerate(widths):
            for _ in range(1 if i < 2 else 2):
                layers += [nn.Conv2d(inner, width, 3, padding=1), nn.ReLU()]
                inner = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        flat = (EXAMPLE >> len(widths)) * (BANDS >> len(widths)) * inner
        self.embeddings = nn.Sequential(
            nn.Linear(flat, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, out)
        )
        self.pproc = Whitening(out) if whitening else None

    def forward(self, x: Tensor, variant: Variant = "linear") -> Tensor:
        x = self.features(x)
        x = self.embeddings(x.permute(0, 2, 3, 1).flatten(1))  # channels last: the order of the TensorFlow original
        if variant in ("activated", "quantised"):
            x = x.relu()
        if variant in ("quantised", "pca_linear"):
            if self.pproc is None:
                raise ValueError(f"the variant {variant} needs the PCA parameters")
            x = self.pproc(x)
        return x


def as_pca_state(vectors: np.ndarray, means: np.ndarray) -> dict[str, Tensor]:
    """The two arrays of the PCA file (there the means are flat) under the names they have here."""
    return {
        "pproc.pca_eigen_vectors": torch.from_numpy(np.ascontiguousarray(vectors, np.float32)),
        "pproc.pca_means": torch.from_numpy(np.ascontiguousarray(means, np.float32)).reshape(-1, 1),
    }
