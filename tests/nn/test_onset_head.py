"""The local branch at any length, and what padding may not change."""

import pytest
import torch

from synchresis.nn.onset_head import LocalBranch, LocalConfig, window_means
from synchresis.systems.weights import randomise

CONFIG = LocalConfig(input=6, hidden=12, width=8)


def made(config: LocalConfig = CONFIG) -> LocalBranch:
    net = LocalBranch(config).eval()
    randomise(net)
    return net


@pytest.mark.parametrize("rows", [1, 2, 5, 40])
@pytest.mark.parametrize("reach", [1, 2, 8])
def test_windows_by_their_definition(rows: int, reach: int) -> None:
    x = torch.randn(2, rows, 3)
    plain = torch.stack([x[:, max(i - reach, 0) : min(i + reach, rows)].mean(1) for i in range(rows)], 1)
    assert torch.allclose(window_means(x, reach), plain, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize(("rows", "cells"), [(1, 8), (4, 25), (16, 104), (40, 256), (80, 500)])
def test_a_position_looks_at_the_row_of_its_time(rows: int, cells: int) -> None:
    net = made(LocalConfig(input=6, hidden=12, width=8, windows=()))
    video = torch.randn(1, rows, 6)
    got = net(video, cells)
    assert got.feature.shape == (1, cells, 8)
    assert got.logits.shape == (1, cells, 2)
    own = [min(int(i / 25 * 4 + 1e-9), rows - 1) for i in range(cells)]
    feature, logits = net.pre_onset(got.token[:, own])
    assert torch.equal(got.feature, feature)
    assert torch.equal(got.logits, logits)


@torch.no_grad()
def test_padding_changes_nothing() -> None:
    net, video = made(), torch.randn(2, 12, 6)
    rows = torch.arange(12) < torch.tensor([[12], [5]])
    both, short = net(video, 75, rows), net(video[1:, :5], 75)
    assert torch.allclose(both.feature[1:], short.feature, atol=1e-6)
    assert torch.allclose(both.logits[:1], net(video[:1], 75).logits, atol=1e-6)


@torch.no_grad()
def test_longer_films_begin_as_shorter_ones() -> None:
    """But for the windows, which look ahead by up to 8 rows."""
    net, video = made(), torch.randn(1, 60, 6)
    assert torch.allclose(net(video, 375).feature[:, :192], net(video[:, :40], 250).feature[:, :192], atol=1e-6)
