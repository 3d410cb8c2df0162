"""Labels, batches, scores and the training of the watcher, on films of the stage."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from synchresis.data.stage import film
from synchresis.nn.watcher import WatcherConfig, load_watcher, loudness_code, relative_loudness, save_watcher
from synchresis.training import watcher as training
from synchresis.training.onsets import onset_labels
from synchresis.training.watcher import Shelf

SMALL = WatcherConfig(width=16, global_width=16, dropout=0.0)


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    return training.shelf_of([film(seed, hardness=0.0, kinds=("wood",)) for seed in range(16)])


def padded(*values: float) -> torch.Tensor:
    return torch.tensor([[*values, *[math.nan] * (4 - len(values))]])


def labels_of(times: torch.Tensor, strengths: torch.Tensor, visible: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return onset_labels(times, strengths, visible, training.CELLS, 2 * training.RATE)


def test_a_seen_onset_is_a_gaussian_at_its_time_with_full_weight() -> None:
    label, weight = labels_of(padded(1.01), padded(1.0), padded(1.0))
    assert label.argmax() == 50  # its centre is 1.01 s
    assert label.max() == pytest.approx(1.0)
    assert label[0, 50 + 5] < 1e-3
    assert torch.all(weight == 1)


def test_an_unseen_onset_is_left_out_and_a_seen_one_beside_it_is_not() -> None:
    _, weight = labels_of(padded(1.01), padded(1.0), padded(0.0))
    assert weight[0, 50] == 0
    assert weight[0, 0] == 1
    assert weight[0, -1] == 1
    _, weight = labels_of(padded(1.01, 1.05), padded(1.0, 1.0), padded(0.0, 1.0))
    assert weight[0, 52] > 0.99


def test_weak_onsets_are_lower() -> None:
    label, _ = labels_of(padded(0.5, 2.0), padded(1.0, 0.2), padded(1.0, 1.0))
    assert 0 < label[0, 90:110].max() < label[0, 15:35].max()


def test_a_shelf_holds_what_the_films_tell(shelf: Shelf) -> None:
    first = film(0, hardness=0.0, kinds=("wood",))
    known = ~shelf.times[0].isnan()
    assert np.allclose(shelf.times[0][known], first.onsets.times, atol=1e-6)
    assert np.allclose(shelf.visible[0][known], first.visible, atol=1e-6)
    assert shelf.grids.shape == (16, 75, 9, 12, 12)
    assert shelf.loudness.amax(dim=1).tolist() == pytest.approx([1.0] * 16)
    assert shelf.source.shape == (16, 150)


def test_rendering_twice_gives_the_same_and_keeps_what_is_there(tmp_path: Path) -> None:
    def film_of(seed: int) -> object:
        return film(seed, hardness=0.2)

    training.render_shelf(tmp_path, range(3), film_of, per_file=2)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    training.render_shelf(tmp_path, range(3), film_of, per_file=2)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    stored = training.load_shelf(tmp_path)
    again = training.shelf_of([film_of(seed) for seed in range(3)])
    assert torch.equal(stored.grids, again.grids)
    assert len(training.load_shelf(tmp_path, most=2)) == 2
    with pytest.raises(FileNotFoundError, match="render_shelf"):
        training.load_shelf(tmp_path / "nothing")


def test_batches_are_a_function_of_the_seed(shelf: Shelf) -> None:
    def first_three(seed: int) -> list[torch.Tensor]:
        stream = training.batches(shelf, seed, size=6)
        return [next(stream)[0] for _ in range(3)]

    assert all(torch.equal(a, b) for a, b in zip(first_three(1), first_three(1), strict=True))
    assert not torch.equal(first_three(1)[0], first_three(2)[0])


def test_spoiling_leaves_the_shelf_as_it_was(shelf: Shelf) -> None:
    before = shelf.grids.clone()
    stream = training.batches(shelf, 0)
    for _ in range(3):
        assert torch.isfinite(next(stream)[0]).all()
    assert torch.equal(shelf.grids, before)


def test_loudness_codes_are_undone() -> None:
    values = torch.linspace(0, 1, 11)
    assert torch.allclose(relative_loudness(loudness_code(values)), values, atol=1e-6)


def test_area_under_curve() -> None:
    assert training.area_under_curve(np.array([1.0, 2, 3, 4]), np.array([0, 0, 1, 1])) == 1
    assert training.area_under_curve(np.array([1.0, 2, 3, 4]), np.array([1, 0, 0, 0])) == 0
    assert training.area_under_curve(np.ones(4), np.array([1, 0, 1, 0])) == 0.5
    assert math.isnan(training.area_under_curve(np.ones(4), np.zeros(4)))


def test_the_truth_scores_one_and_its_shift_does_not(shelf: Shelf) -> None:
    truth, _ = labels_of(shelf.times, shelf.strengths, torch.ones_like(shelf.visible))
    scores = training.stage_scores(truth.numpy(), shelf)
    assert np.nanmean(scores.f1_60) > 0.95
    assert np.nanmean(scores.auc) > 0.99
    shifted = training.stage_scores(np.roll(truth.numpy(), 17, axis=1), shelf)
    assert np.nanmean(shifted.f1_60) < 0.5


def test_training_learns_and_is_the_same_twice(shelf: Shelf, tmp_path: Path) -> None:
    losses: list[float] = []
    net = training.fit_watcher(
        shelf, steps=90, films=6, seed=3, peak=1e-2, config=SMALL, report=lambda _, loss: losses.append(loss)
    )
    assert np.mean(losses[-20:]) < 0.85 * np.mean(losses[:20])
    onset, loudness, _ = training.seen_on(net, shelf)
    assert np.nanmean(training.stage_scores(onset, shelf).auc) > 0.7
    assert loudness.shape == (16, 150)
    save_watcher(tmp_path / "w.safetensors", net)
    assert np.array_equal(training.seen_on(load_watcher(tmp_path / "w.safetensors"), shelf)[0], onset)
    twice = [training.fit_watcher(shelf, steps=2, films=4, seed=3, config=SMALL).state_dict() for _ in range(2)]
    assert all(torch.equal(twice[0][name], twice[1][name]) for name in twice[0])


def test_training_renders_trains_and_writes(tmp_path: Path) -> None:
    net = training.train_watcher(tmp_path / "w.safetensors", cache=tmp_path / "stage", films=16, steps=1)
    assert len(training.load_shelf(tmp_path / "stage" / "watcher")) == 16
    loaded = load_watcher(tmp_path / "w.safetensors").state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in net.state_dict().items())
