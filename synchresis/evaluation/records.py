"""What an evaluation leaves: a record per take, what follows for each system, and the report of all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synchresis.evaluation.definitions import Definition
from synchresis.evaluation.measure import VERSION
from synchresis.evaluation.statistics import Difference, Mean

Progress = Callable[[str, float], None]
Record = dict[str, Any]
"""One take: id, system, key (of what it was measured from), scores by definition id, hashes; or id, system, failed."""


@dataclass(eq=False)
class System:
    """What was measured of one folder.

    records: those of clips that could be measured, sorted by id; failed: the others, with the reason. alone: ids that
    the reference has not; absent: ids of the reference that this folder has not. means: of clip metrics; nulls: mean
    null, mean excess with its interval, and z of the mean. values: of set metrics. warnings: about them.
    """

    name: str
    folder: Path
    records: list[Record] = field(default_factory=list)
    failed: list[Record] = field(default_factory=list)
    alone: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    means: dict[str, Mean] = field(default_factory=dict)
    nulls: dict[str, dict[str, float | None]] = field(default_factory=dict)
    unscored: dict[str, dict[str, int]] = field(default_factory=dict)
    values: dict[str, dict[str, float]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def column(self, definition: str) -> dict[str, float]:
        """Values by clip id, of the clips that have one."""
        return {
            record["id"]: record["scores"][definition]["value"]
            for record in self.records
            if record["scores"].get(definition, {}).get("value") is not None
        }


@dataclass(eq=False)
class Report:
    """definitions: those asked for; missing: ids that were not computed and why; comparisons: by definition id, of
    pairs of systems on the clips that both have."""

    systems: list[System]
    reference: Path | None
    definitions: list[Definition]
    missing: dict[str, str] = field(default_factory=dict)
    comparisons: dict[str, dict[tuple[str, str], Difference]] = field(default_factory=dict)
    networks: dict[str, dict[str, Any]] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """Everything but the records, for JSON."""
        return {
            "version": VERSION,
            "reference": str(self.reference) if self.reference else None,
            "networks": self.networks,
            "not computed": self.missing,
            "systems": {
                s.name: {
                    "folder": str(s.folder),
                    "clips": len(s.records),
                    "failed": {r["id"]: r["failed"] for r in s.failed},
                    "without a reference": s.alone,
                    "missing": s.absent,
                    "means": {name: vars(mean) for name, mean in s.means.items()},
                    "nulls": s.nulls,
                    "not scored": s.unscored,
                    "values": s.values,
                    "warnings": s.warnings,
                }
                for s in self.systems
            },
            "comparisons": {
                name: [{"first": a, "second": b, **vars(d)} for (a, b), d in pairs.items()]
                for name, pairs in self.comparisons.items()
            },
        }


def drawing_path(cache: Path, hashes: dict[str, Any]) -> Path:
    true = hashes["true"] or ("", "")
    return cache / "drawings" / f"{hashes['take'][0][:24]}-{true[0][:12]}-{true[1][:12]}-{VERSION}.png"
