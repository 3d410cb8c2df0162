"""The command line: `synchresis COMMAND`. Thin faces over the other rooms, which they import when they
run.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

import typer

from synchresis import __version__
from synchresis.cli import convert, doctor, evaluate, picture, render, sound, systems, train, watch
from synchresis.cli.common import DebugOption, explain
from synchresis.errors import BadInputError

app = typer.Typer(
    name="synchresis",
    help="Sound for a picture: watches a film and makes the sound that belongs to it.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"synchresis {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Say the version."),
    debug: DebugOption = False,
) -> None:
    pass


app.command("sound")(sound.sound)
app.command("picture")(picture.picture)
app.command("watch")(watch.watch)
app.command("convert")(convert.convert)
app.command("evaluate")(evaluate.evaluate)
app.command("systems")(systems.systems)
app.command("doctor")(doctor.doctor)
app.command("render")(render.render)
app.command("train")(train.train)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0 well done, 2 a request that cannot be met, 1 a failure, 130
    interrupted.
    """
    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))


def run(arguments: list[str]) -> int:
    """The exit code of one command line. Errors become one line on stderr; `--debug` adds the trace."""
    debug = "--debug" in arguments
    try:
        code = app(arguments or ["--help"], prog_name="synchresis", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted: what was finished is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone, and with it the interest in a message
        return 1
    except Exception as error:
        if debug:
            traceback.print_exc()
        print(f"synchresis: {explain(error)}", file=sys.stderr)
        usage = hasattr(error, "format_message")
        return 2 if usage or isinstance(error, BadInputError) else 1
