"""LoVA with random weights, small: loading as published, any length, and what it may be told."""

import copy
import json
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import synchresis
from synchresis.cli import run
from synchresis.data.stage import film
from synchresis.errors import BadInputError
from synchresis.media import probe, write_film
from synchresis.systems import convert, lova
from synchresis.systems.lova import SIZES, Lova
from synchresis.systems.request import SoundRequest
from synchresis.systems.weights import Loaded, randomise, write_folder
from synchresis.timeline import sample_count

SHARED = Path(os.environ.get("SYNCHRESIS_SHARED", Path(__file__).parents[3] / "shared"))
RATE = 44_100
QUICK = {"steps": 3, "sampler": "dpmpp-3m-sde"}


@pytest.fixture(scope="module")
def small() -> Lova:
    return synchresis.load("lova", untrained="small", device="cpu")  # type: ignore[return-value]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3.28 s at 25 fps, made by the stage."""
    made = film(11, size=(96, 96), seconds=3.28, fps=25, kinds=("wood",), ugly=False)
    path = tmp_path_factory.mktemp("lova") / "wood.mp4"
    write_film(path, made.frames, made.fps, None)
    return path


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As long, and nothing in it."""
    path = tmp_path_factory.mktemp("lova") / "grey.mp4"
    write_film(path, (np.full((64, 96, 3), 90, np.uint8) for _ in range(82)), Fraction(25), None)
    return path


def made(config: dict[str, Any]) -> Loaded:
    networks = lova.build(config)
    for network in networks.values():
        randomise(network)
    return Loaded("lova", config, networks, untrained="test")


def changed(denoiser: dict[str, Any] | None = None, diffusion: dict[str, Any] | None = None) -> dict[str, Any]:
    config = copy.deepcopy(SIZES["small"])
    place = config["stable_audio"]["model"]["diffusion"]
    place["config"] |= denoiser or {}
    place |= diffusion or {}
    return config


def originals(loaded: Loaded, lightning: bool = False) -> dict[str, torch.Tensor]:
    """The tensors as the published file names them."""
    places = {"denoiser": "model.model.", "codec": "pretransform.model.", "conditioners": "conditioner."}
    tensors = {
        places[name] + key: value.clone().contiguous()
        for name, network in loaded.components.items()
        if name in places
        for key, value in network.state_dict().items()
    }
    return {f"diffusion.{key}": value for key, value in tensors.items()} if lightning else tensors


@pytest.fixture(scope="module")
def clip_folder(small: Lova, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CLIP's eye as transformers saves it, with the text tower and other things that a whole CLIP has."""
    folder = tmp_path_factory.mktemp("clip_vit")
    small.clip.save_pretrained(folder)
    state = {key: value.clone().contiguous() for key, value in small.clip.state_dict().items()}
    state |= {"logit_scale": torch.zeros(()), "text_model.final_layer_norm.weight": torch.zeros(3)}
    state |= {"vision_model.embeddings.position_ids": torch.arange(5)[None]}
    save_file(state, folder / "model.safetensors")
    return folder


# Sounding -----------------------------------------------------------------------------------------


def test_same_seed_same_bytes_also_from_a_folder(small: Lova, saved: Lova, clip: Path) -> None:
    first, again, other = (small.sound(clip, seed=seed, **QUICK) for seed in (1, 1, 2))
    assert first.samples.shape == (sample_count(probe(clip).duration, RATE), 2)
    assert first.samples.tobytes() == again.samples.tobytes()
    assert np.abs(first.samples - other.samples).max() > 1e-3
    assert saved.weights_hash == small.weights_hash
    assert saved.untrained == "small"
    assert saved.sound(clip, seed=1, **QUICK).samples.tobytes() == first.samples.tobytes()


def test_the_picture_is_what_is_listened_to(small: Lova, clip: Path, grey: Path) -> None:
    one, other = (small.sound(path, seed=1, normalise=False, **QUICK).samples for path in (clip, grey))
    assert np.abs(one - other).max() > 1e-3


