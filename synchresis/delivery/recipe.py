"""The recipe beside every take: all that is needed to make it again, byte for byte on the same machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from synchresis import __version__
from synchresis.errors import BadInputError
from synchresis.systems.request import SoundRequest, System

FORMAT = 1


def sha256_of(path: Path) -> str:
    """Of the file's bytes, in hexadecimal. Raises BadInputError where there is no such file."""
    if not path.is_file():
        raise BadInputError(f"{path}: there is no such file")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def recipe_of(system: System, clip: Path, request: SoundRequest, original: str, suffix: str) -> dict[str, Any]:
    """The recipe as it is written. `original` and `suffix` say how the sound was given out."""
    files = {option: noted_file(path) for option, path in request.files.items()}
    return {
        "format": FORMAT,
        "synchresis": __version__,
        "system": {
            "name": system.name,
            "weights_sha256": system.weights_hash,
            "device": system.device,
            "untrained": noted_size(system.untrained),
        },
        "clip": noted_file(clip),
        "request": {
            "prompt": request.prompt,
            "like": files.get("like"),
            "envelope": files.get("envelope", "auto"),
            "onsets": files.get("onsets"),
            "seed": request.seed,
            "steps": request.steps,
            "guidance": request.guidance,
            "settings": request.settings,
        },
        "delivery": {"suffix": suffix, "original": original},
        "machine": machine(),
    }


def machine() -> dict[str, Any]:
    """What else the bytes depend on: versions, processor, threads."""
    import torch

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "av": version("av"),
        "soxr": version("soxr"),
        "platform": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
    }


@dataclass(frozen=True)
class Recipe:
    """A recipe that was read and whose files are the ones it was made from."""

    system: str
    weights_hash: str
    device: str
    untrained: str | Path | None
    """The size, or the JSON configuration, of random weights; None where they were trained."""
    clip: Path
    request: SoundRequest
    original: str
    suffix: str
    threads: int
    differences: list[str]
    """Sentences on what is not as it was; the bytes may differ then."""

    def check_system(self, system: System) -> None:
        """Raises BadInputError if `system` has other weights than the recipe."""
        if system.weights_hash != self.weights_hash:
            raise BadInputError(
                f"the recipe was made with other weights of {self.system} ({self.weights_hash[:12]}) than "
                f"these ({system.weights_hash[:12]}): give the old ones with --weights, or sound the clip anew"
            )


def read_recipe(path: Path, clip: Path | None = None) -> Recipe:
    """Reads and checks a recipe. `clip` replaces the place at which it found its clip.

    A file that is no longer at its place is looked for beside the recipe. Raises BadInputError where the file
    is no recipe, or where the clip or a file that the request needs is missing or has changed.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise BadInputError(f"{path}: is a recipe of format {content['format']}; this version reads {FORMAT}")
        return _checked(content, path, clip)
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path}: is not a recipe, which is JSON in UTF-8") from error
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(f"{path}: is not a recipe of synchresis ({_reason(error)})") from error


def _checked(content: dict[str, Any], path: Path, clip: Path | None) -> Recipe:
    asked, system = content["request"], content["system"]
    envelope, untrained = asked["envelope"], system.get("untrained")
    return Recipe(
        system=system["name"],
        weights_hash=system["weights_sha256"],
        device=system["device"],
        # The first recipes have neither this nor settings.
        untrained=same_file(untrained, path, "configuration") if isinstance(untrained, dict) else untrained,
        clip=same_file(content["clip"], path, "clip", clip),
        request=SoundRequest(
            prompt=asked["prompt"],
            like=same_file(asked["like"], path, "reference sound") if asked["like"] else None,
            envelope="auto" if envelope == "auto" else str(same_file(envelope, path, "envelope")),
            onsets=same_file(asked["onsets"], path, "onsets") if asked["onsets"] else None,
            seed=asked["seed"],
            steps=asked["steps"],
            guidance=asked["guidance"],
            settings=dict(asked.get("settings", {})),
        ),
        original=content["delivery"]["original"],
        suffix=content["delivery"]["suffix"],
        threads=content["machine"]["threads"],
        differences=machine_differences(content),
    )


def same_file(entry: dict[str, str], recipe: Path, what: str, place: Path | None = None) -> Path:
    """The file of this entry, if it still has the bytes it had."""
    noted = Path(entry["path"])
    places = [place] if place is not None else [noted, recipe.parent / noted.name]
    found = next((candidate for candidate in places if candidate.is_file()), None)
    if found is None:
        remedy = "give its new place: sound CLIP --recipe FILE" if what == "clip" else "put it beside the recipe"
        raise BadInputError(f"{recipe}: its {what} is not at {places[0]}; {remedy}")
    if sha256_of(found) != entry["sha256"]:
        raise BadInputError(f"{recipe}: its {what} {found} is not the file that it was made from (its bytes differ)")
    return found


def machine_differences(content: dict[str, Any]) -> list[str]:
    """Sentences on what of versions and machine is not as a recipe notes it."""
    now = {"synchresis": __version__, **machine()}
    then = {"synchresis": content["synchresis"], **content["machine"]}
    changed = [f"{key} {then[key]}, now {now[key]}" for key in now if key != "threads" and then.get(key) != now[key]]
    return [f"the recipe was made elsewhere, the bytes may differ: {'; '.join(changed)}"] if changed else []


def noted_size(size: str | None) -> str | dict[str, str] | None:
    """A size is noted as its name; the file of a configuration, which is an absolute path, with its hash."""
    return noted_file(Path(size)) if size is not None and Path(size).is_absolute() else size


def noted_file(path: Path) -> dict[str, str]:
    """How a recipe notes a file: its place and its hash."""
    return {"path": str(_place(path)), "sha256": sha256_of(path)}


def _place(path: Path) -> Path:
    return Path(os.path.abspath(path))


def _reason(error: Exception) -> str:
    return f"without {error.args[0]!r}" if isinstance(error, KeyError) else str(error)
