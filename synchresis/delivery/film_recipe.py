"""The recipe beside every film made for a sound: all that is needed to make it again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from synchresis import __version__
from synchresis.delivery.recipe import FORMAT, machine, machine_differences, noted_file, noted_size, same_file
from synchresis.errors import BadInputError
from synchresis.systems.picturing import PictureRequest, PictureSystem


def recipe_of(system: PictureSystem, sound: Path, request: PictureRequest, suffix: str) -> dict[str, Any]:
    """The recipe as it is written."""
    files = {option: noted_file(path) for option, path in request.files.items()}
    return {
        "format": FORMAT,
        "makes": "picture",
        "synchresis": __version__,
        "system": {
            "name": system.name,
            "weights_sha256": system.weights_hash,
            "device": system.device,
            "untrained": noted_size(system.untrained),
        },
        "sound": noted_file(sound),
        "request": {
            "prompt": request.prompt,
            "negative": request.negative,
            "width": request.width,
            "height": request.height,
            "fps": None if request.fps is None else str(request.fps),
            "frames": request.frames,
            "film": files.get("film"),
            "film_weight": request.film_weight,
            "lora": files.get("lora"),
            "onsets": files.get("onsets"),
            "seed": request.seed,
            "steps": request.steps,
            "guidance": request.guidance,
            "settings": request.settings,
        },
        "delivery": {"suffix": suffix},
        "machine": machine(),
    }


@dataclass(frozen=True)
class FilmRecipe:
    """A recipe that was read and whose files are the ones it was made from."""

    system: str
    weights_hash: str
    device: str
    untrained: str | Path | None
    sound: Path
    request: PictureRequest
    suffix: str
    threads: int
    differences: list[str]
    """Sentences on what is not as it was; the frames may differ then."""

    def check_system(self, system: PictureSystem) -> None:
        """Raises BadInputError if `system` has other weights than the recipe."""
        if system.weights_hash != self.weights_hash:
            raise BadInputError(
                f"the recipe was made with other weights of {self.system} ({self.weights_hash[:12]}) than these "
                f"({system.weights_hash[:12]}): give the old ones with --weights, or make the picture anew"
            )


def read_recipe(path: Path, sound: Path | None = None) -> FilmRecipe:
    """Reads and checks a recipe. `sound` replaces the place at which it found its sound.

    Raises BadInputError where the file is no recipe of a picture, or where a file that it needs is missing or changed.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise BadInputError(f"{path}: is a recipe of format {content['format']}; this version reads {FORMAT}")
        if content.get("makes") != "picture":
            raise BadInputError(f"{path}: is not the recipe of a picture; try `synchresis sound --recipe`")
        return _checked(content, path, sound)
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path}: is not a recipe, which is JSON in UTF-8") from error
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadInputError(f"{path}: is not a recipe of synchresis ({error})") from error


def _checked(content: dict[str, Any], path: Path, sound: Path | None) -> FilmRecipe:
    asked, system = dict(content["request"]), content["system"]
    untrained = system["untrained"]
    for name, what in (("film", "film to begin from"), ("lora", "LoRA"), ("onsets", "file of onsets")):
        asked[name] = same_file(asked[name], path, what) if asked[name] else None
    asked["fps"] = None if asked["fps"] is None else Fraction(asked["fps"])
    return FilmRecipe(
        system=system["name"],
        weights_hash=system["weights_sha256"],
        device=system["device"],
        untrained=same_file(untrained, path, "configuration") if isinstance(untrained, dict) else untrained,
        sound=same_file(content["sound"], path, "sound", sound),
        request=PictureRequest(**asked),
        suffix=content["delivery"]["suffix"],
        threads=content["machine"]["threads"],
        differences=machine_differences(content),
    )
