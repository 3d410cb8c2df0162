"""Where a system's weights are: a folder, or a repository on a hub, which is fetched only when it is named."""

import re
from pathlib import Path

from synchresis.errors import BadInputError

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def folder_of(weights: str | Path) -> Path:
    """The folder with these weights; an `owner/name` that is no folder here is fetched from the Hugging Face hub.

    Raises BadInputError where there is neither, and where the hub's client is not installed or fails.
    """
    folder = Path(weights)
    if folder.is_dir():
        return folder
    if not HUB_ID.fullmatch(str(weights)):
        raise BadInputError(f"--weights {weights}: there is no such folder")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise BadInputError(
            f"--weights {weights}: no such folder; to fetch it from the hub, first `pip install huggingface_hub`"
        ) from error
    try:
        return Path(snapshot_download(str(weights), allow_patterns=["*.safetensors", "*.json", "*.md"]))
    except Exception as error:  # the client raises its own kinds, and those of whatever carries it
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInputError(f"--weights {weights}: no such folder, and the hub says: {reason}") from error
