"""What pocket does to a level, without any weights."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from synchresis.codecs import mel
from synchresis.encoders.watcher import Watched
from synchresis.systems.pocket import decibels, held_to_onsets, relative, seen_loudness, sureness, told_level
from synchresis.timeline import Onsets, Track, detect_onsets


def onsets(*times: float) -> Onsets:
    return Onsets(np.array(times), np.ones(len(times)))


def sounded(level: np.ndarray, seed: int = 0) -> Track:
    """White noise at a level in dB per 10 ms cell."""
    noise = np.random.default_rng(seed).standard_normal(len(level) * 480)
    return Track((noise * np.repeat(10 ** (level / 20), 480)).astype(np.float32), Fraction(48_000))


@pytest.mark.parametrize("seed", range(5))
def test_a_held_level_sounds_at_the_onsets_and_nowhere_else(seed: int) -> None:
    """Whatever the generator meant, noise at the held level has its onsets at the told instants."""
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.normal(0, 4, 400))
    level = -20 + np.clip(walk - walk.mean(), -35, 5)
    told = onsets(0.503, 1.217, 2.0, 3.331)
    found = detect_onsets(sounded(held_to_onsets(level, told) - 20)).times
    assert len(found) == 4
    assert np.abs(found - told.times).max() < 0.03


def test_moving_one_onset_moves_one_attack() -> None:
    level = np.full(400, -30.0)
    first = detect_onsets(sounded(held_to_onsets(level, onsets(0.5, 1.5, 2.5)))).times
    second = detect_onsets(sounded(held_to_onsets(level, onsets(0.5, 2.0, 2.5)))).times
    assert np.abs(first - [0.5, 1.5, 2.5]).max() < 0.02
    assert np.abs(second - [0.5, 2.0, 2.5]).max() < 0.02


def test_onsets_outside_the_film_and_none_at_all() -> None:
    level = np.linspace(-50, -20, 100)
    assert np.isfinite(held_to_onsets(level, onsets(-1.0, 5.0))).all()
    assert held_to_onsets(np.zeros(0), onsets(0.1)).shape == (0,)


def test_relative_level_is_taught_in_the_same_units() -> None:
    """What the generator was trained on and what it is told at use are one scale."""
    from synchresis.training.generator import relative_level

    db = torch.randn(1, 500) * 10 - 30
    assert torch.allclose(relative_level(db)[0], relative(db[0]) / 20, atol=1e-5)


def test_an_envelope_is_silent_beyond_its_end() -> None:
    told = Track(np.array([0.1, 1.0], np.float32), Fraction(100))
    assert told_level(told, 4).tolist() == pytest.approx([0.1, 1.0, 0.0, 0.0])
    floor = 20 * np.log10(mel.FLOOR)
    assert decibels(told, 4).tolist() == pytest.approx([-20, 0, floor, floor], abs=1e-4)
    assert decibels(Track(np.zeros(2, np.float32), Fraction(100)), 2).tolist() == pytest.approx(
        [20 * np.log10(mel.FLOOR)] * 2, abs=1e-4
    )


def test_a_watcher_is_as_sure_as_it_is_at_its_onsets() -> None:
    flat = Track(np.zeros(100, np.float32), Fraction(50))
    sure = Track(np.where(np.arange(100) == 25, 1.0, 0.2).astype(np.float32), Fraction(50))
    watched = Watched(flat, flat, sure, flat)
    assert sureness(watched, onsets(0.51)) == pytest.approx(1.0)
    assert sureness(watched, onsets()) == pytest.approx(0.208)


def test_seen_loudness_has_an_attack_at_each_onset() -> None:
    flat = Track(np.full(100, 0.2, np.float32), Fraction(50))
    watched = Watched(flat, flat, flat, flat)
    envelope = seen_loudness(watched, onsets(0.5, 1.2), Fraction(2))
    assert len(envelope.values) == 200
    rise = envelope.values[[50, 120]] / envelope.values[[49, 119]]
    assert (rise > 4).all()
    assert envelope.values.max() < 0.5
