"""Numbers as tokens, and the routing of conditions."""

import pytest
import torch

from synchresis.nn.conditioners import Conditioners, NumberConditioner, Routing, padded, time_aligned, whole


def test_numbers_are_held_within_their_range() -> None:
    net = NumberConditioner(8, 0, 512)
    low, inside = net(torch.tensor([-5.0, 100.0, 512.0])), net(torch.tensor([0.0, 101.0, 9999.0]))
    assert low.shape == (3, 1, 8)
    assert torch.equal(low[0], inside[0])
    assert torch.equal(low[2], inside[2])
    assert not torch.equal(low[1], inside[1])


def test_published_names_and_what_is_read_of_a_configuration() -> None:
    described = {
        "cond_dim": 8,
        "configs": [
            {"id": "feature", "type": "video_feature", "config": {}},
            {"id": "seconds_total", "type": "number", "config": {"min_val": 0, "max_val": 512}},
        ],
    }
    net = Conditioners.from_dict(described)
    assert set(net.state_dict()) == {
        f"conditioners.seconds_total.embedder.embedding.{name}" for name in ("0.weights", "1.weight", "1.bias")
    }
    with pytest.raises(ValueError, match="seconds_total"):
        net({"seconds_start": torch.zeros(1)})
    with pytest.raises(ValueError, match="min_val < max_val"):
        NumberConditioner(8, 3, 3)


def test_routing_joins_in_order_and_names_what_is_missing() -> None:
    a, b = torch.randn(2, 3, 4), torch.randn(2, 1, 4)
    given = {"a": whole(a), "b": whole(b)}
    joined = Routing(cross=("b", "a"), global_=("b", "b"), prepend=("a",)).join(given)
    assert torch.equal(joined["cross"], torch.cat([b, a], dim=1))
    assert joined["global_cond"].shape == (2, 8)
    assert torch.equal(joined["prepend"], a)
    assert "concat" not in joined
    with pytest.raises(ValueError, match="not given: c"):
        Routing(cross=("a", "c")).join(given)


def test_padding_is_marked() -> None:
    tokens, mask = padded([torch.ones(2, 5), torch.ones(4, 5)])
    assert tokens.shape == (2, 4, 5)
    assert mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert float(tokens[0, 2:].abs().max()) == 0
    aligned, _ = time_aligned([torch.tensor([1.0, 2.0]), torch.tensor([3.0])], 3)
    assert aligned.tolist() == [[[1, 2, -1]], [[3, -1, -1]]]
