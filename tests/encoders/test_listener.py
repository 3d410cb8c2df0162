"""What pocket's painter hears: the same in one piece or in blocks, at any level, with onsets in their cells."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from synchresis.encoders.listener import (
    CELLS,
    COARSE,
    FEATURES,
    RATE,
    SAMPLES,
    SPECTRAL,
    TOLD,
    heard,
    heard_blocks,
    levels,
    loud_level,
    tokens,
)
from synchresis.timeline import Onsets

LEVEL = slice(0, SPECTRAL, COARSE + 2)  # the levels among the numbers of a token
GROWN = slice(1, SPECTRAL, COARSE + 2)
NONE = Onsets(np.zeros(0), np.zeros(0))


def noise(count: int, seed: int = 0) -> np.ndarray:
    """Noise whose level wanders, so that no two tokens are alike."""
    rng = np.random.default_rng(seed)
    slow = np.interp(
        np.arange(count) / 5_000, np.arange(count // 5_000 + 2), rng.uniform(0.02, 0.5, count // 5_000 + 2)
    )
    return (slow * rng.standard_normal(count)).astype(np.float32)


def pieces(sound: np.ndarray, cuts: list[int]) -> Iterator[np.ndarray]:
    for begin, end in pairwise([0, *sorted(cuts), len(sound)]):
        yield sound[begin:end]


def told(count: int, onsets: Onsets, first: int = 0) -> np.ndarray:
    """What is told of onsets, [count, TOLD]."""
    return tokens(torch.zeros(count, SPECTRAL), 0.0, onsets, first)[:, SPECTRAL:].numpy()


# ------------------------------------------------------------------------------- blocks

SOUND = noise(round(19.3 * 32_000))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, len(SOUND)), max_size=12),
    st.sampled_from([3, 100, 128, 199, 200, 203, 300, 470, 482, 483, 484, 500, 520]),
)
def test_blocks_of_any_size_say_what_the_whole_says(cuts: list[int], count: int) -> None:
    """`count` tokens of them: fewer than there is sound, or more, of silence."""
    got = torch.cat(list(heard_blocks(pieces(SOUND, cuts), count)))
    whole = np.zeros(530 * SAMPLES, np.float32)
    whole[: len(SOUND)] = SOUND
    wanted = heard(torch.from_numpy(whole)[None])[0, :count]
    assert got.shape == (count, SPECTRAL)
    assert torch.allclose(got, wanted, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5 * SAMPLES), st.integers(1, 40))
def test_small_blocks_of_a_short_sound(block: int, count: int) -> None:
    sound = SOUND[: 20 * SAMPLES + 77]
    cuts = list(range(block, len(sound), block))[:400]
    got = torch.cat(list(heard_blocks(pieces(sound, cuts), count)))
    whole = np.zeros(50 * SAMPLES, np.float32)
    whole[: len(sound)] = sound
    assert torch.allclose(got, heard(torch.from_numpy(whole)[None])[0, :count], atol=1e-4)


def test_no_sound_at_all_is_silence() -> None:
    got = torch.cat(list(heard_blocks(iter([]), 7)))
    assert torch.allclose(got, heard(torch.zeros(1, 7 * SAMPLES))[0], atol=1e-5)
    assert float(got[:, LEVEL].max()) == pytest.approx((-75 + 40) / 20)


def test_it_reads_no_further_than_it_was_asked_to_hear() -> None:
    """A scene is painted for the first seconds of a sound of any length."""
    read = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal read
        while True:
            read += 1
            yield SOUND[:32_000]

    got = list(heard_blocks(endless(), 128))
    assert sum(map(len, got)) == 128
    assert read == 6  # 5.12 s and the 80 ms after them


def test_a_piece_comes_as_soon_as_it_is_whole() -> None:
    stream = heard_blocks((SOUND[:32_000] for _ in range(1_000)), 25_000)
    assert 190 < len(next(stream)) < 260
    assert 190 < len(next(stream)) < 260


def test_a_token_depends_on_the_sound_around_it_alone() -> None:
    sound = torch.from_numpy(SOUND[: 100 * SAMPLES])[None]
    other = sound.clone()
    other[:, 50 * SAMPLES : 51 * SAMPLES] = 0.9
    changed = (heard(sound) != heard(other)).any(2)[0].nonzero().flatten()
    assert changed.tolist() == [49, 50, 51]


# ------------------------------------------------------------------------------- what a token says


def test_levels_of_noise_and_of_its_half() -> None:
    rng = np.random.default_rng(1)
    sound = torch.from_numpy(0.1 * rng.standard_normal(50 * SAMPLES).astype(np.float32))[None]
    spectral = heard(sound)[0]
    assert torch.equal(spectral[:, LEVEL].flatten(), levels(sound)[0])
    assert float(spectral[:, LEVEL].mean()) == pytest.approx(1.0, abs=0.02)  # -20 dB is 20 over -40
    assert loud_level(levels(sound)) == pytest.approx(float(np.quantile(levels(sound).numpy(), 0.95)), abs=1e-5)
    assert float(heard(sound / 10)[0, :, LEVEL].mean()) == pytest.approx(0.0, abs=0.02)


def test_the_spectrum_grows_where_a_sound_begins() -> None:
    sound = torch.full((1, 20 * SAMPLES), 1e-4)
    sound[0, 10 * SAMPLES + 640 :] = torch.from_numpy(SOUND[: 10 * SAMPLES - 640])
    grown = heard(sound)[0, :, GROWN].flatten()
    assert int(grown.argmax()) in (10 * CELLS + 1, 10 * CELLS + 2)  # a frame of 40 ms feels it a cell before
    assert float(grown.max()) > 4 * float(grown[10 * CELLS + 5 :].max())


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 1.0), st.integers(0, 1000))
def test_a_gain_of_the_whole_sound_changes_nothing(gain: float, seed: int) -> None:
    sound = torch.from_numpy(noise(30 * SAMPLES, seed))[None]
    onsets = Onsets(np.array([0.3, 0.7]), np.array([1.0, 0.5]))
    loud, soft = heard(sound)[0], heard(sound * gain)[0]
    high, low = loud_level(levels(sound)), loud_level(levels(sound * gain))
    assert low == pytest.approx(high + np.log10(gain), abs=1e-3)
    one, other = tokens(loud, high, onsets), tokens(soft, low, onsets)
    assert torch.allclose(one, other, atol=2e-3)


def test_what_is_far_softer_than_the_loud_parts_is_silence() -> None:
    spectral = heard(torch.cat([torch.from_numpy(SOUND[: 5 * SAMPLES]), torch.zeros(5 * SAMPLES)])[None])[0]
    made = tokens(spectral, 2.0, NONE)
    assert torch.equal(made[6:, LEVEL], torch.full((4, CELLS), -3.0))
    assert float(made[:4, LEVEL].min()) > -3.0
    assert torch.equal(made[:, GROWN], spectral[:, GROWN])  # nothing but levels is relative
    assert made.shape == (10, FEATURES)


# ------------------------------------------------------------------------------- what is told of onsets


@given(st.integers(0, 60 * CELLS - 1), st.floats(0.05, 1.0))
def test_an_onset_at_the_edge_of_a_cell_is_in_that_cell(cell: int, strength: float) -> None:
    for time in (cell / 100, np.float64(cell) * 0.01, cell / 100 + 0.0099):
        cells = told(60, Onsets(np.array([time]), np.array([strength])))[:, :CELLS].ravel()
        assert cells[cell] == np.float32(strength)
        assert np.count_nonzero(cells) == 1


@given(st.lists(st.floats(0, 20), min_size=0, max_size=12), st.integers(0, 10**6))
def test_distances_to_the_last_and_the_next_onset(times: list[float], seed: int) -> None:
    strengths = np.random.default_rng(seed).uniform(0.1, 1.0, len(times))
    onsets = Onsets(np.array(times), strengths)
    made = told(400, onsets)
    for i in range(0, 400, 7):
        at = i / RATE
        before = [k for k in range(len(onsets)) if onsets.times[k] <= at + 1e-9]
        after = [k for k in range(len(onsets)) if onsets.times[k] > at + 1e-9]
        since = max(0.0, 1 - (at - onsets.times[before[-1]])) if before else 0.0
        until = max(0.0, 1 - (onsets.times[after[0]] - at)) if after else 0.0
        last = onsets.strengths[before[-1]] if since > 0 else 0.0
        following = onsets.strengths[after[0]] if until > 0 else 0.0
        assert np.allclose(made[i, CELLS:], [min(since, 1.0), until, last, following], atol=1e-5)


def test_the_numbers_around_one_onset() -> None:
    made = told(100, Onsets(np.array([2.0]), np.array([0.6])))
    since, until, last, following = made[:, CELLS:].T
    assert made.shape == (100, TOLD)
    assert (since[50], until[50], last[50], following[50]) == (1.0, 0.0, np.float32(0.6), 0.0)
    assert until[49] == pytest.approx(0.96)
    assert until[26] == pytest.approx(0.04)
    assert until[25] == 0.0
    assert following[25] == 0.0
    assert since[74] == pytest.approx(0.04)
    assert since[75] == 0.0
    assert last[75] == 0.0


@given(st.lists(st.floats(0, 12), max_size=15), st.integers(0, 150), st.integers(1, 100))
def test_a_stretch_of_tokens_is_the_stretch_of_all(times: list[float], first: int, count: int) -> None:
    rng = np.random.default_rng(len(times))
    spectral = torch.from_numpy(rng.normal(0, 2, (260, SPECTRAL)).astype(np.float32))
    onsets = Onsets(np.array(times), rng.uniform(0.1, 1, len(times)))
    part = tokens(spectral[first : first + count], 0.7, onsets, first)
    assert torch.equal(part, tokens(spectral, 0.7, onsets)[first : first + count])


def test_listening_leaves_what_was_heard_as_it_was() -> None:
    spectral = torch.ones(4, SPECTRAL)
    tokens(spectral, 0.5, NONE)
    assert torch.equal(spectral, torch.ones(4, SPECTRAL))
