"""VTA-LDM at small size: published files, films of any length, its variants, its quirks."""

import json
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from audioldm_files import original_of
from safetensors.torch import save_file
from torch import Tensor

import synchresis
from synchresis.codecs import audioldm
from synchresis.data.stage import film
from synchresis.encoders import clip as clip_eye
from synchresis.encoders import clip_text, video
from synchresis.errors import BadInputError
from synchresis.media import probe, write_film
from synchresis.systems import vta_ldm as module
from synchresis.systems.request import SoundRequest
from synchresis.systems.vta_ldm import SIZES, VtaLdm, build, published_numbers, read_original
from synchresis.systems.weights import Loaded, randomise, write_folder
from synchresis.timeline import Track

SHARED = Path(os.environ.get("SYNCHRESIS_SHARED", Path(__file__).parents[3] / "shared"))
TINY_UNET = SIZES["small"]["unet"] | {"block_out_channels": [32, 32, 32, 32], "attention_head_dim": [1, 1, 2, 2]}
# CLIP's towers have 64 numbers a head, by which a reader of the published file knows how many heads there are.
EYE = video.FULL["clip"] | {
    "normalise": False, "network": clip_eye.SMALL | {"hidden_size": 64, "num_attention_heads": 1},
}  # fmt: skip
EAR = clip_text.SMALL | {"hidden_size": 64, "num_attention_heads": 1}


def config_of(size: str = "small", **changes: Any) -> dict[str, Any]:
    return SIZES[size] | {"unet": TINY_UNET} | changes


def made(config: dict[str, Any]) -> Loaded:
    torch.manual_seed(0)
    networks = build(config)
    for network in networks.values():
        randomise(network)
    return Loaded("vta_ldm", config, networks)


@pytest.fixture(scope="module")
def published() -> Loaded:
    return made(config_of(encoder=EYE, text=EAR))


@pytest.fixture(scope="module")
def system() -> VtaLdm:
    return VtaLdm(made(config_of()), "cpu")


def write_film_of(path: Path, seconds: float, fps: int = 25) -> Path:
    shown = film(11, size=(64, 96), seconds=seconds, fps=fps, kinds=("wood",), ugly=False)
    write_film(path, shown.frames, shown.fps, None)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_film_of(tmp_path_factory.mktemp("vta") / "wood.mp4", 4.0)


def write_published(folder: Path, loaded: Loaded, lost: str = "", extra: dict[str, Tensor] | None = None) -> Path:
    """The accelerate folder that the original would have written of these networks."""
    folder.mkdir()
    tensors: dict[str, Tensor] = {}
    for component, prefix in (
        ("unet", "unet."),
        ("encoder", "vid_fea_extractor.clip_vision."),
        ("projection", "vid_fea_extractor.linear_layer."),
    ):
        for name, value in loaded.components[component].state_dict().items():
            tensors[prefix + name] = value.clone()
    for name, value in loaded.components["text"].state_dict().items():
        if name.startswith("tower."):
            tensors[f"vid_fea_extractor.clip_text.{name.removeprefix('tower.')}"] = value.clone()
    tensors["vid_fea_extractor.clip_text.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    tensors["vid_fea_extractor.clip_vision.vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    tensors.pop(lost, None)
    torch.save(tensors | (extra or {}), folder / "pytorch_model_2.bin")
    codec = original_of(loaded.components["codec"])  # type: ignore[arg-type]
    torch.save({"state_dict": codec | {"model.diffusion_model.x": torch.ones(2)}}, folder / "audioldm-s-full.ckpt")
    arguments = {
        "fea_encoder_name": "openai/clip-vit-large-patch14",
        "scheduler_name": "stabilityai/stable-diffusion-2-1",
        "unet_model_name": None,
        "unet_model_config": "configs/diffusion_model_config_large_2048.json",
        "uncondition": False,
    }
    epoch = {"epoch": [1], "step": 372, "train_loss": 0.8671}
    (folder / "summary.jsonl").write_text(f"{json.dumps(arguments)}\n\n{json.dumps(epoch)}\n")
    unet = {"_class_name": "UNet2DConditionModel", "dual_cross_attention": False, **loaded.config["unet"]}
    (folder / "diffusion_model_config_large_2048.json").write_text(json.dumps(unet))
    return folder


@pytest.fixture
def small_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audioldm, "FULL", audioldm.SMALL)


# Published files


