"""Every tensor of STA-V2A's published files is read at full size, or ignored for a reason (on the meta device)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from synchresis.codecs import audioldm
from synchresis.encoders.text import MT5_LARGE
from synchresis.errors import BadInputError
from synchresis.systems import latent_unet, sta_v2a
from synchresis.systems.weights import fill, taken

from .test_full_keys import published

FILE = Path("pytorch_model_2.bin")


def empty(shapes: Mapping[str, Any]) -> dict[str, Tensor]:
    """Tensors without memory."""
    tensors = {}
    for name, shape in shapes.items():
        whole = isinstance(shape, dict) and shape["dtype"] == "int64"
        size = shape["shape"] if isinstance(shape, dict) else shape
        tensors[name] = torch.empty(size, dtype=torch.int64 if whole else torch.float32, device="meta")
    return tensors


@pytest.fixture(scope="module")
def networks() -> dict[str, torch.nn.Module]:
    with torch.device("meta"):
        return sta_v2a.build(sta_v2a.FULL)


@pytest.fixture
def checkpoint(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    # Tensors without memory have no values that could differ.
    monkeypatch.setattr(torch, "equal", lambda a, b: a.shape == b.shape)
    return empty(published("sta_v2a/full_keys_audiodiffusion.json"))


def test_sizes_are_read_off_the_tensors(checkpoint: dict[str, Tensor]) -> None:
    assert sta_v2a.local_config(checkpoint, FILE) == sta_v2a.FULL["local"]
    assert sta_v2a.pooling_config(checkpoint, FILE) == sta_v2a.FULL["pooling"]
    eye = taken(checkpoint, "extract_cavp.stage1_model.")
    assert sta_v2a.cavp_config(eye, FILE) == sta_v2a.FULL["cavp"]


def test_the_checkpoint_is_read_whole(
    networks: dict[str, torch.nn.Module], checkpoint: dict[str, Tensor]
) -> None:
    tokenizer = torch.empty(0, dtype=torch.uint8, device="meta")
    reports = sta_v2a.fill_original(networks, checkpoint, FILE, tokenizer)
    assert {report.component for report in reports} == {"unet", "control", "local", "pooling", "text", "cavp"}
    ignored = {reason: count for report in reports for reason, count in report.ignored.items()}
    assert ignored.keys() == {
        "the text encoder's embedding a second time",
        "CAVP's audio tower: only pictures are looked at",
    }
    assert ignored["the text encoder's embedding a second time"] == 1
    tokenizers = 1  # which is not in the checkpoint
    assert sum(report.read for report in reports) + sum(ignored.values()) == len(checkpoint) + tokenizers
    millions = {name: sum(p.numel() for p in networks[name].parameters()) / 1e6 for name in ("unet", "control")}
    assert millions == {"unet": pytest.approx(187.9, abs=0.1), "control": pytest.approx(82.2, abs=0.1)}


@pytest.mark.parametrize("lost", ["controlnet.controlnet_cond_embedding.conv_out.bias", "pre_onset.l2.weight"])
def test_a_lost_tensor_is_missed(
    lost: str, networks: dict[str, torch.nn.Module], checkpoint: dict[str, Tensor]
) -> None:
    del checkpoint[lost]
    with pytest.raises(BadInputError, match="1 missing"):
        sta_v2a.fill_original(networks, checkpoint, FILE, torch.empty(0, dtype=torch.uint8, device="meta"))


def test_a_tensor_that_nobody_knows_is_refused(
    networks: dict[str, torch.nn.Module], checkpoint: dict[str, Tensor]
) -> None:
    checkpoint["clap.text.weight"] = torch.empty(3, device="meta")
    with pytest.raises(BadInputError, match=r"1 unknown: clap\.text\.weight"):
        sta_v2a.fill_original(networks, checkpoint, FILE, torch.empty(0, dtype=torch.uint8, device="meta"))


def test_the_codec_is_read_whole(networks: dict[str, torch.nn.Module]) -> None:
    shapes = published("sta_v2a/full_keys_vae_vocoder.json")
    named = audioldm.original_codec(empty(shapes), torch.empty((), device="meta"))
    report = fill(networks["codec"], named, component="codec", source=Path("audioldm-s-full.ckpt"))
    assert not report.ignored
    # Beside them the scale of the latents, and statistics of the library's vocoder that nothing uses.
    assert report.read == len(shapes) + 3


def test_the_reader_reads_both_files_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From summary.jsonl on, at full size; the tensors show one number each, which takes no memory."""
    from tokenizers import Tokenizer, models

    def hollow(shapes: Mapping[str, Any], prefix: str = "") -> dict[str, Tensor]:
        return {
            prefix + name: torch.zeros((), dtype=value.dtype).expand(value.shape)
            for name, value in empty(shapes).items()
        }

    checkpoint = published("sta_v2a/full_keys_audiodiffusion.json")
    codec = published("sta_v2a/full_keys_vae_vocoder.json")
    files = {
        "pytorch_model_2.bin": hollow(checkpoint),
        "audioldm-s-full.ckpt": hollow(codec, "first_stage_model.") | {"scale_factor": torch.ones(())},
    }
    for module in (sta_v2a, latent_unet):
        monkeypatch.setattr(module, "read_tensors", lambda path: files[path.name])
    for name in files:
        (tmp_path / name).touch()
    (tmp_path / "summary.jsonl").write_text(json.dumps({"text_encoder_name": "google/mt5-large"}))
    Tokenizer(models.Unigram([("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)], unk_id=2)).save(
        str(tmp_path / "tokenizer.json")
    )
    (tmp_path / "config.json").write_text(json.dumps(MT5_LARGE | {"model_type": "mt5"}))
    parts = {"text": tmp_path, "audioldm": tmp_path / "audioldm-s-full.ckpt"}
    loaded = sta_v2a.read_original(tmp_path / "pytorch_model_2.bin", parts)
    size = loaded.config["text"]["tokenizer_bytes"]
    assert loaded.config == sta_v2a.FULL | {"text": MT5_LARGE | {"tokenizer_bytes": size}}
    of_checkpoint = [report for report in loaded.reports if report.component != "codec"]
    seen = sum(report.read + sum(report.ignored.values()) for report in of_checkpoint)
    assert seen == len(checkpoint) + 1  # and the tokenizer
    for name, network in loaded.components.items():
        assert not any(value.is_meta for value in network.state_dict().values()), name
