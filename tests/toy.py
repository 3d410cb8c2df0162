"""A system with published weights in miniature, for the tests of loading: a file like those in synchresis/systems."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from synchresis.errors import BadInputError
from synchresis.media import Clip
from synchresis.systems.published import Published
from synchresis.systems.request import Progress, SoundRequest, quiet, settings_of
from synchresis.systems.weights import Loaded, fill, read_tensors, skeleton, taken
from synchresis.timeline import Track, sample_count
from synchresis.timeline.onsets import Onsets

SIZES: dict[str, dict[str, Any]] = {"small": {"width": 4, "words": 5}, "full": {"width": 16, "words": 9}}
PARTS = {"words": "the words' embeddings, which the toy's file leaves out: a .safetensors"}


@dataclass(frozen=True)
class Settings:
    gain: float = field(default=0.1, metadata={"help": "amplitude of the noise"})
    colour: str = field(default="white", metadata={"help": "of the noise", "choices": ["white", "blue"]})
    stereo: bool = field(default=False, metadata={"help": "two channels"})


class Body(nn.Module):
    """A matrix, a norm with statistics (a whole number among them), and a table that no file holds."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Linear(width, width)
        self.norm = nn.BatchNorm1d(width)
        self.register_buffer("table", torch.arange(width), persistent=False)


class Words(nn.Module):
    """Embeddings that two places share, as in T5."""

    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.shared = nn.Embedding(words, width)
        self.encoder = nn.ModuleDict({"embed_tokens": nn.Embedding(words, width)})
        self.encoder["embed_tokens"].weight = self.shared.weight


def build(config: dict[str, Any]) -> dict[str, nn.Module]:
    return {"body": Body(config["width"]), "words": Words(config["words"], config["width"])}


def read_original(path: Path, parts: dict[str, Path]) -> Loaded:
    """The toy's checkpoint, toy.ckpt.

    Raises BadInputError naming what does not fit.
    """
    if "words" not in parts:
        raise BadInputError(f"{path} leaves the words out: add --part words=FILE")
    tensors, words = read_tensors(path), read_tensors(parts["words"])
    config = {"width": tensors["model.mix.weight"].shape[0], "words": words["shared.weight"].shape[0]}
    with skeleton():
        networks = build(config)
    ignored = {r"ema\..*": "a moving average"}
    rest = {name: value for name, value in tensors.items() if not name.startswith("model.")}
    reports = [
        fill(networks["body"], taken(tensors, "model.") | rest, component="body", source=path, ignored=ignored),
        fill(networks["words"], words, component="words", source=parts["words"]),
    ]
    return Loaded("toy", config, networks, reports)


@dataclass(frozen=True)
class Plan:
    duration: Fraction
    seed: int
    settings: Settings
    mode: str = "prompt"
    onsets: Onsets | None = None
    told: Track | None = None
    notes: list[str] = field(default_factory=list)
    rate: int = 16000


class Toy(Published):
    name = "toy"
    rate = 16000

    def prepare(self, clip: Clip, request: SoundRequest, progress: Progress = quiet) -> Plan:
        return Plan(clip.duration, request.seed, settings_of(Settings, request.settings, self.name))

    def stream(self, plan: Plan, progress: Progress = quiet) -> Iterator[np.ndarray]:
        shape = (sample_count(plan.duration, plan.rate), 2 if plan.settings.stereo else 1)
        yield (np.random.default_rng(plan.seed).normal(0, plan.settings.gain, shape)).astype(np.float32)
