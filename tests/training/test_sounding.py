"""Training of codec and generator at a size that fits a test."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from synchresis.codecs import mel
from synchresis.data.recordings import Recording
from synchresis.errors import BadInputError
from synchresis.nn.mel_vae import MelVAEConfig
from synchresis.nn.sounder import Sounder, SounderConfig
from synchresis.training import material
from synchresis.training.codec import train_codec
from synchresis.training.generator import blurred, relative_level, train_generator
from synchresis.training.loop import Average, rate_at, train
from synchresis.training.material import Pool, build_pool
from synchresis.training.pocket import train as train_pocket

SMALL_CODEC = MelVAEConfig(latent=8, fine=16, width=24, encoder_blocks=1, decoder_blocks=1)
SMALL_GENERATOR = SounderConfig(latent=8, width=32, depth=2, heads=2, control_depth=1, told=16)


def recordings() -> list[Recording]:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(96_000).astype(np.float32) * 0.1
    barks = noise * (np.arange(96_000) % 24_000 < 6_000)
    return [Recording(noise, "rain", 1, "noise", ""), Recording(barks, "dog_bark", 2, "barks", ""),
            Recording(noise[:8_000], "drum_snare", None, "shot", "")]


@pytest.fixture(scope="module")
def pool() -> Pool:
    return build_pool(recordings(), 12, seed=3)


def test_an_item_is_ten_seconds_of_one_thing(pool: Pool) -> None:
    assert pool.shapes.shape == (12, mel.BANDS, material.CELLS)
    assert pool.level.shape == pool.onsets.shape == (12, material.CELLS)
    assert torch.isfinite(pool.shapes).all()
    assert {"rain", "dog_bark"} <= set(pool.labels)
    assert all(material.phrases(label) for label in pool.labels)


def test_a_pool_is_a_function_of_its_seed_whatever_the_workers(pool: Pool) -> None:
    again = build_pool(recordings(), 12, seed=3, workers=2)
    other = build_pool(recordings(), 12, seed=4)
    assert torch.equal(pool.shapes, again.shapes)
    assert pool.labels == again.labels
    assert not torch.equal(pool.shapes, other.shapes)


def test_relative_level_is_zero_where_it_is_loud() -> None:
    level = torch.cat([torch.full((1, 90), -20.0), torch.full((1, 10), -75.0)], dim=1)
    found = relative_level(level)
    assert torch.allclose(found[0, :90], torch.tensor(0.0), atol=1e-5)
    assert torch.allclose(found[0, 90:], torch.tensor(-2.75))


def test_blur_keeps_a_constant_and_spreads_a_click() -> None:
    assert torch.allclose(blurred(torch.full((1, 50), -0.5), 9), torch.tensor(-0.5), atol=1e-4)
    click = torch.full((1, 51), -3.0)
    click[0, 25] = 0.0
    spread = blurred(click, 9)[0]
    assert (spread[21:30] > -1.0).all()
    assert spread[15] < -2.9


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_training_repeats_itself(pool: Pool) -> None:
    torch.set_num_threads(1)
    codec = train_codec(pool, 2, 7, None, SMALL_CODEC)
    assert same(codec, train_codec(pool, 2, 7, None, SMALL_CODEC))
    assert not same(codec, train_codec(pool, 2, 8, None, SMALL_CODEC))
    generator = train_generator(pool, codec, 2, 7, None, SMALL_GENERATOR)
    assert same(generator, train_generator(pool, codec, 2, 7, None, SMALL_GENERATOR))
    assert torch.isfinite(generator.latent_std).all()


@pytest.mark.slow
def test_codec_and_generator_learn(pool: Pool) -> None:
    losses: list[float] = []
    codec = train_codec(pool, 120, 7, lambda _, loss: losses.append(loss), SMALL_CODEC)
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
    losses.clear()
    train_generator(pool, codec, 120, 7, lambda _, loss: losses.append(loss), SMALL_GENERATOR)
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])


def test_the_parts_of_pocket_are_written_and_load(tmp_path: Path) -> None:
    """From a folder of recordings to weights that are read back; the real sizes, two steps each."""
    folder = tmp_path / "data" / "percussion"
    folder.mkdir(parents=True)
    soundfile.write(folder / "drum_snare_hard.flac", recordings()[2].samples, mel.RATE)
    out = tmp_path / "weights"
    with pytest.raises(BadInputError, match="--recordings"):
        train_pocket("all", out)
    with pytest.raises(BadInputError, match="no codec yet"):
        train_pocket("generator", out, recordings=tmp_path / "data", items=2, steps=2)
    train_pocket("codec", out, recordings=tmp_path / "data", items=2, steps=2)
    train_pocket("generator", out, recordings=tmp_path / "data", items=2, steps=2)
    described = json.loads((out / "system.json").read_text())
    assert described["generator_training"] == [{"seed": 0, "steps": 2, "items": 2}]
    assert "snare" in described["vocabulary"]
    net = Sounder(SounderConfig(**described["generator"]))
    net.load_state_dict({k: v.float() for k, v in load_file(out / "generator.safetensors").items()})
    assert torch.isfinite(net.latent_mean).all()


def test_a_loss_that_is_not_finite_stops_the_run_before_the_weights_change() -> None:
    layer = torch.nn.Linear(2, 1)
    before = layer.weight.detach().clone()
    with pytest.raises(FloatingPointError, match="step 0"):
        train(layer, iter([None]), lambda _: layer(torch.full((1, 2), torch.nan)).sum(), steps=1, peak=1.0)
    assert torch.equal(layer.weight, before)


def test_schedule_and_average() -> None:
    rates = [rate_at(step, 1_000, 1e-3) for step in range(1_000)]
    assert max(rates) == pytest.approx(1e-3, rel=0.01)
    assert rates[0] < 2e-5
    assert rates[-1] == pytest.approx(2e-5, rel=0.05)
    layer = torch.nn.Linear(1, 1, bias=False)
    average = Average(layer, 0.9)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    for _ in range(200):
        average.update(layer)
    assert average.weights["weight"].item() == pytest.approx(1.0, abs=1e-3)
