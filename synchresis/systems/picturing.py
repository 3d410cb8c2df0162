"""The systems that make a picture for a sound: what one can ask of them, and what they must answer.

The other direction of `synchresis.systems.request`, in the same shape. A system of this kind prepares a plan from a
sound file and a `PictureRequest`, and then gives the pictures of that plan one after another:

    plan = system.prepare(Path("hits.wav"), PictureRequest(seed=3))
    for picture in system.pictures(plan):   # uint8 [H, W, 3], ceil(plan.duration * plan.fps) of them
        ...

Frame i is shown from i / fps on, so the film is as long as the sound, its last frame cut where the sound ends. What it
hears at clip time t must show in the frames around t: a film is judged by that (`synchresis.delivery.film`). Nothing
that a system holds may grow with the length by whole frames; it gives each picture away when it has it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from synchresis.errors import BadInputError
from synchresis.systems.request import Progress, check_sampling, quiet

if TYPE_CHECKING:
    import numpy as np

    from synchresis.media.probe import Clip
    from synchresis.systems.weights import Loaded
    from synchresis.timeline.onsets import Onsets

PICTURE_SYSTEMS: dict[str, str] = {
    "pocket": "our own small model, inside the package: bodies of a painted scene strike when the sound does",
    "tempotokens": "TempoTokens: what is heard, as words of a prompt, drives a latent text-to-video model",
}

# The class of each of those that are not in the package, in the file of its name in this room.
PICTURE_CLASSES: dict[str, str] = {
    "tempotokens": "TempoTokens",
}


# What can be asked


@dataclass(frozen=True)
class PictureRequest:
    """One wish for one sound. None means the system's own default.

    `prompt` says in words what is to be seen and `negative` what is not. The film has `fps` frames a second, or
    `frames` in all, spread over the sound. `film` is a film to begin from, of which the more is kept the larger
    `film_weight` (0..1) is. `lora` is a file or folder with a LoRA for the video model. `onsets` is a file of onsets
    that replaces the ones heard in the sound. `settings` are what else this system can be told, as the person wrote it
    (see `synchresis.systems.request.settings_of`).
    """

    prompt: str | None = None
    negative: str | None = None
    width: int | None = None
    height: int | None = None
    fps: Fraction | None = None
    frames: int | None = None
    film: Path | None = None
    film_weight: float | None = None
    lora: Path | None = None
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
        named = {"film": self.film, "lora": self.lora, "onsets": self.onsets}
        return {option: path for option, path in named.items() if path is not None}

    def rate(self, duration: Fraction, default: Fraction) -> Fraction:
        """Frames a second for a sound of `duration` seconds. Raises BadInputError for two answers, or none above 0."""
        if self.fps is not None and self.frames is not None:
            raise BadInputError("--fps and --frames both say how many frames there are: give one of them")
        if self.frames is not None:
            if self.frames < 1:
                raise BadInputError(f"--frames {self.frames}: a film needs at least one")
            return Fraction(self.frames) / duration
        if self.fps is not None and self.fps <= 0:
            raise BadInputError(f"--fps {self.fps}: must be above 0")
        return default if self.fps is None else self.fps

    def serve_only(self, system: str, *served: str) -> None:
        """Raises BadInputError naming the wishes that are not among `served`; seed and settings are always."""
        plain = PictureRequest()
        others = [
            f"--{f.name.replace('_', '-')}"
            for f in fields(self)
            if f.name not in {"seed", "settings", *served} and getattr(self, f.name) != getattr(plain, f.name)
        ]
        if others:
            raise BadInputError(f"{system} cannot be told {', '.join(others)}: leave it out")


def frame_count(duration: Fraction, fps: Fraction) -> int:
    """How many frames a film of `duration` seconds has: the last one may be cut short."""
    return math.ceil(duration * fps)


def probe_sound(path: str | Path) -> Clip:
    """A file whose sound can be listened to: a sound, or a film with one, whose own picture is not looked at.

    Its sound from clip time 0 to `duration` is what a film is made for. Raises BadInputError where there is none.
    """
    from synchresis.media import probe

    clip = probe(path)
    if not clip.audio:
        raise BadInputError(f"{clip.path} has no sound to make a picture for")
    if clip.duration <= 0:
        raise BadInputError(f"{clip.path} has no length")
    return clip


# What must be answered


class PicturePlan(Protocol):
    """What a system has decided after listening, before it makes any picture."""

    @property
    def mode(self) -> str:
        """What leads: "sound", "onsets" where a person gave them, "prompt", or "sound and prompt"."""
        ...

    @property
    def onsets(self) -> Onsets | None:
        """The instants that the generator was told, None where it was told none."""
        ...

    @property
    def notes(self) -> list[str]:
        """Sentences for the person."""
        ...

    @property
    def duration(self) -> Fraction:
        """Of the sound, in seconds."""
        ...

    @property
    def fps(self) -> Fraction: ...


class PictureSystem(Protocol):
    """A loaded system that makes pictures for sounds."""

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
        """The size, where the weights are random and the picture is noise; else None."""
        ...

    @property
    def key_report(self) -> str | None:
        """What was read of which file; None where nothing of others' was read."""
        ...

    def prepare(self, sound: Path, request: PictureRequest, progress: Progress = quiet) -> Any:
        """A `PicturePlan`: listens to the sound (see `probe_sound`), reads the request's files.

        Raises BadInputError for a wish that it cannot serve (see `PictureRequest.serve_only`).
        """
        ...

    def pictures(self, plan: Any, progress: Progress = quiet) -> Iterator[np.ndarray]:
        """The frames of its own plan, uint8 [H, W, 3] RGB, all of one size: frame_count(plan.duration, plan.fps)."""
        ...

    def picture(self, sound: str | Path, out: str | Path, **wishes: Any) -> dict[str, Any]:
        """`picture_sound`."""
        ...


