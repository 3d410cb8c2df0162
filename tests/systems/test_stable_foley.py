"""Stable-Foley with random weights, small: loading as published, envelopes from everywhere, any length."""

import copy
import json
import os
import re
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import synchresis
from synchresis.cli import run
from synchresis.data.stage import film
from synchresis.diffusion.windows import windows
from synchresis.encoders.rms_features import MOTION
from synchresis.errors import BadInputError
from synchresis.media import probe, write_film
from synchresis.nn.rms_mapper import RMSMapper, RMSMapperConfig, save_mapper
from synchresis.systems import convert, foley_envelope, stable_foley
from synchresis.systems.request import SoundRequest
from synchresis.systems.stable_foley import SIZES, Settings, StableFoley
from synchresis.systems.weights import Loaded, randomise, write_folder
from synchresis.timeline import Onsets, Track, sample_count
from synchresis.timeline import rms_codes as rms
from synchresis.timeline.files import write_envelope, write_onsets

SHARED = Path(os.environ.get("SYNCHRESIS_SHARED", Path(__file__).parents[3] / "shared"))
RATE = 44_100


@pytest.fixture(scope="module")
def small() -> StableFoley:
    return synchresis.load("stable_foley", untrained="small", device="cpu")  # type: ignore[return-value]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3.28 s at 25 fps of a stick that strikes wood, made by the stage."""
    made = film(11, size=(96, 96), seconds=3.28, fps=25, kinds=("wood",), ugly=False)
    path = tmp_path_factory.mktemp("foley") / "wood.mp4"
    write_film(path, made.frames, made.fps, None)
    return path


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two and a bit seconds, at 23.976 frames a second, in which nothing happens."""
    path = tmp_path_factory.mktemp("foley") / "still.mp4"
    write_film(path, (np.full((64, 96, 3), 90, np.uint8) for _ in range(53)), Fraction(24000, 1001), None)
    return path


@pytest.fixture(scope="module")
def hit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reference: half a second of a tone that dies away."""
    t = np.arange(22_050) / RATE
    path = tmp_path_factory.mktemp("foley") / "hit.wav"
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 700 * t) * np.exp(-t / 0.1), RATE)
    return path


# Published files -------------------------------------------------------------------------


