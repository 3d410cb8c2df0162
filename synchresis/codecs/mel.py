"""Pocket's codec: 32 kHz sound to spectral shapes, a level track, and latents; and back.

Sound is cut into frames of 40 ms every 10 ms, frame *i* centred on the 100 Hz cell *i* of the timeline, so frames,
loudness values and samples share one grid. A frame becomes 128 log-mel bands *relative to the frame's own level*.
What the level was is a track of its own; whoever decodes imposes it afterwards by arithmetic
(`synchresis.timeline.envelope.impose_envelope`), so a loudness that was asked for is a loudness that is heard.

Back to sound, the magnitudes come from the decoded bands through a pseudo-inverse. The phases, and with them the
grain of rain or fire, come from one white noise signal that belongs to the place on the timeline
(`synchresis.diffusion.noise`), refined by a few turns of fast Griffin-Lim (Perraudin et al. 2013). A decoder
without such a source of noise turns rain into a buzz.
"""

from functools import lru_cache

import numpy as np
import torch

from synchresis.nn.mel_bank import mel_bank

RATE = 32_000                 # Hz, mono
HOP = 320                     # samples of a cell: 100 cells a second
WINDOW = 1280                 # samples of a frame: 40 ms
FFT = 2048                    # the frame is zero-padded, so that the lowest bands hold a bin
BANDS = 128
LATENT_FRAMES = 4             # cells of one latent: 25 latents a second
LATENT_RATE = RATE // (HOP * LATENT_FRAMES)
FLOOR = 10 ** (-75 / 20)      # RMS amplitude below which a frame counts as silent
SHAPE_FLOOR_DB = -50.0        # bands this far under the frame's level are not told apart
SHAPE_CENTRE_DB, SHAPE_SCALE_DB = -28.0, 12.0


@lru_cache(maxsize=4)
def mel_matrix(bands: int = BANDS, rate: int = RATE, fft: int = FFT, low: float = 40.0) -> torch.Tensor:
    """Triangles of unit height on Slaney's scale, linear under 1 kHz: [bands, fft // 2 + 1], float32."""
    return torch.from_numpy(mel_bank(bands, fft, rate, low, rate / 2, "slaney", area_norm=False).astype(np.float32))


def stft(sound: torch.Tensor) -> torch.Tensor:
    """Frames centred on the cells: [..., N] with N a multiple of HOP to complex [..., FFT // 2 + 1, N / HOP]."""
    side = (WINDOW - HOP) // 2
    padded = torch.nn.functional.pad(sound, (side, side))
    frames = padded.unfold(-1, WINDOW, HOP) * torch.hann_window(WINDOW, device=sound.device)
    return torch.fft.rfft(frames, FFT).transpose(-1, -2)


def istft(spectrum: torch.Tensor) -> torch.Tensor:
    """Least-squares inverse of `stft`: complex [..., FFT // 2 + 1, T] to [..., T * HOP]."""
    side = (WINDOW - HOP) // 2
    window = torch.hann_window(WINDOW, device=spectrum.device)
    frames = torch.fft.irfft(spectrum.transpose(-1, -2), FFT)[..., :WINDOW] * window
    count = frames.shape[-2]
    total = (count - 1) * HOP + WINDOW

    def overlap_add(pieces: torch.Tensor) -> torch.Tensor:
        flat = pieces.reshape(-1, count, WINDOW).transpose(1, 2)
        summed = torch.nn.functional.fold(flat, (1, total), (1, WINDOW), stride=(1, HOP))
        return summed.reshape(*pieces.shape[:-2], total)

    weight = overlap_add(window.square().expand(count, WINDOW)[None])[0]
    return (overlap_add(frames) / weight.clamp_min(1e-8))[..., side : total - side]