@pytest.mark.usefixtures("small_codec")
def test_the_published_folder_is_read_whole_and_saved_as_ours(published: Loaded, tmp_path: Path, clip: Path) -> None:
    folder = write_published(tmp_path / "published", published)
    loaded = read_original(folder, {})
    for component, network in loaded.components.items():
        expected = published.components[component].state_dict()
        assert network.state_dict().keys() == expected.keys()
        assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items()), component
    assert loaded.config["quirks"] == module.QUIRKS
    assert loaded.config["encoder"]["network"] == EYE["network"]

    system = synchresis.load("vta_ldm", folder, device="cpu")
    assert "clip_text" not in str(system.key_report)
    assert "no tokenizer was given" in str(system.key_report)
    synchresis.systems.convert("vta_ldm", folder, tmp_path / "ours")
    again = synchresis.load("vta_ldm", tmp_path / "ours", device="cpu")
    assert again.weights_hash == system.weights_hash
    takes = [s.sound(clip, steps=2, seed=3).samples for s in (system, again)]
    assert takes[0].tobytes() == takes[1].tobytes()


@pytest.mark.usefixtures("small_codec")
@pytest.mark.parametrize(
    ("lost", "extra", "said"),
    [
        ("unet.conv_in.weight", None, r"does not fit unet.*conv_in\.weight"),
        ("vid_fea_extractor.linear_layer.bias", None, "does not fit projection.*bias"),
        ("", {"unet.strange": torch.ones(1)}, "unknown.*strange"),
        ("", {"fea_extractor.conv": torch.ones(1)}, r"unknown.*fea_extractor\.conv"),
        ("vid_fea_extractor.clip_vision.visual_projection.weight", None, "lacks CLIP's eye"),
    ],
)
def test_what_does_not_fit_is_named(
    published: Loaded, tmp_path: Path, lost: str, extra: dict[str, Tensor] | None, said: str
) -> None:
    with pytest.raises(BadInputError, match=said):
        read_original(write_published(tmp_path / "published", published, lost, extra), {})


@pytest.mark.usefixtures("small_codec")
def test_what_the_folder_lacks_is_asked_for(published: Loaded, tmp_path: Path) -> None:
    folder = write_published(tmp_path / "published", published)
    codec = (folder / "audioldm-s-full.ckpt").rename(tmp_path / "audioldm-s-full.ckpt")
    with pytest.raises(BadInputError, match="--part audioldm=FILE"):
        read_original(folder, {})
    assert read_original(folder, {"audioldm": codec}).digest == read_original(folder, {"audioldm": tmp_path}).digest

    arguments = json.loads((folder / "summary.jsonl").read_text().splitlines()[0])
    for change, said in (
        ({"ib": "True"}, "looks through ib"),
        ({"unet_model_config": "configs/other.json"}, r"put other\.json into the folder"),
        ({"scheduler_name": "a/b"}, r"scheduler_config\.json of a/b"),
    ):
        (folder / "summary.jsonl").write_text(json.dumps(arguments | change))
        with pytest.raises(BadInputError, match=said):
            read_original(folder, {"audioldm": codec})
    (folder / "summary.jsonl").write_text("\n")
    with pytest.raises(BadInputError, match="training arguments"):
        read_original(folder, {"audioldm": codec})
    with pytest.raises(BadInputError, match="published folder"):
        read_original(codec, {})


@pytest.mark.usefixtures("small_codec")
def test_a_tokenizer_gives_the_published_model_words(published: Loaded, tmp_path: Path, clip: Path) -> None:
    folder = write_published(tmp_path / "published", published)
    (tmp_path / "tokenizer.json").write_text(clip_text.plain_tokenizer())
    loaded = read_original(folder, {"tokenizer": tmp_path})
    speaking = VtaLdm(loaded, "cpu")
    takes = [speaking.sound(clip, steps=1, prompt=prompt) for prompt in (None, "a dog", "a bird", "a dog")]
    assert takes[1].samples.tobytes() == takes[3].samples.tobytes()
    assert np.abs(takes[1].samples - takes[0].samples).max() > 1e-4
    assert np.abs(takes[1].samples - takes[2].samples).max() > 1e-5
    assert any("without words" in note for note in takes[1].report["notes"])
    write_folder(loaded, tmp_path / "ours")
    again = synchresis.load("vta_ldm", tmp_path / "ours", device="cpu").sound(clip, steps=1, prompt="a dog")
    assert again.samples.tobytes() == takes[1].samples.tobytes()


