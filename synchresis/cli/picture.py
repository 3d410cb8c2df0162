"""`synchresis picture`: films for sounds."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synchresis.cli.common import (
    DebugOption,
    Device,
    DeviceOption,
    PartOption,
    UntrainedOption,
    explain,
    pairs,
    progress_on_stderr,
    say,
)
from synchresis.errors import BadInputError
from synchresis.systems.picturing import PICTURE_SYSTEMS, PictureRequest, check_picture_settings, load_picture

if TYPE_CHECKING:
    from synchresis.delivery.film_recipe import FilmRecipe
    from synchresis.delivery.outputs import Outputs
    from synchresis.systems.picturing import PictureSystem

# What can be given beside --recipe; everything else is in the recipe.
BESIDE_RECIPE = {"sounds", "out", "weights", "part", "device", "recipe", "json_lines", "overwrite", "debug"}


@dataclass(frozen=True)
class Order:
    """One command line, understood. `load` is called when the first sound that can be read asks for the system."""

    sounds: list[Path]
    outputs: list[list[Outputs]]
    request: PictureRequest
    load: Callable[[], PictureSystem]
    overwrite: bool


@dataclass
class Outcome:
    """What became of one sound."""

    sound: Path
    takes: list[dict[str, Any]] = field(default_factory=list)
    error: Exception | None = None

    def as_json(self) -> str:
        content: dict[str, Any] = {"sound": str(self.sound), "ok": self.error is None, "takes": self.takes}
        if self.error is not None:
            content["error"] = explain(self.error)
            content["bad_input"] = isinstance(self.error, BadInputError)
        return json.dumps(content, ensure_ascii=False)


def picture(
    context: typer.Context,
    sounds: Annotated[
        list[Path] | None, typer.Argument(help="Sounds, or folders of sounds; of a film its sound.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A file (.mp4 .mov .mkv) or a folder. Default: beside the sound, as NAME.synchresis.mp4."),
    ] = None,
    system: Annotated[str, typer.Option(help=f"Which system: {', '.join(PICTURE_SYSTEMS)}.")] = "pocket",
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="PATH_OR_HUB_ID",
            help="The weights: a published file or folder, one that `convert` made, or a hub id.",
        ),
    ] = None,
    part: PartOption = None,
    untrained: UntrainedOption = None,
    prompt: Annotated[str | None, typer.Option(help="What is to be seen, in words, beside what is heard.")] = None,
    negative: Annotated[str | None, typer.Option(help="What is not to be seen, in words.")] = None,
    width: Annotated[int | None, typer.Option(min=8, help="In pixels. Default: the system's own.")] = None,
    height: Annotated[int | None, typer.Option(min=8, help="In pixels. Default: the system's own.")] = None,
    fps: Annotated[
        str | None, typer.Option(help="Frames per second, also as 30000/1001. Default: the system's own.")
    ] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="How many frames the film has, instead of --fps: spread over the sound.")
    ] = None,
    film: Annotated[Path | None, typer.Option(help="A film to begin from.")] = None,
    film_weight: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="How much of that film is kept. Default: 0.5.")
    ] = None,
    lora: Annotated[Path | None, typer.Option(help="A LoRA for the video model, .safetensors.")] = None,
    onsets: Annotated[
        Path | None,
        typer.Option(help="When to strike, instead of when it is heard: .csv, .json, .mid, or clicks in a .wav."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another film; the same is the same.")] = 0,
    variants: Annotated[int, typer.Option(min=1, help="How many films, with seeds from --seed on.")] = 1,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of the sampler. Default: the system's own.")] = None,
    guidance: Annotated[
        float | None, typer.Option(help="How strongly sound and words are obeyed. Default: the system's own.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="What else this system can be told. May be repeated."),
    ] = None,
    device: DeviceOption = Device.auto,
    recipe: Annotated[Path | None, typer.Option(help="Make the film of this .recipe.json again.")] = None,
    json_lines: Annotated[bool, typer.Option("--json", help="One JSON object per sound on stdout.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there already.")] = False,
    debug: DebugOption = False,
) -> int:
    """Make films for sounds.

    A film is as long as its sound. Beside every film lie its .recipe.json, which makes it again, its .report.json,
    which measures whether it is in time, and a contact sheet, .png. The path of each film is printed on stdout.
    """
    parts = pairs("--part", part)
    if recipe is not None:
        order = _order_again(context, recipe, sounds or [], out, weights, parts, device.value, overwrite)
    else:
        request = PictureRequest(
            prompt, negative, width, height, _rate(fps), frames, film, film_weight, lora, onsets, seed, steps,
            guidance, pairs("--set", setting),
        )  # fmt: skip
        order = _order(sounds or [], out, variants, request, system, weights, parts, untrained, device.value, overwrite)
    return _conclude(_carry_out(order, json_lines, debug))


def _rate(text: str | None) -> Fraction | None:
    from synchresis.timeline import as_fraction

    try:
        return None if text is None else as_fraction(text)
    except ValueError:
        raise BadInputError(f"--fps {text}: is no frame rate; give a number, or 30000/1001") from None


def _order(
    sounds: list[Path],
    out: Path | None,
    variants: int,
    request: PictureRequest,
    system: str,
    weights: str | None,
    parts: dict[str, str],
    untrained: str | None,
    device: str,
    overwrite: bool,
) -> Order:
    from synchresis.delivery.film import sounds_in
    from synchresis.delivery.outputs import outputs_for

    if not sounds:
        raise BadInputError("no sound was given: synchresis picture SOUND, or a folder of sounds")
    for option, path in request.files.items():
        if not path.is_file():
            raise BadInputError(f"--{option} {path}: there is no such file")
    if request.film_weight is not None and request.film is None:
        raise BadInputError("--film-weight says how much of a film is kept: give the film with --film")
    check_picture_settings(system, request.settings)
    found = sounds_in(sounds)
    outputs = outputs_for(found, out, False, variants, ".mp4")
    return Order(found, outputs, request, lambda: _load(system, weights, parts, untrained, device), overwrite)


def _order_again(
    context: typer.Context,
    path: Path,
    sounds: list[Path],
    out: Path | None,
    weights: str | None,
    parts: dict[str, str],
    device: str,
    overwrite: bool,
) -> Order:
    from synchresis.delivery.film_recipe import read_recipe
    from synchresis.delivery.outputs import outputs_for

    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
    if strangers := sorted(given - BESIDE_RECIPE):
        named = ", ".join(f"--{'set' if name == 'setting' else name.replace('_', '-')}" for name in strangers)
        raise BadInputError(f"--recipe says everything about the film itself: leave out {named}")
    if len(sounds) > 1:
        raise BadInputError(f"--recipe is of one sound, not of {len(sounds)}")
    recipe = read_recipe(path, sounds[0] if sounds else None)

    def load() -> PictureSystem:
        untrained = recipe.untrained if weights is None else None
        where = recipe.device if device == "auto" else device
        return _checked(recipe, _load(recipe.system, weights, parts, untrained, where))

    outputs = outputs_for([recipe.sound], out, False, 1, recipe.suffix)
    return Order([recipe.sound], outputs, recipe.request, load, overwrite)


def _load(
    name: str, weights: str | None, parts: dict[str, str], untrained: str | Path | None, device: str
) -> PictureSystem:
    """The system. What was read of which file is said on stderr, and loudly that random weights make noise."""
    with progress_on_stderr(name) as progress:
        progress("load", 0.0)
        system = load_picture(name, weights, device, parts=parts, untrained=untrained)
    if system.key_report is not None:
        say(system.key_report)
    if system.untrained is not None:
        size = Path(system.untrained).name
        say(f"NOISE: {name} is untrained ({size}): what follows is noise, for wiring and timing only")
    return system


def _checked(recipe: FilmRecipe, system: PictureSystem) -> PictureSystem:
    import torch

    recipe.check_system(system)
    torch.set_num_threads(recipe.threads)  # sums are split by thread: the frames depend on it
    for difference in recipe.differences:
        say(difference)
    return system


def _carry_out(order: Order, json_lines: bool, debug: bool) -> list[Outcome]:
    """Every sound in its turn."""
    from synchresis.delivery.film import check_film
    from synchresis.systems.picturing import probe_sound

    outcomes = []
    system: PictureSystem | None = None
    for sound, outputs in zip(order.sounds, order.outputs, strict=True):
        outcome = Outcome(sound)
        try:
            # Everything that can be refused is refused before any work.
            probe_sound(sound)
            for output in outputs:
                check_film(output, sound, order.overwrite)
        except Exception as error:
            outcome.error = error
        else:
            system = system or order.load()
            _picture_sound(order.request, system, outcome, outputs, json_lines)
        if outcome.error is not None:
            if debug:
                traceback.print_exception(outcome.error)
            say(f"synchresis: {explain(outcome.error)}")
        if json_lines:
            print(outcome.as_json(), flush=True)
        outcomes.append(outcome)
    return outcomes


def _picture_sound(
    request: PictureRequest, system: PictureSystem, outcome: Outcome, outputs: list[Outputs], json_lines: bool
) -> None:
    """All variants of one sound; those before a failure are kept."""
    from synchresis.delivery.film import make_film

    for variant, output in enumerate(outputs):
        wish = replace(request, seed=request.seed + variant)
        try:
            with progress_on_stderr(outcome.sound.name) as progress:
                report = make_film(system, outcome.sound, wish, output, progress)
        except Exception as error:
            outcome.error = error
            return
        for note in report["notes"]:
            say(f"{outcome.sound}: {note}")
        take = {
            "path": str(output.take),
            "recipe": str(output.recipe),
            "report": str(output.report),
            "picture": str(output.picture),
            "seed": wish.seed,
            "mode": report["mode"],
            "notes": report["notes"],
        }
        outcome.takes.append(take)
        if not json_lines:
            print(output.take, flush=True)


def _conclude(outcomes: list[Outcome]) -> int:
    """0, or 2 if every failure was a bad request, or 1. Of several sounds, the failed are named once more."""
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if not failed:
        return 0
    if len(outcomes) > 1:
        names = ", ".join(str(outcome.sound) for outcome in failed)
        say(f"{len(failed)} of {len(outcomes)} sounds failed: {names}")
    return 2 if all(isinstance(outcome.error, BadInputError) for outcome in failed) else 1
