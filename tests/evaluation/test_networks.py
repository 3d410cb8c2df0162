"""The networks of the metrics as they are opened and asked: small ones with random weights, written as published."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from synchresis.encoders import clap, ms_clap
from synchresis.errors import BadInputError
from synchresis.evaluation.networks import NETWORKS
from synchresis.evaluation.networks.binding import three_crops
from synchresis.evaluation.networks.common import Network, in_batches, middle, shrunk
from synchresis.evaluation.networks.sounds import read_pca
from synchresis.evaluation.scores import pam_scores
from synchresis.nn import i3d, imagebind, panns, passt, synchformer, vggish
from synchresis.systems.weights import randomise

CNN = panns.Cnn14Config(classes_num=7, widths=(4, 4, 6, 6, 8, 8))
VGG = {"widths": (2, 3, 4, 4), "hidden": 8, "out": 6}
PASST = passt.PasstConfig(dim=16, depth=1, heads=2, classes=7)
SYNC = synchformer.SynchformerConfig(dim=16, depth=1, heads=2, head_depth=1, head_heads=2, picture=32)
BIND = imagebind.ImageBindConfig(
    imagebind.TowerConfig(16, 1, 2, 256),
    imagebind.TowerConfig(16, 1, 2, 228),
    imagebind.TowerConfig(16, 1, 2, 77),
    out=8,
)
KINETICS = {"classes": 5, "thin": 8}
LAION_TEXT = {
    "vocab_size": 99, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "max_position_embeddings": 90,
}  # fmt: skip
MICROSOFT: dict[str, Any] = {
    "audio": ms_clap.SMALL_AUDIO, "text": ms_clap.SMALL_TEXT | {"vocab_size": 99}, "out": 16,
}  # fmt: skip


def drawn(module: nn.Module) -> nn.Module:
    randomise(module)
    for name, param in module.named_parameters():
        if name.endswith("bias"):  # which randomise leaves as they were drawn
            nn.init.constant_(param, 0.1)
    return module.eval().requires_grad_(False)


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 0.1, count).astype(np.float32)


def film(count: int, height: int = 40, width: int = 56) -> list[np.ndarray]:
    return list(np.random.default_rng(count).integers(0, 256, (count, height, width, 3), np.uint8))


def named_as_laion(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `clap.laion_keys`, with what a published file holds besides."""
    out: dict[str, Tensor] = {}
    for name, value in state.items():
        new = name.replace("text_model.", "text_branch.", 1)
        if name.startswith("audio_model.audio_encoder."):
            new = "audio_branch." + name.removeprefix("audio_model.audio_encoder.")
            if ".attention.self." in new and ".relative_" not in new:
                if ".query." in new:
                    parts = [state[name.replace(".query.", f".{part}.")] for part in ("query", "key", "value")]
                    out[new.replace(".attention.self.query.", ".attn.qkv.")] = torch.cat(parts)
                continue
            for ours, theirs in (
                ("batch_norm", "bn0"), ("layernorm_before", "norm1"), ("layernorm_after", "norm2"),
                ("intermediate.dense", "mlp.fc1"), ("attention.output.dense", "attn.proj"),
                ("attention.self.relative", "attn.relative"), ("output.dense", "mlp.fc2"),
            ):  # fmt: skip
                new = new.replace(f".{ours}", f".{theirs}")
        for i, layer in ((0, "linear1"), (2, "linear2")):
            new = new.replace(f"_projection.{layer}.", f"_projection.{i}.")
        out[new] = value
    return out


def laion_state() -> dict[str, Tensor]:
    named = named_as_laion(drawn(clap.build(clap.SMALL, LAION_TEXT)).state_dict())
    named |= {"audio_transform.sequential.0.weight": torch.ones(2, 2), "audio_branch.head.bias": torch.ones(3)}
    return {f"module.{name}": value for name, value in named.items()}


def microsoft_state() -> dict[str, Tensor]:
    state = drawn(ms_clap.MsClap(**MICROSOFT)).state_dict()
    tower = "audio_encoder.base."
    inside = {f"audio_model.{k.removeprefix(tower)}": v for k, v in state.items() if k.startswith(tower)}
    branch = {k.replace("audio_branch.", f"{tower}htsat."): v for k, v in named_as_laion(inside).items()}
    return {k: v for k, v in state.items() if not k.startswith(tower)} | branch