# Sounding


@pytest.mark.parametrize("seconds", [1.0, 4.0, 20.0])
def test_sound_is_as_long_as_the_film(system: VtaLdm, tmp_path: Path, seconds: float) -> None:
    path = write_film_of(tmp_path / "film.mp4", seconds)
    take = system.sound(path, steps=1)
    assert take.rate == 16_000
    assert take.samples.shape == (round(seconds * 16_000), 1)
    assert np.isfinite(take.samples).all()
    assert np.abs(take.samples).max() <= 1.0
    assert take.samples.std() > 1e-3
    assert any("windows of 10.24 s" in note for note in take.report["notes"]) == (seconds > 10.24)


def test_same_seed_same_bytes_and_samplers_through_the_same_call(system: VtaLdm, clip: Path) -> None:
    takes = [system.sound(clip, steps=3, seed=seed).samples for seed in (1, 1, 2)]
    assert takes[0].tobytes() == takes[1].tobytes()
    assert np.abs(takes[0] - takes[2]).max() > 1e-3
    for sampler in ("dpmpp", "unipc"):
        other = system.sound(clip, steps=3, seed=1, sampler=sampler).samples
        assert other.shape == takes[0].shape
        assert np.abs(other - takes[0]).max() > 1e-3


def test_defaults_are_the_published_ones(system: VtaLdm, clip: Path) -> None:
    def plan(**settings: str) -> module.VtaPlan:
        return system.prepare(probe(clip), SoundRequest(settings=settings))

    assert (plan().sampler, plan().steps, plan().guidance, plan().spacing) == ("ddpm", 300, 3.0, None)
    assert plan(sampler="dpmpp").steps == 25
    assert plan(length="trained").latents == 256
    assert plan().latents == 104
    ours = VtaLdm(made(config_of("small-pe")), "cpu").prepare(probe(clip), SoundRequest())
    assert ours.spacing == "trailing"


def test_wishes_that_it_cannot_serve_are_refused(system: VtaLdm, clip: Path) -> None:
    for wish, said in (
        ({"prompt": "rain"}, "takes no words"),
        ({"like": clip}, "--like"),
        ({"onsets": clip}, "--onsets"),
        ({"envelope": str(clip)}, "--envelope"),
    ):
        with pytest.raises(BadInputError, match=said):
            system.prepare(probe(clip), SoundRequest(**wish))  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match="use --system pocket"):
        system.watch(probe(clip))


def test_guidance_one_is_the_conditioned_network_alone(system: VtaLdm, clip: Path) -> None:
    plan = system.prepare(probe(clip), SoundRequest(guidance=1.0))
    x, t = torch.randn(1, 128, plan.latents, generator=torch.Generator().manual_seed(0)), torch.tensor([500.0])
    context = system.tokens(torch.from_numpy(plan.features.values))[None]
    with torch.no_grad():
        told = system.denoiser.prepare(context=context, mask=torch.ones(context.shape[:2], dtype=torch.bool))
        alone = system.denoiser(x, t, told)
        torch.testing.assert_close(system.network(plan)(x, t), alone)


def test_windows_see_the_pictures_in_them(system: VtaLdm) -> None:
    """Features at 2 Hz that are their own number; windows of 10.24 s."""
    numbers = np.repeat(np.arange(40, dtype=np.float32)[:, None], system.encoder.width, axis=1)
    plan = module.VtaPlan(
        Fraction(20), Track(numbers, Fraction(2)), None, 504, 0, 1, 3.0, "ddpm", None, []
    )
    seen = {span: system._within(plan, span)[:, 0].tolist() for span in ((0, 256), (248, 504), (500, 504))}
    assert seen[0, 256] == list(range(21))          # 0 to 10.24 s
    assert seen[248, 504] == list(range(20, 40))    # 9.92 to 20.16 s
    assert seen[500, 504] == [39]


def test_a_short_film_does_not_hear_how_its_batch_was_padded(system: VtaLdm) -> None:
    """Windows of one batch that see 21 and 20 pictures: each predicts what it does by itself."""
    draw = torch.Generator().manual_seed(0)
    features = Track(torch.randn(40, system.encoder.width, generator=draw).numpy(), Fraction(2))
    plan = module.VtaPlan(Fraction(20), features, None, 504, 0, 1, 3.0, "ddpm", None, [])
    x, t = torch.randn(1, 128, 504, generator=draw), torch.tensor([700.0])
    both = system.network(plan)(x, t)
    for start, stop, alone in ((0, 256, slice(0, 192)), (248, 504, slice(448, 504))):
        one = module.VtaPlan(
            Fraction(10), Track(system._within(plan, (start, stop)).numpy(), Fraction(2)), None, 256, 0, 1, 3.0,
            "ddpm", None, [],
        )  # fmt: skip
        predicted = system.network(one)(x[..., start:stop], t)
        ours = slice(alone.start - start, alone.stop - start)
        torch.testing.assert_close(both[..., alone], predicted[..., ours], atol=1e-4, rtol=0)


