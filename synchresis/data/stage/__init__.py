"""The stage: films rendered from a seed in which what makes the picture also makes the sound."""

from ..sounds import KINDS
from .film import Film, film

__all__ = ["KINDS", "Film", "film"]
