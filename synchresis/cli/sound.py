"""`synchresis sound`: sound for clips."""

from __future__ import annotations

import json
import traceback
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    explain,
    pairs,
    progress_on_stderr,
    say,
)
from synchresis.errors import BadInputError
from synchresis.systems import check_settings
from synchresis.systems.request import SoundRequest

if TYPE_CHECKING:
    from synchresis.delivery.outputs import Outputs
    from synchresis.delivery.recipe import Recipe
    from synchresis.systems.request import System

# What can be given beside --recipe; everything else is in the recipe.
BESIDE_RECIPE = {"clips", "out", "weights", "part", "device", "picture", "recipe", "json_lines", "overwrite", "debug"}


class Original(StrEnum):
    """What becomes of the sound that the clip had."""

    drop = "drop"
    keep = "keep"
    mix = "mix"


@dataclass(frozen=True)
class Order:
    """One command line, understood: the clips, where their takes go, and how they are made."""

    clips: list[Path]
    outputs: list[list[Outputs]]
    request: SoundRequest
    choice: Choice
    original: str
    picture: bool
    overwrite: bool
    recipe: Recipe | None = None


@dataclass
class Outcome:
    """What became of one clip."""

    clip: Path
    takes: list[dict[str, Any]] = field(default_factory=list)
    error: Exception | None = None

    def as_json(self) -> str:
        content: dict[str, Any] = {"clip": str(self.clip), "ok": self.error is None, "takes": self.takes}
        if self.error is not None:
            content["error"] = explain(self.error)
            content["bad_input"] = isinstance(self.error, BadInputError)
        return json.dumps(content, ensure_ascii=False)


def sound(
    context: typer.Context,
    clips: Annotated[list[Path] | None, typer.Argument(help="Films, or folders of films.", show_default=False)] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="A file (.mp4 .mov .mkv .webm .avi, or .wav .flac for the sound only) or a folder. "
            "Default: beside the clip, as NAME.synchresis.mp4."
        ),
    ] = None,
    system: SystemOption = "pocket",
    weights: WeightsOption = None,
    part: PartOption = None,
    untrained: UntrainedOption = None,
    prompt: Annotated[str | None, typer.Option(help="What it should sound like, in words.")] = None,
    like: Annotated[Path | None, typer.Option(help="A sound file that it should sound like.")] = None,
    envelope: Annotated[
        str,
        typer.Option(
            metavar="auto|FILE",
            help="The loudness: as the picture suggests, or an envelope file (.csv .json .mid .wav), "
            "or any recording, whose loudness is then followed.",
        ),
    ] = "auto",
    onsets: Annotated[
        Path | None, typer.Option(help="A file of onsets (.csv .json .mid .wav) instead of those seen.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another take; the same is the same.")] = 0,
    variants: Annotated[int, typer.Option(min=1, help="How many takes, with seeds from --seed on.")] = 1,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of the sampler. Default: the system's own.")] = None,
    guidance: Annotated[
        float | None, typer.Option(help="How strongly prompt and reference are obeyed. Default: the system's own.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="What else this system can be told; `synchresis systems NAME` lists it. May be repeated.",
        ),
    ] = None,
    original: Annotated[
        Original, typer.Option(help="The clip's own sound: dropped, kept as a second track, or mixed in.")
    ] = Original.drop,
    sound_only: Annotated[bool, typer.Option("--sound-only", help="Write the sound alone, as .wav.")] = False,
    device: DeviceOption = Device.auto,
    picture: Annotated[
        bool, typer.Option("--picture", help="Also draw frames, waveform, onsets and loudness on a PNG.")
    ] = False,
    recipe: Annotated[
        Path | None, typer.Option(help="Make the take of this .recipe.json again, byte for byte.")
    ] = None,
    json_lines: Annotated[bool, typer.Option("--json", help="One JSON object per clip on stdout.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there already.")] = False,
    debug: DebugOption = False,
) -> int:
    """Put sound on clips.

    Beside every take lie its .recipe.json, which makes it again, and its .report.json, which measures it. The
    path of each take is printed on stdout.
    """
    clips = clips or []
    parts = pairs("--part", part)
    if recipe is not None:
        strangers = sorted(_given(context) - BESIDE_RECIPE)
        if strangers:
            named = ", ".join(f"--{'set' if name == 'setting' else name.replace('_', '-')}" for name in strangers)
            raise BadInputError(f"--recipe says everything about the take itself: leave out {named}")
        order = _order_again(recipe, clips, out, weights, parts, device.value, picture, overwrite)
    else:
        request = SoundRequest(prompt, like, envelope, onsets, seed, steps, guidance, pairs("--set", setting))
        choice = Choice(system, weights, parts, untrained, device.value)
        order = _order(clips, out, sound_only, variants, request, choice, original.value, picture, overwrite)
    outcomes = _carry_out(order, json_lines, debug)
    return _conclude(outcomes)


