"""Weights: reading what others published, saying which keys were read, and our own folders.

A system of ours is a folder with `system.json`, which a person can read, and a safetensors file per component:

    system.json           {"format": 1, "system": "lova", "config": {...}, "components": {"denoiser": {...}}}
    denoiser.safetensors  ...

Nothing is loaded silently wrong: every tensor of a component is filled, every tensor of a file is used or is ignored
for a reason that has a name, and whatever is left over, missing or of another shape is named and refused.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from synchresis.errors import BadInputError
from synchresis.systems.request import Progress, quiet
from synchresis.timeline.beside import written_beside

FORMAT = 1
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
HUB_FILES = ["*.safetensors", "*.json", "*.jsonl", "*.md", "*.txt", "*.model", "*.ckpt", "*.pt", "*.pth", "*.bin"]
SHOWN = 6  # keys of a kind that an error names


# Places


def place_of(weights: str | Path, option: str = "--weights") -> Path:
    """The file or folder with these weights; an `owner/name` that is neither is fetched from the Hugging Face hub.

    Raises BadInputError where there is neither, and where the hub's client is not installed or fails.
    """
    place = Path(weights)
    if not str(weights):
        raise BadInputError(f"{option} names no file, folder or hub id")
    if place.exists():
        return place
    if not HUB_ID.fullmatch(str(weights)):
        raise BadInputError(f"{option} {weights}: there is no such file or folder")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise BadInputError(
            f"{option} {weights}: no such folder; to fetch it from the hub, first `pip install huggingface_hub`"
        ) from error
    try:
        return Path(snapshot_download(str(weights), allow_patterns=HUB_FILES))
    except Exception as error:  # the client raises its own kinds, and those of whatever carries it
        raise BadInputError(
            f"{option} {weights}: no such folder, and the hub says: {_first_line(error)}"
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


# Reading


def read_tensors(path: Path, inside: Sequence[str] = ("state_dict", "model")) -> dict[str, Tensor]:
    """The tensors of a file by name: safetensors, or a torch file that is read without running any of its code.

    Of a torch file the first dictionary found under a name of `inside` is taken, else its top level; what is no
    tensor there is left out. Tensors of a torch file (since 1.6) stay on the disk until they are used. Raises
    BadInputError for a file that is damaged, or that needs more than `weights_only` to be read.
    """
    if not path.is_file():
        raise BadInputError(f"{path}: there is no such file")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise BadInputError(f"{path} is damaged or no safetensors file: make it again ({error})") from error
    try:
        # The warnings guess at what garbage might have been.
        with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals(_numbers()):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a damaged pickle fails in every way there is
        code = re.search(r"GLOBAL (\S+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and code:
            raise BadInputError(
                f"{path} holds more than tensors ({code[1]}), and reading it would run code: it is refused. "
                "If you trust the file, load it in Python yourself and save its tensors with safetensors"
            ) from error
        reason = "damaged, or of another kind" if isinstance(error, pickle.UnpicklingError) else _first_line(error)
        raise BadInputError(f"{path} is not a file of torch tensors: {reason}") from error
    for name in inside:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
            break
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    if not tensors:
        raise BadInputError(f"{path} holds no tensors by name")
    return tensors


def _numbers() -> list[Any]:
    """numpy's numbers, under their old and new names: files such as LAION's hold some beside their tensors, such as a
    score. Data all of it, no code.
    """
    scalar: Any = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")]
    named = [(scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar")]
    return [*named, np.dtype, *kinds]


def taken(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


# Filling


@dataclass(frozen=True)
class KeyReport:
    """What became of the tensors of a file: how many were read, and how many ignored for which reason."""

    component: str
    source: Path
    read: int
    ignored: Mapping[str, int] = field(default_factory=dict)


def fill(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    component: str,
    source: Path,
    ignored: Mapping[str, str] | None = None,
) -> KeyReport:
    """Puts the tensors into `module`, whose parameters may be empty (see `skeleton`), and reports.

    `ignored` maps a pattern, which must match a whole name, to the reason why such a tensor is not needed. Floats
    become float32, whole numbers the kind that the module has. Of parameters that the module ties together one is
    enough. Raises BadInputError naming what is missing, unknown, of another shape or kind, or tied and yet different;
    the module is then as it was.
    """
    reasons: dict[str, int] = {}
    wanted, given = module.state_dict(), {}
    for name, value in tensors.items():
        reason = None
        if name not in wanted:
            reason = next((why for pattern, why in (ignored or {}).items() if re.fullmatch(pattern, name)), None)
        if reason is None:
            given[name] = value
        else:
            reasons[reason] = reasons.get(reason, 0) + 1
    other = [
        f"{name} {list(given[name].shape)} instead of {list(value.shape)}"
        for name, value in wanted.items()
        if name in given and given[name].shape != value.shape
    ]
    strange = [
        f"{name} {given[name].dtype} instead of {value.dtype}"
        for name, value in wanted.items()
        if name in given and _kind(given[name]) != _kind(value)
    ]
    tied = _tied(module)
    unequal = [
        " and ".join(there)
        for there in ([name for name in group if name in given] for group in tied)
        if any(not torch.equal(given[there[0]], given[name]) for name in there[1:])
    ]
    absent = wanted.keys() - given.keys()
    for group in tied:
        if any(name in given for name in group):
            absent -= set(group)
    faults = {
        "missing": sorted(absent),
        "unknown": sorted(given.keys() - wanted.keys()),
        "of another shape": sorted(other),
        "of another kind": sorted(strange),
        "tied and yet different": sorted(unequal),
    }
    if any(faults.values()):
        said = "; ".join(f"{len(names)} {kind}: {_some(names)}" for kind, names in faults.items() if names)
        raise BadInputError(f"{source} does not fit {component}: {said}")
    empty = [name for name, buffer in module.named_buffers() if buffer.is_meta and name not in wanted]
    if empty:
        raise RuntimeError(f"{component} makes {_some(empty)} of a parameter that has no memory yet")

    report = KeyReport(component, source, len(given), reasons)
    given = {
        name: _aligned(value.to(torch.float32 if value.is_floating_point() else wanted[name].dtype))
        for name, value in given.items()
    }
    for group in tied:
        value = next(given[name] for name in group if name in given)
        given |= dict.fromkeys(group, nn.Parameter(value, module.get_parameter(group[0]).requires_grad))
    module.load_state_dict(given, assign=True)
    return report


def _aligned(value: Tensor) -> Tensor:
    """In memory that begins on 64 bytes, as torch allocates it, and a mapped file does not: elsewhere the CPU's kernels
    add up in another order, and the same weights from two files would not make the same bytes.
    """
    return value if value.data_ptr() % 64 == 0 else value.clone()


def _kind(value: Tensor) -> str:
    if value.dtype.is_complex or value.dtype == torch.bool:
        return str(value.dtype)
    return "float" if value.is_floating_point() else "integer"


def _tied(module: nn.Module) -> list[list[str]]:
    """The names that one parameter has, for each that has several, such as T5's embeddings."""
    names: dict[int, list[str]] = {}
    for name, param in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(param), []).append(name)
    return [group for group in names.values() if len(group) > 1]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")


