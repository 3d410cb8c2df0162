"""Sound for a picture, and a picture for a sound.

>>> import synchresis
>>> take = synchresis.load("pocket").sound("clip.mp4", prompt="hammer on wood", seed=3)
>>> take.save("clip.sounded.mp4")

Importing the package does no work: torch, PyAV and the weights are loaded by `load`.
"""

from synchresis.errors import BadInputError, FailureError
from synchresis.systems import SYSTEMS, load

__version__ = "0.1.0"

__all__ = ["SYSTEMS", "BadInputError", "FailureError", "__version__", "load"]