# Variants


@pytest.mark.parametrize("size", [name for name in SIZES if name.startswith("small-")])
def test_every_variant_sounds(size: str, tmp_path: Path) -> None:
    path = write_film_of(tmp_path / "film.mp4", 2.0)
    variant = VtaLdm(made(config_of(size)), "cpu")
    wishes: dict[str, Any] = {"prompt": "wood"} if size == "small-text" else {}
    take = variant.sound(path, steps=1, **wishes)
    assert take.samples.shape == (32_000, 1)
    assert take.samples.std() > 1e-3
    write_folder(variant.loaded, tmp_path / "ours")
    again = synchresis.load("vta_ldm", tmp_path / "ours", device="cpu").sound(path, steps=1, **wishes)
    assert again.samples.tobytes() == take.samples.tobytes()


def test_positions_tell_the_order_of_pictures() -> None:
    plain, placed = (VtaLdm(made(config_of(size)), "cpu") for size in ("small", "small-pe"))
    same = torch.ones(3, plain.encoder.width)
    with torch.no_grad():
        assert float((plain.tokens(same)[0] - plain.tokens(same)[2]).abs().max()) == 0
        assert float((placed.tokens(same)[0] - placed.tokens(same)[2]).abs().max()) > 0.1


def test_words_stand_before_the_pictures_as_often() -> None:
    speaking = VtaLdm(made(config_of("small-text")), "cpu")
    features, words = torch.randn(3, speaking.encoder.width), torch.randn(1, speaking.encoder.width)
    with torch.no_grad():
        tokens = speaking.tokens(features, words)
        assert tokens.shape == (6, TINY_UNET["cross_attention_dim"])
        torch.testing.assert_close(tokens[3:], speaking.tokens(features))
        torch.testing.assert_close(tokens[:3], speaking.tokens(words).expand(3, -1))


# Quirks


def test_quirks_are_switches(clip: Path) -> None:
    base = made(config_of())
    sounds = {}
    for name in (None, *module.QUIRKS):
        quirks = {key: value and key != name for key, value in module.QUIRKS.items()}
        changed = Loaded("vta_ldm", base.config | {"quirks": quirks}, base.components)
        sounds[name] = VtaLdm(changed, "cpu").sound(clip, steps=2).samples
    for name in module.QUIRKS:
        assert np.abs(sounds[name] - sounds[None]).max() > 1e-5, name


def test_frames_by_number_drift_where_the_rate_is_no_whole_number(system: VtaLdm, tmp_path: Path) -> None:
    assert published_numbers(271, Fraction(25))[:5] == [0, 12, 25, 37, 50]
    ntsc = Fraction(30_000, 1001)
    numbers = published_numbers(300, ntsc)
    assert numbers[:4] == [0, 14, 29, 43]
    assert float(numbers[20] / ntsc) == pytest.approx(9.676, abs=1e-3)  # instead of 10 s
    path = write_film_of(tmp_path / "film.mp4", 3.0, fps=30)
    plans = [system.prepare(probe(path), SoundRequest(settings={"frames": way})) for way in ("time", "number")]
    assert np.array_equal(plans[0].features.values, plans[1].features.values)
    with pytest.raises(BadInputError, match="frames=time"):
        published_numbers(10, Fraction(1, 2))


