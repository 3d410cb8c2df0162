"""Metrics with pinned definitions, chance levels and intervals: evaluation that two people can repeat.

    from synchresis.evaluation import evaluate
    report = evaluate(["takes/ours", "takes/theirs"], reference="clips", out="evaluation")
    report.systems[0].means["aa-align/one-to-one"]      # Mean(n, mean, low, high)
    report.systems[0].nulls["aa-align/one-to-one"]      # null, excess with interval, z
    report.comparisons["aa-align/one-to-one"]           # paired differences with p

`DEFINITIONS` lists every metric by id. The arithmetic can be used alone: `onsets`, `alignment`, `flow`, `envelopes`,
`waveforms`, `pictures`, `sets`, `classes`, `scores`, `statistics`. `networks` holds what needs weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .definitions import DEFINITIONS, Definition
    from .engine import evaluate
    from .records import Report, System

__all__ = ["DEFINITIONS", "Definition", "Report", "System", "evaluate"]

_PLACES = {
    "DEFINITIONS": "definitions",
    "Definition": "definitions",
    "Report": "records",
    "System": "records",
    "evaluate": "engine",
}


def __getattr__(name: str) -> Any:
    """The names of __all__, from their files when they are first asked for: importing this room loads nothing."""
    from importlib import import_module

    if name in _PLACES:
        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__} has no {name}")
