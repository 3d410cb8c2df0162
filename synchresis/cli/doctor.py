"""`synchresis doctor`: what is installed, what is missing, and the one line that mends it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path

import typer

from synchresis import __version__
from synchresis.cli.common import DebugOption
from synchresis.errors import BadInputError
from synchresis.systems import CLASSES, SYSTEMS, load
from synchresis.systems.picturing import PICTURE_CLASSES, PICTURE_SYSTEMS, PictureSystem, load_picture
from synchresis.systems.request import System

PACKAGES = (
    "torch",
    "numpy",
    "av",
    "soundfile",
    "soxr",
    "safetensors",
    "einops",
    "opencv-python-headless",
    "matplotlib",
    "transformers",
    "diffusers",
)
ENCODERS = {"libx264": "H.264 films", "aac": "sound in mp4, mov", "libopus": "sound in webm", "flac": "sound in mkv"}
DECODERS = ("h264", "aac", "opus", "flac")

# Nothing here uses them, and they bring a build of torch that does not belong to the one that is installed.
STRANGERS = {"torchvision", "torchaudio", "timm", "open-clip-torch", "laion-clap", "msclap", "litdata"}
LEAST_DISK = 2 * 1024**3


@dataclass(frozen=True)
class Finding:
    """One line of the report. `remedy` is there if and only if something must be done."""

    subject: str
    text: str
    remedy: str | None = None


def doctor(debug: DebugOption = False) -> int:
    """Say what is installed and what is missing, with the one line that mends it. Exit code 1 if something
    is.
    """
    failures = 0
    for finding in examine():
        typer.echo(f"{'ok ' if finding.remedy is None else 'BAD'}  {finding.subject:<24}{finding.text}")
        if finding.remedy is not None:
            failures += 1
            typer.echo(f"     mend it:  {finding.remedy}")
    typer.echo(f"{failures} to mend" if failures else "all is well")
    return 1 if failures else 0


def examine() -> Iterator[Finding]:
    """Everything that is looked at, in order."""
    yield _python()
    yield Finding("synchresis", f"{__version__} in {Path(__file__).parents[1]}")
    missing = False
    for package in PACKAGES:
        finding = _package(package)
        missing = missing or finding.remedy is not None
        yield finding
    yield from _strangers({_plain(found.name) for found in distributions()})
    if missing:
        return  # what follows needs them
    yield from _codecs()
    yield from _devices()
    for name in SYSTEMS:
        yield _weights(f"weights of {name}", name, None if name in CLASSES else load)
    for name in PICTURE_SYSTEMS:
        yield _weights(f"pictures of {name}", name, None if name in PICTURE_CLASSES else load_picture)
    yield _disk(Path.cwd())


def _python() -> Finding:
    text = f"{platform.python_version()} at {sys.executable}"
    if (3, 11) <= sys.version_info[:2] < (3, 13):
        return Finding("python", text)
    return Finding("python", text, "make clean && make PYTHON=python3.11 demo")


def _package(name: str) -> Finding:
    try:
        return Finding(name, version(name))
    except PackageNotFoundError:
        return Finding(name, "not installed", f"{sys.executable} -m pip install {name}")


def _strangers(installed: set[str]) -> Iterator[Finding]:
    for name in sorted(installed & STRANGERS):
        text = "installed, but nothing here needs it and it may break torch"
        yield Finding(name, text, f"{sys.executable} -m pip uninstall -y {name}")
    cuda = sorted(name for name in installed if name.startswith("nvidia-") or name == "triton")
    if cuda:
        yield Finding("cuda packages", f"{len(cuda)} ({cuda[0]} ...): only of use with an NVIDIA GPU")


def _codecs() -> Iterator[Finding]:
    import av
    from av.codec import Codec

    remedy = f"{sys.executable} -m pip install --force-reinstall --only-binary av av"
    wanted = [(name, "w", use) for name, use in ENCODERS.items()] + [(name, "r", "reading") for name in DECODERS]
    for name, mode, use in wanted:
        try:
            Codec(name, mode)
        except av.codec.codec.UnknownCodecError:
            yield Finding(f"codec {name}", f"missing: {use}", remedy)
        else:
            yield Finding(f"codec {name}", "writes" if mode == "w" else "reads")


def _devices() -> Iterator[Finding]:
    import torch

    yield Finding("device cpu", f"{torch.get_num_threads()} threads of {os.cpu_count()} processors")
    if torch.cuda.is_available():
        yield Finding("device cuda", torch.cuda.get_device_name())
    else:
        yield Finding("device cuda", "none: fine, the processor is used")
    yield Finding("device mps", "there" if torch.backends.mps.is_available() else "none: fine, the processor is used")


def _weights(what: str, name: str, packaged: Callable[..., System | PictureSystem] | None) -> Finding:
    """Of a system in the package: loading checks that every file is there and fits its network."""
    if packaged is None:
        return Finding(what, f"not in the package: `synchresis systems {name}` says which to get")
    try:
        system = packaged(name, device="cpu")
    except (BadInputError, OSError) as error:
        text = " ".join(str(error).split())
        remedy = f"{sys.executable} -m pip install --force-reinstall --no-deps synchresis"
        return Finding(what, text, remedy)
    return Finding(what, f"sha256 {system.weights_hash[:16]}")


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    text = f"{free / 1024**3:.1f} GiB free here"
    if free < LEAST_DISK:
        return Finding("disk", text, f"df -h {folder}   # make room, or give --out on another disk")
    return Finding("disk", text)


def _plain(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
