"""Guidance as a weighted sum of predictions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from synchresis.diffusion.guidance import Branch, classifier_free, drop, guided
from synchresis.diffusion.objectives import FLOW, V

X, T = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([0.5, 0.5])


class Network:
    """Adds up its conditions; counts what it is asked."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.prepared = 0

    def prepare(self, **conditions: Any) -> dict[str, Any]:
        self.prepared += 1
        return conditions

    def __call__(self, x: Tensor, t: Tensor, prepared: dict[str, Any]) -> Tensor:
        self.batches.append(len(x))
        out = x * t[:, None, None]
        for value in prepared.values():
            if isinstance(value, Tensor):
                out = out + value
        return out


def constant(value: float) -> Tensor:
    return torch.full((2, 3, 1), value)


def test_the_published_form() -> None:
    net = Network()
    run = classifier_free(net, {"cross": constant(1), "global_cond": constant(5)}, 7)
    torch.testing.assert_close(run(X, T), X / 2 + 5 + 7 * 1)
    run(X, T)
    assert net.prepared == 1
    assert net.batches == [4, 4]


def test_a_scale_of_one_costs_nothing() -> None:
    net = Network()
    out = classifier_free(net, {"cross": constant(1)}, 1)(X, T)
    torch.testing.assert_close(out, X / 2 + 1)
    assert net.batches == [2]


def test_negative_condition_and_its_mask() -> None:
    out = classifier_free(Network(), {"cross": constant(1)}, 3, negative=constant(4))(X, T)
    torch.testing.assert_close(out, X / 2 + 4 + 3 * (1 - 4))
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    out = classifier_free(Network(), {"cross": constant(1)}, 3, negative=constant(4), negative_mask=mask)(X, T)
    null = 4.0 * mask[..., None]
    torch.testing.assert_close(out, X / 2 + null + 3 * (1 - null))


def test_conditions_added_one_by_one_have_their_own_weights() -> None:
    a, b = constant(1), constant(10)
    nested = [Branch({"a": a}, 2.0), Branch({"a": a, "b": b}, 3.0)]
    torch.testing.assert_close(guided(Network(), {}, nested)(X, T), X / 2 + 2 * 1 + 3 * 10)
    apart = [Branch({"a": a}, 2.0), Branch({"b": b}, 3.0, against=0)]
    torch.testing.assert_close(guided(Network(), {}, apart)(X, T), X / 2 + 2 * 1 + 3 * 10)
    net = Network()
    torch.testing.assert_close(guided(net, {}, [Branch({"a": a}), Branch({"a": a, "b": b})])(X, T), X / 2 + 11)
    assert net.batches == [2]  # with weights of 1 only the last branch counts
    torch.testing.assert_close(guided(Network(), {"a": a}, [])(X, T), X / 2 + 1)


def test_only_the_interval_is_guided() -> None:
    for objective, t, inside in ((V, 0.5, False), (FLOW, 0.5, True), (V, 0.2, True)):  # sin(pi / 4) is 0.71
        net = Network()
        run = classifier_free(net, {"cross": constant(1)}, 7, interval=(0.1, 0.6), objective=objective)
        out = run(X, torch.full((2,), t))
        torch.testing.assert_close(out, X * t + (7 if inside else 1))
        assert net.batches == [4 if inside else 2]


def test_rescaling_gives_back_the_spread() -> None:
    def network(x: Tensor, t: Tensor, cross: Tensor) -> Tensor:
        return x * (1 + cross)

    cross = constant(1)
    plain = network(X, T, cross)
    out = classifier_free(network, {"cross": cross}, 7, scale_phi=1.0)(X, T)
    torch.testing.assert_close(out.std(dim=1), plain.std(dim=1))
    half = classifier_free(network, {"cross": cross}, 7, scale_phi=0.5)(X, T)
    torch.testing.assert_close(half, (out + 8 * X) / 2)


def test_absent_conditions_and_plain_values() -> None:
    seen: dict[str, Any] = {}

    def network(x: Tensor, t: Tensor, **conditions: Any) -> Tensor:
        seen.update(conditions)
        return x

    mask = torch.tensor([[True, False]])
    branches = [Branch({"a": constant(1), "context_mask": mask, "scale_embeds": 0.5}, 2.0)]
    guided(network, {"scale_embeds": 0.5}, branches)(X, T)
    assert torch.equal(seen["a"], torch.cat((constant(0), constant(1))))
    assert seen["context_mask"].tolist() == [[True, True], [True, False]]
    assert seen["scale_embeds"] == 0.5
    with pytest.raises(ValueError, match="must agree"):
        guided(network, {"scale_embeds": 1.0}, branches)
    with pytest.raises(ValueError, match="only be set against"):
        guided(network, {}, [Branch({}, 2.0, against=1)])


def test_drop() -> None:
    dropped = drop(torch.ones(10000, 2, 3), 0.1, torch.Generator().manual_seed(0))
    items = dropped.flatten(1)
    assert bool(((items == 0).all(1) | (items == 1).all(1)).all())
    assert float((items[:, 0] == 0).float().mean()) == pytest.approx(0.1, abs=0.01)