def laion(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A CLAP of transformers under LAION's names, as its `.pt` files have them."""
    named: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if ".attention.self.key." in name or ".attention.self.value." in name:
            continue
        new = name.replace("audio_model.audio_encoder.batch_norm.", "audio_branch.bn0.")
        new = new.replace("audio_model.audio_encoder.", "audio_branch.")
        new = new.replace(".layernorm_before.", ".norm1.").replace(".layernorm_after.", ".norm2.")
        new = new.replace(".intermediate.dense.", ".mlp.fc1.").replace(".attention.output.dense.", ".attn.proj.")
        new = new.replace(".output.dense.", ".mlp.fc2.").replace(".attention.self.relative_", ".attn.relative_")
        new = re.sub(r"_projection\.linear(\d)\.", lambda m: f"_projection.{2 * int(m[1]) - 2}.", new)
        if ".attention.self.query." in name:
            value = torch.cat([tensors[name.replace("query", part)] for part in ("query", "key", "value")])
            new = new.replace(".attention.self.query.", ".attn.qkv.")
        named[f"module.{new}"] = value
    extra = ("logit_scale_a", "text_branch.embeddings.word_embeddings.weight", "audio_branch.tscam_conv.bias")
    return named | {f"module.{name}": torch.ones(1) for name in extra}


def checkpoint_of(loaded: Loaded) -> dict[str, Tensor]:
    """The tensors of a system in the order of the published Lightning checkpoint."""
    parts = {name: network.state_dict() for name, network in loaded.components.items()}
    envelope = parts.get("control_codec", parts["codec"])
    told = "model.conditioner.conditioners"
    tensors = {f"model.model.{name}": value for name, value in parts["denoiser"].items()}
    tensors |= {f"model.conditioner.{name}": value for name, value in parts["conditioner"].items()}
    tensors |= {f"{told}.frames.stage1_model.{name}": value for name, value in parts["cavp"].items()}
    tensors[f"{told}.frames.stage1_model.spec_encoder.fc1.weight"] = torch.ones(2, 2)
    tensors |= {f"{told}.envelope.pretransform.model.{name}": value for name, value in envelope.items()}
    tensors |= {f"model.pretransform.model.{name}": value for name, value in parts["codec"].items()}
    return {name: value.clone() for name, value in tensors.items()}


def base_of(loaded: Loaded) -> dict[str, Tensor]:
    """The tensors of a system's frozen half in the order of Stable Audio Open's file."""
    parts = {name: network.state_dict() for name, network in loaded.components.items()}
    denoiser = {n.removeprefix("model."): v for n, v in parts["denoiser"].items() if n.startswith("model.")}
    tensors = {f"model.model.{name}": value for name, value in denoiser.items()}
    tensors |= {f"pretransform.model.{name}": value for name, value in parts["codec"].items()}
    numbers = {name: value for name, value in parts["conditioner"].items() if "seconds" in name}
    tensors |= {f"conditioner.{name}": value for name, value in numbers.items()}
    tensors["conditioner.conditioners.prompt.proj_out.weight"] = torch.ones(2, 2)
    return {name: value.clone() for name, value in tensors.items()}


def write_parts(loaded: Loaded, folder: Path) -> dict[str, Path]:
    """CLAP as LAION's file and as a transformers folder, and CAVP as Diff-Foley's file."""
    clap = {name: value.clone() for name, value in loaded.components["clap"].state_dict().items()}
    # LAION's files are from before numpy 2 and hold numbers of its kind beside the tensors.
    torch.save({"epoch": np.int64(3), "score": np.float64(0.5), "state_dict": laion(clap)}, folder / "new.pt")
    with zipfile.ZipFile(folder / "new.pt") as new, zipfile.ZipFile(folder / "clap.pt", "w") as old:
        for name in new.namelist():
            content = new.read(name)
            if name.endswith("data.pkl"):
                assert b"numpy._core" in content
                content = content.replace(b"numpy._core", b"numpy.core")
            old.writestr(name, content)
    hub = folder / "clap-hub"
    hub.mkdir()
    save_file(clap, hub / "model.safetensors")
    sizes = loaded.config["clap"]
    audio = {k: v for k, v in sizes.items() if k != "projection_dim"}
    audio["hidden_size"] = 8 * sizes["patch_embeds_hidden_size"]
    described = {"model_type": "clap", "audio_config": audio, "projection_dim": sizes["projection_dim"]}
    (hub / "config.json").write_text(json.dumps(described))
    sight = {f"module.{name}": value.clone() for name, value in loaded.components["cavp"].state_dict().items()}
    torch.save({"state_dict": sight | {"module.spec_encoder.bn.weight": torch.ones(3)}}, folder / "cavp.ckpt")
    return {"clap": folder / "clap.pt", "hub": hub, "cavp": folder / "cavp.ckpt"}


def test_the_checkpoint_and_our_folder_are_the_same_system(small: StableFoley, clip: Path, tmp_path: Path) -> None:
    places = write_parts(small.loaded, tmp_path)
    original = tmp_path / "epoch=213.ckpt"
    torch.save({"state_dict": checkpoint_of(small.loaded), "optimizer_states": [{"step": 1}]}, original)
    loaded = synchresis.load("stable_foley", original, parts={"clap": places["clap"]}, device="cpu")
    assert loaded.untrained is None
    assert loaded.weights_hash == small.weights_hash
    for said in ("the envelope's copy equals the codec", "audio tower", "denoiser"):
        assert said in loaded.key_report
    ours = tmp_path / "ours"
    convert("stable_foley", original, ours, {"clap": places["hub"]})
    again = synchresis.load("stable_foley", ours, device="cpu")
    assert again.weights_hash == small.weights_hash
    assert "control_depth" in json.loads((ours / "system.json").read_text())["config"]
    wishes = {"steps": 2, "seed": 4}
    assert again.sound(clip, **wishes).samples.tobytes() == loaded.sound(clip, **wishes).samples.tobytes()


def test_an_encoder_of_the_envelopes_own_is_kept_apart(small: StableFoley, tmp_path: Path) -> None:
    places = write_parts(small.loaded, tmp_path)
    tensors = checkpoint_of(small.loaded)
    tensors["model.conditioner.conditioners.envelope.pretransform.model.encoder.layers.0.bias"] += 1
    torch.save({"state_dict": tensors}, tmp_path / "a.ckpt")
    system = synchresis.load("stable_foley", tmp_path / "a.ckpt", parts={"clap": places["clap"]}, device="cpu")
    bias = "encoder.layers.0.bias"
    difference = system.control_codec.state_dict()[bias] - system.codec.state_dict()[bias]
    assert torch.allclose(difference, torch.ones(1), atol=1e-6)
    write_folder(system.loaded, tmp_path / "ours")
    assert (tmp_path / "ours" / "control_codec.safetensors").is_file()
    assert synchresis.load("stable_foley", tmp_path / "ours", device="cpu").weights_hash == system.weights_hash


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.pop("model.conditioner.conditioners.frames.proj_out.weight"), "frames.proj_out.weight"),
        (lambda t: t.pop("model.model.controlnet.conv_outs.1.weight"), "conv_outs.1.weight"),
        (lambda t: t.update({"model.model.controlnet.extra": torch.ones(1)}), "controlnet.extra"),
        (lambda t: t.update({"elsewhere": torch.ones(1)}), "elsewhere"),
        (lambda t: t.pop("model.model.model.to_cond_embed.0.weight"), "to_cond_embed.0.weight"),
        (lambda t: t.pop("model.pretransform.model.decoder.layers.0.bias"), "decoder.layers.0.bias"),
    ],
)
def test_what_does_not_fit_is_named(small: StableFoley, tmp_path: Path, change: object, told: str) -> None:
    places = write_parts(small.loaded, tmp_path)
    tensors = checkpoint_of(small.loaded)
    change(tensors)  # type: ignore[operator]
    torch.save({"state_dict": tensors}, tmp_path / "a.ckpt")
    with pytest.raises(BadInputError, match=re.escape(told)):
        synchresis.load("stable_foley", tmp_path / "a.ckpt", parts={"clap": places["clap"]}, device="cpu")


