"""What is saved on the way is the average, and saving changes nothing."""

import itertools
from typing import Any

import torch
from torch import nn

from synchresis.training.loop import Saving, train

State = dict[str, torch.Tensor]


def copied(net: nn.Module) -> State:
    return {name: value.clone() for name, value in net.state_dict().items()}


def run(saving: bool) -> tuple[State, dict[int, State], list[State]]:
    """The averaged weights at the end, what was saved at which step, and the weights in the beginning and each step."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    draw = torch.Generator().manual_seed(1)
    saved: dict[int, State] = {}
    course = [copied(net)]

    def loss(_: Any) -> torch.Tensor:
        x = torch.randn(8, 3, generator=draw)
        return (net(x) - x.sum(1, keepdim=True)).square().mean()

    kept = Saving(4, lambda step: saved.update({step: copied(net)})) if saving else None
    averaged = train(
        net, itertools.repeat(None), loss, steps=12, peak=0.1, decay=0.5, saving=kept,
        report=lambda step, loss: course.append(copied(net)),
    )  # fmt: skip
    return averaged, saved, course


def test_saving_keeps_the_average_and_changes_nothing() -> None:
    averaged, saved, course = run(True)
    plain, none, other = run(False)
    assert sorted(saved) == [4, 8]  # the end is the caller's to write
    assert none == {}
    assert all(torch.equal(value, plain[name]) for name, value in averaged.items())
    assert all(torch.equal(one[name], two[name]) for one, two in zip(course, other, strict=True) for name in one)
    mean = course[0]["0.weight"]
    for count, state in enumerate(course[1:9], 1):
        mean = torch.lerp(mean, state["0.weight"], 1 - min(0.5, (1 + count) / (10 + count)))
    torch.testing.assert_close(saved[8]["0.weight"], mean)
    assert not torch.equal(saved[8]["0.weight"], course[8]["0.weight"])
