"""`synchresis train`: a system's weights, from films or from nothing."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from synchresis.cli.common import DebugOption, Device, pairs, progress_on_stderr, say
from synchresis.errors import BadInputError, FailureError
from synchresis.systems.picturing import PICTURE_SYSTEMS

EVERY = 50  # steps between two lines that say the loss
POCKET_PARTS = ("watcher", "codec", "generator", "picture", "all")

# The systems that learn from films, and the networks that --network chooses from, the first by default.
NETWORKS: dict[str, tuple[str, ...]] = {
    "lova": (),
    "stable_foley": ("control", "rms_mapper"),
    "vta_ldm": (),
    "sta_v2a": ("control", "control+unet"),
    "tempotokens": (),
}
STEPS, BATCH, SAVE_EVERY = 10_000, 8, 1000
BATCHES = {"tempotokens": 1}                       # whole films: its memory grows with the batch
RATES = {"rms_mapper": 1e-3, "tempotokens": 1e-5}  # of the others 1e-4


def train(
    system: Annotated[
        str,
        typer.Argument(help="Which: pocket, lova, stable_foley, vta_ldm, sta_v2a or tempotokens.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="The folder for the weights.", show_default=False)],
    films: Annotated[
        Path | None,
        typer.Option(
            metavar="LIST_OR_FOLDER",
            help='Films with sound: a folder, or a .jsonl with {"film": PLACE, "prompt": WORDS} a line.',
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            help="stable_foley: control (default) or rms_mapper. sta_v2a: control (default) or control+unet."
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            metavar="WEIGHTS_OR_T2A_FOLDER",
            help="Where to begin: published weights or a folder of ours; stable_foley also Stable Audio Open's file, "
            "vta_ldm a UNet, sta_v2a a text-to-audio folder. Default: random weights.",
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="small|full|JSON", help="Sizes of networks that do not come from --init. Default: full."),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PLACE",
            help="A network of others, which stays as it is; may be repeated. pocket: watcher, codec, generator, "
            "picture or all (default); the generator needs a codec in --out.",
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help=f"Default: {STEPS}; pocket: as the packaged weights were.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed and data give the same weights.")] = 0,
    batch: Annotated[int | None, typer.Option(min=1, help=f"Items of a step. Default: {BATCH}; tempotokens 1.")] = None,
    rate: Annotated[
        float | None,
        typer.Option(metavar="LR", help="Peak learning rate. Default: 1e-4; rms_mapper 1e-3; tempotokens 1e-5."),
    ] = None,
    device: Annotated[Device | None, typer.Option(help="Where to compute; auto is the fastest there is.")] = None,
    cache: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where features and latents are kept between runs.")
    ] = None,
    save_every: Annotated[
        int | None, typer.Option(min=1, help=f"Steps between two savings of --out. Default: {SAVE_EVERY}.")
    ] = None,
    stage: Annotated[
        Path | None,
        typer.Option(metavar="CACHE_FOLDER", help="pocket: where rendered films are kept between runs."),
    ] = None,
    recordings: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="pocket: real recordings, for codec and generator; of use for picture."),
    ] = None,
    debug: DebugOption = False,
) -> int:
    """Train a system: pocket on films of the stage and on recordings, the others on films of your own.

    The last line says how to use the result.
    """
    if system not in ("pocket", *NETWORKS):
        known = ", ".join(NETWORKS)
        raise BadInputError(f"no system is called {system!r} that can be trained: choose from pocket, {known}")
    of_films = {
        "--films": films, "--network": network, "--init": init, "--size": size, "--batch": batch, "--rate": rate,
        "--device": device, "--cache": cache, "--save-every": save_every,
    }  # fmt: skip
    if system == "pocket":
        _refuse(of_films, "pocket learns from the stage and from recordings")
        return _train_pocket(out, part, stage, recordings, seed, steps)
    _refuse({"--stage": stage, "--recordings": recordings}, f"only pocket takes it; {system} learns from --films")
    if films is None:
        raise BadInputError(f"{system} learns from films: give a folder or a list of them with --films")
    chosen = _network(system, network)
    if rate is not None and not 0 < rate < 1:
        raise BadInputError(f"--rate {rate:g}: a learning rate lies between 0 and 1, such as 1e-4")

    from synchresis.systems.devices import pick_device
    from synchresis.systems.weights import place_of
    from synchresis.training.course import Course

    begin = {
        "size": size,
        "init": None if init is None else place_of(init, "--init"),
        "parts": {name: place_of(place, f"--part {name}=") for name, place in pairs("--part", part).items()},
    }
    with progress_on_stderr(system) as progress:
        course = Course(
            steps=steps or STEPS,
            batch=batch or BATCHES.get(system, BATCH),
            rate=RATES.get(chosen or system, 1e-4) if rate is None else rate,
            seed=seed,
            device=pick_device((device or Device.auto).value),
            save_every=save_every or SAVE_EVERY,
            cache=cache,
            report=_report(steps or STEPS),
            progress=progress,
            say=say,
        )
        try:
            _trainer(system, chosen)(out, films, course=course, **begin)
        except FloatingPointError as error:
            raise FailureError(f"{error}. A lower --rate may help{_kept(out)}") from error
        except KeyboardInterrupt:
            say(f"stopped{_kept(out) or ' before anything was saved'}")
            raise
    verb = "picture SOUND" if system in PICTURE_SYSTEMS else "sound FILM"
    print(f"synchresis {verb} --system {system} --weights {shlex.quote(str(out))}")
    return 0


def _refuse(options: Mapping[str, object], why: str) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise BadInputError(f"leave out {', '.join(given)}: {why}")


def _train_pocket(
    out: Path, part: list[str] | None, stage: Path | None, recordings: Path | None, seed: int, steps: int | None
) -> int:
    chosen = part or ["all"]
    if len(chosen) > 1 or chosen[0] not in POCKET_PARTS:
        raise BadInputError(f"--part {' '.join(chosen)}: of pocket choose one of {', '.join(POCKET_PARTS)}")
    from synchresis.training.pocket import train as train_pocket

    def report(step: int, loss: float) -> None:
        if step % EVERY == 0:
            say(f"step {step}: loss {loss:.4f}")

    print(train_pocket(chosen[0], out, recordings=recordings, stage=stage, seed=seed, steps=steps, report=report))
    return 0


def _network(system: str, asked: str | None) -> str | None:
    known = NETWORKS[system]
    if asked is not None and asked not in known:
        raise BadInputError(
            f"--network {asked}: of {system} choose from {', '.join(known)}" if known
            else f"--network {asked}: {system} has nothing to choose from, leave it out"
        )  # fmt: skip
    return asked or next(iter(known), None)


def _trainer(system: str, network: str | None) -> Callable[..., Path]:
    if system == "lova":
        from synchresis.training import long_form

        return long_form.train_folder
    if system == "stable_foley" and network == "rms_mapper":
        from synchresis.training import rms_mapper

        return rms_mapper.train_folder
    if system == "stable_foley":
        from synchresis.training import control

        return control.train_folder
    if system == "vta_ldm":
        from synchresis.training import latent_unet

        return latent_unet.train_folder
    if system == "tempotokens":
        from synchresis.training import mapper

        return mapper.train_folder
    from synchresis.training import sta_v2a

    return partial(sta_v2a.train_folder, unet_too=network == "control+unet")


def _report(steps: int) -> Callable[[int, float], None]:
    """Says the mean loss of every fifty steps, and of the last ones."""
    recent: list[float] = []

    def report(step: int, loss: float) -> None:
        recent.append(loss)
        if step % EVERY == 0 or step == steps:
            say(f"step {step}: loss {sum(recent) / len(recent):.4f}")
            recent.clear()

    return report


def _kept(out: Path) -> str:
    """What of this training is saved already: ", FOLDER holds the weights of step N", or nothing."""
    file = out / "training.json"
    if not file.is_file():
        return ""
    return f"; {out} holds the averaged weights of step {json.loads(file.read_text(encoding='utf-8'))['steps']}"