def test_parts_that_are_missing_or_not_wanted(small: StableFoley, tmp_path: Path) -> None:
    places = write_parts(small.loaded, tmp_path)
    torch.save({"state_dict": checkpoint_of(small.loaded)}, tmp_path / "a.ckpt")
    save_file(base_of(small.loaded), tmp_path / "base.safetensors")
    for file, parts, told in (
        ("a.ckpt", (), "--part clap="),
        ("a.ckpt", ("clap", "cavp"), "leave out --part cavp"),
        ("base.safetensors", ("clap",), "--part cavp="),
        ("cavp.ckpt", ("clap", "cavp"), "neither"),
    ):
        with pytest.raises(BadInputError, match=re.escape(told)):
            synchresis.load("stable_foley", tmp_path / file, parts={p: places[p] for p in parts}, device="cpu")
    with pytest.raises(BadInputError, match="no audio tower"):
        synchresis.load("stable_foley", tmp_path / "a.ckpt", parts={"clap": places["cavp"]}, device="cpu")


def test_stable_audio_open_alone_is_the_base_until_it_is_trained(
    small: StableFoley, clip: Path, tmp_path: Path
) -> None:
    places = write_parts(small.loaded, tmp_path)
    save_file(base_of(small.loaded), tmp_path / "base.safetensors")
    parts = {name: places[name] for name in ("clap", "cavp")}
    system = synchresis.load("stable_foley", tmp_path / "base.safetensors", parts=parts, device="cpu")
    again = synchresis.load("stable_foley", tmp_path / "base.safetensors", parts=parts, device="cpu")
    assert system.weights_hash == again.weights_hash
    assert "control branch" in system.untrained
    assert "1 Stable Audio Open's words" in system.key_report
    branch, base = system.denoiser.controlnet.state_dict(), system.denoiser.model.state_dict()
    assert all(torch.equal(branch[name], base[name]) for name in branch if name in base)
    takes = [system.sound(clip, steps=2, strength=strength).samples for strength in (0.0, 1.0)]
    assert np.array_equal(*takes)
    assert np.abs(takes[0]).max() > 0.1


