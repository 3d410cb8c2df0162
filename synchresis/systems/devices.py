"""Where a system computes."""

import torch

from synchresis.errors import BadInputError


def pick_device(name: str) -> str:
    """cuda, then mps, then cpu for "auto"; BadInputError when the one asked for is not there."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next(d for d in ("cuda", "mps", "cpu") if there[d])
    if not there.get(name, False):
        usable = ", ".join(d for d, ok in there.items() if ok)
        raise BadInputError(f"--device {name} is not available here: use {usable}")
    return name