@contextmanager
def skeleton() -> Iterator[None]:
    """Modules built inside have parameters without memory, to be filled with `fill`; their buffers are real."""
    register = nn.Module.register_parameter

    def empty(module: nn.Module, name: str, param: nn.Parameter | None) -> None:
        if param is not None and param.device.type != "meta":
            param = nn.Parameter(param.detach().to("meta"), requires_grad=param.requires_grad)
        register(module, name, param)

    nn.Module.register_parameter = empty  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def randomise(module: nn.Module, seed: int = 0) -> None:
    """Draws every weight matrix of `module` anew, so that no path of an untrained network is dead.

    Normal with variance 1 / fan-in, a function of the seed and the parameter's name. Vectors keep the values they
    were made with, where a norm has its ones and a gate its own.
    """
    with torch.no_grad():
        for name, param in module.named_parameters():
            fan_in = param[0].numel() if param.ndim > 1 else 1
            if fan_in > 1:
                generator = torch.Generator().manual_seed(crc32(f"{seed} {name}".encode()))
                param.copy_(torch.randn(param.shape, generator=generator) * fan_in**-0.5)


# Systems


@dataclass
class Loaded:
    """A system's networks in memory. `config` is what system.json says of their sizes and quirks.

    `untrained` is the size, or the absolute path of the configuration, of random weights; None for trained ones.
    """

    system: str
    config: dict[str, Any]
    components: dict[str, nn.Module]
    reports: list[KeyReport] = field(default_factory=list)
    untrained: str | None = None

    @cached_property
    def digest(self) -> str:
        """sha256 of all components by name; the same for an original file and for a folder converted from it."""
        total = hashlib.sha256()
        for component in sorted(self.components):
            for name, value in sorted(self.components[component].state_dict().items()):
                total.update(f"{component} {name} {list(value.shape)}\n".encode())
                total.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return total.hexdigest()


