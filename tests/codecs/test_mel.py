"""Pocket's codec: frames, level and inversion on one grid."""

import numpy as np
import pytest
import torch

from synchresis.codecs import mel
from synchresis.nn.mel_vae import MelVAE, MelVAEConfig


def noise(samples: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((1, samples)).astype(np.float32))


def test_stft_is_inverted_exactly() -> None:
    sound = noise(32_000)
    assert torch.allclose(mel.istft(mel.stft(sound)), sound, atol=1e-5)


def test_frames_are_centred_on_their_cells() -> None:
    """A click in the middle of cell 50 is loudest in frame 50, and as loud in 49 as in 51."""
    sound = torch.zeros(1, 32_000)
    sound[0, 50 * mel.HOP + mel.HOP // 2] = 1.0
    power = mel.stft(sound).abs().square().sum(1)[0]
    assert int(power.argmax()) == 50
    assert power[49] == pytest.approx(float(power[51]), rel=0.02)


def test_shapes_do_not_depend_on_the_level() -> None:
    sound = noise(32_000) * 0.1
    assert torch.allclose(mel.shapes(sound), mel.shapes(0.2 * sound), atol=1e-3)


def test_shapes_of_silence_lie_on_the_floor() -> None:
    floor = (mel.SHAPE_FLOOR_DB - mel.SHAPE_CENTRE_DB) / mel.SHAPE_SCALE_DB
    assert torch.allclose(mel.shapes(torch.zeros(1, 3_200)), torch.tensor(floor), atol=1e-5)


def test_level_is_the_rms_of_each_cell() -> None:
    sound = torch.full((1, 3_200), 0.5)
    sound[0, 1_600:] = 0.0
    level = mel.level_db(sound)
    assert torch.allclose(level[0, :5], torch.tensor(-6.0206), atol=1e-3)
    assert torch.allclose(level[0, 5:], torch.tensor(20 * np.log10(mel.FLOOR)).float(), atol=1e-3)


@pytest.mark.parametrize("turns", [0, 1, 8])
def test_inversion_gives_the_shapes_back(turns: int) -> None:
    """A chord over noise, two very different spectra in one second; the error of a constant guess is over 6 dB."""
    time = torch.arange(32_000) / mel.RATE
    chord = sum(torch.sin(2 * torch.pi * f * time) for f in (220.0, 880.0, 3_520.0))
    sound = torch.where(time < 0.5, 0.05 * chord, 0.02 * noise(32_000)[0])[None]
    wanted = mel.shapes(sound)
    made = mel.invert(wanted, noise(32_000, 1), turns)
    error = (mel.shapes(made) - wanted).abs().mean() * mel.SHAPE_SCALE_DB
    assert error < 3.5
    assert 0.7 < float(made.std()) < 1.4


def test_more_turns_fit_a_tone_better() -> None:
    time = torch.arange(32_000) / mel.RATE
    wanted = mel.shapes(0.1 * torch.sin(2 * torch.pi * 1_000 * time)[None])
    errors = [float((mel.shapes(mel.invert(wanted, noise(32_000, 1), t)) - wanted).abs().mean()) for t in (0, 8)]
    assert errors[1] < errors[0]


def test_autoencoder_keeps_the_length_and_learns_nothing_from_the_future_of_its_batch() -> None:
    torch.manual_seed(0)
    vae = MelVAE(MelVAEConfig(fine=16, width=24, encoder_blocks=1, decoder_blocks=1)).eval()
    frames = torch.randn(2, mel.BANDS, 40)
    with torch.no_grad():
        mean, log_variance = vae.encode(frames)
        alone = vae.decode(vae.encode(frames[:1])[0])
        together = vae.decode(mean)
    assert mean.shape == log_variance.shape == (2, 32, 10)
    assert together.shape == frames.shape
    assert torch.allclose(alone, together[:1], atol=1e-5)
