"""Our networks against the originals: same weights, same inputs, same numbers.

Cases are folders SYSTEM/NETWORK made by the original code; see `roots` for where they are looked for.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from .adapters import ADAPTERS, PENDING, SLOW, Adapter, Case, Check
from .roots import HERE, cases, root

CASES = cases()


def test_there_are_cases() -> None:
    assert CASES, f"no cases under {root()}"


def test_copies_are_a_subset_of_the_adapters() -> None:
    copies = {f"{path.parent.name}/{path.name}" for path in (HERE / "cases").glob("*/*") if path.is_dir()}
    assert copies
    assert copies <= ADAPTERS.keys()


@pytest.mark.parametrize("name", list(CASES))
def test_parity(name: str) -> None:
    if name in PENDING:
        pytest.skip(PENDING[name])
    assert name in ADAPTERS, f"{name} has no adapter"
    compare(name, CASES[name])


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [name for name in CASES if name in SLOW])
def test_parity_whole(name: str) -> None:
    compare(name, CASES[name], SLOW[name])


def compare(name: str, folder: Path, adapter: Adapter | Check | None = None) -> None:
    adapter = adapter or ADAPTERS[name]
    case = Case(folder)
    with torch.no_grad():
        if not isinstance(adapter, Adapter):
            return adapter(case)
        got = adapter.run(case)
    expected = {key: value for key, value in case.io.items() if key.startswith(adapter.outputs)}
    assert expected
    assert expected.keys() <= got.keys(), sorted(expected.keys() - got.keys())
    for key, value in expected.items():
        assert got[key].shape == value.shape, key
        limit = next((t for end, t in adapter.special.items() if key.endswith(end)), adapter.tolerance)
        if adapter.relative:
            limit *= float(value.abs().max())
        difference = float((got[key].double() - value.double()).abs().max())
        assert difference <= limit, f"{name} {key}: {difference:.2e} is over {limit:.0e}"


def test_a_wrong_network_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison itself can fail: one weight matrix off by a hundredth is over the tolerance."""
    folder = HERE / "cases" / "lova" / "dit_vl30"
    weights = Case.weights

    def bent(self: Case, prefix: str = "", file: str = "weights.safetensors") -> dict[str, torch.Tensor]:
        tensors = weights(self, prefix, file)
        tensors["transformer.layers.1.cross_attn.to_kv.weight"] *= 1.01
        return tensors

    monkeypatch.setattr(Case, "weights", bent)
    with pytest.raises(AssertionError, match="is over 1e-04"):
        compare("lova/dit_vl30", folder)