def test_a_branch_is_trained_from_stable_audio_open_alone(small: StableFoley, tmp_path: Path) -> None:
    """Base and projections stay; what is made is marked as untrained no more."""
    places = write_parts(small.loaded, tmp_path)
    save_file(base_of(small.loaded), tmp_path / "base.safetensors")
    parts = {name: places[name] for name in ("clap", "cavp")}
    before: Any = synchresis.load("stable_foley", tmp_path / "base.safetensors", parts=parts, device="cpu")
    films = tmp_path / "films"
    films.mkdir()
    wood = film(11, size=(64, 64), seconds=1.5, fps=12, kinds=("wood",), ugly=False)
    write_film(films / "wood.mp4", wood.frames, wood.fps, wood.sound)
    options = [f"--part={name}={place}" for name, place in parts.items()]
    command = ["train", "stable_foley", "--films", films, "--init", tmp_path / "base.safetensors", "--steps", "2"]
    assert run([*map(str, command), *options, "--batch", "1", "--out", str(tmp_path / "w"), "--device", "cpu"]) == 0
    after: Any = synchresis.load("stable_foley", tmp_path / "w", device="cpu")
    assert after.untrained is None
    one, two = (system.denoiser.state_dict() for system in (before, after))
    assert {n.split(".")[0] for n, value in one.items() if not torch.equal(value, two[n])} == {"controlnet"}
    one, two = (system.conditioner.state_dict() for system in (before, after))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_quirks_have_names() -> None:
    config = copy.deepcopy(SIZES["small"])
    config["quirks"]["clap_speed"] = 1
    with pytest.raises(ValueError, match="clap_speed"):
        stable_foley.build(config)


# Sounding --------------------------------------------------------------------------------


def test_a_take_is_as_long_as_the_film_and_its_own_every_time(small: StableFoley, clip: Path, hit: Path) -> None:
    takes = [small.sound(clip, like=hit, steps=2, seed=seed) for seed in (1, 1, 2)]
    count = sample_count(probe(clip).duration, RATE)
    assert all(take.samples.shape == (count, 2) for take in takes)
    assert takes[0].samples.tobytes() == takes[1].samples.tobytes()
    assert np.abs(takes[0].samples - takes[2].samples).max() > 0.01
    assert np.abs(takes[0].samples).max() == pytest.approx(10 ** (-1 / 20), abs=1e-4)


def test_saved_loaded_and_through_the_whole_program(
    small: StableFoley, clip: Path, hit: Path, tmp_path: Path
) -> None:
    """Our folder format holds all of it: the same bytes from the folder, CLAP and the watcher included."""
    write_folder(small.loaded, tmp_path / "system")
    system = synchresis.load("stable_foley", tmp_path / "system", device="cpu")
    assert system.untrained == "small"
    first, second = (s.sound(clip, like=hit, steps=2) for s in (small, system))
    assert first.samples.tobytes() == second.samples.tobytes()
    second.save(tmp_path / "take.mp4")
    assert probe(tmp_path / "take.mp4").audio[0].rate == RATE


