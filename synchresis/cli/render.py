"""`synchresis render`: a film from the stage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synchresis.cli.common import DebugOption, say
from synchresis.errors import BadInputError


def render(
    seed: Annotated[int, typer.Argument(min=0, help="Another seed is another film.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The film: .mp4, .mov or .mkv.", show_default=False)],
    kind: Annotated[
        list[str] | None, typer.Option(help="What sounds (wood, drum, rain …); may be given more than once.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Its length.")] = 3.0,
    size: Annotated[str, typer.Option(metavar="WxH", help="Width and height in pixels.")] = "320x240",
    fps: Annotated[
        str | None, typer.Option(help="Frames per second, also as 30000/1001. Default: the stage's own choice.")
    ] = None,
    ugly: Annotated[bool, typer.Option("--ugly", help="With the faults of real footage, as for training.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there already.")] = False,
    debug: DebugOption = False,
) -> int:
    """Render a short film whose sound and contacts are known.

    The film has its true sound; the true contacts are written beside it as NAME.onsets.csv.
    """
    onsets = out.with_suffix(".onsets.csv")
    if not overwrite:
        for path in (out, onsets):
            if path.exists():
                raise BadInputError(f"{path}: is there already; give another --out, or --overwrite to replace it")
    from synchresis.data.stage import film
    from synchresis.media import write_film
    from synchresis.timeline.files import write_onsets

    width, height = _size(size)
    made = film(seed, size=(height, width), seconds=seconds, fps=_rate(fps), kinds=kind or None, ugly=ugly)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_film(out, made.frames, made.fps, sound=made.sound)
    write_onsets(onsets, made.onsets)
    print(out)
    say(f"{made.caption}; {len(made.onsets)} contacts in {onsets}")
    return 0


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise BadInputError(f"--size {text}: is no size; give width and height as 320x240") from None
    return width, height


def _rate(text: str | None) -> object:
    from synchresis.timeline import as_fraction

    if text is None:
        return None
    try:
        return as_fraction(text)
    except ValueError:
        raise BadInputError(f"--fps {text}: is no frame rate; give a number, or 30000/1001") from None