def test_pictures_are_raw_for_the_published_checkpoint(clip: Path) -> None:
    loaded = made(config_of())
    raw, right = (
        VtaLdm(Loaded("vta_ldm", loaded.config | {"quirks": quirks}, loaded.components), "cpu")
        for quirks in (module.QUIRKS, module.OUR_QUIRKS)
    )
    plans = [s.prepare(probe(clip), SoundRequest()).features.values for s in (raw, right)]
    eye = loaded.components["encoder"]
    for values, normalise in zip(plans, (False, True), strict=True):
        expected = clip_eye.frame_features(eye, probe(clip), rate=2, normalise=normalise).values
        assert np.array_equal(values, expected)
    assert np.abs(plans[0] - plans[1]).max() > 0.01


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"quirks": {"raw_pixels": True}}, "quirks"),
        ({"unet": TINY_UNET | {"in_channels": 4}}, "channels"),
        ({"text": clip_text.SMALL | {"projection_dim": 32}}, "as wide"),
        ({"encoder": {"kind": "eagle", "rate": "2", "network": {"hidden_size": 8}}}, "eagle"),
    ],
)
def test_configurations_that_make_no_sense_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build(config_of() | change)


# Beginning to train


@pytest.mark.usefixtures("small_codec")
def test_a_variant_begins_with_the_networks_of_others(published: Loaded, tmp_path: Path, monkeypatch: Any) -> None:
    folder = write_published(tmp_path / "published", published)
    torch.manual_seed(5)
    eye = video.build(video.SMALL["cavp"])
    state = {f"module.{name}": value for name, value in eye.state_dict().items()}
    torch.save({"state_dict": state | {"module.spec_encoder.x": torch.ones(1)}}, tmp_path / "cavp.ckpt")
    monkeypatch.setitem(video.FULL, "cavp", video.SMALL["cavp"])
    monkeypatch.setitem(SIZES, "tiny-cavp", config_of("small-cavp"))
    parts = {"encoder": tmp_path / "cavp.ckpt", "audioldm": folder}
    begun = module.begin("tiny-cavp", parts, folder / "pytorch_model_2.bin")
    assert begun.config["quirks"] == module.OUR_QUIRKS
    for name, value in eye.state_dict().items():
        assert torch.equal(begun.components["encoder"].state_dict()[name], value), name
    assert same_unet(begun, published)
    fresh = module.begin("tiny-cavp", parts)
    assert not same_unet(fresh, published)
    assert same_unet(fresh, module.begin("tiny-cavp", parts))
    with pytest.raises(BadInputError, match="parts audioldm, encoder"):
        module.begin("tiny-cavp", {})
    with pytest.raises(BadInputError, match="no size"):
        module.begin("huge", parts)


@pytest.mark.usefixtures("small_codec")
def test_a_variant_with_words_begins_with_all_of_clip(published: Loaded, tmp_path: Path, monkeypatch: Any) -> None:
    folder = write_published(tmp_path / "published", published)
    place = tmp_path / "clip"
    place.mkdir()
    whole = dict(published.components["encoder"].state_dict())
    for name, value in published.components["text"].state_dict().items():
        if name.startswith("tower."):
            whole[name.removeprefix("tower.")] = value
    save_file(whole | {"logit_scale": torch.ones(())}, place / "model.safetensors")
    sizes = EYE["network"]
    described = {"model_type": "clip", "vision_config": sizes, "projection_dim": sizes["projection_dim"]}
    (place / "config.json").write_text(json.dumps(described))
    (place / "tokenizer.json").write_text(clip_text.plain_tokenizer())
    monkeypatch.setitem(SIZES, "tiny-text", config_of("small-text"))
    begun = module.begin("tiny-text", {"encoder": place, "text": place, "audioldm": folder})
    for component in ("encoder", "text", "codec"):
        expected = published.components[component].state_dict()
        assert all(torch.equal(v, expected[n]) for n, v in begun.components[component].state_dict().items()), component
    assert [report.component for report in begun.reports] == ["encoder", "codec", "text"]


def same_unet(first: Loaded, second: Loaded) -> bool:
    states = [loaded.components["unet"].state_dict() for loaded in (first, second)]
    return all(torch.equal(value, states[1][name]) for name, value in states[0].items())


# Real films


@pytest.mark.skipif(not (SHARED / "media" / "vggsound").is_dir(), reason="needs the shared media")
@pytest.mark.parametrize("number", [0, 1])
def test_real_clips(system: VtaLdm, tmp_path: Path, number: int) -> None:
    path = sorted((SHARED / "media" / "vggsound").glob("*.mp4"))[number]
    write_folder(system.loaded, tmp_path / "ours")
    again = synchresis.load("vta_ldm", tmp_path / "ours", device="cpu")
    take = again.sound(path, steps=1, sampler="dpmpp")
    assert len(take.samples) == int(probe(path).duration * 16_000 + Fraction(1, 2))
    assert take.samples.tobytes() == system.sound(path, steps=1, sampler="dpmpp").samples.tobytes()
