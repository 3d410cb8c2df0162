"""The systems: each one a complete recipe from a clip to its sound, in one file of this room.

`load` imports a system's file only when it is asked for, so that listing them costs nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from synchresis.errors import BadInputError

if TYPE_CHECKING:
    from synchresis.systems.pocket import Pocket

SYSTEMS: dict[str, str] = {
    "pocket": "our own, small, with its weights in the package: watches the picture, then sounds it offline",
}

DEVICES = ("auto", "cpu", "cuda", "mps")


def load(name: str = "pocket", weights: str | Path | None = None, device: str = "auto") -> Pocket:
    """The system called `name`, its weights in memory, ready to sound clips.

    `weights` is a folder to take the weights from instead of the ones in the package; `device` one of
    `DEVICES`, where auto means cuda, then mps, then cpu, whichever is there.
    Raises BadInputError for an unknown name or device, for weights that are not there or not this system's.
    """
    if name not in SYSTEMS:
        raise BadInputError(f"no system is called {name!r}: choose from {', '.join(SYSTEMS)}")
    if device not in DEVICES:
        raise BadInputError(f"no device is called {device!r}: choose from {', '.join(DEVICES)}")
    from synchresis.systems.pocket import Pocket

    return Pocket.load(weights=weights, device=device)
