"""What the commands share: errors in one line, progress on stderr, options that several have."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from synchresis.errors import BadInputError, FailureError

if TYPE_CHECKING:
    from synchresis.systems.request import Progress

DebugOption = Annotated[bool, typer.Option("--debug", help="Show the trace of an error.")]


class Device(StrEnum):
    """Where a system runs; auto is the fastest that is there."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


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