def test_envelope_picture_and_reference_all_matter(
    small: StableFoley, clip: Path, still: Path, hit: Path, tmp_path: Path
) -> None:
    write_envelope(tmp_path / "late.csv", Track(np.linspace(0, 0.2, 328, dtype=np.float32), Fraction(100)))
    write_envelope(tmp_path / "early.csv", Track(np.linspace(0.2, 0, 328, dtype=np.float32), Fraction(100)))
    wishes = {"steps": 2, "seed": 1, "normalise": False}
    take = small.sound(clip, like=hit, envelope=tmp_path / "late.csv", **wishes).samples
    others = {
        "envelope": small.sound(clip, like=hit, envelope=tmp_path / "early.csv", **wishes).samples,
        "reference": small.sound(clip, envelope=tmp_path / "late.csv", **wishes).samples,
        "strength": small.sound(clip, like=hit, envelope=tmp_path / "late.csv", strength=0.0, **wishes).samples,
        "sampling": small.sound(
            clip, like=hit, envelope=tmp_path / "late.csv", envelope_sampled=True, **wishes
        ).samples,
    }
    for name, other in others.items():
        assert np.abs(take - other).max() > 1e-4, name
    with torch.no_grad():
        looks = [small.prepare(probe(path), SoundRequest()).sight.values for path in (clip, still)]
    assert np.abs(looks[0][0] - looks[1][0]).max() > 1e-3


def test_guidance_is_never_on_the_envelope(small: StableFoley, clip: Path) -> None:
    """The null of guidance keeps the control: guidance 0 is the null alone, and still follows the envelope."""
    plans = [
        small.prepare(probe(clip), SoundRequest(guidance=0.0, settings={"strength": strength}))
        for strength in ("0", "1")
    ]
    x, t = torch.randn(1, 8, plans[0].latents, generator=torch.Generator().manual_seed(0)), torch.tensor([0.5])
    with torch.no_grad():
        without, under = (small.network(plan)(x, t) for plan in plans)
    assert (without - under).abs().max() > 1e-3