def report_line(loaded: Loaded) -> str | None:
    """What was read of which file, in one line; None where nothing was.

    "lova: 741 tensors read: denoiser 491 from a.ckpt, codec 250 from a.ckpt; 12 ignored (12 a moving average)"
    """
    if not loaded.reports:
        return None
    parts = ", ".join(f"{report.component} {report.read} from {report.source.name}" for report in loaded.reports)
    ignored: Counter[str] = Counter()
    for report in loaded.reports:
        ignored.update(report.ignored)
    why = ", ".join(f"{count} {reason}" for reason, count in ignored.items())
    total = sum(report.read for report in loaded.reports)
    return f"{loaded.system}: {total} tensors read: {parts}; {ignored.total()} ignored{f' ({why})' if why else ''}"


def check_new(folder: Path) -> None:
    """Raises BadInputError where a system cannot be written to `folder`, because there is one or it is a file."""
    if (folder / "system.json").exists():
        raise BadInputError(f"{folder} already holds a system: choose another folder")
    if folder.exists() and not folder.is_dir():
        raise BadInputError(f"{folder} is a file: name a folder")


def write_folder(loaded: Loaded, folder: Path, progress: Progress = quiet) -> Path:
    """Writes a system as a folder of ours and returns it. Raises BadInputError where the folder has a system.

    system.json comes last, so that a folder which has one is whole.
    """
    check_new(folder)
    folder.mkdir(parents=True, exist_ok=True)
    described: dict[str, Any] = {}
    for i, (component, module) in enumerate(loaded.components.items()):
        progress("write", i / len(loaded.components))
        tensors = write_component(module, folder / f"{component}.safetensors")
        described[component] = {
            "file": f"{component}.safetensors",
            "tensors": len(tensors),
            "parameters": sum(value.numel() for value in tensors.values()),
        }
    content = {"format": FORMAT, "system": loaded.system, "config": loaded.config, "components": described}
    if loaded.untrained is not None:
        content["untrained"] = Path(loaded.untrained).name
    with written_beside(folder / "system.json") as part:
        part.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return folder


def write_component(module: nn.Module, file: Path) -> dict[str, Tensor]:
    """Writes a network beside `file` and renames it; returns what was written."""
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in module.state_dict().items()}
    with written_beside(file) as part:
        save_file(tensors, part)
        part.chmod(0o644)  # safetensors makes files that only their owner can read
    return tensors


def read_description(folder: Path, system: str) -> dict[str, Any]:
    """The system.json of a folder. Raises BadInputError where it is not one of this format and this system."""
    try:
        content = json.loads((folder / "system.json").read_text(encoding="utf-8"))
        format_, name, _ = content["format"], content["system"], content["config"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{folder / 'system.json'} does not describe a system: {error}") from error
    if format_ != FORMAT:
        raise BadInputError(f"{folder} is a system of format {format_}; this version reads {FORMAT}")
    if name != system:
        raise BadInputError(f"{folder} holds {name}, not {system}: say --system {name}")
    return content


def fill_from_folder(folder: Path, components: Mapping[str, nn.Module]) -> list[KeyReport]:
    """Fills the components from `NAME.safetensors` each."""
    reports = []
    for component, module in components.items():
        file = folder / f"{component}.safetensors"
        reports.append(fill(module, read_tensors(file), component=component, source=file))
    return reports
