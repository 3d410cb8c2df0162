"""Windows over any length."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from synchresis.diffusion.guidance import Branch, guided
from synchresis.diffusion.noise import noise_source
from synchresis.diffusion.objectives import Network
from synchresis.diffusion.samplers import euler, flow_times
from synchresis.diffusion.windows import Span, blending, cut, windowed, windows
from synchresis.nn.dit import DiT, DiTConfig

SIZES = st.integers(2, 60).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1)))


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 400), SIZES)
def test_spans_cover_and_weights_sum_to_one(total: int, sizes: tuple[int, int]) -> None:
    size, overlap = sizes
    spans = windows(total, size, overlap)
    assert spans[0][0] == 0
    assert spans[-1][1] == total
    assert all(stop - start == min(size, total) for start, stop in spans)
    assert all(b[0] > a[0] and a[1] - b[0] >= overlap for a, b in itertools.pairwise(spans))
    sums = np.zeros(total)
    for (start, stop), curve in zip(spans, blending(spans, total), strict=True):
        assert curve.min() > 0
        sums[start:stop] += curve
    np.testing.assert_allclose(sums, 1, atol=1e-6)


def test_cross_fades_are_straight() -> None:
    first, second = blending([(0, 10), (6, 16)], 16)
    np.testing.assert_allclose(first[6:], [0.875, 0.625, 0.375, 0.125], atol=1e-6)
    np.testing.assert_allclose(second[:4], [0.125, 0.375, 0.625, 0.875], atol=1e-6)


@pytest.mark.parametrize(("total", "size", "overlap"), [(0, 5, 1), (10, 5, 5), (10, 5, -1)])
def test_refusals(total: int, size: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="no windows"):
        windows(total, size, overlap)


def test_a_pointwise_network_is_not_changed_by_windows() -> None:
    track = torch.randn(1, 3, 100)

    def make(spans: Sequence[Span]) -> Network:
        condition = cut(track, spans)
        return lambda x, t: torch.sin(x * t[:, None, None]) + condition

    x, t = torch.randn(1, 3, 100), torch.tensor([0.4])
    whole = make([(0, 100)])(x, t)
    for size, overlap, batch in ((30, 10, 4), (30, 0, 1), (99, 98, 8), (100, 5, 1), (500, 5, 1)):
        torch.testing.assert_close(
            windowed(make, 100, size, overlap, batch)(x, t), whole, atol=1e-6, rtol=0
        )  # fmt: skip


def test_no_seam_where_windows_disagree() -> None:
    def make(spans: Sequence[Span]) -> Network:
        return lambda x, t: torch.tensor([float(start > 0) for start, _ in spans])[:, None, None].expand_as(x)

    out = windowed(make, 90, 50, 10, 1)(torch.zeros(1, 1, 90), torch.tensor([0.5]))
    steps = out[0, 0].diff()
    assert float(steps.max()) < 0.11
    assert float(steps.min()) >= 0


def pocket_like() -> DiT:
    torch.manual_seed(0)
    net = DiT(
        DiTConfig(
            io_channels=4, embed_dim=32, depth=2, num_heads=2, ff_mult=2,
            global_cond_dim=6, global_cond_type="adaLN", input_concat_dim=3,
        )
    )  # fmt: skip
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    return net.eval()


def sampled(net: DiT, total: int, batch: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    track = torch.randn(1, 3, total, generator=generator)
    told = torch.randn(1, 6, generator=generator)

    def make(spans: Sequence[Span]) -> Network:
        concat = cut(track, spans)
        base = {"concat": concat, "global_cond": None}
        return guided(net, base, [Branch({"concat": concat, "global_cond": told.expand(len(spans), -1)}, 2.0)])

    with torch.no_grad():
        network = windowed(make, total, 24, 8, batch)
        return euler(network, noise_source([seed], 4, total)(0), flow_times(4))


def test_batching_does_not_matter() -> None:
    net = pocket_like()
    once = sampled(net, 90, batch=1)
    assert once.shape == (1, 4, 90)
    for batch in (2, 3, 16):
        torch.testing.assert_close(sampled(net, 90, batch), once, atol=1e-5, rtol=1e-5)
    assert torch.equal(sampled(net, 90, batch=3), sampled(net, 90, batch=3))
    assert (sampled(net, 90, batch=3, seed=2) - once).abs().max() > 0.1


def test_up_to_a_window_it_is_one_pass() -> None:
    calls: list[int] = []

    def make(spans: Sequence[Span]) -> Network:
        calls.append(len(spans))
        return lambda x, t: x

    network = windowed(make, 24, 24, 8)
    x = torch.randn(2, 4, 24)
    assert network(x, torch.rand(2)) is x
    assert calls == [1]


def test_conditions_are_made_once_per_batch_of_windows() -> None:
    calls: list[Sequence[Span]] = []

    def make(spans: Sequence[Span]) -> Network:
        calls.append(spans)
        return lambda x, t: x

    network = windowed(make, 100, 24, 8, batch=4)
    for _ in range(3):
        network(torch.randn(1, 2, 100), torch.tensor([0.5]))
    assert [len(spans) for spans in calls] == [4, 2]
    with pytest.raises(ValueError, match="windows over 100"):
        network(torch.randn(2, 2, 100), torch.rand(2))
    with pytest.raises(ValueError, match="batch"):
        windowed(make, 100, 24, 8, batch=0)
