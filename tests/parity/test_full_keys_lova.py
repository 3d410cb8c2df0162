"""LoVA's reader takes every tensor of the published checkpoints, on the meta device: nothing is left over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from synchresis.encoders import clip as eye
from synchresis.errors import BadInputError
from synchresis.systems import lova

from .roots import root


def manifest(variant: str) -> dict[str, Tensor]:
    file = root() / "lova" / f"full_keys_lova_{variant}.json"
    if not file.exists():
        pytest.skip(f"{file.name} is not among the cases")
    shapes = json.loads(file.read_text())
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


@pytest.fixture
def clip_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "model.safetensors").touch()
    (folder / "config.json").write_text(json.dumps(eye.VIT_L_14 | {"model_type": "clip_vision_model"}))
    return folder


def read(tensors: dict[str, Tensor], folder: Path, clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> lova.Loaded:
    with torch.device("meta"):
        clip_tensors = eye.build(eye.VIT_L_14).state_dict()
    monkeypatch.setattr(
        lova, "read_tensors", lambda path: clip_tensors if path.parent == clip_folder else tensors
    )
    return lova.read_original(folder / "epoch=60-step=2818.safetensors", {"clip": clip_folder})


@pytest.mark.parametrize("lightning", [False, True])
@pytest.mark.parametrize("variant", ["vl30", "vl30_noabs"])
def test_every_published_tensor_has_its_place(
    variant: str, lightning: bool, clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = manifest(variant)
    given = {f"diffusion.{name}": value for name, value in tensors.items()} if lightning else tensors
    loaded = read(given, tmp_path, clip_folder, monkeypatch)
    by_component = {report.component: report for report in loaded.reports}
    assert by_component["denoiser"].read + by_component["codec"].read == len(tensors)
    assert all(not report.ignored for report in loaded.reports)
    assert loaded.config == lova.SIZES["full" if variant == "vl30" else "noabs"]
    assert all(value.is_meta for value in loaded.components["denoiser"].state_dict().values())
    for network, prefix in (("denoiser", "model.model."), ("codec", "pretransform.model.")):
        for name, value in loaded.components[network].state_dict().items():
            assert value.shape == tensors[prefix + name].shape


def test_one_tensor_of_another_shape_is_refused(
    clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = manifest("vl30")
    tensors["model.model.transformer.pos_emb.emb.weight"] = torch.empty(2999, 1536, device="meta")
    with pytest.raises(BadInputError, match=r"pos_emb\.emb\.weight \[2999, 1536\] instead of \[3000, 1536\]"):
        read(tensors, tmp_path, clip_folder, monkeypatch)
