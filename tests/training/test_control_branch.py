"""The control branch learns beside a base that stays as it is."""

import numpy as np
import pytest
import torch

import synchresis
from synchresis.systems.stable_foley import StableFoley
from synchresis.training.control import Item, freeze_base, loss_of, no_control, sound_latents, train_control

RATIO = 2048


@pytest.fixture
def system() -> StableFoley:
    return synchresis.load("stable_foley", untrained="small", device="cpu")  # type: ignore[return-value]


def items(system: StableFoley) -> list[Item]:
    """Two sounds that only their envelopes tell apart: a burst early, and a burst late."""
    draw = torch.Generator().manual_seed(0)
    made = []
    for place in (2, 9):
        sound = np.zeros(16 * RATIO)
        sound[place * RATIO : (place + 2) * RATIO] = np.random.default_rng(place).standard_normal(2 * RATIO)
        latents, envelope = sound_latents(system.codec, sound, draw, rms_window=2000, box=200)
        width = system.denoiser.config.cond_token_dim
        made.append(Item(latents, envelope, torch.zeros(3, width), torch.zeros(system.denoiser.config.global_cond_dim)))
    return made


def test_it_overfits_two_sounds_and_the_base_stays(system: StableFoley) -> None:
    net, sounds = system.denoiser, items(system)
    absent = no_control(system.codec, sounds[0].latents.shape[-1])
    assert absent.shape == sounds[0].envelope.shape
    before = {name: value.clone() for name, value in net.state_dict().items()}
    losses: list[float] = []
    train_control(
        net, sounds, absent, steps=150, batch=8, peak=3e-3, control_drop=0.0, report=lambda _, loss: losses.append(loss)
    )
    assert np.mean(losses[-20:]) < 0.7 * np.mean(losses[:20])
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("controlnet.") for name in changed)
    assert "controlnet.timestep_features.weight" in changed
    assert "controlnet.transformer.project_out.weight" not in changed
    assert not net.training


def test_what_is_left_out_is_left_out_per_item(system: StableFoley) -> None:
    """With the control always dropped, the envelope changes nothing; the same for the tokens."""
    net, sounds = system.denoiser, items(system)
    freeze_base(net)
    absent = no_control(system.codec, sounds[0].latents.shape[-1])
    other = [Item(i.latents, i.envelope + 3, i.cross + 1, i.global_cond) for i in sounds]

    def loss(given: list[Item], cross_drop: float, control_drop: float) -> float:
        draw = torch.Generator().manual_seed(3)
        with torch.no_grad():
            return float(loss_of(net, given, absent, draw, cross_drop=cross_drop, control_drop=control_drop))

    assert loss(sounds, 1.0, 1.0) == loss(other, 1.0, 1.0)
    assert loss(sounds, 0.0, 1.0) != loss(other, 0.0, 1.0)
    assert loss(sounds, 1.0, 0.0) != loss(other, 1.0, 0.0)


def test_silence_teaches_nothing(system: StableFoley) -> None:
    with pytest.raises(ValueError, match="silent"):
        sound_latents(system.codec, np.zeros(16 * RATIO), torch.Generator())
    with pytest.raises(ValueError, match="no sounds"):
        train_control(system.denoiser, [], torch.zeros(8, 4), steps=1, batch=1)
