"""The systems: each one a complete recipe from a clip to its sound, in one file of this room.

`load` imports a system's file only when it is asked for, so that listing them costs nothing.

The file of a system with published weights holds, beside its class: `build(config)`, its networks by name;
`read_original(path, parts)`, which reads the published files into a `Loaded`; `SIZES`, the configurations that an
untrained system can have ("full" is the published one); `PARTS`, the networks of others that the published files
leave out; and `Settings`, a dataclass of what can be set for a take.
"""

from __future__ import annotations

import copy
import importlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synchresis.errors import BadInputError
from synchresis.systems.request import Progress, quiet

if TYPE_CHECKING:
    from synchresis.systems.request import System
    from synchresis.systems.weights import Loaded

SYSTEMS: dict[str, str] = {
    "pocket": "our own, small, with its weights in the package: a sound for a picture, a picture for a sound, offline",
    "lova": "LoVA: long films at once; CLIP looks, a diffusion transformer sounds, stereo at 44.1 kHz",
    "stable_foley": "Stable-Foley: loudness leads, from a file, a recording or the picture; stereo at 44.1 kHz",
    "vta_ldm": "VTA-LDM: CLIP looks twice a second, a latent diffusion UNet sounds, 16 kHz mono",
    "sta_v2a": "STA-V2A: words and picture; onsets seen by CAVP control a latent diffusion UNet, 16 kHz mono",
}

# The class of each system with published weights, in the file of its name.
CLASSES: dict[str, str] = {
    "lova": "Lova",
    "stable_foley": "StableFoley",
    "vta_ldm": "VtaLdm",
    "sta_v2a": "StaV2a",
}

DEVICES = ("auto", "cpu", "cuda", "mps")


def load(
    name: str = "pocket",
    weights: str | Path | None = None,
    device: str = "auto",
    *,
    parts: Mapping[str, str | Path] | None = None,
    untrained: str | Path | None = None,
) -> System:
    """The system called `name`, its weights in memory, ready to sound clips.

    `weights` is a published file or folder, a folder of ours (see `convert`), or a hub id, the only case in which the
    network is used. `parts` names places for networks that the published files leave out, such as
    {"clip": "openai/clip-vit-large-patch14"}. `untrained` builds the system with random weights instead: a size
    ("full", "small") or a JSON file with a configuration; what it makes is noise. `device` is one of `DEVICES`, where
    auto means cuda, then mps, then cpu, whichever is there.
    Raises BadInputError for an unknown name or device, for weights that are not there or not this system's.
    """
    check_name(name)
    if device not in DEVICES:
        raise BadInputError(f"no device is called {device!r}: choose from {', '.join(DEVICES)}")
    if name == "pocket":
        if parts or untrained is not None:
            raise BadInputError("pocket comes with its weights: it takes no parts and is never untrained")
        from synchresis.systems.pocket import Pocket

        return Pocket.load(weights=weights, device=device)

    from synchresis.systems.devices import pick_device

    where = pick_device(device)
    system = getattr(file_of(name), CLASSES[name])
    if untrained is not None:
        if weights is not None or parts:
            raise BadInputError("an untrained system takes no weights")
        return system(random_weights(name, untrained), where)
    if weights is None:
        raise BadInputError(
            f"the weights of {name} are not in the package: give their place with --weights PATH_OR_HUB_ID "
            f"(`synchresis systems {name}` says which), or try the wiring with --untrained small"
        )
    return system(read_weights(name, weights, parts or {}), where)


def convert(
    name: str,
    original: str | Path,
    folder: str | Path,
    parts: Mapping[str, str | Path] | None = None,
    progress: Progress = quiet,
) -> Loaded:
    """Reads published weights and writes them as a folder of ours, from which `load` reads them without any parts.

    Raises BadInputError for an unknown name, for files that do not fit, and where the folder has a system already.
    """
    check_name(name)
    if name not in CLASSES:
        raise BadInputError(f"{name} has no published weights to convert")
    from synchresis.systems.weights import check_new, write_folder

    check_new(Path(folder))
    progress("read", 0.0)
    loaded = read_weights(name, original, parts or {})
    write_folder(loaded, Path(folder), progress)
    progress("write", 1.0)
    return loaded


def check_name(name: str) -> None:
    """Raises BadInputError for a name that is none of `SYSTEMS`."""
    if name not in SYSTEMS:
        raise BadInputError(f"no system is called {name!r}: choose from {', '.join(SYSTEMS)}")


def check_settings(name: str, settings: dict[str, str]) -> None:
    """Raises BadInputError for an unknown system, and for a setting that it does not have or cannot read."""
    check_name(name)
    if settings:
        from synchresis.systems.request import settings_of

        settings_of(file_of(name).Settings, settings, name)


def file_of(name: str) -> Any:
    """The module of a system."""
    return importlib.import_module(f"synchresis.systems.{name}")


def read_weights(name: str, weights: str | Path, parts: Mapping[str, str | Path]) -> Loaded:
    """The networks of published files or of a folder of ours. The checks of `load` come before."""
    from synchresis.systems.weights import Loaded, fill_from_folder, place_of, read_description, skeleton

    file, place = file_of(name), place_of(weights)
    strangers = ", ".join(sorted(parts.keys() - file.PARTS.keys()))
    if strangers:
        raise BadInputError(f"{name} has no part {strangers}: it takes {', '.join(file.PARTS) or 'none'}")
    if not (place / "system.json").is_file():
        return file.read_original(place, {part: place_of(where, f"--part {part}=") for part, where in parts.items()})
    if parts:
        raise BadInputError(f"{place} holds all of {name}: leave out --part")
    described = read_description(place, name)
    with skeleton():
        components = _built(file, described["config"], place)
    reports = fill_from_folder(place, components)
    return Loaded(name, described["config"], components, reports, described.get("untrained"))


def random_weights(name: str, size: str | Path) -> Loaded:
    """The networks of a size or a JSON configuration, their weights drawn by a fixed seed."""
    import torch

    from synchresis.systems.weights import Loaded, randomise

    config, size = config_of(name, size)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        components = build_as(name, config, size)
    for module in components.values():
        randomise(module)
    return Loaded(name, config, components, untrained=size)


def config_of(name: str, size: str | Path) -> tuple[dict[str, Any], str]:
    """A configuration of one's own, and its label: the name of the size, or the absolute path of the JSON file."""
    sizes = file_of(name).SIZES
    if str(size) in sizes:
        return copy.deepcopy(sizes[str(size)]), str(size)
    if Path(size).is_file():
        return _configuration(Path(size), name), os.path.abspath(size)
    raise BadInputError(f"{name} has no size {size}: choose from {', '.join(sizes)}, or give a JSON file")


def build_as(name: str, config: dict[str, Any], source: str | Path) -> dict[str, Any]:
    """The networks of a configuration, random. Raises BadInputError, naming `source`, where it describes none."""
    return _built(file_of(name), config, source)


def _configuration(path: Path, name: str) -> dict[str, Any]:
    """What a JSON file says of a system's networks; it may be a whole system.json."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        whose, config = content.get("system", name), content.get("config", content)
    except (ValueError, AttributeError) as error:
        raise BadInputError(f"{path} is not a configuration of {name}: {error}") from error
    if whose != name:
        raise BadInputError(f"{path} is a configuration of {whose}, not of {name}")
    return config


def _built(file: Any, config: dict[str, Any], source: str | Path) -> dict[str, Any]:
    try:
        return file.build(config)
    except Exception as error:  # a configuration can be wrong in every way, and the libraries have errors of their own
        raise BadInputError(f"{source}: its configuration does not describe the networks: {error!r}") from error
