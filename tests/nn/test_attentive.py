"""Attentive pooling: what padding may not change, what dropout does, and the sum it is."""

import torch

from synchresis.nn.attentive import AttentivePooling, PoolingConfig
from synchresis.systems.weights import randomise


def made() -> AttentivePooling:
    net = AttentivePooling(PoolingConfig(input=6, embed=10, tokens=3)).eval()
    randomise(net)
    return net


@torch.no_grad()
def test_padding_changes_nothing() -> None:
    net, video = made(), torch.randn(2, 7, 6, generator=torch.Generator().manual_seed(0))
    rows = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    both = net(video, rows)
    assert both.shape == (2, 3, 10)
    assert torch.allclose(both[:1], net(video[:1]), atol=1e-6)
    assert torch.allclose(both[1:], net(video[1:, :4]), atol=1e-6)
    assert not torch.allclose(both[1:], net(video[1:]), atol=1e-3)


@torch.no_grad()
def test_what_is_pooled_is_a_convex_sum_of_the_rows() -> None:
    net, row = made(), torch.randn(1, 1, 6, generator=torch.Generator().manual_seed(1))
    stages = net.pool(row.expand(-1, 5, -1))
    assert torch.allclose(stages.pooled, net.fc(row)[:, 0], atol=1e-6)
    many = net.pool(torch.randn(1, 9, 6, generator=torch.Generator().manual_seed(2)))
    low, high = many.projected.amin(1), many.projected.amax(1)
    assert ((many.pooled >= low - 1e-6) & (many.pooled <= high + 1e-6)).all()


@torch.no_grad()
def test_dropout_only_where_it_is_given() -> None:
    net, video = made(), torch.randn(1, 7, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(net.train()(video), net.eval()(video))
    keep = (torch.rand(1, 10, 7, generator=torch.Generator().manual_seed(3)) > 0.5).float()
    dropped = net.pool(video, keep=keep)
    assert not torch.allclose(dropped.potential_unary, net.pool(video).potential_unary, atol=1e-4)
    assert torch.equal(dropped.potential_self, net.pool(video).potential_self)
