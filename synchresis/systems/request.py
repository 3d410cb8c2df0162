"""What one can ask of a system, and what a system must answer: the face that the command line and Python
share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from synchresis.errors import BadInputError

if TYPE_CHECKING:
    import numpy as np

    from synchresis.media.probe import Clip
    from synchresis.timeline.onsets import Onsets
    from synchresis.timeline.track import Track

Progress = Callable[[str, float], None]
"""Told the name of the stage at work ("watch", "generate" …) and how much of it is done, 0 to 1."""


def quiet(stage: str, done: float) -> None:
    """The progress that nobody watches."""


def check_sampling(steps: int | None, guidance: float | None) -> None:
    """Raises BadInputError for steps under 1, and for a guidance that is no finite number."""
    if guidance is not None and not math.isfinite(guidance):
        raise BadInputError(f"guidance {guidance:g}: say a finite number")
    if steps is not None and steps < 1:
        raise BadInputError(f"{steps} steps are too few: ask for 1 or more")


@dataclass(frozen=True)
class SoundRequest:
    """One wish for one clip.

    `prompt` says in words, and `like` by the example of a sound file, what it should sound like. `envelope`
    is "auto" (loudness as the system sees it in the picture) or a file: an envelope file, or any recording,
    whose loudness is then followed. `onsets` is a file of onsets that replaces the ones seen in the picture.
    `steps` and `guidance` None mean the system's own defaults. `settings` are what else this system can be told, as
    the person wrote it (see `settings_of`).
    """

    prompt: str | None = None
    like: Path | None = None
    envelope: str = "auto"
    onsets: Path | None = None
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    settings: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_sampling(self.steps, self.guidance)

    @property
    def files(self) -> dict[str, Path]:
        """The files that the request refers to, by the name of the option."""
        named = {"like": self.like, "onsets": self.onsets}
        if self.envelope != "auto":
            named["envelope"] = Path(self.envelope)
        return {option: path for option, path in named.items() if path is not None}


S = TypeVar("S")


def settings_of(kind: type[S], given: dict[str, str], system: str) -> S:
    """The dataclass `kind` of a system's settings with the values that were given as text.

    Each field has a default, whose type the text must be read as (bool, int, float or str), and metadata: `help`,
    and where only certain values make sense `choices`. Raises BadInputError for an unknown name or a value that
    cannot be read.
    """
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, text in given.items():
        if name not in known:
            raise BadInputError(f"{system} has no setting {name!r}: it has {', '.join(known) or 'none'}")
        default, choices = known[name].default, known[name].metadata.get("choices")
        assert default is not MISSING
        if choices is not None and text not in choices:
            raise BadInputError(f"--set {name}={text}: choose from {', '.join(choices)}")
        values[name] = _read_as(type(default), name, text)
    return kind(**values)


def _read_as(kind: type, name: str, text: str) -> Any:
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise BadInputError(f"--set {name}={text}: say true or false")
        return text.lower() == "true"
    try:
        value = kind(text)
    except ValueError as error:
        raise BadInputError(f"--set {name}={text}: that is no {kind.__name__}") from error
    if kind is float and not math.isfinite(value):
        raise BadInputError(f"--set {name}={text}: say a finite number")
    return value


class Plan(Protocol):
    """What a system has decided after watching, before it makes any sound."""

    @property
    def mode(self) -> str:
        """What leads: "onsets", "loudness", "prompt", or "picture" where it is told no more than its frames."""
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

    @property
    def untrained(self) -> str | None:
        """The size, where the weights are random and the sound is noise; else None."""
        ...

    @property
    def key_report(self) -> str | None:
        """What was read of which file, on a line each; None where nothing of others' was read."""
        ...

    def prepare(self, clip: Clip, request: SoundRequest, progress: Progress = quiet) -> Any:
        """A `Plan`: looks at the clip, reads the request's files. Raises BadInputError for a wish it cannot
        serve.
        """
        ...

    def stream(self, plan: Any, progress: Progress = quiet) -> Iterator[np.ndarray]:
        """The sound of its own plan in blocks [n, C] float32, in all sample_count(duration, rate) samples."""
        ...

    def sound(self, clip: str | Path, **wishes: Any) -> Any:
        """A `synchresis.delivery.produce.Take`; see `synchresis.systems.published.sound_clip`."""
        ...

    def watch(self, clip: Clip, progress: Progress = quiet) -> tuple[Onsets, Track, Any]:
        """Onsets, loudness (100 Hz, linear RMS) and everything else that it sees in the picture."""
        ...