def imagebind_state() -> dict[str, Tensor]:
    state = drawn(imagebind.ImageBind(BIND)).state_dict()
    return state | {"modality_trunks.imu.blocks.0.mlp.fc1.bias": torch.ones(3)}


# What each published file holds (under a name, or at its top), and the sizes with which to open the small one.
FILES: dict[str, tuple[Callable[[], dict[str, Tensor]], str, Any]] = {
    "panns-cnn14-16k": (lambda: drawn(panns.Cnn14(CNN)).state_dict(), "model", CNN),
    "vggish": (lambda: drawn(vggish.Vggish(**VGG)).state_dict(), "", VGG),
    "passt-s": (lambda: drawn(passt.Passt(PASST)).state_dict(), "", PASST),
    "clap-laion-630k": (laion_state, "state_dict", LAION_TEXT),
    "clap-microsoft-2023": (microsoft_state, "model", MICROSOFT),
    "synchformer": (lambda: drawn(synchformer.Synchformer(SYNC)).state_dict(), "model", SYNC),
    "imagebind-huge": (imagebind_state, "", BIND),
    "i3d-videogpt": (lambda: drawn(i3d.I3D(**KINETICS)).state_dict(), "", KINETICS),
}
HEARING = [name for name in FILES if NETWORKS[name].rate is not None]
LOOKING = [name for name in FILES if NETWORKS[name].picture_rate is not None]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("weights")
    out = {}
    for name, (state, inside, _) in FILES.items():
        out[name] = folder / name / NETWORKS[name].weights.file
        out[name].parent.mkdir()
        tensors = {key: value.clone() for key, value in state().items()}
        torch.save({inside: tensors} if inside else tensors, out[name])
    return out


@pytest.fixture(scope="module")
def opened(files: dict[str, Path]) -> Callable[[str], Any]:
    kept: dict[str, Network] = {}

    def open_(name: str) -> Any:
        if name not in kept:
            kept[name] = NETWORKS[name].open(files[name], "cpu", sizes=FILES[name][2])
        return kept[name]

    return open_


def lengths(name: str) -> list[int]:
    rate = NETWORKS[name].rate
    assert rate is not None
    return [round(rate * seconds) for seconds in (2.5, 1.7, 2.5)]


# All of them


def test_every_network_says_what_it_needs() -> None:
    for info in NETWORKS.values():
        assert info.weights.file in info.missing()
        assert info.weights.licence in info.missing()
        assert info.weights.where in info.missing()
        assert info.preparation
        assert (info.rate is None) != bool(info.channels)
        assert info.rate is not None or info.picture_rate is not None


