"""`synchresis systems`: what there is to choose from."""

from __future__ import annotations

import typer

from synchresis.cli.common import DebugOption
from synchresis.systems import SYSTEMS


def systems(debug: DebugOption = False) -> int:
    """List the systems that can sound a clip."""
    width = max(len(name) for name in SYSTEMS)
    for name, description in SYSTEMS.items():
        typer.echo(f"{name:<{width}}  {description}")
    return 0
