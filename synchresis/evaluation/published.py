"""Published rows, shown only beside values of the same definition."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from synchresis.errors import BadInputError
from synchresis.evaluation.definitions import DEFINITIONS, Definition

TABLE = Path(__file__).parent / "published.csv"


@dataclass(frozen=True)
class Row:
    """One printed number: the same system may have several, of papers that evaluated it anew."""

    system: str
    year: str
    test_set: str
    metric: str
    definition: str
    value: float
    source: str


def rows() -> list[Row]:
    """The whole table. Rows without a value are not in it."""
    with TABLE.open(newline="") as file:
        return [
            Row(r[0], r[1], r[2], r[3], r[4], float(r[5]), r[6])  # the columns in the order of the class
            for r in csv.reader(file)
            if r[0] != "system"
        ]


def same(definition: Definition, row: Row) -> bool:
    """Whether a row says that it is this definition; a similar name is not enough."""
    return row.definition in definition.published and (not definition.metrics or row.metric in definition.metrics)


def beside(definition: Definition, test_set: str) -> list[Row]:
    """Rows of a test set (any whose name contains the words) with this definition, values in our scale."""
    found = [row for row in rows() if test_set.lower() in row.test_set.lower() and same(definition, row)]
    return [
        Row(r.system, r.year, r.test_set, r.metric, r.definition, r.value / definition.scale, r.source) for r in found
    ]


def check_test_set(name: str) -> None:
    """Raises BadInputError, with those that there are, where no published row has such a test set."""
    known = sorted({row.test_set for row in rows()})
    if not any(name.lower() in test_set.lower() for test_set in known):
        heads = sorted({test_set.split(" (")[0] for test_set in known})
        raise BadInputError(f"--published {name}: no row has it; there are {', '.join(heads)}")


def refused(ids: list[str], test_set: str) -> dict[str, list[str]]:
    """Of each of our ids the published definitions under a like name that are NOT shown, because they differ."""
    table = [row for row in rows() if test_set.lower() in row.test_set.lower()]
    left_out: dict[str, list[str]] = {}
    for name in ids:
        definition = DEFINITIONS[name]
        stem = family(name.split("/")[0])
        others = {
            f"{row.metric} ({row.definition or 'not stated'})"
            for row in table
            if family(row.metric) == stem and not same(definition, row)
        }
        if others:
            left_out[name] = sorted(others)
    return left_out


def family(name: str) -> str:
    """The word that people would mix up: FD_PaSST, FAD and fd-panns-16k are all "fd"."""
    name = name.lower().replace("_", "-")
    if name.startswith("av-sync"):
        return "desync"
    word = name.replace(" ", "-").split("-")[0]
    return {"fad": "fd", "onsetacc": "onset", "onsetap": "onset", "mkl": "kl"}.get(word, word)
