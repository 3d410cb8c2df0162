"""How a published system is trained from the command line: where it begins, how it goes, and what it leaves.

The result is a folder of ours, which `sound --weights` takes at once, with training.json beside its networks. It is
written first after `save_every` steps and brought up to date as often, so that an interruption loses little.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from synchresis.errors import BadInputError
from synchresis.systems.request import Progress, quiet
from synchresis.systems.weights import Loaded, check_new, randomise, write_component, write_folder
from synchresis.timeline.beside import written_beside
from synchresis.training.films import Film, Lesson, Lessons, content_hash, learned_from, read_films
from synchresis.training.loop import Saving

FORMAT = 1  # of lessons: another one where what a film teaches is computed otherwise
T = TypeVar("T")


def ignore(*_: object) -> None:
    """A report that nobody reads."""


@dataclass(frozen=True)
class Course:
    """How a training goes. `rate` is the peak of the learning rate; `cache` keeps lessons between runs.

    `report` is told step and loss, `progress` the stage at work, `say` sentences for the person.
    """

    steps: int
    batch: int
    rate: float
    seed: int = 0
    device: str = "cpu"
    save_every: int = 1000
    cache: Path | None = None
    report: Callable[[int, float], None] = ignore
    progress: Progress = quiet
    say: Callable[[str], None] = ignore

    def reported(self, step: int, loss: float) -> None:
        self.progress("train", step / self.steps)
        self.report(step, loss)


# The beginning


def begun(
    name: str, size: str | None, init: Path | None, parts: Mapping[str, Path], trained: Sequence[str], seed: int
) -> Loaded:
    """The networks of `init` (published files, or a folder of ours), or of a size with weights drawn from `seed`.

    From a size ("full" by default), `trained` are as they are born; the others, which stay as they are, are drawn so
    that no path is dead. Raises BadInputError for a size beside files, which have their own, and for parts without
    files that lack them.
    """
    from synchresis.systems import build_as, config_of, read_weights

    if init is not None:
        if size is not None:
            raise BadInputError(f"--size {size}: the sizes are those of --init, leave it out")
        return read_weights(name, init, parts)
    if parts:
        raise BadInputError(f"{name} takes --part beside the published files that --init names: give --init too")
    config, label = config_of(name, size or "full")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        components = build_as(name, config, label)
    for component, module in components.items():
        if component not in trained:
            randomise(module)
    return Loaded(name, config, components, untrained=label)


def lessons_of(
    loaded: Loaded,
    frozen: Sequence[str],
    films: Sequence[Film],
    read: Callable[[Film], list[Lesson]],
    make: Callable[[Film, Lesson], T],
    course: Course,
    folder: Path,
    kind: str = "",
) -> Lessons[T]:
    """`learned_from`, under a key of the `frozen` networks, the configuration and the `kind` of lesson."""
    networks = Loaded(loaded.system, {}, {name: loaded.components[name] for name in frozen}).digest
    told = json.dumps([FORMAT, loaded.system, kind, networks, loaded.config], sort_keys=True)
    key = hashlib.sha256(told.encode()).hexdigest()
    return learned_from(films, read, make, folder=folder, key=key, progress=course.progress, say=course.say)


def on(device: str | torch.device, batch: T) -> T:
    """A dataclass with its tensors on `device`."""
    assert is_dataclass(batch)
    assert not isinstance(batch, type)
    values = {f.name: getattr(batch, f.name) for f in fields(batch)}
    return replace(batch, **{name: v.to(device) for name, v in values.items() if isinstance(v, Tensor)})


# The result


@dataclass(frozen=True)
class Output:
    """The folder that a training writes, and what is noted in its training.json.

    `trained` are the components that change; the others are written once.
    """

    loaded: Loaded
    folder: Path
    trained: Sequence[str]
    course: Course
    noted: Mapping[str, Any]

    @property
    def saving(self) -> Saving:
        return Saving(self.course.save_every, self.write)

    def write(self, step: int) -> Path:
        """The networks as they are now, after `step` steps. Each file is written beside and renamed."""
        self.loaded.__dict__.pop("digest", None)  # that of the weights before
        if not (self.folder / "system.json").is_file():
            write_folder(self.loaded, self.folder)
        else:
            for name in self.trained:
                write_component(self.loaded.components[name], self.folder / f"{name}.safetensors")
        with written_beside(self.folder / "training.json") as part:
            content = {**self.noted, "steps": step, "steps_asked": self.course.steps}
            part.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return self.folder

    def finish(self) -> Path:
        """Writes the trained networks; all are in `eval` and free to be trained again."""
        for network in self.loaded.components.values():
            network.eval().requires_grad_(True)
        return self.write(self.course.steps)


def output_for(
    loaded: Loaded, folder: Path, trained: Sequence[str], course: Course, lessons: Lessons[Any], init: Path | None
) -> Output:
    """Notes what the training is of: the films by content, the seed, what it began with; no places and no times.

    It is said aloud where networks that are not trained are random.
    """
    if loaded.untrained is not None:
        which = Path(loaded.untrained).name
        course.say(f"NOISE: networks that are not trained here have random weights ({which}): good for wiring only")
    noted = {
        "system": loaded.system,
        "trained": list(trained),
        "began_with": Path(loaded.untrained or "parts").name if init is None else init.name,
        "seed": course.seed,
        "batch": course.batch,
        "rate": course.rate,
        "films": [
            {"name": film.path.name, "sha256": content_hash(film.path), "prompt": film.prompt}
            for film in lessons.films
        ],
        "films_left_out": len(lessons.skipped),
        "stretches": len(lessons),
    }
    return Output(loaded, folder, trained, course, noted)


def opened(out: Path, films: Path) -> list[Film]:
    """The films, once `out` is known to be free. Raises BadInputError for either."""
    check_new(out)
    return read_films(films)
