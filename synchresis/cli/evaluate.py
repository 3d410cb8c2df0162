"""`synchresis evaluate`: takes against references, by definitions that are told."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synchresis.cli.common import DebugOption, Device, progress_on_stderr, say
from synchresis.errors import BadInputError

if TYPE_CHECKING:
    from synchresis.evaluation import Report, System


def evaluate(
    generated: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of takes (sounds or films), one per system.", show_default=False),
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Folder of the true clips, paired by file name without suffix.")
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            help="Ids, or groups: offline, alignment, onsets, envelope, wave, level, set, picture, network, all. "
            "May be repeated or separated by commas. Default: offline, and what the weights allow."
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID=PLACE", help="Weights of a network (file, folder or hub id); ID.PART=PLACE for a part of it."
        ),
    ] = None,
    captions: Annotated[
        Path | None, typer.Option(help="CSV with the columns id and text, for CLAP and CLIPSIM.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for records, summary, caches and page.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes. Default: one per core, 8 at most.")] = None,
    published: Annotated[
        str | None, typer.Option(metavar="TEST_SET", help="Show published rows of the same definition beside ours.")
    ] = None,
    device: Annotated[Device, typer.Option(help="Where networks run; auto is the fastest there is.")] = Device.auto,
    list_them: Annotated[bool, typer.Option("--list", help="Say what can be measured, and what is missing.")] = False,
    json_lines: Annotated[bool, typer.Option("--json", help="The summary as JSON on stdout.")] = False,
    debug: DebugOption = False,
) -> int:
    """Measure takes. Every number has a definition, N, an interval and, where it is about timing, a chance level."""
    from synchresis.evaluation import published as rows

    places = dict(split(text) for text in weights or [])
    if list_them:
        print_list(places, json_lines)
        return 0
    if not generated:
        raise BadInputError("say which folders of takes to measure, or --list for what can be measured")
    from synchresis.evaluation import DEFINITIONS
    from synchresis.evaluation import evaluate as measure

    if published is not None:
        rows.check_test_set(published)
    names = [name for text in metrics or [] for name in text.split(",") if name]
    if not names:
        heard = {key.partition(".")[0] for key in places}
        names = ["offline", *(d.id for d in DEFINITIONS.values() if d.network in heard)]
    with progress_on_stderr("evaluate") as progress:
        report = measure(
            generated,
            reference,
            names,
            places,
            out,
            workers,
            read_captions(captions) if captions else None,
            device.value,
            progress,
        )
    if json_lines:
        print(json.dumps(report.summary() | ({"published": beside(report, published)} if published else {})))
    else:
        print_report(report, published)
    if out is not None:
        say(f"page: {out / 'index.html'}")
    return 0


def split(text: str) -> tuple[str, str]:
    """ID=PLACE. Raises BadInputError for anything else."""
    name, sign, place = text.partition("=")
    if not (name and sign and place):
        raise BadInputError(f"--weights {text}: say ID=PLACE, for instance vggish=vggish-10086976.pth")
    return name, place


def read_captions(path: Path) -> dict[str, str]:
    """Texts by clip id. Raises BadInputError where the columns are not there."""
    with path.open(newline="") as file:
        table = csv.DictReader(file)
        if not {"id", "text"} <= set(table.fieldnames or []):
            raise BadInputError(f"{path}: needs the columns id and text")
        return {row["id"]: row["text"] for row in table}


def print_list(places: dict[str, str], json_lines: bool) -> None:
    """Every definition, whether it can run here and, if not, what is missing."""
    from synchresis.evaluation import DEFINITIONS
    from synchresis.evaluation.networks import NETWORKS

    better = {"higher": "higher is better", "lower": "lower is better", "description": "a description"}
    facts = []
    for d in DEFINITIONS.values():
        missing = NETWORKS[d.network].missing() if d.network and d.network not in places else None
        facts.append({**vars(d), "runs": missing is None, "missing": missing})
    if json_lines:
        print(json.dumps(facts, ensure_ascii=False))
        return
    for fact in facts:
        typer.echo(f"{fact['id']}  ({fact['group']}, {better[fact['direction']]})")
        typer.echo(f"    {fact['formula']}")
        heard = [f"{fact['rate']} Hz" if fact["rate"] else "the file's own rate", fact["channels"]]
        looked_at = ", ".join([*(heard if "sound" in fact["needs"] else []), fact["window"]])
        typer.echo(f"    needs {', '.join(fact['needs'])}; {looked_at}")
        if fact["network"]:
            typer.echo(f"    network {fact['network']}")
        if fact["disagreements"]:
            typer.echo(f"    note: {fact['disagreements']}")
        typer.echo(f"    {'runs here' if fact['runs'] else fact['missing']}")


def print_report(report: Report, published: str | None) -> None:
    """Tables on stdout: means and values, comparisons, published rows; then what was not computed."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if Console().is_terminal else 160)
    table = Table(title="mean [95 % interval] N, null and z where timing is measured", title_justify="left")
    table.add_column("definition")
    for system in report.systems:
        table.add_column(system.name, justify="right")
    for definition in report.definitions:
        cells = [cell(system, definition.id) for system in report.systems]
        if any(cells):
            arrow = {"higher": " ↑", "lower": " ↓", "description": ""}[definition.direction]
            table.add_row(definition.id + arrow, *(text or "–" for text in cells))
    console.print(table)
    if report.comparisons:
        print_comparisons(report, console)
    if published:
        print_published(report, published, console)
    for name, reason in report.missing.items():
        typer.echo(f"{name}: {reason}")
    for system in report.systems:
        for record in system.failed:
            typer.echo(f"{system.name} {record['id']}: not measured: {record['failed']}")
        for heading, ids in (("without a reference", system.alone), ("missing", system.absent)):
            if ids:
                typer.echo(f"{system.name}: {len(ids)} {heading}: {', '.join(ids[:5])}{' …' if len(ids) > 5 else ''}")
        for name, reasons in system.unscored.items():
            told = ", ".join(f"{reason} ({count})" for reason, count in reasons.items())
            typer.echo(f"{system.name} {name}: not scored: {told}")
        for warning in system.warnings:
            typer.echo(f"{system.name}: warning: {warning}")


