"""Training of pocket from nothing: the watcher on rendered films, the codec and the generator on sound, and the
networks of its pictures on rendered films taken apart.

`train` is what `synchresis train pocket` calls. Each part is a function of (recordings, seed, steps), so the same
command gives the same weights on the same machine; what was used is written into `system.json`.
"""

import json
import os
import platform
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from synchresis.data.recordings import load_recordings, split
from synchresis.errors import BadInputError
from synchresis.nn.mel_vae import MelVAE, MelVAEConfig
from synchresis.nn.sounder import Sounder, SounderConfig
from synchresis.training.codec import train_codec
from synchresis.training.generator import train_generator
from synchresis.training.material import Pool, build_pool, phrases
from synchresis.training.picture import build_lessons, train_layers, train_mover, train_painter
from synchresis.training.watcher import train_watcher

PARTS = ("watcher", "codec", "generator", "picture")
# As the packaged weights were trained.
STEPS = {"codec": 3600, "generator": 2600, "layers": 2800, "painter": 5700, "mover": 5600}
ITEMS = 3000                                   # ten-second sounds that codec and generator learn from
LESSONS = 8000                                 # films that the picture's networks learn from
Report = Callable[[int, float], None]


def train(
    part: str,
    out: Path,
    *,
    recordings: Path | None = None,
    stage: Path | None = None,
    seed: int = 0,
    steps: int | None = None,
    items: int | None = None,
    report: Report | None = None,
) -> Path:
    """Train one part, or "all", and write its weights into the folder `out`; the folder is returned.

    A generator that is in the folder already is trained further; delete it to begin from nothing.
    `recordings` is the folder of real sounds that codec and generator learn from (ESC-10 and one-shots), `stage` a
    folder in which rendered films are kept between runs, `items` how many sounds or films there are to learn from
    (default: as the packaged weights were). Raises BadInputError for an unknown part, or when a
    part needs what was not given.
    """
    if part not in (*PARTS, "all"):
        raise BadInputError(f"pocket has no part called {part!r}: choose from {', '.join(PARTS)}, all")
    if part not in ("watcher", "picture") and recordings is None:
        raise BadInputError("codec and generator learn from real recordings: give their folder with --recordings")
    out.mkdir(parents=True, exist_ok=True)
    if part in ("watcher", "all"):
        train_watcher(out / "watcher.safetensors", cache=stage, seed=seed, steps=steps, report=report)
    if part in ("picture", "all"):
        _picture(out, recordings, seed, steps, items or LESSONS, report)
    if recordings is not None and part not in ("watcher", "picture"):
        items = items or ITEMS
        pool = build_pool(split(load_recordings(recordings))[0], items, seed, workers=os.cpu_count() or 1)
        if part in ("codec", "all"):
            _codec(out, pool, seed, steps or STEPS["codec"], items, report)
        if part in ("generator", "all"):
            _generator(out, pool, seed, steps or STEPS["generator"], items, report)
    return out


def _picture(
    out: Path, recordings: Path | None, seed: int, steps: int | None, items: int, report: Report | None
) -> None:
    """The layers' codec, the painter and the mover; real recordings sound in half of the films where there are any."""
    known = split(load_recordings(recordings))[0] if recordings is not None else []
    lessons = build_lessons(items, seed, known, workers=os.cpu_count() or 1)
    vae = train_layers(lessons, steps or STEPS["layers"], seed, report)
    save_half(vae, out / "layers.safetensors")
    painter = train_painter(lessons, vae, steps or STEPS["painter"], seed, report)
    save_half(painter, out / "painter.safetensors")
    mover = train_mover(lessons, steps or STEPS["mover"], seed, report)
    save_half(mover, out / "mover.safetensors")
    describe(
        out,
        layers=vae.config.to_dict(),
        painter=painter.config.to_dict(),
        mover=mover.config.to_dict(),
        picture_training={"seed": seed, "steps": steps or STEPS, "lessons": len(lessons), "recordings": bool(known)},
    )


def _codec(out: Path, pool: Pool, seed: int, steps: int, items: int, report: Report | None) -> None:
    vae = train_codec(pool, steps, seed, report)
    save_half(vae, out / "codec.safetensors")
    describe(out, codec_training={"seed": seed, "steps": steps, "items": items}, codec=vars(vae.config))


def _generator(out: Path, pool: Pool, seed: int, steps: int, items: int, report: Report | None) -> None:
    described = json.loads((out / "system.json").read_text()) if (out / "system.json").is_file() else {}
    if "codec" not in described:
        raise BadInputError(f"{out} has no codec yet: train it first with --part codec")
    vae = MelVAE(MelVAEConfig(**described["codec"]))
    vae.load_state_dict({k: v.float() for k, v in load_file(out / "codec.safetensors").items()})
    start = None
    if (out / "generator.safetensors").is_file():
        start = Sounder(SounderConfig(**described["generator"]))
        start.load_state_dict({k: v.float() for k, v in load_file(out / "generator.safetensors").items()})
    net = train_generator(pool, vae.eval(), steps, seed, report, start=start)
    save_half(net, out / "generator.safetensors")
    words = sorted({word for label in set(pool.labels) for phrase in phrases(label) for word in phrase.lower().split()})
    describe(
        out,
        generator_training=[*described.get("generator_training", []), {"seed": seed, "steps": steps, "items": items}],
        generator=net.config.to_dict(),
        vocabulary=words,
    )


def save_half(module: torch.nn.Module, path: Path) -> None:
    """Weights in half precision: half the bytes, no audible difference (docs/pocket.md)."""
    half = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in module.state_dict().items()}
    beside = path.with_suffix(".part")
    save_file(half, beside)
    beside.replace(path)


def describe(out: Path, **entries: object) -> None:
    """Add entries to the folder's system.json."""
    path = out / "system.json"
    known = json.loads(path.read_text()) if path.is_file() else {"system": "pocket"}
    known.update(entries, torch=torch.__version__, machine=platform.machine())
    path.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
