"""Sound classifiers: PANNs, VGGish, PaSST."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from synchresis.errors import BadInputError
from synchresis.evaluation.classes import windows as window_starts
from synchresis.evaluation.networks import NetworkInfo
from synchresis.evaluation.networks.common import (
    SAMPLES,
    Network,
    Rows,
    as_sounds,
    differing,
    file_of,
    filled,
    in_batches,
)
from synchresis.nn import panns, passt, vggish
from synchresis.systems.weights import read_tensors, skeleton

PADDED = 32_000  # samples to which audioldm_eval fills a sound up, at either rate


class Panns(Network):
    """Cnn14: features [1, 2048] after fc1 and its ReLU, logits [1, 527]."""

    @classmethod
    def open(
        cls,
        info: NetworkInfo,
        place: str | Path,
        device: str,
        parts: Mapping[str, str | Path],
        sizes: panns.Cnn14Config | None,
    ) -> Panns:
        path = file_of(info, place)
        published = panns.AT_16K if info.rate == panns.AT_16K.sample_rate else panns.AT_32K
        with skeleton():
            module = panns.Cnn14(sizes or published)
        computed = {name: value for name, value in module.named_buffers() if "extractor" in name}
        tensors = read_tensors(path)
        report = filled(info, module, tensors, path, {})
        network = cls(info, module, device, [report])
        network.module = module
        network.warnings = [f"{path.name}: {said}; the file's own is used" for said in differing(computed, tensors)]
        return network

    module: panns.Cnn14

    def embed(self, sounds: Iterable[np.ndarray]) -> list[Rows]:
        def run(batch: Tensor) -> dict[str, Tensor]:
            features, logits = self.module(batch.to(self.device))
            return {"features": features[:, None], "logits": logits[:, None]}

        least = max(PADDED, self.module.shortest)
        return self.batched([F.pad(x, (0, max(0, least - len(x)))) for x in as_sounds(sounds)], run)


# What NumPy's arrays are made of in a pickle, by the names of its old and its new versions. Nothing else is let in.
_MAKE = np.zeros(0).__reduce__()[0]
_ARRAY: list[Any] = [
    np.ndarray,
    np.dtype,
    *((_MAKE, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *(type(np.dtype(kind)) for kind in ("f4", "f8")),
]


def read_pca(path: Path) -> dict[str, Tensor]:
    """VGGish's PCA parameters, which are NumPy arrays in a pickle: only arrays are unpickled, no code is run.

    Raises BadInputError for a file with anything else in it.
    """
    try:
        with torch.serialization.safe_globals(_ARRAY):
            content = torch.load(path, map_location="cpu", weights_only=True)
        arrays = (np.asarray(content[name], np.float32) for name in ("pca_eigen_vectors", "pca_means"))
        return vggish.as_pca_state(*arrays)
    except (pickle.UnpicklingError, RuntimeError, LookupError, TypeError, ValueError, AttributeError, OSError) as error:
        raise BadInputError(f"{path} does not hold VGGish's PCA arrays and nothing but them: {error}") from error


class Vggish(Network):
    """Features [P, 128], P patches of 0.96 s; none for a sound of under 15 600 samples."""

    module: vggish.Vggish

    @classmethod
    def open(
        cls,
        info: NetworkInfo,
        place: str | Path,
        device: str,
        parts: Mapping[str, str | Path],
        sizes: dict[str, Any] | None,
    ) -> Vggish:
        path = file_of(info, place)
        with skeleton():
            module = vggish.Vggish(**(sizes or {}), whitening="pca" in parts)
        tensors = read_tensors(path)
        if "pca" in parts:
            tensors = tensors | read_pca(Path(parts["pca"]))
        report = filled(info, module, tensors, path, {})
        network = cls(info, module, device, [report])
        network.module = module
        return network

    def embed(self, sounds: Iterable[np.ndarray], variant: vggish.Variant = "linear") -> list[Rows]:
        """Raises BadInputError for a variant with PCA where the part "pca" is not there."""
        if variant in ("quantised", "pca_linear") and self.module.pproc is None:
            raise BadInputError(f"VGGish's variant {variant} needs the part pca: {self.info.parts['pca']}")
        out = []
        for sound in as_sounds(sounds):
            patches = vggish.examples(sound).unbind(0)
            rows = in_batches(patches, lambda x: {"features": self.module(x.to(self.device), variant)}, SAMPLES)
            width = self.module.embeddings[-1].out_features
            found = [row["features"] for row in rows]
            out.append({"features": np.stack(found) if found else np.zeros((0, width), np.float32)})  # type: ignore
        return out


class Passt(Network):
    """Features [K, 768], logits [K, 527], per window of 10 s."""

    module: passt.Passt

    @classmethod
    def open(
        cls,
        info: NetworkInfo,
        place: str | Path,
        device: str,
        parts: Mapping[str, str | Path],
        sizes: passt.PasstConfig | None,
    ) -> Passt:
        path = file_of(info, place)
        with skeleton():
            module = passt.Passt(sizes)
        # hear21passt's wrapper puts `net.` before the names and adds a tensor of its own.
        tensors = {name.removeprefix("net."): value for name, value in read_tensors(path).items()}
        report = filled(info, module, tensors, path, {"device_proxy": "the wrapper's own, without meaning"})
        network = cls(info, module, device, [report])
        network.module = module
        return network

    def embed(self, sounds: Iterable[np.ndarray], windows: Literal["first", "sliding"] = "first") -> list[Rows]:
        """ "first": 10 s from the beginning (av-benchmark). "sliding": all, every 5 s (stable-audio-metrics)."""

        def run(batch: Tensor) -> dict[str, Tensor]:
            logits, features = self.module(passt.mel_picture(batch.to(self.device)))
            return {"features": features, "logits": logits}

        pieces: list[Tensor] = []
        owners: list[int] = []
        given = as_sounds(sounds)
        for i, sound in enumerate(given):
            starts = window_starts(len(sound) / passt.RATE, passt.RATE) if windows == "sliding" else [0]
            for start in starts:
                piece = sound[start : start + passt.LONGEST]
                pieces.append(F.pad(piece, (0, passt.LONGEST - len(piece))))
                owners.append(i)
        rows = self.batched(pieces, run)
        return [
            {
                name: np.stack([row[name] for row, owner in zip(rows, owners, strict=True) if owner == i])
                for name in ("features", "logits")
            }
            for i in range(len(given))
        ]
