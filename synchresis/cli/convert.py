"""`synchresis convert`: published weights as a folder of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from synchresis.cli.common import DebugOption, PartOption, pairs, progress_on_stderr, say
from synchresis.systems import convert as convert_system
from synchresis.systems.picturing import PICTURE_CLASSES, convert_picture


def convert(
    system: Annotated[str, typer.Argument(help="Whose weights; `synchresis systems` lists them.", show_default=False)],
    original: Annotated[
        str, typer.Argument(metavar="PATH_OR_HUB_ID", help="The published file or folder.", show_default=False)
    ],
    folder: Annotated[Path, typer.Argument(help="The folder to write.", show_default=False)],
    part: PartOption = None,
    json_lines: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    debug: DebugOption = False,
) -> int:
    """Write published weights as a folder that a person can read: system.json, and a safetensors file per network.

    It holds all that the system needs, so that `sound --weights FOLDER` takes no --part and no hub.
    """
    from synchresis.systems.weights import report_line

    with progress_on_stderr(system) as progress:
        write = convert_picture if system in PICTURE_CLASSES else convert_system
        loaded = write(system, original, folder, pairs("--part", part), progress)
    line = report_line(loaded)
    if line is not None:
        say(line)
    if json_lines:
        parameters = {
            name: sum(param.numel() for param in module.parameters()) for name, module in loaded.components.items()
        }
        result = {"system": system, "folder": str(folder), "weights_sha256": loaded.digest, "parameters": parameters}
        print(json.dumps(result, ensure_ascii=False))
    else:
        print(folder)
    return 0