@pytest.fixture(scope="module")
def saved(small: Lova, tmp_path_factory: pytest.TempPathFactory) -> Lova:
    """The same from a folder of ours."""
    folder = write_folder(small.loaded, tmp_path_factory.mktemp("lova") / "ours")
    return synchresis.load("lova", weights=folder, device="cpu")  # type: ignore[return-value]


@pytest.mark.parametrize("name", ["short_4s.mp4", "drum.mp4", "variable_rate.mp4"])
def test_sound_is_as_long_as_a_real_picture(saved: Lova, name: str) -> None:
    path = SHARED / "media" / "clips" / name
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    take = saved.sound(path, fps=8, **QUICK)
    assert take.samples.shape == (sample_count(probe(path).duration, RATE), 2)
    assert np.isfinite(take.samples).all()
    assert 0.5 < float(np.abs(take.samples).max()) < 1.0


@pytest.mark.parametrize("frames", [1, 2, 24])
def test_a_film_of_one_frame_and_other_short_ones(small: Lova, tmp_path: Path, frames: int) -> None:
    path = tmp_path / "short.mp4"
    write_film(path, (np.full((32, 32, 3), 90 + i, np.uint8) for i in range(frames)), Fraction(24000, 1001), None)
    take = small.sound(path, **QUICK)
    assert len(take.samples) == sample_count(Fraction(1001 * frames, 24000), RATE)


def test_settings_reach_the_sound(small: Lova, clip: Path) -> None:
    base = small.sound(clip, seed=1, steps=3).samples
    for told in (
        {"fps": 8}, {"sampler": "v-ddim"}, {"sigma_max": 80}, {"sigma_min": 1.0}, {"window": 1.5}, {"guidance": 2.0},
        {"guidance_to": 0.9}, {"guidance_from": 0.9}, {"scale_phi": 0.7}, {"normalise": False},
    ):  # fmt: skip
        assert np.abs(small.sound(clip, seed=1, **{"steps": 3, **told}).samples - base).max() > 1e-5, told
    plan = small.prepare(probe(clip), SoundRequest())
    assert (plan.sampler, plan.steps, plan.guidance, plan.features.rate) == ("dpmpp-3m-sde", 150, 7.0, 22)
    assert len(plan.features) == 73  # ceil(3.28 * 22)
    assert plan.notes == []


def test_the_loudest_sample_is_the_same_unless_told_otherwise(small: Lova, clip: Path) -> None:
    peaks = []
    for settings in ({}, {"normalise": "false"}):
        plan = small.prepare(probe(clip), SoundRequest(steps=2, settings=settings))
        peaks.append(max(float(np.abs(block).max()) for block in small.stream(plan)))
    assert peaks[0] == pytest.approx(10 ** (-1 / 20), rel=1e-5)
    assert abs(peaks[1] - peaks[0]) > 1e-3


def test_wishes_that_it_cannot_serve(small: Lova, clip: Path, tmp_path: Path) -> None:
    sound_file = tmp_path / "a.wav"
    for wish in ({"prompt": "rain"}, {"like": sound_file}, {"envelope": sound_file}, {"onsets": sound_file}):
        with pytest.raises(BadInputError, match=f"leave out --{next(iter(wish))}"):
            small.sound(clip, **wish)  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match="use --system pocket"):
        small.watch(probe(clip))
    with pytest.raises(BadInputError, match="choose from dpmpp-3m-sde"):
        small.sound(clip, sampler="euler")
    for told in ({"overlap": 1.0}, {"fps": -1}, {"window": -2}, {"guidance_from": 0.9, "guidance_to": 0.1}):
        with pytest.raises(BadInputError, match="--set"):
            small.sound(clip, **told)


# Any length ---------------------------------------------------------------------------------------