def _given(context: typer.Context) -> set[str]:
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}


def _order(
    clips: list[Path],
    out: Path | None,
    sound_only: bool,
    variants: int,
    request: SoundRequest,
    choice: Choice,
    original: str,
    picture: bool,
    overwrite: bool,
) -> Order:
    from synchresis.delivery.outputs import clips_in, outputs_for

    if not clips:
        raise BadInputError("no clip was given: synchresis sound CLIP, or a folder of clips")
    for option, path in request.files.items():
        if not path.is_file():
            raise BadInputError(f"--{option} {path}: there is no such file")
    check_settings(choice.system, request.settings)
    found = clips_in(clips)
    outputs = outputs_for(found, out, sound_only, variants)
    return Order(found, outputs, request, choice, original, picture, overwrite)


def _order_again(
    path: Path,
    clips: list[Path],
    out: Path | None,
    weights: str | None,
    parts: dict[str, str],
    device: str,
    picture: bool,
    overwrite: bool,
) -> Order:
    from synchresis.delivery.outputs import outputs_for
    from synchresis.delivery.recipe import read_recipe

    if len(clips) > 1:
        raise BadInputError(f"--recipe is of one clip, not of {len(clips)}")
    recipe = read_recipe(path, clips[0] if clips else None)
    outputs = outputs_for([recipe.clip], out, False, 1, recipe.suffix)
    untrained = recipe.untrained if weights is None else None
    return Order(
        clips=[recipe.clip],
        outputs=outputs,
        request=recipe.request,
        choice=Choice(recipe.system, weights, parts, untrained, recipe.device if device == "auto" else device),
        original=recipe.original,
        picture=picture,
        overwrite=overwrite,
        recipe=recipe,
    )


def _carry_out(order: Order, json_lines: bool, debug: bool) -> list[Outcome]:
    """Every clip in its turn. The system is loaded when the first clip that can be read asks for it."""
    from synchresis.media import probe

    outcomes = []
    system: System | None = None
    for clip, outputs in zip(order.clips, order.outputs, strict=True):
        outcome = Outcome(clip)
        try:
            # Everything that can be refused is refused before any work.
            found = probe(clip)
            _check(order, found, outputs)
        except Exception as error:
            outcome.error = error
        else:
            system = system or _load(order)
            outcome = _sound_clip(order, system, found, outputs, json_lines)
        if outcome.error is not None:
            if debug:
                traceback.print_exception(outcome.error)
            say(f"synchresis: {explain(outcome.error)}")
        if json_lines:
            print(outcome.as_json(), flush=True)
        outcomes.append(outcome)
    return outcomes


def _check(order: Order, clip: Any, outputs: list[Outputs]) -> None:
    from synchresis.delivery.outputs import check_form

    for output in outputs:
        check_form(output.take, order.original, clip)
        output.refuse_to_replace(clip.path)
        if not order.overwrite:
            output.refuse_to_overwrite(order.picture)


def _load(order: Order) -> System:
    system = order.choice.load()
    if order.recipe is not None:
        import torch

        order.recipe.check_system(system)
        torch.set_num_threads(order.recipe.threads)  # sums are split by thread: the bytes depend on it
        for difference in order.recipe.differences:
            say(difference)
    return system


def _sound_clip(order: Order, system: System, clip: Any, outputs: list[Outputs], json_lines: bool) -> Outcome:
    """All variants of one clip; those before a failure are kept."""
    from synchresis.delivery.produce import deliver, draft

    outcome = Outcome(clip.path)
    for variant, output in enumerate(outputs):
        request = replace(order.request, seed=order.request.seed + variant)
        try:
            output.take.parent.mkdir(parents=True, exist_ok=True)
            with (
                progress_on_stderr(clip.path.name) as progress,
                draft(system, clip, request, output.take.parent, progress) as made,
            ):
                lost = deliver(made, output, order.original, order.picture, progress)
        except Exception as error:
            outcome.error = error
            return outcome
        for line in [*(f"{clip.path}: {note}" for note in made.report["notes"]), *lost]:
            say(line)
        take = {
            "path": str(output.take),
            "recipe": str(output.recipe),
            "report": str(output.report),
            "picture": str(output.picture) if order.picture else None,
            "seed": request.seed,
            "mode": made.plan.mode,
            "notes": made.report["notes"],
        }
        outcome.takes.append(take)
        if not json_lines:
            print(output.take, flush=True)
    return outcome


def _conclude(outcomes: list[Outcome]) -> int:
    """0, or 2 if every failure was a bad request, or 1. Of several clips, the failed are named once more."""
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if not failed:
        return 0
    if len(outcomes) > 1:
        names = ", ".join(str(outcome.clip) for outcome in failed)
        say(f"{len(failed)} of {len(outcomes)} clips failed: {names}")
    return 2 if all(isinstance(outcome.error, BadInputError) for outcome in failed) else 1
