"""A parity case on disk, and what an adapter is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

Outputs = dict[str, Tensor]


class Case:
    """A folder with config.json (or case.json), mostly io.safetensors and weights.safetensors."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def config(self) -> dict[str, Any]:
        named = self.folder / "config.json"
        return self.json(named.name if named.exists() else "case.json")

    @cached_property
    def io(self) -> Outputs:
        return load_file(self.folder / "io.safetensors")

    def json(self, file: str) -> Any:
        return json.loads((self.folder / file).read_text())

    def weights(self, prefix: str = "", file: str = "weights.safetensors") -> Outputs:
        """The tensors whose names begin with `prefix`, without it."""
        everything = load_file(self.folder / file)
        return {k.removeprefix(prefix): v for k, v in everything.items() if k.startswith(prefix)}

    def given(self, **names: str) -> dict[str, Tensor]:
        """Keyword arguments from the tensors of these names that the case has."""
        return {keyword: self.io[name] for keyword, name in names.items() if name in self.io}


@dataclass(frozen=True)
class Adapter:
    """`run` gives everything that the network gives, under the names of the expected tensors of io.safetensors.

    `tolerance` is the largest absolute difference; `special` has others by the end of the output's name.
    With `relative` it is relative to the largest expected value. `outputs` are the beginnings of the names of all
    tensors that the case expects.
    """

    run: Callable[[Case], Outputs]
    tolerance: float
    special: dict[str, float] = field(default_factory=dict)
    relative: bool = False
    outputs: tuple[str, ...] = ("out",)


Check = Callable[[Case], None]
"""For a case whose expectations are not plain tensors: asserts by itself."""