def test_beyond_the_tables_windows_take_over(clip: Path) -> None:
    """Tables of 40: 39 latents are 1.8 s of sound, and at 22 fps 40 pictures are 1.8 s too."""
    short = Lova(made(changed({"abs_pos_emb_max_length": 40})), "cpu")
    assert short.longest(Fraction(22)) == min(39, int(40 / 22 * RATE / 2048))
    assert short.longest(Fraction(44)) == int(40 / 44 * RATE / 2048)
    plan = short.prepare(probe(clip), SoundRequest())
    assert plan.window < plan.latents == -(-sample_count(probe(clip).duration, RATE) // 2048)
    assert any(f"windows of {plan.window / 44100 * 2048:.2f} s" in note for note in plan.notes)
    take = short.sound(clip, **QUICK)
    assert len(take.samples) == sample_count(probe(clip).duration, RATE)
    assert np.isfinite(take.samples).all()


def test_the_published_tables_hold_two_minutes_and_more(small: Lova) -> None:
    """3000 positions on either side: 136.36 s at 22 pictures a second, 139.27 s at 8 (LoVA spec 6)."""
    seconds = [float(small.longest(Fraction(fps)) / small.latent_rate) for fps in (22, 8)]  # type: ignore[operator]
    assert seconds == pytest.approx([136.36, 139.27], abs=0.05)


def test_a_window_sees_its_own_pictures(small: Lova, clip: Path) -> None:
    plan = small.prepare(probe(clip), SoundRequest(settings={"window": "1.5", "fps": "8"}))
    assert plan.window == 32
    told = small.conditions(plan, [(0, 32), (20, 52), (plan.latents - 32, plan.latents)])["cross"].numpy()
    assert told.shape == (3, 12, 32)  # 32 latents are 11.9 pictures long
    firsts = [0, round(20 * 2048 / RATE * 8), round((plan.latents - 32) * 2048 / RATE * 8)]
    for got, first in zip(told, firsts, strict=True):
        assert np.array_equal(got, plan.features.values[first : first + 12])


def test_windows_of_a_pointwise_denoiser_are_one_pass(grey: Path) -> None:
    """Where nothing depends on the place, blended windows and the whole agree: no gap, no doubled sound."""
    plain = Lova(made(changed({"use_abs_pos_emb": False})), "cpu")
    with torch.no_grad():
        for name, value in plain.denoiser.named_parameters():
            if name.endswith("to_out.weight"):  # of both attentions
                value.zero_()
    plan = plain.prepare(probe(grey), SoundRequest(settings={"window": "1.5"}))
    assert plan.window == 32 < plan.latents
    x, t = torch.randn(1, 8, plan.latents, generator=torch.Generator().manual_seed(0)), torch.tensor([0.5])
    with torch.no_grad():
        blended, whole = plain.network(plan)(x, t), plain.denoiser(x, t)
    assert float((blended - whole).abs().max()) < 1e-5 * float(whole.abs().max())


def test_without_tables_any_length_goes_in_one_pass(clip: Path) -> None:
    free = Lova(made(changed({"use_abs_pos_emb": False})), "cpu")
    assert free.longest(Fraction(22)) is None
    plan = free.prepare(probe(clip), SoundRequest())
    assert plan.window == plan.latents
    assert len(free.sound(clip, **QUICK).samples) == sample_count(probe(clip).duration, RATE)


def test_a_film_longer_than_training_is_told(small: Lova, tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    write_film(path, (np.full((16, 16, 3), 90, np.uint8) for _ in range(35)), Fraction(1), None)
    plan = small.prepare(probe(path), SoundRequest())
    assert plan.window == plan.latents
    assert any("trained on 30 s" in note for note in plan.notes)


# The published layout -------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["published", "lightning", "folder"])
def test_published_files_are_read_to_the_same_sound(
    small: Lova, clip: Path, clip_folder: Path, tmp_path: Path, form: str
) -> None:
    file = tmp_path / "epoch=60-step=2818.safetensors"
    if form == "lightning":
        file = file.with_suffix(".ckpt")
        state = originals(small.loaded, lightning=True)
        state["diffusion_ema.initted"] = torch.tensor(True)
        torch.save({"state_dict": state, "global_step": 2818}, file)
    else:
        tensors = originals(small.loaded)
        # What the original builds for a width other than CLIP's and never applies.
        tensors["conditioner.conditioners.feature.proj_out.weight"] = torch.zeros(32, 768)
        save_file(tensors, file)
    (tmp_path / "model_config_vl30.json").write_text(json.dumps(SIZES["small"]["stable_audio"]))
    noabs = changed({"use_abs_pos_emb": False})["stable_audio"]
    (tmp_path / "model_config_vl30_noabs.json").write_text(json.dumps(noabs))
    place = tmp_path if form == "folder" else file
    loaded = synchresis.load("lova", weights=place, parts={"clip": clip_folder}, device="cpu")
    assert loaded.weights_hash == small.weights_hash
    assert loaded.untrained is None
    assert loaded.key_report
    denoiser, codec, eye = loaded.loaded.reports
    assert (denoiser.component, codec.component, eye.component) == ("denoiser", "codec", "clip")
    assert sum(denoiser.ignored.values()) == 1
    assert "CLIP's text tower: only pictures are looked at" in eye.ignored
    assert loaded.sound(clip, seed=1, **QUICK).samples.tobytes() == small.sound(clip, seed=1, **QUICK).samples.tobytes()


def test_training_begins_with_the_published_file(small: Lova, clip_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "lova.safetensors"
    save_file(originals(small.loaded), file)
    file.with_suffix(".json").write_text(json.dumps(small.config["stable_audio"]))
    wood = film(11, size=(64, 64), seconds=1.5, fps=12, kinds=("wood",), ugly=False)
    (tmp_path / "films").mkdir()
    write_film(tmp_path / "films" / "wood.mp4", wood.frames, wood.fps, wood.sound)
    command = ["train", "lova", "--films", tmp_path / "films", "--init", file, "--part", f"clip={clip_folder}"]
    options = ["--steps", "1", "--batch", "1", "--rate", "1e-9", "--out", tmp_path / "w", "--device", "cpu"]
    assert run([*map(str, command), *map(str, options)]) == 0
    trained: Any = synchresis.load("lova", tmp_path / "w", device="cpu")
    assert trained.untrained is None
    after = trained.denoiser.state_dict()
    assert all(torch.allclose(value, after[name], atol=1e-6) for name, value in small.denoiser.state_dict().items())
    assert run([*map(str, command), *map(str, options), "--size", "small"]) == 2  # sizes are those of the file


def test_converting_keeps_every_weight(small: Lova, clip_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    save_file(originals(small.loaded), file)
    file.with_suffix(".json").write_text(json.dumps(SIZES["small"]["stable_audio"]))
    convert("lova", file, tmp_path / "ours", {"clip": clip_folder})
    assert synchresis.load("lova", weights=tmp_path / "ours", device="cpu").weights_hash == small.weights_hash


def test_the_variant_without_tables_is_told_by_its_keys(clip_folder: Path, tmp_path: Path) -> None:
    config = changed({"use_abs_pos_emb": False})
    file = tmp_path / "noabs.safetensors"
    save_file(originals(made(config)), file)
    for name, described in (("vl30", SIZES["small"]), ("vl30_noabs", config)):
        (tmp_path / f"model_config_{name}.json").write_text(json.dumps(described["stable_audio"]))
    loaded = lova.read_original(file, {"clip": clip_folder})
    assert loaded.config["stable_audio"] == config["stable_audio"]
    (tmp_path / "model_config_vl30_noabs.json").unlink()
    with pytest.raises(BadInputError, match=r"has no position tables, and model_config_vl30\.json"):
        lova.read_original(file, {"clip": clip_folder})


def test_what_does_not_fit_is_named(small: Lova, clip_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    tensors = originals(small.loaded)
    save_file(tensors, file)
    with pytest.raises(BadInputError, match=r"leaves CLIP out.*--part clip=openai/clip-vit-large-patch14"):
        lova.read_original(file, {})
    with pytest.raises(BadInputError, match=r"config\.json and model\.safetensors"):
        lova.read_original(file, {"clip": tmp_path})
    with pytest.raises(BadInputError, match="another CLIP"):  # no JSON beside it: the published sizes
        lova.read_original(file, {"clip": clip_folder})
    beside = file.with_suffix(".json")
    beside.write_text(json.dumps(changed({"depth": 3})["stable_audio"]))
    with pytest.raises(BadInputError, match=r"denoiser: \d+ missing: transformer\.layers\.2\."):
        lova.read_original(file, {"clip": clip_folder})
    beside.write_text(json.dumps(SIZES["small"]["stable_audio"]))
    save_file(tensors | {"model.other": torch.zeros(2)}, file)
    with pytest.raises(BadInputError, match=r"1 unknown: model\.other"):
        lova.read_original(file, {"clip": clip_folder})
    described = copy.deepcopy(SIZES["small"]["stable_audio"])
    described["model"]["conditioning"]["configs"].append({"id": "prompt", "type": "t5", "config": {}})
    beside.write_text(json.dumps(described))
    with pytest.raises(BadInputError, match=r"prompt \(t5\)"):
        lova.read_original(file, {"clip": clip_folder})


# Later models of the family -------------------------------------------------------------------------


def current(**denoiser: Any) -> dict[str, Any]:
    """A model of current stable-audio-tools: numbers as conditions, attended to and as the global vector."""
    config = changed({"global_cond_dim": 64, "use_abs_pos_emb": False, **denoiser})
    config["layout"] = "current"
    model = config["stable_audio"]["model"]
    model["conditioning"]["configs"] += [
        {"id": name, "type": "number", "config": {"min_val": 0, "max_val": 256}} for name in lova.NUMBERS
    ]
    model["diffusion"] |= {
        "cross_attention_cond_ids": ["feature", "seconds_total"],
        "global_cond_ids": list(lova.NUMBERS),
    }
    return config


def tables(length: int) -> dict[str, Any]:
    return {"use_abs_pos_emb": True, "abs_pos_emb_max_length": length}


@pytest.mark.parametrize(
    ("denoiser", "objective", "sampler"),
    [
        ({"global_cond_type": "adaLN", "num_memory_tokens": 3}, "rectified_flow", "euler"),
        ({"attn_kwargs": {"qk_norm": "ln"}, **tables(60)}, "rf_denoiser", "pingpong"),
        ({"patch_size": 2}, "v", "dpmpp-3m-sde"),
    ],
)  # fmt: skip
def test_later_models_load_and_sound(
    clip: Path, clip_folder: Path, tmp_path: Path, denoiser: dict[str, Any], objective: str, sampler: str
) -> None:
    config = current(**denoiser)
    config["stable_audio"]["model"]["diffusion"]["diffusion_objective"] = objective
    built = made(config)
    file = tmp_path / "weights.safetensors"
    save_file(originals(built), file)
    file.with_suffix(".json").write_text(json.dumps(config["stable_audio"]))
    loaded = lova.read_original(file, {"clip": clip_folder})
    assert [report.component for report in loaded.reports] == ["denoiser", "codec", "clip", "conditioners"]
    system = Lova(loaded, "cpu")
    plan = system.prepare(probe(clip), SoundRequest(steps=2))
    assert plan.sampler == sampler
    assert plan.latents % denoiser.get("patch_size", 1) == 0
    assert (plan.window < plan.latents) == ("abs_pos_emb_max_length" in denoiser)
    told = system.conditions(plan, [(0, plan.window)])
    assert told["global_cond"].shape == (1, 64)
    assert told["cross"].shape[1] <= len(plan.features) + 1
    sound = np.concatenate(list(system.stream(plan)))
    assert len(sound) == sample_count(probe(clip).duration, RATE)
    assert np.isfinite(sound).all()


def test_a_window_is_told_where_in_the_film_it_lies(clip: Path) -> None:
    system = Lova(made(current()), "cpu")
    plan = system.prepare(probe(clip), SoundRequest(settings={"window": "1.5"}))
    told = system.conditions(plan, [(0, 32), (32, 64)])["global_cond"]
    assert not torch.equal(told[0], told[1])
    assert system.numbers is not None
    start = system.numbers.conditioners["seconds_start"](torch.tensor([0.0, 32 * 2048 / RATE]))
    assert torch.allclose(told[:, :32], start[:, 0], atol=1e-6)


def test_configurations_that_a_picture_cannot_condition() -> None:
    config = changed()
    config["stable_audio"]["model"]["diffusion"]["cross_attention_cond_ids"] = []
    with pytest.raises(ValueError, match="attends to"):
        lova.build(config)
    with pytest.raises(ValueError, match="known are v, rectified_flow, rf_denoiser"):
        lova.build(changed(diffusion={"diffusion_objective": "epsilon"}))
