"""What the opened networks share: the file they came from, batches of equal length, pictures made small."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synchresis.errors import BadInputError
from synchresis.evaluation.networks import NetworkInfo
from synchresis.systems.weights import KeyReport, Loaded, fill, place_of

Rows = dict[str, np.ndarray]

SAMPLES = 2_000_000        # of sound in a batch
CONSTANT_TOLERANCE = 1e-5  # by which a file's filters may differ from ours unmentioned


class Network:
    """A network in memory; see the room's docstring. `warnings` are things about the file worth printing."""

    def __init__(self, info: NetworkInfo, module: nn.Module, device: str, reports: Sequence[KeyReport] = ()) -> None:
        self.info, self.device = info, device
        self.loaded = Loaded(info.id, {}, {"network": module}, list(reports))
        self.warnings: list[str] = []
        module.eval().requires_grad_(False).to(device)

    def batched(self, items: Sequence[Tensor], run: Callable[[Tensor], Mapping[str, Tensor]]) -> list[Rows]:
        """`in_batches`; on a processor one by one, which costs nothing: the same bits in whatever company."""
        return in_batches(items, run, limit=1 if self.device == "cpu" else SAMPLES)

    @property
    def digest(self) -> str:
        return self.loaded.digest

    @property
    def reports(self) -> list[KeyReport]:
        return self.loaded.reports


def file_of(info: NetworkInfo, place: str | Path) -> Path:
    """The weights file at a path, in a folder, or of a hub id. Raises BadInputError where a folder has it not."""
    found = place_of(place, f"weights of {info.id}")
    if found.is_file():
        return found
    if not (found / info.weights.file).is_file():
        raise BadInputError(f"{found} has no {info.weights.file}: that is the file of {info.id} ({info.weights.where})")
    return found / info.weights.file


def filled(
    info: NetworkInfo, module: nn.Module, tensors: Mapping[str, Tensor], source: Path, ignored: Mapping[str, str]
) -> KeyReport:
    """`weights.fill` with the network's id as the name of the component."""
    return fill(module, tensors, component=info.id, source=source, ignored=ignored)


def differing(computed: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> list[str]:
    """Sentences about constants of a file that are not what their description says."""
    said = []
    for name, value in computed.items():
        if name in tensors and tensors[name].shape == value.shape:
            distance = float((tensors[name].float() - value.cpu()).abs().max())
            if distance > CONSTANT_TOLERANCE:
                said.append(f"{name} of the file differs by {distance:.1e} from what its description gives")
    return said


def tokenizer_of(info: NetworkInfo, parts: Mapping[str, str | Path]) -> Any:
    """transformers' tokenizer of the part of that name, or None. Raises BadInputError where it cannot be had."""
    if "tokenizer" not in parts:
        return None
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(parts["tokenizer"]))
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BadInputError(f"tokenizer {parts['tokenizer']} of {info.id}: {reason}") from error


def needed_tokenizer(info: NetworkInfo, tokenizer: Any) -> Any:
    if tokenizer is None:
        raise BadInputError(f"{info.id} reads texts with the part tokenizer: {info.parts['tokenizer']}")
    return tokenizer


@contextmanager
def asking() -> Iterator[None]:
    """No gradients, and float32 in full: on its own cuDNN rounds to 10 bits (TF32), and that can flip a class."""
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield


def as_sounds(sounds: Iterable[np.ndarray]) -> list[Tensor]:
    """Mono sounds [N] as float32 tensors. Raises ValueError for an empty one, one of more axes, or one with NaN."""
    out = []
    for i, sound in enumerate(sounds):
        sound = np.asarray(sound, np.float32)
        if sound.ndim != 1 or not len(sound):
            raise ValueError(f"sound {i} has the shape {list(sound.shape)}: give mono sounds with samples")
        if not np.isfinite(sound).all():
            raise ValueError(f"sound {i} holds values that are not finite")
        out.append(torch.from_numpy(np.ascontiguousarray(sound)))
    return out


def in_batches(
    items: Sequence[Tensor], run: Callable[[Tensor], Mapping[str, Tensor]], limit: int
) -> list[Rows]:
    """`run` on stacks of items of one shape, at most `limit` values (or one item) each: what it gives, per item."""
    by_shape: dict[torch.Size, list[int]] = {}
    for i, item in enumerate(items):
        by_shape.setdefault(item.shape, []).append(i)
    out: list[Rows] = [{} for _ in items]
    for shape, indices in by_shape.items():
        size = max(1, limit // max(1, shape.numel()))
        for start in range(0, len(indices), size):
            group = indices[start : start + size]
            with asking():
                given = run(torch.stack([items[i] for i in group]))
            for name, values in given.items():
                for i, value in zip(group, values.float().cpu().numpy(), strict=True):
                    out[i][name] = value
    return out


def shrunk(picture: np.ndarray, side: int) -> Tensor:
    """A picture uint8 [H, W, 3] with its short side at `side`, bicubic with antialiasing: uint8 [3, h, w].

    The long side is cut to whole pixels, and values are rounded to 8 bits, as torchvision's Resize does.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ValueError(f"a picture is uint8 [H, W, 3], not {picture.dtype} {list(picture.shape)}")
    values = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
    height, width = picture.shape[:2]
    short = min(height, width)
    size = (height * side // short, width * side // short)
    if size == (height, width):
        return values[0]
    return F.interpolate(values, size=size, mode="bicubic", antialias=True, align_corners=False)[0]


def middle(picture: Tensor, side: int) -> Tensor:
    """The square in the middle of [..., h, w]."""
    top, left = (round((length - side) / 2) for length in picture.shape[-2:])
    return picture[..., top : top + side, left : left + side]
