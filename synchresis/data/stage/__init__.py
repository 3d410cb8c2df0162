"""The stage: films rendered from a seed in which what makes the picture also makes the sound."""

from .film import Film, film
from .sounds import KINDS

__all__ = ["KINDS", "Film", "film"]