def test_the_documentation_has_them_all() -> None:
    page = (Path(__file__).parents[2] / "docs" / "metric_networks.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    for info in NETWORKS.values():
        (row,) = [row for row in rows if row.startswith(f"| `{info.id}` |") and row.count("|") == 5]
        licence = info.weights.licence.partition(":")[0].partition(" (")[0].partition(" by ")[0]
        assert licence in row
        if info.id != "clip-vit-b-32":
            assert f"`{info.weights.file}`" in row


@pytest.mark.parametrize("name", FILES)
def test_published_files_are_read(name: str, files: dict[str, Path], opened: Callable[[str], Any]) -> None:
    network = opened(name)
    (report,) = network.reports
    assert report.read > 10
    assert report.source == files[name]
    assert network.warnings == []
    assert network.digest == NETWORKS[name].open(files[name].parent, "cpu", sizes=FILES[name][2]).digest


@pytest.mark.parametrize("name", FILES)
def test_what_does_not_fit_is_refused(name: str, files: dict[str, Path], tmp_path: Path) -> None:
    tensors = torch.load(files[name], weights_only=True)
    inside = FILES[name][1]
    tensors = tensors[inside] if inside else tensors
    needed = [key for key in tensors if key.endswith("weight") and not re.search(r"\.imu\.|\.text\.|_transform", key)]
    key = needed[len(needed) // 2]
    spoiled = tmp_path / "spoiled.pth"

    torch.save({name_: value for name_, value in tensors.items() if name_ != key}, spoiled)
    with pytest.raises(BadInputError, match="1 missing"):
        NETWORKS[name].open(spoiled, "cpu", sizes=FILES[name][2])

    torch.save(tensors | {"stranger.weight": torch.ones(2)}, spoiled)
    with pytest.raises(BadInputError, match=r"1 unknown: stranger\.weight"):
        NETWORKS[name].open(spoiled, "cpu", sizes=FILES[name][2])

    torch.save(tensors | {key: torch.ones(3, 1)}, spoiled)
    with pytest.raises(BadInputError, match="of another shape"):
        NETWORKS[name].open(spoiled, "cpu", sizes=FILES[name][2])


@pytest.mark.parametrize("name", FILES)
def test_files_of_others_are_refused(name: str, files: dict[str, Path]) -> None:
    other = "vggish" if name != "vggish" else "passt-s"
    with pytest.raises(BadInputError, match=name):
        NETWORKS[name].open(files[other], "cpu")
    with pytest.raises(BadInputError, match="that is the file of"):
        NETWORKS[name].open(files[other].parent, "cpu")
    with pytest.raises(BadInputError, match="has no part brain"):
        NETWORKS[name].open(files[name], "cpu", parts={"brain": "x"})


@pytest.mark.parametrize("name", HEARING)
def test_a_sound_gives_the_same_in_any_company(name: str, opened: Callable[[str], Any]) -> None:
    network = opened(name)
    sounds = [noise(n, i) for i, n in enumerate(lengths(name))]
    together = network.embed(sounds)
    alone = [network.embed([sound])[0] for sound in sounds]
    assert len(together) == 3
    for a, b in zip(together, alone, strict=True):
        assert a.keys() == b.keys()
        for key, value in a.items():
            assert value.dtype == np.float32
            assert len(value) >= 1
            np.testing.assert_array_equal(value, b[key])
    assert np.abs(together[0]["features"] - together[2]["features"]).max() > 1e-5


@pytest.mark.parametrize("name", HEARING)
def test_bad_sounds_are_told(name: str, opened: Callable[[str], Any]) -> None:
    for bad in (np.zeros(0), np.zeros((2, 30_000)), np.full(30_000, np.nan)):
        with pytest.raises(ValueError, match="sound 1"):
            opened(name).embed([noise(30_000), bad])


def test_batches_keep_the_order_and_the_limit() -> None:
    seen = []

    def run(batch: Tensor) -> dict[str, Tensor]:
        seen.append(tuple(batch.shape))
        return {"sum": batch.sum(1)}

    items = [torch.full((n,), float(i)) for i, n in enumerate((3, 5, 3, 3, 5))]
    out = in_batches(items, run, limit=7)
    assert [float(row["sum"]) for row in out] == [0.0, 5.0, 6.0, 9.0, 20.0]
    assert sorted(seen) == [(1, 3), (1, 5), (1, 5), (2, 3)]


# Sound classifiers


def test_panns_fills_up_short_sounds(opened: Callable[[str], Any]) -> None:
    network = opened("panns-cnn14-16k")
    short = noise(9_000)
    filled = np.concatenate([short, np.zeros(23_000, np.float32)])
    np.testing.assert_array_equal(network.embed([short])[0]["logits"], network.embed([filled])[0]["logits"])


def test_filters_of_a_file_that_differ_are_told(files: dict[str, Path], tmp_path: Path) -> None:
    tensors = torch.load(files["panns-cnn14-16k"], weights_only=True)["model"]
    tensors["logmel_extractor.melW"] += 1e-3
    torch.save({"model": tensors}, tmp_path / "own.pth")
    network = NETWORKS["panns-cnn14-16k"].open(tmp_path / "own.pth", "cpu", sizes=CNN)
    (said,) = network.warnings
    assert "logmel_extractor.melW" in said
    assert "1.0e-03" in said
    torch.testing.assert_close(network.module.logmel_extractor.melW, tensors["logmel_extractor.melW"])


def test_vggish_gives_a_row_per_patch(opened: Callable[[str], Any]) -> None:
    rows = opened("vggish").embed([noise(15_599), noise(15_600), noise(160_000)])
    assert [row["features"].shape for row in rows] == [(0, 6), (1, 6), (10, 6)]
    with pytest.raises(BadInputError, match="vggish_pca_params"):
        opened("vggish").embed([noise(16_000)], variant="quantised")


@pytest.mark.parametrize("zipped", [True, False])
def test_pca_arrays_are_read_and_nothing_else(tmp_path: Path, zipped: bool, files: dict[str, Path]) -> None:
    rng = np.random.default_rng(0)
    vectors, means = rng.normal(size=(6, 6)).astype(np.float32), rng.normal(size=6)
    path = tmp_path / "pca.pth"
    torch.save(
        {"pca_eigen_vectors": vectors, "pca_means": means}, path, _use_new_zipfile_serialization=zipped
    )
    state = read_pca(path)
    np.testing.assert_array_equal(state["pproc.pca_eigen_vectors"], vectors)
    assert state["pproc.pca_means"].shape == (6, 1)
    network: Any = NETWORKS["vggish"].open(files["vggish"], "cpu", parts={"pca": path}, sizes=VGG)
    values = network.embed([noise(32_000)], variant="quantised")[0]["features"]
    assert values.min() >= 0
    assert values.max() <= 255
    np.testing.assert_array_equal(values, np.rint(values))

    torch.save({"pca_eigen_vectors": vectors, "pca_means": Path("anything")}, path)
    with pytest.raises(BadInputError, match="nothing but them"):
        read_pca(path)


def test_windows_of_passt(opened: Callable[[str], Any]) -> None:
    network = opened("passt-s")
    long = noise(12 * 32_000)
    first, sliding = (network.embed([long], windows=windows)[0] for windows in ("first", "sliding"))
    assert first["features"].shape == (1, 16)
    assert sliding["logits"].shape == (2, 7)
    np.testing.assert_array_equal(sliding["logits"][:1], first["logits"])
    np.testing.assert_array_equal(sliding["logits"][1:], network.embed([long[5 * 32_000 :]])[0]["logits"])


# CLAP


def test_laion_clap_gives_unit_vectors_and_reads_with_a_tokenizer_only(opened: Callable[[str], Any]) -> None:
    network = opened("clap-laion-630k")
    (row,) = network.embed([noise(11 * 48_000)])
    assert np.linalg.norm(row["features"]) == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(BadInputError, match="roberta-base"):
        network.read(["a dog"])


class Words:
    """A tokenizer of whole words, in place of the published ones."""

    def __call__(self, texts: Any, **how: Any) -> dict[str, Any]:
        if isinstance(texts, str):
            return {"input_ids": [3 + sum(map(ord, word)) % 90 for word in texts.split()]}
        ids = torch.ones(len(texts), how["max_length"], dtype=torch.long)
        for i, text in enumerate(texts):
            found = self(text)["input_ids"]
            ids[i, : len(found)] = torch.tensor(found)
        return {"input_ids": ids, "attention_mask": (ids != 1).long()}


def test_texts_are_read(opened: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, width in (("clap-laion-630k", clap.SMALL["projection_dim"]), ("clap-microsoft-2023", 16)):
        network = opened(name)
        monkeypatch.setattr(network, "tokenizer", Words())
        rows = network.read(["a dog barks", "rain"])
        assert rows.shape == (2, width)
        np.testing.assert_allclose(network.read(["rain"])[0], rows[1], atol=1e-6)
        assert np.abs(rows[0] - rows[1]).max() > 1e-4


def test_pam(opened: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    network = opened("clap-microsoft-2023")
    monkeypatch.setattr(network, "tokenizer", Words())
    sounds = [noise(44_100 * 3), noise(44_100 * 15, 1)]
    scores = network.pam(sounds)
    assert [len(s) for s in scores] == [1, 3]
    assert all(((s > 0) & (s < 1)).all() for s in scores)
    prompts = network.read(["the sound is clear and clean.", "the sound is noisy and with artifacts."])
    scale = float(network.module.logit_scale)
    np.testing.assert_allclose(scores[1], pam_scores(network.embed(sounds[1:])[0]["features"], prompts, scale))


# Looking


@pytest.mark.parametrize("name", LOOKING)
def test_looking_is_the_same_twice_and_sees_a_difference(name: str, opened: Callable[[str], Any]) -> None:
    network, frames = opened(name), film(16)
    once = network.look(iter(frames))["features"]
    assert once.dtype == np.float32
    np.testing.assert_array_equal(network.look(frames)["features"], once)
    others = [255 - frame for frame in frames]
    assert np.abs(network.look(others)["features"] - once).max() > 1e-5


def test_synchformer_judges_windows(opened: Callable[[str], Any]) -> None:
    network = opened("synchformer")
    picture = network.look(film(25 * 6))["features"]
    (sound,) = network.embed([noise(16_000 * 6)])
    assert picture.shape == (17, 8, 16)
    assert sound["features"].shape == (17, 6, 16)
    logits = network.judge(picture, sound["features"])
    assert logits.shape == (2, 21)
    assert network.judge(picture, sound["features"], sliding=True).shape == (2, 21)
    np.testing.assert_allclose(network.judge(picture[:14], sound["features"][:14])[0], logits[0], atol=1e-5)
    with pytest.raises(ValueError, match=r"4\.8 s"):
        network.judge(picture[:13], sound["features"])


def test_i3d_looks_at_sixteen_at_a_time(opened: Callable[[str], Any]) -> None:
    network = opened("i3d-videogpt")
    assert [len(network.look(film(n))["features"]) for n in (9, 10, 25, 26)] == [0, 1, 1, 2]


def test_imagebind_takes_a_single_picture_twice(opened: Callable[[str], Any]) -> None:
    network, (frame,) = opened("imagebind-huge"), film(1, 224, 300)
    np.testing.assert_array_equal(network.look([frame])["features"], network.look([frame, frame])["features"])
    with pytest.raises(ValueError, match="no pictures"):
        network.look([])


def test_pictures_made_small() -> None:
    assert shrunk(film(1, 100, 150)[0], 32).shape == (3, 32, 48)
    assert shrunk(film(1, 150, 100)[0], 32).shape == (3, 48, 32)
    with pytest.raises(ValueError, match="uint8"):
        shrunk(np.zeros((4, 4, 3), np.float32), 32)
    ramp = torch.arange(48.0).expand(3, 32, 48)
    assert middle(ramp, 32)[0, 0, 0] == 8
    assert [crop[0, 0, 0].item() for crop in three_crops(ramp, 32)] == [0, 8, 16]
    upright = ramp.transpose(1, 2)
    assert [crop[0, 0, 0].item() for crop in three_crops(upright, 32)] == [0, 8, 16]


def test_clip(tmp_path: Path) -> None:
    from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

    tower = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config=tower | {"vocab_size": 20, "max_position_embeddings": 77, "eos_token_id": 3},
        vision_config=tower | {"image_size": 32, "patch_size": 16}, projection_dim=8,
    )  # fmt: skip
    model = drawn(CLIPModel(config))
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    save_file(dict(model.state_dict()), tmp_path / "model.safetensors")
    word_tokenizer(PreTrainedTokenizerFast).save_pretrained(tmp_path)

    network: Any = NETWORKS["clip-vit-b-32"].open(tmp_path, "cpu")
    frames = film(3)
    looked = network.look(frames)["features"]
    assert looked.shape == (3, 8)
    np.testing.assert_allclose(network.look(frames[1:2])["features"][0], looked[1], atol=1e-5)
    texts = network.read(["dog barks", "rain"])
    assert texts.shape == (2, 8)
    assert np.abs(texts[0] - texts[1]).max() > 1e-4

    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(BadInputError, match="not a CLIP"):
        NETWORKS["clip-vit-b-32"].open(tmp_path, "cpu")


def word_tokenizer(kind: Any) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = {word: i for i, word in enumerate(("[PAD]", "[UNK]", "[BOS]", "[EOS]", "dog", "barks", "rain"))}
    inner = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 2), ("[EOS]", 3)]
    )
    return kind(tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", eos_token="[EOS]", bos_token="[BOS]")
