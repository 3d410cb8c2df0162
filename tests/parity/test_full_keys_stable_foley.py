"""Every key of Stable-Foley's Lightning checkpoint, of CAVP and of CLAP, through the reader itself, without memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from synchresis.encoders import clap
from synchresis.nn.cavp import CAVP, IGNORED, CAVPConfig
from synchresis.systems import stable_foley
from synchresis.systems.weights import fill, skeleton

from .test_full_keys import published


def hollow(described: dict[str, dict]) -> dict[str, Tensor]:
    """Tensors of the published shapes and kinds that all show one number: no memory."""
    whole = {name for name, kind in described["dtypes_not_float32"].items() if kind == "torch.int64"}
    return {
        name: torch.zeros((), dtype=torch.int64 if name in whole else torch.float32).expand(shape)
        for name, shape in described["keys"].items()
    }


def test_the_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = published("stable_foley/full_keys_stable_foley_checkpoint.json.gz")
    hearing = published("stable_foley/full_keys_clap_audio.json")
    files = {Path("epoch.ckpt"): hollow(checkpoint), Path("clap.pt"): hollow(hearing)}
    monkeypatch.setattr(stable_foley, "read_tensors", files.__getitem__)
    loaded = stable_foley.read_original(Path("epoch.ckpt"), {"clap": Path("clap.pt")})
    assert loaded.config == stable_foley.FULL | {"denoiser": loaded.config["denoiser"]}
    assert loaded.config["denoiser"] == stable_foley.FULL["denoiser"] | {"ff_kwargs": {"mult": 4.0}}
    assert len(checkpoint["keys"]) == 1594
    used = {report.component: report for report in loaded.reports}
    of_checkpoint = [report for name, report in used.items() if name != "clap"]
    assert sum(report.read + sum(report.ignored.values()) for report in of_checkpoint) == 1594
    assert used["control_codec"].read == 0
    assert sum(used["control_codec"].ignored.values()) == used["codec"].read == 365
    assert sum(used["cavp"].ignored.values()) == sum(".spec_encoder." in name for name in checkpoint["keys"])
    for name, network in loaded.components.items():
        assert not any(value.is_meta for value in network.state_dict().values()), name


def test_cavp() -> None:
    described = published("stable_foley/full_keys_cavp.json")
    with skeleton():
        net = CAVP(CAVPConfig())
    report = fill(net, hollow(described), component="cavp", source=Path("cavp_epoch66.ckpt"), ignored=IGNORED)
    assert report.read == len(net.state_dict())
    assert report.read + sum(report.ignored.values()) == len(described["keys"])


def test_clap() -> None:
    """With the fusion layers' keys and without them, as the published file is."""
    described = published("stable_foley/full_keys_clap_audio.json")
    tensors = hollow(described)
    plain = {name: value for name, value in tensors.items() if name not in described["only_when_built_with_fusion"]}
    assert len(plain) < len(tensors)
    for given in (tensors, plain):
        assert clap.tower_of(given) == clap.HTSAT_TINY
        with skeleton():
            net = clap.build_audio(clap.HTSAT_TINY)
        report = fill(net, clap.laion_keys(given), component="clap", source=Path("630k.pt"), ignored=clap.IGNORED)
        assert report.read == len(net.state_dict())
