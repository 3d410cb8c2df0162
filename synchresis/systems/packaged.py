"""The weights that travel in the package, and folders of the same kind."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from synchresis.errors import BadInputError
from synchresis.nn.watcher import Watcher, load_watcher
from synchresis.systems.weights import place_of

WEIGHTS = Path(__file__).parent / "pocket_weights"


def packaged_watcher(device: str = "cpu") -> Watcher:
    """Pocket's watcher, for whoever wants to know when something in a picture sounds."""
    return load_watcher(WEIGHTS / "watcher.safetensors").to(device)


@dataclass(frozen=True)
class Folder:
    """The files of some parts of pocket, and what its system.json says."""

    place: Path
    files: dict[str, Path]
    described: dict[str, Any]

    @property
    def digest(self) -> str:
        """The sha256 of all these parts."""
        digest = hashlib.sha256()
        for path in self.files.values():
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def fill(self, part: str, network: nn.Module) -> None:
        """The weights of a part, which are stored in half precision, into its network."""
        network.load_state_dict({name: value.float() for name, value in load_file(self.files[part]).items()})


def pocket_folder(weights: str | Path | None, parts: Sequence[str]) -> Folder:
    """Of the package (None), of a folder made by `synchresis train pocket`, or of the hub.

    Raises BadInputError when the folder does not hold these parts.
    """
    place = WEIGHTS if weights is None else place_of(weights)
    files = {part: place / f"{part}.safetensors" for part in parts}
    missing = [file.name for file in (*files.values(), place / "system.json") if not file.is_file()]
    if missing:
        raise BadInputError(f"{place} is not a folder of pocket weights: it lacks {', '.join(missing)}")
    try:
        described = json.loads((place / "system.json").read_text())
    except ValueError as error:
        raise BadInputError(f"{place / 'system.json'} is not a description of pocket's networks: {error}") from error
    return Folder(place, files, described)
