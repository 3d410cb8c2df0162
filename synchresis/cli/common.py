"""What the commands share: errors in one line, progress on stderr, the options that say which system it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synchresis.errors import BadInputError, FailureError
from synchresis.systems import load

if TYPE_CHECKING:
    from synchresis.systems.request import Progress, System

DebugOption = Annotated[bool, typer.Option("--debug", help="Show the trace of an error.")]


class Device(StrEnum):
    """Where a system runs; auto is the fastest that is there."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


SystemOption = Annotated[str, typer.Option(help="Which system; `synchresis systems` lists them.")]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATH_OR_HUB_ID",
        help="The weights: a published file or folder, one that `convert` made, or a hub id. "
        "pocket's are in the package.",
    ),
]
PartOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=PATH_OR_HUB_ID",
        help="A network that the published file leaves out; `synchresis systems NAME` lists them. May be repeated.",
    ),
]
UntrainedOption = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE_OR_JSON",
        help="Random weights instead (small, full, or a JSON configuration): noise, for wiring and timing.",
    ),
]
DeviceOption = Annotated[Device, typer.Option(help="Where to compute; auto is the fastest there is.")]


@dataclass(frozen=True)
class Choice:
    """Which system, and where its weights come from."""

    system: str
    weights: str | None = None
    parts: dict[str, str] = field(default_factory=dict)
    untrained: str | Path | None = None
    device: str = "auto"

    def load(self) -> System:
        """The system. What was read of which file is said on stderr, and loudly that random weights make noise."""
        with progress_on_stderr(self.system) as progress:
            progress("load", 0.0)
            system = load(self.system, self.weights, self.device, parts=self.parts, untrained=self.untrained)
        if system.key_report is not None:
            say(system.key_report)
        if system.untrained is not None:
            size = Path(system.untrained).name
            say(f"NOISE: {system.name} is untrained ({size}): what follows is noise, for wiring and timing only")
        return system


def pairs(option: str, given: Sequence[str] | None) -> dict[str, str]:
    """The values of a repeated NAME=VALUE by name. Raises BadInputError for another form, or a name said twice."""
    named: dict[str, str] = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise BadInputError(f"{option} {text}: say {option} NAME=VALUE")
        if name in named:
            raise BadInputError(f"{option} {name} is given twice")
        named[name] = value
    return named


def explain(error: Exception) -> str:
    """The error in one line, for a person."""
    if isinstance(error, BadInputError | FailureError):
        text = str(error)
    elif hasattr(error, "format_message"):  # what typer says of the options
        text = f"{error.format_message().rstrip('.')}. Say --help for what there is."
    elif isinstance(error, OSError):
        text = ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
    else:
        text = f"{type(error).__name__}: {error} (a fault of the program; --debug shows where)"
    return " ".join(text.split())


@contextmanager
def progress_on_stderr(label: str) -> Iterator[Progress]:
    """A bar for what is going on, while stderr is a terminal. Elsewhere nothing, so that logs hold results
    and errors.

    The bar goes away at the end.
    """
    if not sys.stderr.isatty():
        yield lambda stage, done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.fields[label]}"), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        task = bar.add_task("", total=1.0, label=label)
        yield lambda stage, done: bar.update(task, description=stage, completed=done)


def say(text: str) -> None:
    """A line for the person, beside the results: on stderr."""
    print(text, file=sys.stderr, flush=True)