def test_a_long_film_goes_in_windows(small: StableFoley, tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    write_film(path, (np.full((48, 64, 3), i % 200, np.uint8) for i in range(160)), Fraction(10), None)
    plan = small.prepare(probe(path), SoundRequest(steps=1))
    assert (plan.window, plan.latents) == (216, 345)
    assert plan.sight.values.shape[0] == 64
    spans = windows(plan.latents, plan.window, plan.overlap)
    assert any("windows of 10.03 s" in note for note in plan.notes)
    told = small.conditions(plan, spans)
    assert told["cross"].shape == (len(spans), 41, 64)  # forty pictures and a sound in each
    assert torch.allclose(told["global_cond"][0], told["global_cond"][-1], atol=1e-6)
    last = torch.from_numpy(plan.sight.values[-40:])
    with torch.no_grad():
        assert torch.allclose(told["cross"][-1, :40], small.conditioner.tokens("frames", last[None])[0])
    sound = np.concatenate(list(small.stream(plan)))
    assert sound.shape == (16 * RATE, 2)


def test_seconds_are_those_of_the_film_without_the_quirk(small: StableFoley, clip: Path) -> None:
    config = copy.deepcopy(small.config)
    config["quirks"] |= {"seconds_constant": False}
    plan = small.prepare(probe(clip), SoundRequest())
    published = small.conditions(plan, [(0, 10), (20, 30)])["global_cond"]
    system = StableFoley(Loaded("stable_foley", config, small.loaded.components), "cpu")
    true = system.conditions(plan, [(0, 10), (20, 30)])["global_cond"]
    assert torch.allclose(published[0], published[1], atol=1e-6)
    assert (true[0] - true[1]).abs().max() > 1e-3


# The envelope ----------------------------------------------------------------------------


def wave_of(system: StableFoley, clip: Path, **wishes: object) -> np.ndarray:
    plan = system.prepare(probe(clip), SoundRequest(**wishes))  # type: ignore[arg-type]
    assert plan.wave is not None
    assert plan.wave.shape == (plan.latents * 2048,)
    return plan.wave


def test_a_recording_lends_its_envelope_by_the_published_filters(
    small: StableFoley, clip: Path, tmp_path: Path
) -> None:
    voice = np.zeros(2 * RATE)
    voice[RATE : RATE + 4410] = 0.3 * np.sin(np.arange(4410) * 0.06)
    path = tmp_path / "voice.wav"
    soundfile.write(path, voice, RATE, subtype="FLOAT")
    wave = wave_of(small, clip, envelope=str(path))
    expected = rms.envelope_of(voice / np.abs(voice).max())
    # The film is longer than the recording: only the end, where training had a hard one, differs.
    assert np.abs(wave[: 2 * RATE - 1000] - expected[: 2 * RATE - 1000]).max() < 1e-4
    assert wave[RATE - 1100] == pytest.approx(0, abs=1e-6)
    assert wave[RATE + 9000] > 0.2


def test_a_curve_gets_the_filters_and_the_level_or_neither(small: StableFoley, clip: Path, tmp_path: Path) -> None:
    values = np.zeros(328, np.float32)
    values[100:110] = 0.5
    write_envelope(tmp_path / "curve.csv", Track(values, Fraction(100)))
    given = {"envelope": str(tmp_path / "curve.csv")}
    wave = wave_of(small, clip, **given)
    assert wave.max() == pytest.approx(0.15)
    assert wave[int(1.2 * RATE)] > 0.1  # a hit is held for 227 ms
    final = wave_of(small, clip, **given, settings={"curve": "final"})
    assert final.max() == pytest.approx(0.5, abs=0.01)
    assert final[int(1.2 * RATE)] == 0
    unscaled = wave_of(small, clip, **given, settings={"level": "0"})
    assert unscaled.max() == pytest.approx(0.5 * np.sqrt(0.1 * RATE / 10_000), rel=0.02)


def test_onsets_become_strikes(small: StableFoley, clip: Path, tmp_path: Path) -> None:
    write_onsets(tmp_path / "onsets.csv", Onsets(np.array([0.5, 2.0]), np.array([1.0, 0.2])))
    plan = small.prepare(probe(clip), SoundRequest(onsets=tmp_path / "onsets.csv"))
    assert plan.mode == "onsets"
    assert plan.wave is not None
    times = [int(t * RATE) for t in (0.4, 0.6, 1.9, 2.1)]
    before, first, between, second = plan.wave[times]
    assert before < 1e-3
    assert first > 0.1
    assert between < second < first
    with pytest.raises(BadInputError, match="not both"):
        small.prepare(probe(clip), SoundRequest(onsets=tmp_path / "onsets.csv", envelope="x.csv"))


def test_the_published_first_stages_classes(small: StableFoley, clip: Path, tmp_path: Path) -> None:
    codes = np.array([0, 10, 40, 20, 0])
    np.save(tmp_path / "codes.npy", codes)
    wave = wave_of(small, clip, envelope=str(tmp_path / "codes.npy"))
    count = sample_count(probe(clip).duration, RATE)
    assert np.array_equal(wave[:count], rms.curve_of(codes, count))
    for bad in (np.array([0.5]), np.array([64]), np.array([[1]])):
        np.save(tmp_path / "bad.npy", bad)
        with pytest.raises(BadInputError, match=r"bad\.npy"):
            small.prepare(probe(clip), SoundRequest(envelope=str(tmp_path / "bad.npy")))


def test_the_watcher_leads_where_nothing_else_does(small: StableFoley, clip: Path, still: Path) -> None:
    plan = small.prepare(probe(clip), SoundRequest())
    assert plan.mode in ("onsets", "loudness")
    assert plan.wave is not None
    assert plan.told is not None
    nothing = small.prepare(probe(still), SoundRequest())
    assert (nothing.mode, nothing.wave) == ("prompt", None)
    assert any("nothing that sounds" in note for note in nothing.notes)
    wave = torch.full((nothing.latents * 2048,), -1.0)
    with torch.no_grad():
        mean, _ = foley_envelope.encode_envelope(small.codec, wave)
    assert torch.equal(small.control(nothing), mean)


def test_a_mapper_in_the_system_predicts_the_envelope(small: StableFoley, clip: Path, tmp_path: Path) -> None:
    places = write_parts(small.loaded, tmp_path)
    torch.save({"state_dict": checkpoint_of(small.loaded)}, tmp_path / "a.ckpt")
    torch.manual_seed(0)
    net = RMSMapper(RMSMapperConfig(features=MOTION + 24, width=32, lstm=16))
    randomise(net)
    net.mean += torch.randn(MOTION + 24) * 0.1  # off the middle, so that it makes up its mind anew
    net.out.weight.data *= 1000
    parts = {"clap": places["clap"], "rms_mapper": save_mapper(net, tmp_path / "mapper.safetensors")}
    system = synchresis.load("stable_foley", tmp_path / "a.ckpt", parts=parts, device="cpu")
    wave = wave_of(system, clip)  # type: ignore[arg-type]
    classes = rms.classes_of(wave[(np.arange(98) / 30 * RATE).astype(int)])
    assert len(np.unique(classes)) > 1
    assert wave.min() >= 0
    write_folder(system.loaded, tmp_path / "ours")  # type: ignore[attr-defined]
    again = synchresis.load("stable_foley", tmp_path / "ours", device="cpu")
    assert np.array_equal(wave_of(again, clip), wave)  # type: ignore[arg-type]
    other = RMSMapper(RMSMapperConfig(features=5, width=8, lstm=4))
    parts["rms_mapper"] = save_mapper(other, tmp_path / "other.safetensors")
    with pytest.raises(BadInputError, match="5 features"):
        synchresis.load("stable_foley", tmp_path / "a.ckpt", parts=parts, device="cpu")


def test_an_envelope_is_encoded_in_pieces_as_in_one(small: StableFoley) -> None:
    wave = torch.rand(50 * 2048, generator=torch.Generator().manual_seed(0)) * 0.3
    with torch.no_grad():
        whole = foley_envelope.encode_envelope(small.codec, wave, chunk=100)
        parts = foley_envelope.encode_envelope(small.codec, wave, chunk=7)
        plain = small.codec.encode(wave.expand(1, 2, -1))
    assert foley_envelope.encoder_reach(small.codec.config) == 9
    for a, b, c in zip(whole, parts, plain, strict=True):
        assert torch.allclose(a, b, atol=1e-5)
        assert torch.equal(a, c)


# The reference ---------------------------------------------------------------------------


def test_references_that_cannot_be_heard_are_refused(small: StableFoley, clip: Path, tmp_path: Path) -> None:
    t = np.arange(2 * RATE) / RATE
    tone = np.sin(2 * np.pi * 200 * t)
    nothing = np.full(2 * RATE, 0.1)
    nothing[7] = np.nan
    for name, sound, told in (
        ("silent", np.zeros(RATE), "silent"),
        ("short", tone[:300], "shorter"),
        ("nan", nothing, "not numbers"),
        ("clipped", np.clip(3 * tone, -1, 1), "clipped"),
        ("cancelled", np.stack([tone, -tone], axis=1) * 0.5, "cancel"),
    ):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, sound, RATE, subtype="FLOAT")
        with pytest.raises(BadInputError, match=told) as error:
            small.prepare(probe(clip), SoundRequest(like=path))
        assert path.name in str(error.value)


