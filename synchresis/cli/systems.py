"""`synchresis systems`: what there is to choose from, and what each one takes."""

from __future__ import annotations

import inspect
import json
import textwrap
from dataclasses import fields
from typing import Annotated, Any

import typer

from synchresis.cli.common import DebugOption
from synchresis.systems import CLASSES, SYSTEMS, check_name, file_of
from synchresis.systems.picturing import PICTURE_CLASSES, PICTURE_SYSTEMS

WIDTH = 100


def systems(
    name: Annotated[str | None, typer.Argument(help="One of them, for all about it.", show_default=False)] = None,
    json_lines: Annotated[bool, typer.Option("--json", help="One JSON object per system on stdout.")] = False,
    debug: DebugOption = False,
) -> int:
    """List the systems, or say all about one: its weights, what else it needs, and what it can be told."""
    if name is not None:
        if name not in PICTURE_SYSTEMS:
            check_name(name)
        described = describe(name)
        typer.echo(json.dumps(described, ensure_ascii=False) if json_lines else told(described))
        return 0
    every = {**SYSTEMS, **{known: said for known, said in PICTURE_SYSTEMS.items() if known not in SYSTEMS}}
    width = max(len(known) for known in every)
    for known, description in every.items():
        if json_lines:
            line = {"name": known, "description": description, "packaged": known not in CLASSES | PICTURE_CLASSES}
            typer.echo(json.dumps(line, ensure_ascii=False))
        else:
            typer.echo(f"{known:<{width}}  {description}")
    return 0


def describe(name: str) -> dict[str, Any]:
    """All that a person can choose about a system, as its file says it."""
    file, published = file_of(name), name in CLASSES | PICTURE_CLASSES
    settings = list(fields(file.Settings))
    if name == "pocket":  # its two directions have a file each
        settings += fields(file_of("pocket_picture").Settings)
    return {
        "name": name,
        "description": (PICTURE_SYSTEMS | SYSTEMS)[name],
        "packaged": not published,
        "about": _text(file, paragraphs=2),
        "weights": _text(file.read_original).partition(" Raises ")[0] if published else None,
        "parts": file.PARTS if published else {},
        "settings": [
            {
                "name": setting.name,
                "default": setting.default,
                "choices": list(setting.metadata["choices"]) if "choices" in setting.metadata else None,
                "help": setting.metadata["help"],
            }
            for setting in settings
        ],
        "sizes": list(file.SIZES) if published else [],
    }


def told(described: dict[str, Any]) -> str:
    """The same for a person."""
    lines = [textwrap.fill(described["about"], WIDTH), "", "Weights: --weights PATH_OR_HUB_ID"]
    if described["packaged"]:
        lines.append("  In the package; or a folder made by `synchresis train`, or a hub id.")
    else:
        lines.append(_block(described["weights"]))
        lines.append("  Or a folder made by `synchresis convert`, or a hub id with either.")
    if described["parts"]:
        lines += ["", "Parts, which the published file leaves out: --part NAME=PATH_OR_HUB_ID"]
        for part, text in described["parts"].items():
            lines.append(_entry(part, text))
    if described["settings"]:
        lines += ["", "Settings: --set NAME=VALUE"]
        for setting in described["settings"]:
            choices = f" One of {', '.join(setting['choices'])}." if setting["choices"] else ""
            default = str(setting["default"]).lower() if isinstance(setting["default"], bool) else setting["default"]
            text = f"{setting['help'].rstrip('.')}.{choices}"
            if len(str(default)) <= 60:
                lines.append(_entry(f"{setting['name']}={default}", text))
            else:
                lines.append(_entry(setting["name"], f"{text} Without it: {default}"))
    if described["sizes"]:
        lines += ["", "Untrained, for wiring and timing: --untrained SIZE_OR_JSON"]
        lines.append(_block(", ".join(described["sizes"])))
    return "\n".join(lines)


def _entry(name: str, text: str) -> str:
    return f"  {name}\n{_block(text, 6)}"


def _block(text: str, indent: int = 2) -> str:
    return textwrap.indent(textwrap.fill(text, WIDTH - indent, break_on_hyphens=False), " " * indent)


def _text(documented: Any, paragraphs: int | None = None) -> str:
    """The docstring, or its first paragraphs, on one line."""
    return " ".join(" ".join((inspect.getdoc(documented) or "").split("\n\n")[:paragraphs]).split())
