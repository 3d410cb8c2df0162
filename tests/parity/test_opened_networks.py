"""The way that evaluation takes, at full size: a file as it was published, opened, asked, compared with the original.

Beside the cases' own checks, which feed the networks directly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from synchresis.evaluation.networks import NETWORKS
from synchresis.nn import panns

from . import seeded
from .adapters import Case
from .roots import cases

pytestmark = pytest.mark.slow
FOUND = cases()


def write_file(case: Case, path: Path, inside: str, renamed: Callable[[str], str] = str, left_out: str = "-") -> None:
    """A file as published: the case's weights by their original names, with the constants that the case keeps out."""
    shapes: Mapping[str, Any] = case.json("keys.json")
    constants: dict[str, torch.Tensor] = {}
    if "panns" in case.folder.name:
        built = panns.Cnn14(panns.Cnn14Config(**case.config["constructor"]))
        constants = {name: value for name, value in built.named_buffers() if "extractor" in name}
    shapes = {name: shape for name, shape in shapes.items() if not name.startswith(left_out)}
    state = seeded.state(shapes, case.config["seed"], case.config["keep"], case.config["adjust"]) | constants
    state = {renamed(name): value for name, value in state.items()}
    torch.save({inside: state} if inside else state, path)


def sounds(case: Case) -> list[np.ndarray]:
    given = case.config["input"]["waveform"]
    return [seeded.waveform(given["samples"], given["rate"], seed) for seed in given["seeds"]]


def opened(name: str, id: str, folder: Path, inside: str = "", **how: Any) -> tuple[Case, Any]:
    if f"encoders/{name}" not in FOUND:
        pytest.skip(f"encoders/{name} is not among the cases")
    case = Case(FOUND[f"encoders/{name}"])
    path = folder / "weights.pth"
    write_file(case, path, inside, **how)
    network = NETWORKS[id].open(path, "cpu")
    assert network.warnings == []
    return case, network


def close(found: np.ndarray, expected: torch.Tensor, tolerance: float) -> None:
    scale = max(1.0, float(expected.abs().max()))
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("rate", ["16k", "32k"])
def test_panns(rate: str, tmp_path: Path) -> None:
    case, network = opened(f"panns_cnn14_{rate}", f"panns-cnn14-{rate}", tmp_path, "model")
    rows = network.embed(sounds(case))
    close(np.concatenate([row["features"] for row in rows]), case.io["embedding"], 1e-4)
    close(np.concatenate([row["logits"] for row in rows]), case.io["logits"], 1e-4)


def test_vggish(tmp_path: Path) -> None:
    case, network = opened("vggish", "vggish", tmp_path, left_out="pproc.")
    close(np.concatenate([row["features"] for row in network.embed(sounds(case))]), case.io["linear"], 1e-4)
    shapes = case.json("keys.json")
    vectors, means = (
        seeded.tensor(name, shapes[name], case.config["seed"]).numpy()
        for name in ("pproc.pca_eigen_vectors", "pproc.pca_means")
    )
    torch.save({"pca_eigen_vectors": vectors, "pca_means": means.reshape(-1)}, tmp_path / "pca.pth")
    network = NETWORKS["vggish"].open(tmp_path / "weights.pth", "cpu", {"pca": tmp_path / "pca.pth"})
    for variant in ("activated", "quantised", "pca_linear"):
        rows = network.embed(sounds(case), variant)  # type: ignore[call-arg]
        tolerance = 1e-4 if variant == "activated" else 1 / 255
        close(np.concatenate([row["features"] for row in rows]), case.io[variant], tolerance)


def test_passt(tmp_path: Path) -> None:
    case, network = opened("passt_s", "passt-s", tmp_path, renamed=lambda name: name.removeprefix("net."))
    rows = network.embed(sounds(case))
    close(np.concatenate([row["features"] for row in rows]), case.io["features"], 1e-4)
    close(np.concatenate([row["logits"] for row in rows]), case.io["logits"], 1e-4)


@pytest.mark.parametrize(
    ("name", "id"), [("htsat_base", "clap-laion-music-speech"), ("htsat_tiny", "clap-laion-630k-audioset")]
)
def test_laion_clap(name: str, id: str, tmp_path: Path) -> None:
    case, network = opened(f"laion_clap_{name}", id, tmp_path, "state_dict", renamed=lambda name: f"module.{name}")
    close(np.concatenate([row["features"] for row in network.embed(sounds(case))]), case.io["audio_embedding"], 2e-5)


def test_microsoft_clap(tmp_path: Path) -> None:
    case, network = opened("ms_clap_2023", "clap-microsoft-2023", tmp_path, "model")
    close(np.concatenate([row["features"] for row in network.embed(sounds(case))]), case.io["audio_embedding"], 1e-4)


def test_synchformer(tmp_path: Path) -> None:
    case, network = opened("synchformer", "synchformer", tmp_path)
    (row,) = network.embed(sounds(case))
    close(row["features"][None], case.io["audio_features"], 1e-4)
    given = case.config["input"]["frames"]
    frames = seeded.frames(16, given["height"], given["width"], given["seed"])
    close(network.look(frames)["features"][0], case.io["video_features"][0, 0], 1e-4)
    logits = network.judge(case.io["video_features"][0].numpy(), row["features"])
    assert len(logits) == 2  # the first and the last window, here the same
    close(logits[1:], case.io["logits"], 1e-4)


def test_i3d(tmp_path: Path) -> None:
    case, network = opened("i3d_videogpt", "i3d-videogpt", tmp_path)
    given = case.config["input"]["frames"]
    frames = seeded.frames(given["count"], given["height"], given["width"], given["seed"])
    close(network.look(frames)["features"], case.io["logits"], 1e-4)


def test_imagebind(tmp_path: Path) -> None:
    """The whole file as published would be 4.8 GB: of the towers that are not used, one tensor each is there."""
    if "encoders/imagebind_huge" not in FOUND:
        pytest.skip("encoders/imagebind_huge is not among the cases")
    case = Case(FOUND["encoders/imagebind_huge"])
    keys = case.json("keys.json")
    shapes = {name: shape for name, shape in keys.items() if name.split(".")[1] in ("vision", "audio")}
    state = seeded.state(shapes, case.config["seed"], case.config["keep"])
    state["modality_postprocessors.audio.1.log_logit_scale"] = torch.tensor(20.0).log()
    state |= {f"modality_trunks.{tower}.blocks.0.norm_1.bias": torch.zeros(2) for tower in ("text", "imu", "depth")}
    torch.save(state, tmp_path / "weights.pth")
    del state
    network: Any = NETWORKS["imagebind-huge"].open(tmp_path / "weights.pth", "cpu")
    given = case.config["input"]["frames"]
    frames = seeded.frames(given["count"], given["height"], given["width"], given["seed"])
    close(network.look(frames)["features"], case.io["vision_embedding"], 1e-4)
    (row,) = network.embed(sounds(case))
    close(row["features"], case.io["audio_embedding"], 1e-4)