def test_what_counts_as_clipped() -> None:
    """Deep tones and soft sounds do not, in 16 bits either; overdriven ones do, attenuated afterwards too."""
    t = np.arange(2 * RATE) / RATE
    noise = np.random.default_rng(0).standard_normal(len(t))
    for hertz in (20, 50, 110, 440, 3000):
        tone = np.sin(2 * np.pi * hertz * t)
        for level in (1.0, 0.5, 0.01):
            assert foley_envelope.flat_share(np.round(level * tone * 32767) / 32768) < 0.001, (hertz, level)
        for level in (1.0, 0.6):
            assert foley_envelope.flat_share(level * np.clip(3 * tone, -1, 1)) > 0.01, (hertz, level)
    assert foley_envelope.flat_share(noise / np.abs(noise).max()) == 0
    assert foley_envelope.flat_share(np.clip(noise, -0.8, 0.8)) > 0.01


def test_of_a_long_reference_the_loudest_stretch_counts(small: StableFoley, tmp_path: Path) -> None:
    """CLAP hears 480000 samples: 10.88 s of 44.1 kHz, played as if it were 48 kHz."""
    noise = np.random.default_rng(0).standard_normal(20 * RATE) * 0.001
    noise[6 * RATE : 15 * RATE] *= 200
    path = tmp_path / "long.wav"
    soundfile.write(path, noise, RATE, subtype="FLOAT")
    sound, notes = foley_envelope.reference_sound(path, RATE)
    assert sound.shape == (1, 480_000)
    assert float(sound.abs().max()) == pytest.approx(1)
    assert any("10.9 s" in note for note in notes)
    loud = sound[0].abs() > 0.01
    assert loud.float().mean() > 0.75


