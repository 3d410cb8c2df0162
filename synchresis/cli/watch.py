"""`synchresis watch`: what a system sees in a picture, as files that a person can edit."""

from __future__ import annotations

import json
import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from synchresis.cli.common import (
    Choice,
    DebugOption,
    Device,
    DeviceOption,
    PartOption,
    SystemOption,
    UntrainedOption,
    WeightsOption,
    pairs,
    progress_on_stderr,
    say,
)
from synchresis.errors import BadInputError


class Format(StrEnum):
    csv = "csv"
    json = "json"
    mid = "mid"
    wav = "wav"


def watch(
    clip: Annotated[Path, typer.Argument(help="A film.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The file for the onsets (the envelope goes beside it, NAME.envelope.csv), or a folder. "
            "Default: beside the clip, as NAME.onsets.csv and NAME.envelope.csv."
        ),
    ] = None,
    format: Annotated[
        Format | None,
        typer.Option(help="csv or json to edit as text, mid or wav for a sequencer. Default: that of --out, or csv."),
    ] = None,
    system: SystemOption = "pocket",
    weights: WeightsOption = None,
    part: PartOption = None,
    untrained: UntrainedOption = None,
    device: DeviceOption = Device.auto,
    json_lines: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there already.")] = False,
    debug: DebugOption = False,
) -> int:
    """Write the onsets and the loudness that the picture suggests.

    Edit them, and give them back with `sound --onsets FILE` or `--envelope FILE`. Times are in seconds of the
    clip, strengths 0 to 1, the loudness is linear RMS at 100 Hz.
    """
    onsets_path, envelope_path = places(clip, out, format)
    if not overwrite:
        for path in (onsets_path, envelope_path):
            if path.exists():
                raise BadInputError(f"{path}: is there already; give another --out, or --overwrite to replace it")
    from synchresis.media import probe
    from synchresis.timeline.files import quantise_envelope, quantise_onsets, write_envelope, write_onsets

    found = probe(clip)
    if found.video is None:
        raise BadInputError(f"{clip}: has no picture to watch")
    watcher = Choice(system, weights, pairs("--part", part), untrained, device.value).load()
    with progress_on_stderr(clip.name) as progress:
        onsets, envelope, _ = watcher.watch(found, progress)
    onsets_path.parent.mkdir(parents=True, exist_ok=True)
    write_onsets(onsets_path, quantise_onsets(onsets))
    write_envelope(envelope_path, quantise_envelope(envelope))
    if json_lines:
        result = {"clip": str(clip), "onsets": str(onsets_path), "envelope": str(envelope_path), "count": len(onsets)}
        print(json.dumps(result, ensure_ascii=False))
    else:
        print(onsets_path)
        print(envelope_path)
    again = shlex.join(["synchresis", "sound", str(clip), "--onsets", str(onsets_path)])
    say(f"{len(onsets)} onsets in {float(found.duration):.2f} s. Edit them, then: {again}")
    return 0


def places(clip: Path, out: Path | None, format: Format | None) -> tuple[Path, Path]:
    """Where the onsets and where the envelope go. Raises BadInputError if --out and --format contradict."""
    suffixes = [f".{known.value}" for known in Format]
    if out is not None and out.suffix.lower() in suffixes and not out.is_dir():
        suffix = out.suffix.lower()
        if format is not None and suffix != f".{format.value}":
            raise BadInputError(f"--out {out}: is no .{format.value}, which --format asks for")
        return out, out.with_name(f"{out.stem}.envelope{suffix}")
    if out is not None and not out.is_dir() and (out.exists() or out.suffix):
        raise BadInputError(f"--out {out}: is no folder, nor one of {', '.join(suffixes)}")
    suffix = f".{format.value}" if format is not None else ".csv"
    folder = clip.parent if out is None else out
    return folder / f"{clip.stem}.onsets{suffix}", folder / f"{clip.stem}.envelope{suffix}"
