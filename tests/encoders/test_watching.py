"""Watching: the result does not depend on the pieces, sees no further than its field, and speaks of the clip."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from synchresis.encoders.motion import change
from synchresis.encoders.watcher import Watched, pick, watch, watched_of
from synchresis.errors import BadInputError
from synchresis.media import SoundWriter, write_film
from synchresis.nn.watcher import Watcher, WatcherConfig
from synchresis.timeline import Track

SMALL = WatcherConfig(width=8, global_width=8, dilations=(1, 2), confidence_frames=15)


@pytest.fixture(scope="module")
def net() -> Watcher:
    """A net in which every weight matters (the heads begin at zero)."""
    net = Watcher(SMALL)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    return net.eval()


def some_grids(frames: int, views: int = 2) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((frames, views, 9, 12, 12)).astype(np.float32)


def test_pieces_do_not_change_what_is_seen(net: Watcher) -> None:
    grids = some_grids(130)
    whole = watched_of(grids, net, piece=1000)
    for piece in (1, 7, 50, 130):
        parts = watched_of(grids, net, piece=piece)
        for name in ("onset", "loudness", "confidence", "change"):
            assert np.allclose(getattr(parts, name).values, getattr(whole, name).values, atol=1e-5), (piece, name)


def test_only_what_lies_in_the_field_is_seen(net: Watcher) -> None:
    grids = torch.from_numpy(some_grids(120)[:, 0])[None]
    other = grids.clone()
    other[0, 60] += 3.0
    with torch.inference_mode():
        moved = [(a - b).abs()[0] > 1e-6 for a, b in zip(net(grids), net(other), strict=True)]
    reached = torch.stack(moved).any(dim=0).nonzero() // 2
    assert moved[0][120]
    assert reached.min() >= 60 - net.field
    assert reached.max() <= 60 + net.field


def test_change_is_the_whole_picture_s(net: Watcher) -> None:
    grids = some_grids(20)
    assert np.allclose(watched_of(grids, net).change.values[::2], change(grids[:, 0]))


def test_nothing_gives_empty_tracks(net: Watcher) -> None:
    watched = watched_of([], net)
    assert len(watched.onset) == 0
    assert len(pick(watched)) == 0


def written(path: Path, frames: int, fps: int) -> Path:
    rng = np.random.default_rng(1)
    ground = rng.integers(0, 255, (72, 128, 3)).astype(np.uint8)

    def picture(k: int) -> np.ndarray:
        result = ground.copy()
        top = 4 + 2 * (k % 20)
        result[top : top + 24, 40:64] = 255
        return result

    write_film(path, (picture(k) for k in range(frames)), Fraction(fps))
    return path


def test_a_clip_gives_tracks_of_its_length(net: Watcher, tmp_path: Path) -> None:
    told: list[float] = []
    watched = watch(written(tmp_path / "a.mp4", 60, 30), net, progress=told.append)
    for track in (watched.onset, watched.loudness, watched.confidence, watched.change):
        assert (track.rate, track.start, len(track)) == (50, 0, 100)
        assert np.isfinite(track.values).all()
    assert watched.onset.values.min() >= 0
    assert watched.onset.values.max() <= 1
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)


def test_a_sound_alone_cannot_be_watched(net: Watcher, tmp_path: Path) -> None:
    with SoundWriter(tmp_path / "a.wav", 8000) as file:
        file.write(np.zeros((8000, 1), np.float32))
    with pytest.raises(BadInputError, match=r"a\.wav"):
        watch(tmp_path / "a.wav", net)


def told(onset: np.ndarray, confidence: float = 1.0) -> Watched:
    flat = Track(np.zeros(len(onset)), 50)
    return Watched(Track(onset, 50), flat, Track(np.full(len(onset), confidence), 50), flat)


def bumps(times: list[float], heights: list[float], seconds: float = 6.0, floor: float = 0.01) -> np.ndarray:
    centres = (np.arange(int(seconds * 50)) + 0.5) / 50
    curve = np.full(len(centres), floor)
    for time, height in zip(times, heights, strict=True):
        curve = np.maximum(curve, height * np.exp(-0.5 * ((centres - time) / 0.03) ** 2))
    return curve


def test_clear_events_are_picked_at_their_times() -> None:
    onsets = pick(told(bumps([1.0, 2.5, 4.2], [0.8, 0.7, 0.9])))
    assert onsets.times == pytest.approx([1.0, 2.5, 4.2], abs=0.011)
    assert onsets.strengths.min() > 0
    assert onsets.strengths.max() <= 1


def test_the_threshold_follows_the_clip() -> None:
    onsets = pick(told(bumps([1.0, 2.5, 4.2], [0.30, 0.25, 0.28])))
    assert len(onsets) == 3


def test_what_hardly_shows_is_not_picked() -> None:
    assert len(pick(told(bumps([1.0, 2.5, 4.2], [0.15, 0.12, 0.1])))) == 0
    onsets = pick(told(bumps([1.0, 2.0, 3.0, 4.2], [0.8, 0.8, 0.8, 0.3])))
    assert onsets.times == pytest.approx([1.0, 2.0, 3.0], abs=0.011)


def test_a_strong_event_does_not_hide_others_far_away() -> None:
    curve = bumps([1.0, 1.5, 2.0, 20.0, 21.0, 22.0], [0.95, 0.95, 0.95, 0.4, 0.4, 0.4], seconds=30)
    assert len(pick(told(curve))) == 6