def test_quirks_of_hearing_change_what_is_heard(small: StableFoley, hit: Path) -> None:
    heard = []
    for quirks in ({}, {"clap_rate": 48_000}, {"clap_mel": "slaney"}):
        config = copy.deepcopy(small.config)
        config["quirks"] |= quirks
        system = StableFoley(Loaded("stable_foley", config, small.loaded.components), "cpu")
        embedding, _ = system._heard(hit)
        assert embedding is not None
        assert float(embedding.norm()) == pytest.approx(1, abs=1e-5)
        heard.append(embedding)
    assert (heard[0] - heard[1]).abs().max() > 1e-4
    assert (heard[0] - heard[2]).abs().max() > 1e-4


def test_without_a_reference_its_token_is_zero_and_a_note_says_so(small: StableFoley, clip: Path, hit: Path) -> None:
    plan = small.prepare(probe(clip), SoundRequest())
    assert any("no --like" in note for note in plan.notes)
    assert not small.conditions(plan, [(0, plan.latents)])["cross"][0, -1].any()
    told = small.prepare(probe(clip), SoundRequest(like=hit))
    assert small.conditions(told, [(0, told.latents)])["cross"][0, -1].any()


def test_wishes_it_cannot_serve(small: StableFoley, clip: Path) -> None:
    for wish, told in (
        ({"prompt": "a dog"}, "no words"),
        ({"settings": {"overlap": "1"}}, "overlap"),
        ({"settings": {"strength": "nan"}}, "strength"),
        ({"settings": {"level": "inf"}}, "level"),
        ({"settings": {"sampler": "euler"}}, "euler"),
        ({"settings": {"curve": "loud"}}, "choose from"),
        ({"settings": {"sigma_min": "0"}}, "sigma_min"),
        ({"envelope": "nowhere.csv"}, "nowhere.csv"),
    ):
        with pytest.raises(BadInputError, match=told):
            small.prepare(probe(clip), SoundRequest(**wish))  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match="pocket"):
        small.watch(probe(clip))
    assert Settings().strength == 1.0


# Real clips ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "like"),
    [("greatest_hits/sink_clip0/clip.mp4", "greatest_hits/sink_clip0/reference.flac"), ("clips/short_4s.mp4", None)],
)
def test_real_clips(small: StableFoley, hit: Path, tmp_path: Path, name: str, like: str | None) -> None:
    path = SHARED / "media" / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    write_folder(small.loaded, tmp_path / "system")
    system = synchresis.load("stable_foley", tmp_path / "system", device="cpu")
    reference = SHARED / "media" / like if like else hit
    envelope = reference if like else "auto"
    take = system.sound(path, like=reference, envelope=envelope, steps=2)
    assert take.samples.shape == (sample_count(probe(path).duration, RATE), 2)
    assert np.isfinite(take.samples).all()
    assert np.abs(take.samples).max() > 0.1
    assert load_file(tmp_path / "system" / "clap.safetensors")


def test_the_demonstrations_own_envelope() -> None:
    """The published clip: our envelope of its sound is the one beside it."""
    folder = SHARED / "media" / "greatest_hits" / "sink_clip0"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    sound, _ = soundfile.read(folder / "reference.flac")
    generated, _ = soundfile.read(folder / "generated.flac")
    stored = np.loadtxt(folder / "envelope_100hz.csv", delimiter=",", ndmin=2)[:, -1]
    envelope = rms.envelope_of(sound)[:: RATE // 100]
    assert np.abs(envelope[: len(stored)] - stored).max() < 5e-6
    assert rms.envelope_l1(generated.mean(1), sound) == pytest.approx(0.005104, abs=2e-6)
