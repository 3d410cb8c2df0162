"""Where the cases lie."""

from __future__ import annotations

import os
from pathlib import Path

HERE = Path(__file__).parent


def root() -> Path:
    """$SYNCHRESIS_PARITY, else shared/parity beside the repository, else the copies in this folder."""
    if "SYNCHRESIS_PARITY" in os.environ:
        return Path(os.environ["SYNCHRESIS_PARITY"])
    shared = HERE.parents[2] / "shared" / "parity"
    return shared if shared.is_dir() else HERE / "cases"


def cases() -> dict[str, Path]:
    """Every folder SYSTEM/NETWORK under the root."""
    folders = sorted(path for path in root().glob("*/*") if path.is_dir())
    return {f"{path.parent.name}/{path.name}": path for path in folders}
