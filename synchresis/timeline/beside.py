"""Files that are whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import BadInputError


@contextmanager
def written_beside(path: str | Path) -> Iterator[Path]:
    """Gives a name beside `path` to write to; renames it to `path` when the block ends well.

    If the block raises, what was written is removed and `path` stays as it was. The name keeps the suffix
    of `path`, by which writers choose their format. Raises BadInputError if the folder is not there.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise BadInputError(f"{path}: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise BadInputError(f"{path}: is a folder; give the name of a file")
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
