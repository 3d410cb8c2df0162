"""What the systems share behind their face: `sound`, `picture`, and all that follows from published weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synchresis.errors import BadInputError
from synchresis.media import Clip
from synchresis.systems.picturing import PictureRequest, PictureSystem
from synchresis.systems.request import Progress, SoundRequest, System, quiet
from synchresis.systems.weights import Loaded, report_line, write_folder
from synchresis.timeline import Track
from synchresis.timeline.onsets import Onsets

if TYPE_CHECKING:
    from synchresis.delivery.produce import Take


def sound_clip(
    system: System,
    clip: str | Path,
    *,
    prompt: str | None = None,
    like: str | Path | None = None,
    envelope: str | Path = "auto",
    onsets: str | Path | None = None,
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    progress: Progress = quiet,
    **settings: Any,
) -> Take:
    """A sound for a clip: the `sound` method of every system. The options are those of `SoundRequest`.

    Raises BadInputError for a clip, file, option or setting that cannot be used.
    """
    from synchresis.delivery.produce import make_take

    request = SoundRequest(
        prompt=prompt,
        like=None if like is None else Path(like),
        envelope=str(envelope),
        onsets=None if onsets is None else Path(onsets),
        seed=seed,
        steps=steps,
        guidance=guidance,
        settings={name: str(value) for name, value in settings.items()},
    )
    return make_take(system, clip, request, progress)


def picture_sound(
    system: PictureSystem,
    sound: str | Path,
    out: str | Path,
    *,
    overwrite: bool = False,
    progress: Progress = quiet,
    settings: Mapping[str, Any] | None = None,
    **wishes: Any,
) -> dict[str, Any]:
    """Writes a film for a sound to `out` (.mp4, .mov or .mkv): the `picture` method of every system.

    Recipe, report and contact sheet lie beside it; the report is returned. The wishes are the fields of
    `PictureRequest`. Raises BadInputError for a sound, file, option or setting that cannot be used.
    """
    from synchresis.delivery.film import check_film, make_film
    from synchresis.delivery.outputs import Outputs
    from synchresis.timeline.time import as_fraction

    for name in ("film", "lora", "onsets"):
        if wishes.get(name) is not None:
            wishes[name] = Path(wishes[name])
    if wishes.get("fps") is not None:
        wishes["fps"] = as_fraction(wishes["fps"])
    told = {name: str(value) for name, value in (settings or {}).items()}
    request, outputs = PictureRequest(**wishes, settings=told), Outputs(Path(out))
    check_film(outputs, Path(sound), overwrite)
    return make_film(system, Path(sound), request, outputs, progress)


def need_picture(clip: Clip) -> None:
    """Raises BadInputError for a clip without a picture that lasts."""
    if clip.video is None or clip.duration <= 0:
        raise BadInputError(f"{clip.path} has no picture to put a sound to")


class FromWeights:
    """A system whose networks came from published files, from a folder of ours, or from nowhere."""

    name: str

    def __init__(self, loaded: Loaded, device: str) -> None:
        self.loaded = loaded
        self.config: dict[str, Any] = loaded.config
        self.device = device
        for network in loaded.components.values():
            network.eval().to(device)

    @property
    def weights_hash(self) -> str:
        return self.loaded.digest

    @property
    def untrained(self) -> str | None:
        return self.loaded.untrained

    @property
    def key_report(self) -> str | None:
        return report_line(self.loaded)

    def save(self, folder: str | Path) -> Path:
        """Writes the system as a folder of ours, which `synchresis.load` takes as `weights`."""
        return write_folder(self.loaded, Path(folder))


class Published(FromWeights):
    """One that makes sound: its class adds `prepare` and `stream`, and `watch` where its networks can see onsets."""

    sound = sound_clip

    def watch(self, clip: Clip, progress: Progress = quiet) -> tuple[Onsets, Track, Any]:
        raise BadInputError(f"{self.name} does not watch: it sees no onsets in a picture; use --system pocket")