def cell(system: System, name: str) -> str:
    """What one system has of one definition."""
    from synchresis.evaluation.page import number

    if name in system.values:
        return f"{number(system.values[name]['value'])} N {system.values[name]['n']}"
    if name not in system.means:
        return ""
    mean = system.means[name]
    text = number(mean.mean)
    if mean.low is not None:
        text += f" [{number(mean.low)}, {number(mean.high)}]"
    text += f" N {mean.n}"
    if name in system.nulls:
        null = system.nulls[name]
        text += f"\nnull {number(null['null'])} z {number(null['z'])}"
    return text


def print_comparisons(report: Report, console: object) -> None:
    from rich.console import Console
    from rich.table import Table

    from synchresis.evaluation.page import number

    assert isinstance(console, Console)
    table = Table(title="paired differences on shared clips, sign-flip test, p adjusted by Holm", title_justify="left")
    for column in ("definition", "first - second", "mean [95 % interval]", "N", "p", "adjusted"):
        table.add_column(column, justify="left" if column.startswith(("def", "first")) else "right")
    for name, pairs in report.comparisons.items():
        for (first, second), d in pairs.items():
            interval = f"{number(d.mean)}" + (f" [{number(d.low)}, {number(d.high)}]" if d.low is not None else "")
            p = [("N < 5" if value is None else f"{value:.3f}") for value in (d.p, d.adjusted)]
            table.add_row(name, f"{first} - {second}", interval, str(d.n), *p)
    console.print(table)


def beside(report: Report, test_set: str) -> dict[str, object]:
    """Published rows by our definition id, and what was left out for being defined otherwise."""
    from synchresis.evaluation import published

    ids = [d.id for d in report.definitions]
    same = {d.id: [vars(row) for row in published.beside(d, test_set)] for d in report.definitions}
    return {"same definition": {k: v for k, v in same.items() if v}, "left out": published.refused(ids, test_set)}


def print_published(report: Report, test_set: str, console: object) -> None:
    from rich.console import Console
    from rich.table import Table

    from synchresis.evaluation import published
    from synchresis.evaluation.page import number

    assert isinstance(console, Console)
    measured = [d for d in report.definitions if any(d.id in s.means or d.id in s.values for s in report.systems)]
    table = Table(title=f"published on {test_set}, same definition only", title_justify="left")
    for column in ("definition", "system", "value", "test set", "source"):
        table.add_column(column)
    for definition in measured:
        rows = published.beside(definition, test_set)
        for system in report.systems if rows else []:
            if text := cell(system, definition.id):
                table.add_row(definition.id, f"{system.name} (here)", text.splitlines()[0], "these clips", "")
        for row in rows:
            table.add_row(definition.id, f"{row.system} {row.year}", number(row.value), row.test_set, row.source)
    if table.row_count:
        console.print(table)
        typer.echo("Published values are of other clips: equal definitions do not make equal test sets.")
    else:
        typer.echo(f"No published row on {test_set} has one of the definitions that were measured here.")
    for name, others in published.refused([d.id for d in measured], test_set).items():
        typer.echo(f"{name}: not shown beside it, other definitions: {'; '.join(others)}")
