"""Classifier-free guidance with any number of conditions, outside the network.

The result is a weighted sum of predictions under different conditions. All of them are computed in one batch,
and what does not depend on time is prepared once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from synchresis.diffusion.objectives import Network, Objective, V

Conditions = Mapping[str, Any]
"""Keyword arguments of a network: tensors [B, ...], None, or a plain value that all branches share."""


@dataclass(frozen=True)
class Branch:
    """One guided difference: weight * (prediction under `conditions` - prediction of branch `against`).

    `against` counts from 0, the base; by default it is the branch before, so conditions are added one by
    one and each addition has its own weight. With all weights 1 that is plain prediction under the last
    branch.
    """

    conditions: Conditions
    weight: float = 1.0
    against: int | None = None


def guided(
    network: Any,
    base: Conditions,
    branches: Sequence[Branch],
    *,
    scale_phi: float = 0.0,
    interval: tuple[float, float] = (0.0, 1.0),
    objective: Objective = V,
) -> Network:
    """Binds conditions to `network`: base + sum of weight_i (branch_i - its `against`).

    A network with `prepare(**conditions)` is called as network(x, t, prepared=...), any other as
    network(x, t, **conditions). A condition that only some branches have is zeros (for a mask: ones) in the
    others. `scale_phi` pulls the spread over channels (dim 1) of the result towards that of the last branch
    (LoVA spec 2.4). Where the noise level sigma of the first item lies outside `interval`, all weights are 1.
    Branches whose share in the sum is zero are not computed. Raises ValueError for branches that do not fit.
    """
    sets = [base, *(branch.conditions for branch in branches)]
    inside = _shares([b.weight for b in branches], [b.against for b in branches])
    outside = _shares([1.0] * len(branches), [b.against for b in branches])
    always = inside == outside or (interval[0] <= 0 and interval[1] >= 1)
    phi = scale_phi if branches else 0.0
    run_inside = _weighted(network, sets, inside, phi)
    if always:
        return run_inside
    run_outside = _weighted(network, sets, outside, 0.0)

    def run(x: Tensor, t: Tensor) -> Tensor:
        level = objective.levels(float(t[0]))[1]
        return (run_inside if interval[0] <= level <= interval[1] else run_outside)(x, t)

    return run


def classifier_free(
    network: Any,
    conditions: Conditions,
    scale: float,
    *,
    dropped: Sequence[str] = ("cross", "prepend"),
    negative: Tensor | None = None,
    negative_mask: Tensor | None = None,
    **options: Any,
) -> Network:
    """Guidance as the published Stable Audio family does it: null + scale (conditioned - null).

    The null has zeros for the conditions named in `dropped`; all others stay. `negative` [B, S, D] takes
    the place of zeros for `cross`, itself zeroed where `negative_mask` [B, S] is 0. `options` are those
    of `guided`.
    """
    null = dict(conditions)
    for name in dropped:
        if isinstance(null.get(name), Tensor):
            null[name] = torch.zeros_like(null[name])
    if negative is not None:
        null["cross"] = (
            negative if negative_mask is None else negative * negative_mask[..., None].to(negative)
        )
    return guided(network, null, [Branch(conditions, scale)], **options)


def drop(condition: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Training's half of guidance: zeros in place of whole items [B, ...], each with this probability."""
    kept = torch.rand(condition.shape[0], generator=generator) >= probability
    return condition * kept.to(condition).reshape(-1, *[1] * (condition.ndim - 1))


def _shares(weights: Sequence[float], against: Sequence[int | None]) -> list[float]:
    """How much every prediction (base first) counts in the whole sum."""
    shares = [1.0] + [0.0] * len(weights)
    for i, (weight, other) in enumerate(zip(weights, against, strict=True)):
        other = i if other is None else other
        if not 0 <= other <= i:
            raise ValueError(f"branch {i + 1} can only be set against 0..{i}, not {other}")
        shares[i + 1] += weight
        shares[other] -= weight
    return shares


def _weighted(network: Any, sets: Sequence[Conditions], shares: Sequence[float], phi: float) -> Network:
    last = len(sets) - 1
    used = [i for i in range(len(sets)) if shares[i] != 0 or (phi and i == last)]
    joined = {name: _joined([sets[i].get(name) for i in used]) for name in _names(sets)}
    keywords = {"prepared": network.prepare(**joined)} if hasattr(network, "prepare") else joined

    def run(x: Tensor, t: Tensor) -> Tensor:
        n = len(used)
        parts = network(x.repeat(n, *[1] * (x.ndim - 1)), t.repeat(n), **keywords).chunk(n)
        out = sum((part * shares[i] for i, part in zip(used, parts, strict=True)), torch.zeros_like(x))
        if phi:
            spread = parts[-1].std(dim=1, keepdim=True) / out.std(dim=1, keepdim=True)
            out = phi * out * spread + (1 - phi) * out
        return out

    return run


def _names(sets: Sequence[Conditions]) -> list[str]:
    return list(dict.fromkeys(name for conditions in sets for name in conditions))


def _joined(values: Sequence[Any]) -> Any:
    tensors = [value for value in values if isinstance(value, Tensor)]
    if not tensors:
        if any(value != values[0] for value in values):
            raise ValueError(f"branches must agree on a plain value, not have {list(values)}")
        return values[0]
    like = tensors[0]
    absent = torch.ones_like(like) if like.dtype == torch.bool else torch.zeros_like(like)
    return torch.cat([absent if value is None else value for value in values])
