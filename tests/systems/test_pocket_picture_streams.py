"""What pocket's pictures stream through: windows of tokens, and poses at any frame rate, however they arrive."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from synchresis.encoders.listener import levels, loud_level
from synchresis.media import read_sound
from synchresis.nn.mover import POSE
from synchresis.systems.picturing import frame_count, probe_sound
from synchresis.systems.pocket_picture import (
    LOUD_SECONDS,
    PocketPicturePlan,
    _at_rate,
    _listen,
    _poses_needed,
    _Windows,
    cleaned,
)
from synchresis.timeline import Onsets, Track, detect_onsets

RATES = [Fraction(rate) for rate in ("24000/1001", "30000/1001", "12", "24", "25", "30", "50", "60", "1", "7/3")]
rates = st.one_of(st.sampled_from(RATES), st.fractions(Fraction(1, 2), 120, max_denominator=1001))
durations = st.fractions(Fraction(1, 100), 12, max_denominator=48_000)


def cut(whole: Tensor, places: list[int]) -> Iterator[Tensor]:
    """The stream in pieces of at least one."""
    for begin, end in pairwise(sorted({0, len(whole), *(place % len(whole) for place in places)})):
        yield whole[begin:end]


def plan_of(duration: Fraction, fps: Fraction, sound: Path) -> PocketPicturePlan:
    none = Onsets(np.zeros(0), np.zeros(0))
    return PocketPicturePlan("sound", probe_sound(sound), duration, fps, 64, 64, none, 0.0, 0, 4, 1.5, "heard")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3.3 s of noise with four strikes."""
    rng = np.random.default_rng(4)
    time = np.arange(round(3.3 * 32_000)) / 32_000
    level = sum(np.where(time > hit, np.exp(-(time - hit) * 12), 0) for hit in (0.4, 1.1, 1.9, 2.7))
    path = tmp_path_factory.mktemp("streams") / "strikes.wav"
    soundfile.write(path, 0.3 * level * rng.standard_normal(len(time)), 32_000)
    return path


# ------------------------------------------------------------------------------- windows


@given(st.lists(st.integers(0, 10**6), max_size=12), st.lists(st.integers(0, 40), min_size=1, max_size=8), st.data())
def test_windows_are_the_same_for_any_pieces(places: list[int], steps: list[int], data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 60))
    whole = torch.arange(sum(steps) + size + data.draw(st.integers(0, 30))).float()[:, None] * torch.ones(3)
    stream = _Windows(cut(whole, places))
    for start in np.cumsum(steps).tolist():
        assert torch.equal(stream.window(start, size), whole[start : start + size])
        assert torch.equal(stream.window(start, size), whole[start : start + size])


def test_a_stream_of_windows_reads_and_holds_no_more_than_it_must() -> None:
    read = 0

    def endless() -> Iterator[Tensor]:
        nonlocal read
        while True:
            read += 1
            yield torch.full((10, 2), float(read))

    stream = _Windows(endless())
    for start in range(0, 2000, 64):
        stream.window(start, 96)
        assert read == -(-(start + 96) // 10)
        assert len(stream.held) < 96 + 10


# ------------------------------------------------------------------------------- poses at a rate


def poses(count: int) -> Tensor:
    """Poses that wander, [count, 2, POSE]."""
    return torch.randn(count, 2, POSE, generator=torch.Generator().manual_seed(count)).cumsum(0)


def at_rate(whole: Tensor, fps: Fraction, total: int, places: list[int]) -> Tensor:
    return torch.cat([torch.zeros(0, 2, POSE), *_at_rate(cut(whole, places), fps, total)])


@given(st.integers(2, 200), st.lists(st.integers(0, 10**6), max_size=12))
def test_at_25_frames_a_second_poses_are_what_they_were(count: int, places: list[int]) -> None:
    whole = poses(count)
    assert torch.equal(at_rate(whole, Fraction(25), count - 1, places), whole[:-1])


@settings(max_examples=200)
@given(durations, rates, st.lists(st.integers(0, 10**6), max_size=12))
def test_every_frame_lies_straight_between_its_neighbours(duration: Fraction, fps: Fraction, places: list[int]) -> None:
    """As many frames as the film has, of as many poses as are needed, whatever the stretches are."""
    total = frame_count(duration, fps)
    whole = poses(int(Fraction(total - 1) / fps * 25) + 2)
    made = at_rate(whole, fps, total, places)
    assert made.shape == (total, 2, POSE)
    grid, instants = np.arange(len(whole)), np.array([float(Fraction(i) * 25 / fps) for i in range(total)])
    for k, track in enumerate(whole.flatten(1).T.double().numpy()):
        assert np.allclose(made.flatten(1)[:, k].numpy(), np.interp(instants, grid, track), atol=1e-4)
    assert torch.equal(made, at_rate(whole, fps, total, []))


def test_nothing_is_asked_for_after_the_last_frame() -> None:
    asked = 0

    def stretches() -> Iterator[Tensor]:
        nonlocal asked
        while True:
            asked += 1
            yield poses(40)

    assert sum(len(part) for part in _at_rate(stretches(), Fraction(50), 150)) == 150
    assert asked == 2  # the last frame lies at 74.5 of 80


@settings(max_examples=200, deadline=None)
@given(durations, rates)
def test_the_poses_needed_are_enough_and_none_too_many(sound: Path, duration: Fraction, fps: Fraction) -> None:
    plan = plan_of(duration, fps, sound)
    needed, total = _poses_needed(plan), frame_count(duration, fps)
    assert len(at_rate(poses(needed), fps, total, [])) == total
    assert len(at_rate(poses(needed - 1), fps, total, [])) < total
    assert needed <= duration * 25 + 2


# ------------------------------------------------------------------------------- listening and layers


def test_listening_in_blocks_finds_what_the_whole_says(sound: Path) -> None:
    onsets, loud = _listen(probe_sound(sound), lambda stage, share: None)
    whole = read_sound(sound)
    values = whole.values.reshape(len(whole.values), -1)[:, 0]
    assert np.allclose(onsets.times, detect_onsets(Track(values, Fraction(32_000))).times)
    assert len(onsets) == 4
    samples = torch.zeros(LOUD_SECONDS * 32_000)
    samples[: len(values)] = torch.from_numpy(values)
    assert loud == pytest.approx(loud_level(levels(samples[None])), abs=0.02)


@given(st.integers(0, 2**31))
def test_cleaned_layers_are_premultiplied_and_without_fog(seed: int) -> None:
    layers = torch.rand(3, 4, 6, 6, generator=torch.Generator().manual_seed(seed))
    layers[1, 3], layers[2, 3] = 0.2, 0.8
    clean = cleaned(layers)
    assert (clean[:, :3] <= clean[:, 3:]).all()
    assert (clean[1] == 0).all()
    assert torch.allclose(clean[2, :3], (layers[2, :3] / 0.8).clamp(0, 1))
    assert (clean[2, 3] == 1).all()
