"""How CLAP hears, against librosa, and which ten seconds."""

import numpy as np
import pytest
import torch

from synchresis.encoders import clap


def test_mels_are_librosas() -> None:
    librosa = pytest.importorskip("librosa")
    sound = np.random.default_rng(0).standard_normal(clap.SAMPLES).astype(np.float32) * 0.1
    kinds: list[tuple[clap.Ear, bool, str | None]] = [("clap", False, "slaney"), ("fusion", True, None)]
    for ear, htk, norm in kinds:
        expected = librosa.feature.melspectrogram(
            y=sound, sr=48_000, n_fft=1024, hop_length=480, n_mels=64, fmin=50, fmax=14_000, htk=htk, norm=norm,
            pad_mode="reflect",
        )  # fmt: skip
        expected = 10 * np.log10(np.maximum(expected, 1e-10)).T
        got = clap.log_mel(torch.from_numpy(sound)[None], ear)[0].numpy()
        assert got.shape == (1001, 64)
        assert np.abs(got - expected).max() < 2e-3


def test_short_sounds_are_repeated_whole_then_silent() -> None:
    sound = torch.arange(1, 200_001).float()[None]
    full = clap.filled_up(sound)
    assert full.shape == (1, clap.SAMPLES)
    assert torch.equal(full[:, :200_000], sound)
    assert torch.equal(full[:, 200_000:400_000], sound)
    assert not full[:, 400_000:].any()
    with pytest.raises(ValueError, match="480001"):
        clap.filled_up(torch.zeros(1, clap.SAMPLES + 1))


def test_of_a_long_sound_the_loudest_ten_seconds_count() -> None:
    sound = torch.full((1, 3 * clap.SAMPLES), 0.01)
    begin = 300 * clap.STEP
    sound[:, begin : begin + clap.SAMPLES] = 0.5
    assert (clap.loudest(sound) == 0.5).all()
    assert torch.equal(clap.loudest(sound[:, :1000]), sound[:, :1000])


def test_the_whole_model_hears_what_its_half_hears() -> None:
    torch.manual_seed(0)
    words = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
             "vocab_size": 50}  # fmt: skip
    whole, half = clap.build(clap.SMALL, words), clap.build_audio(clap.SMALL)
    half.load_state_dict({name: whole.state_dict()[name] for name in half.state_dict()})
    sound = torch.rand(2, 30_000)
    heard = clap.embed_sound(half, sound)
    assert torch.equal(heard, clap.embed_sound(whole, sound))
    assert heard.shape == (2, 32)
    assert torch.allclose(heard.norm(dim=-1), torch.ones(2), atol=1e-6)
    read = clap.embed_words(whole, torch.tensor([[0, 5, 2]]), torch.ones(1, 3, dtype=torch.long))
    assert read.shape == (1, 32)
    assert torch.allclose(read.norm(dim=-1), torch.ones(1), atol=1e-6)


def test_foreign_files_are_refused() -> None:
    with pytest.raises(ValueError, match="patch_embed"):
        clap.tower_of({"weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="bert"):
        clap.sizes_of({"model_type": "bert"})
    with pytest.raises(ValueError, match="window"):
        clap.audio_config(clap.SMALL | {"window": 3})
