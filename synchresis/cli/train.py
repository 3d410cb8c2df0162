"""`synchresis train`: a system's weights from nothing."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from synchresis.cli.common import DebugOption, say
from synchresis.errors import BadInputError


class Part(StrEnum):
    watcher = "watcher"
    codec = "codec"
    generator = "generator"
    all = "all"


def train(
    system: Annotated[str, typer.Argument(help="Which system: pocket.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The folder for the weights.", show_default=False)],
    part: Annotated[Part, typer.Option(help="Which of its networks; the generator needs a codec in --out.")] = Part.all,
    stage: Annotated[
        Path | None, typer.Option(metavar="CACHE_FOLDER", help="Where rendered films are kept between runs.")
    ] = None,
    recordings: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Real recordings, for codec and generator.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed and data give the same weights.")] = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="Default: as the packaged weights were.")] = None,
    debug: DebugOption = False,
) -> int:
    """Train a system on films of the stage and on recordings. Minutes to hours.

    Use the result with `sound --weights FOLDER`.
    """
    if system != "pocket":
        raise BadInputError(f"{system!r} cannot be trained here; pocket can")
    from synchresis.training.pocket import train as train_pocket

    def report(step: int, loss: float) -> None:
        if step % 50 == 0:
            say(f"step {step}: loss {loss:.4f}")

    folder = train_pocket(part.value, out, recordings=recordings, stage=stage, seed=seed, steps=steps, report=report)
    print(folder)
    return 0
