"""What one can ask of a system, and what a system must answer: the face that the command line and Python
share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

    from synchresis.media.probe import Clip
    from synchresis.timeline.onsets import Onsets
    from synchresis.timeline.track import Track

Progress = Callable[[str, float], None]
"""Told the name of the stage at work ("watch", "generate" …) and how much of it is done, 0 to 1."""


def quiet(stage: str, done: float) -> None:
    """The progress that nobody watches."""


@dataclass(frozen=True)
class SoundRequest:
    """One wish for one clip.

    `prompt` says in words, and `like` by the example of a sound file, what it should sound like. `envelope`
    is "auto" (loudness as the system sees it in the picture) or a file: an envelope file, or any recording,
    whose loudness is then followed. `onsets` is a file of onsets that replaces the ones seen in the picture.
    `steps` and `guidance` None mean the system's own defaults.
    """

    prompt: str | None = None
    like: Path | None = None
    envelope: str = "auto"
    onsets: Path | None = None
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None

    @property
    def files(self) -> dict[str, Path]:
        """The files that the request refers to, by the name of the option."""
        named = {"like": self.like, "onsets": self.onsets}
        if self.envelope != "auto":
            named["envelope"] = Path(self.envelope)
        return {option: path for option, path in named.items() if path is not None}


class Plan(Protocol):
    """What a system has decided after watching, before it makes any sound."""

    @property
    def mode(self) -> str:
        """What leads: "onsets", "loudness" or "prompt"."""
        ...

    @property
    def onsets(self) -> Onsets | None:
        """The instants given to the generator, None where it was told none."""
        ...

    @property
    def told(self) -> Track | None:
        """The loudness that the sound must have (100 Hz, linear RMS), None where it was told none."""
        ...

    @property
    def notes(self) -> list[str]:
        """Sentences for the person, such as why the picture was not trusted."""
        ...

    @property
    def duration(self) -> Fraction: ...

    @property
    def rate(self) -> int: ...


class System(Protocol):
    """A loaded system."""

    @property
    def name(self) -> str: ...

    @property
    def weights_hash(self) -> str:
        """The sha256 that stands for all of its weights."""
        ...

    @property
    def device(self) -> str:
        """Where it runs; never "auto"."""
        ...

    def prepare(self, clip: Clip, request: SoundRequest, progress: Progress = quiet) -> Any:
        """A `Plan`: looks at the clip, reads the request's files. Raises BadInputError for a wish it cannot
        serve.
        """
        ...

    def stream(self, plan: Any, progress: Progress = quiet) -> Iterator[np.ndarray]:
        """The sound of its own plan in blocks [n, C] float32, in all sample_count(duration, rate) samples."""
        ...

    def watch(self, clip: Clip, progress: Progress = quiet) -> tuple[Onsets, Track, Any]:
        """Onsets, loudness (100 Hz, linear RMS) and everything else that it sees in the picture."""
        ...