# Loading


def check_picture_name(name: str) -> None:
    """Raises BadInputError for a name that is none of `PICTURE_SYSTEMS`."""
    if name not in PICTURE_SYSTEMS:
        known = ", ".join(PICTURE_SYSTEMS)
        raise BadInputError(f"no system that makes pictures is called {name!r}: choose from {known}")


def check_picture_settings(name: str, settings: dict[str, str]) -> None:
    """Raises BadInputError for an unknown system, and for a setting that it does not have or cannot read."""
    from synchresis.systems import file_of
    from synchresis.systems.request import settings_of

    check_picture_name(name)
    if settings:
        file = file_of("pocket_picture" if name == "pocket" else name)
        settings_of(file.Settings, settings, name)


def load_picture(
    name: str,
    weights: str | Path | None = None,
    device: str = "auto",
    *,
    parts: Mapping[str, str | Path] | None = None,
    untrained: str | Path | None = None,
) -> PictureSystem:
    """The picture system called `name`, its weights in memory. The arguments are those of `synchresis.load`.

    Raises BadInputError for an unknown name or device, for weights that are not there or not this system's.
    """
    from synchresis.systems import DEVICES, file_of, random_weights, read_weights

    check_picture_name(name)
    if device not in DEVICES:
        raise BadInputError(f"no device is called {device!r}: choose from {', '.join(DEVICES)}")
    from synchresis.systems.devices import pick_device

    if name == "pocket":
        if parts or untrained is not None:
            raise BadInputError("pocket comes with its weights: it takes no parts and is never untrained")
        return file_of("pocket_picture").PocketPicture.load(weights, device)
    where = pick_device(device)
    system = getattr(file_of(name), PICTURE_CLASSES[name])
    if untrained is not None:
        if weights is not None or parts:
            raise BadInputError("an untrained system takes no weights")
        return system(random_weights(name, untrained), where)
    if weights is None:
        raise BadInputError(
            f"the weights of {name} are not in the package: give their place with --weights PATH_OR_HUB_ID, "
            "or try the wiring with --untrained small"
        )
    return system(read_weights(name, weights, parts or {}), where)


def convert_picture(
    name: str,
    original: str | Path,
    folder: str | Path,
    parts: Mapping[str, str | Path] | None = None,
    progress: Progress = quiet,
) -> Loaded:
    """Reads published weights and writes them as a folder of ours, as `synchresis.systems.convert` does."""
    from synchresis.systems import read_weights
    from synchresis.systems.weights import check_new, write_folder

    check_picture_name(name)
    check_new(Path(folder))
    progress("read", 0.0)
    loaded = read_weights(name, original, parts or {})
    write_folder(loaded, Path(folder), progress)
    progress("write", 1.0)
    return loaded
