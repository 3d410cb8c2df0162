"""PANNs Cnn14 (Kong et al. 2020): sound to a 2048-d embedding and 527 AudioSet logits ("Encoders", section 1).

Key names are those of the published files. The front end's constants (the Fourier kernels and the mel bank) are part
of those files, so they are buffers here and a file's own win over the ones computed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synchresis.nn.mel_bank import mel_bank


@dataclass(frozen=True)
class Cnn14Config:
    """The published network for 16 kHz; see `AT_32K` for the other one."""

    sample_rate: int = 16_000
    window_size: int = 512
    hop_size: int = 160
    mel_bins: int = 64
    fmin: float = 50
    fmax: float = 8_000
    classes_num: int = 527
    widths: Sequence[int] = (64, 128, 256, 512, 1024, 2048)


AT_16K = Cnn14Config()
AT_32K = Cnn14Config(sample_rate=32_000, window_size=1024, hop_size=320, fmax=14_000)


class Constant(nn.Module):
    """A tensor under the name `weight` that is no parameter."""

    weight: Tensor

    def __init__(self, value: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("weight", torch.from_numpy(value.astype(np.float32)))


class Stft(nn.Module):
    """The Fourier kernels of a frame, under a periodic Hann window."""

    def __init__(self, size: int) -> None:
        super().__init__()
        n = np.arange(size)
        window = 0.5 - 0.5 * np.cos(2 * np.pi * n / size)
        waves = np.exp(-2j * np.pi * (np.outer(n[: size // 2 + 1], n) % size) / size) * window
        self.conv_real = Constant(waves.real[:, None])
        self.conv_imag = Constant(waves.imag[:, None])


class SpectrogramExtractor(nn.Module):
    """[B, N] to power [B, 1, T, size // 2 + 1]; frame i is centred on sample i * hop, ends are mirrored."""

    def __init__(self, size: int, hop: int) -> None:
        super().__init__()
        self.size, self.hop = size, hop
        self.stft = Stft(size)

    def forward(self, sound: Tensor) -> Tensor:
        padded = F.pad(sound[:, None], (self.size // 2, self.size // 2), mode="reflect")
        real = F.conv1d(padded, self.stft.conv_real.weight, stride=self.hop)
        imag = F.conv1d(padded, self.stft.conv_imag.weight, stride=self.hop)
        return (real.square() + imag.square()).transpose(1, 2)[:, None]


class LogmelExtractor(nn.Module):
    """Power [..., bins] to decibels per mel band, no lower than -100 dB: [..., bands]."""

    melW: Tensor

    def __init__(self, config: Cnn14Config) -> None:
        super().__init__()
        bank = mel_bank(
            config.mel_bins, config.window_size, config.sample_rate, config.fmin, config.fmax, "slaney", area_norm=True
        )
        self.register_buffer("melW", torch.from_numpy(bank.T.astype(np.float32)))

    def forward(self, power: Tensor) -> Tensor:
        return 10.0 * torch.log10((power @ self.melW).clamp_min(1e-10))


class ConvBlock(nn.Module):
    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outer)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class Cnn14(nn.Module):
    """Sound [B, N] at the configuration's rate, at least 32 frames long, to embedding [B, E] and logits [B, C].

    No gain normalisation; what to do with channels and offsets is the evaluation kit's business. In `eval` only:
    the augmentation and dropout of training are left out.
    """

    def __init__(self, config: Cnn14Config = AT_16K) -> None:
        super().__init__()
        self.config = config
        self.spectrogram_extractor = SpectrogramExtractor(config.window_size, config.hop_size)
        self.logmel_extractor = LogmelExtractor(config)
        self.bn0 = nn.BatchNorm2d(config.mel_bins)
        widths = [1, *config.widths]
        for i in range(1, len(widths)):
            self.add_module(f"conv_block{i}", ConvBlock(widths[i - 1], widths[i]))
        self.fc1 = nn.Linear(widths[-1], widths[-1])
        self.fc_audioset = nn.Linear(widths[-1], config.classes_num)

    @property
    def shortest(self) -> int:
        """Samples of the shortest sound: the poolings leave one of 2^(blocks - 1) frames."""
        return (2 ** (len(self.config.widths) - 1) - 1) * self.config.hop_size

    def forward(self, sound: Tensor) -> tuple[Tensor, Tensor]:
        x = self.logmel_extractor(self.spectrogram_extractor(sound))  # [B, 1, T, bands]
        x = self.bn0(x.transpose(1, 3)).transpose(1, 3)
        count = len(self.config.widths)
        for i in range(1, count + 1):
            x = self.get_submodule(f"conv_block{i}")(x)
            if i < count:
                x = F.avg_pool2d(x, 2)  # an odd length loses its last frame
        x = x.mean(3)
        embedding = F.relu(self.fc1(x.amax(2) + x.mean(2)))
        return embedding, self.fc_audioset(embedding)