def shapes(sound: torch.Tensor) -> torch.Tensor:
    """Level-free log-mel frames, centred and scaled to about -2..2.3: [B, N] to [B, BANDS, N / HOP].

    A band is in dB relative to the sum over the frame's bands (or to the floor where the frame is silent), no
    lower than SHAPE_FLOOR_DB. N must be a multiple of HOP.
    """
    # In power, a white noise of RMS r gives an expected bin of r^2 * sum(window^2); a band sums several bins.
    power = stft(sound).abs().square() / torch.hann_window(WINDOW).square().sum().to(sound.device)
    mel = torch.einsum("mf,bft->bmt", mel_matrix().to(sound.device), power)
    bins = FFT / 2
    level = mel.sum(1, keepdim=True).clamp_min(FLOOR**2 * bins)
    relative = 10.0 * torch.log10((mel / level).clamp_min(10 ** (SHAPE_FLOOR_DB / 10)))
    return (relative - SHAPE_CENTRE_DB) / SHAPE_SCALE_DB


def level_db(sound: torch.Tensor) -> torch.Tensor:
    """RMS of every 10 ms cell in dB, no lower than the floor: [B, N] to [B, N / HOP]."""
    cells = sound.reshape(*sound.shape[:-1], -1, HOP)
    return 20.0 * torch.log10(cells.square().mean(-1).sqrt().clamp_min(FLOOR))


@lru_cache(maxsize=1)
def _inverse_matrix() -> torch.Tensor:
    """Bands to bins: each bin takes the power of the bands that cover it, spread evenly. [FFT // 2 + 1, BANDS]."""
    mel = mel_matrix()
    return (mel / mel.sum(1, keepdim=True)).T / (mel.T.sum(1, keepdim=True).clamp_min(1e-6)).clamp_max(1.0)


def magnitudes(shape: torch.Tensor) -> torch.Tensor:
    """Magnitudes whose bands follow the shapes, at an RMS of about one: [B, BANDS, T] to [B, FFT // 2 + 1, T].

    Starts from an even spread of each band's power over its bins and corrects it multiplicatively until the
    bands agree (which a pseudo-inverse does too, but this one cannot go negative).
    """
    db = shape * SHAPE_SCALE_DB + SHAPE_CENTRE_DB
    # What sits on the floor was not told apart from silence: fade it out instead of hissing at the floor.
    wanted = 10.0 ** (db / 10.0) * torch.sigmoid((db - SHAPE_FLOOR_DB - 2.0) * 2.0)
    mel, back = mel_matrix().to(shape.device), _inverse_matrix().to(shape.device)
    power = torch.einsum("fm,bmt->bft", back, wanted)
    cover = mel.sum(0).clamp_min(1e-6)[:, None]
    for _ in range(4):
        ratio = wanted / torch.einsum("mf,bft->bmt", mel, power).clamp_min(1e-12)
        power = power * (torch.einsum("mf,bmt->bft", mel, ratio.clamp(0.1, 10.0)) / cover).clamp_min(0.0)
    unit = FFT / 2 * torch.hann_window(WINDOW).square().sum()  # a frame of white noise at an RMS of one
    return (power.clamp_min(0.0) * unit).sqrt()


def invert(shape: torch.Tensor, noise: torch.Tensor, turns: int = 8, momentum: float = 0.99) -> torch.Tensor:
    """Sound of these shapes, at a steady RMS of about one: [B, BANDS, T] and noise [B, T * HOP] to [B, T * HOP].

    `noise` is unit white noise: its phases are the start of Griffin-Lim, and without turns its grain stays.
    """
    target = magnitudes(shape)
    spectrum = stft(noise)
    if turns == 0:
        return istft(target * spectrum / torch.hann_window(WINDOW, device=noise.device).square().sum().sqrt())
    phase = spectrum / spectrum.abs().clamp_min(1e-8)
    previous = torch.zeros_like(spectrum)
    for _ in range(turns):
        consistent = stft(istft(target * phase))
        ahead = consistent + momentum * (consistent - previous)
        phase = ahead / ahead.abs().clamp_min(1e-8)
        previous = consistent
    return istft(target * phase)
