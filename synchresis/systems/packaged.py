"""The weights that travel in the package."""

from pathlib import Path

from synchresis.nn.watcher import Watcher, load_watcher

WEIGHTS = Path(__file__).parent / "pocket_weights"


def packaged_watcher(device: str = "cpu") -> Watcher:
    """Pocket's watcher, for whoever wants to know when something in a picture sounds."""
    return load_watcher(WEIGHTS / "watcher.safetensors").to(device)
