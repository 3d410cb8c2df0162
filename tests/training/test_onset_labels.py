"""The label maker of onsets, and the pretext task that learns from it."""

import numpy as np
import pytest
import torch

from synchresis.data.stage import film
from synchresis.nn.onset_head import LocalConfig
from synchresis.timeline import Onsets, Track, detect_onsets
from synchresis.training.onsets import RATE, batches, onset_loss, sound_labels, strengths_in_cells, train_onsets


def test_an_onset_is_in_the_cell_that_holds_it() -> None:
    onsets = Onsets(np.array([0.0, 0.04, 0.0799, 0.12, 0.39999, 0.4]), np.array([0.5, 0.2, 0.9, 1.0, 0.3, 0.7]))
    got = strengths_in_cells(onsets, 10)
    assert got.tolist() == pytest.approx([0.5, 0.9, 0, 1.0, 0, 0, 0, 0, 0, 0.3])
    assert strengths_in_cells(onsets, 2, start=0.39).tolist() == pytest.approx([0.7, 0.0])


def test_labels_of_a_films_sound_are_its_contacts() -> None:
    """Of the contacts that stand alone nearly all have their label within a cell; and labels say no more than sound."""
    cells, asked, found = 150, 0, 0
    for seed in range(12):
        made = film(seed, seconds=6.0, kinds=("wood",), ugly=False)
        labels = sound_labels(made.sound, cells)
        assert labels.shape == (cells,)
        assert labels.dtype == torch.int64
        assert set(labels.tolist()) <= {0, 1}
        assert 0 < int(labels.sum()) <= len(detect_onsets(made.sound))
        marked = (np.flatnonzero(labels.numpy()) + 0.5) / RATE
        times = made.onsets.times
        alone = times[(np.diff(times, prepend=-1.0) > 0.25) & (times > 0.05) & (times < 5.9)]
        asked += len(alone)
        found += int((np.abs(alone[:, None] - marked).min(axis=1) <= 0.04).sum())
    assert asked >= 20
    assert found >= 0.9 * asked, f"{found} of {asked}"


def test_labels_move_with_the_sound_by_whole_cells() -> None:
    made = film(3, seconds=4.0, kinds=("wood",), ugly=False)
    values, rate = made.sound.values, made.sound.rate
    first = sound_labels(made.sound, 100)
    shifted = np.concatenate([np.zeros((int(rate) * 10 // 25, *values.shape[1:]), values.dtype), values])
    later = sound_labels(Track(shifted, rate), 110)[10:]
    # A sound that begins with its attack is one that was cut into, which is no onset.
    assert torch.equal(first[2:], later[2:])
    louder = sound_labels(Track(values / 4, rate), 100)
    assert torch.equal(first, louder)


def test_silence_has_no_label() -> None:
    assert int(sound_labels(Track(np.zeros(32000, np.float32), 32000), 25).sum()) == 0


def test_loss_is_the_cross_entropy_of_two_classes() -> None:
    logits, labels = torch.randn(2, 7, 2), torch.randint(2, (2, 7))
    chances = logits.softmax(-1).gather(2, labels[..., None])[..., 0]
    assert torch.allclose(onset_loss(logits, labels), -chances.log(), atol=1e-6)


def examples() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Clips whose features say what sounds in the cells of each row; the second is shorter."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for rows in (16, 11, 16):
        cells = rows * 25 // 4
        labels = (torch.rand(cells, generator=generator) < 0.15).long()
        own = torch.arange(cells) * 4 // 25
        features = torch.stack([labels[own == row].float().mean() * torch.ones(12) for row in range(rows)])
        features[:, 1:] = torch.randn(rows, 11, generator=generator)
        made.append((features, labels))
    return made


def test_batches_pad_the_shorter_and_say_so() -> None:
    clips = examples()
    features, rows, labels, cells = next(batches(clips, 8, torch.Generator().manual_seed(1)))
    assert features.shape == (8, 16, 12)
    assert labels.shape == cells.shape == (8, 100)
    assert {int(n) for n in rows.sum(1)} == {11, 16}
    assert torch.equal(cells.sum(1), rows.sum(1) * 25 // 4)


def test_it_learns_by_heart() -> None:
    clips = examples()
    config = LocalConfig(input=12, hidden=32, width=16)
    net = train_onsets(clips, config, steps=400, batch=4, peak=5e-3)
    untaught = train_onsets(clips, config, steps=1, batch=4, peak=1e-9)

    def loss(which: torch.nn.Module) -> float:
        with torch.no_grad():
            return float(np.mean([float(onset_loss(which(f[None], len(y)).logits, y[None]).mean()) for f, y in clips]))

    assert loss(net) < 0.6 * loss(untaught)
    again = train_onsets(clips, config, steps=3, batch=4)
    assert all(
        torch.equal(a, b)
        for a, b in zip(again.parameters(), train_onsets(clips, config, steps=3, batch=4).parameters(), strict=True)
    )


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(ValueError, match="no clips"):
        train_onsets([], steps=1)
    with pytest.raises(ValueError, match="clip 0"):
        train_onsets([(torch.zeros(4, 3), torch.zeros(25).long())], LocalConfig(input=5), steps=1)
