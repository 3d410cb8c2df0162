"""STA-V2A with random weights, small: loading as published, any length, words, quirks, watching."""

import copy
import json
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import synchresis
from synchresis.codecs import audioldm
from synchresis.data.stage import film
from synchresis.errors import BadInputError
from synchresis.media import probe, write_film
from synchresis.systems import convert, sta_v2a
from synchresis.systems.sta_v2a import OUR_QUIRKS, SMALL, ControlledUNet, StaV2a
from synchresis.systems.weights import Loaded, randomise, write_folder
from synchresis.timeline import sample_count

SHARED = Path(os.environ.get("SYNCHRESIS_SHARED", Path(__file__).parents[3] / "shared"))
QUICK = {"steps": 2, "sampler": "dpmpp"}


@pytest.fixture(scope="module")
def small() -> StaV2a:
    return synchresis.load("sta_v2a", untrained="small", device="cpu")  # type: ignore[return-value]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3.28 s at 25 fps, made by the stage."""
    made = film(11, size=(96, 96), seconds=3.28, fps=25, kinds=("wood",), ugly=False)
    path = tmp_path_factory.mktemp("sta") / "wood.mp4"
    write_film(path, made.frames, made.fps, made.sound)
    return path


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sta") / "grey.mp4"
    write_film(path, (np.full((96, 96, 3), 90, np.uint8) for _ in range(82)), Fraction(25), None)
    return path


def changed(system: StaV2a, **config: Any) -> StaV2a:
    """The same weights under another configuration."""
    loaded = system.loaded
    return StaV2a(Loaded("sta_v2a", loaded.config | config, loaded.components, untrained="small"), "cpu")


def quirky(system: StaV2a, *names: str) -> StaV2a:
    return changed(system, quirks=OUR_QUIRKS | dict.fromkeys(names, True))


# Sounding -----------------------------------------------------------------------------------------


def test_same_seed_same_bytes_also_from_a_folder(small: StaV2a, clip: Path, tmp_path: Path) -> None:
    first, again, other = (small.sound(clip, prompt="wood", seed=seed, steps=2) for seed in (1, 1, 2))
    assert first.samples.shape == (sample_count(probe(clip).duration, 16_000), 1)
    assert first.samples.tobytes() == again.samples.tobytes()
    assert np.abs(first.samples - other.samples).max() > 1e-3
    write_folder(small.loaded, tmp_path / "ours")
    back = synchresis.load("sta_v2a", weights=tmp_path / "ours", device="cpu")
    assert back.weights_hash == small.weights_hash
    assert back.sound(clip, prompt="wood", seed=1, steps=2).samples.tobytes() == first.samples.tobytes()


def test_picture_words_and_settings_reach_the_sound(small: StaV2a, clip: Path, grey: Path) -> None:
    base = small.sound(clip, prompt="wood", seed=1, **QUICK).samples
    assert np.abs(small.sound(grey, prompt="wood", seed=1, **QUICK).samples - base).max() > 1e-4
    for told in (
        {"prompt": "rain"}, {"guidance": 1.0}, {"video_guidance": 2.0}, {"sampler": "unipc", "steps": 3},
        {"sampler": "ddpm"}, {"spacing": "leading"}, {"prompt": None},
    ):  # fmt: skip
        given: dict[str, Any] = {"prompt": "wood", "seed": 1, **QUICK, **told}
        assert np.abs(small.sound(clip, **given).samples - base).max() > 1e-5, told
    plan = small.prepare(probe(clip), sta_v2a.SoundRequest(prompt="wood"))
    assert (plan.steps, plan.guidance, plan.settings.sampler, plan.latents) == (200, 3.0, "ddpm", 88)
    assert plan.notes == []


@pytest.mark.parametrize(("frames", "fps"), [(1, 25), (24, 24), (100, 25)])
def test_films_of_any_length(small: StaV2a, tmp_path: Path, frames: int, fps: int) -> None:
    path = tmp_path / "some.mp4"
    write_film(path, (np.full((32, 32, 3), 90 + i % 100, np.uint8) for i in range(frames)), Fraction(fps), None)
    take = small.sound(path, prompt="wind", **QUICK)
    assert take.samples.shape == (sample_count(Fraction(frames, fps), 16_000), 1)
    assert np.isfinite(take.samples).all()


def test_a_long_film_is_denoised_in_windows(small: StaV2a, tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    write_film(path, (np.full((32, 32, 3), 50 + i, np.uint8) for i in range(120)), Fraction(8), None)  # 15 s
    take = small.sound(path, prompt="wind", **QUICK)
    assert take.samples.shape == (240_000, 1)
    plan = small.prepare(probe(path), sta_v2a.SoundRequest(prompt="wind"))
    assert any("windows of 10.24 s" in note for note in plan.notes)
    # The beginning depends on nothing that lies beyond the first window and what it shares with the second.
    network = small.network(plan)
    x = torch.randn(1, 128, plan.latents, generator=torch.Generator().manual_seed(0))
    t = torch.full((1,), 500.0)
    with torch.no_grad():
        base = network(x, t)
        x[..., 300:] = 0
        other = network(x, t)
    same = (base - other).abs().amax((0, 1))
    assert float(same[:110].max()) < 1e-5
    assert float(same[300:].max()) > 1e-3


@pytest.mark.parametrize("name", ["-26aVYRtEAc_000030.mp4", "-yoaSondvkw_000071.mp4"])
def test_real_clips(small: StaV2a, name: str) -> None:
    path = SHARED / "media" / "vggsound" / name
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    take = small.sound(path, prompt="a scene", **QUICK)
    assert take.samples.shape == (sample_count(probe(path).duration, 16_000), 1)
    assert np.isfinite(take.samples).all()
    assert float(np.abs(take.samples).max()) > 1e-3


def test_what_it_cannot_be_told_is_refused(small: StaV2a, clip: Path, tmp_path: Path) -> None:
    wishes: list[tuple[dict[str, Any], str]] = [
        ({"onsets": tmp_path / "a.csv"}, "hidden feature"),
        ({"envelope": tmp_path / "a.csv"}, "no loudness"),
        ({"like": tmp_path / "a.wav"}, "takes words"),
        ({"sampler": "heun"}, "choose from"),
        ({"pitch": 3}, "no setting 'pitch'"),
    ]
    for wish, reason in wishes:
        with pytest.raises(BadInputError, match=reason):
            small.sound(clip, **wish)
    with pytest.raises(BadInputError, match="never saw its training without the picture"):
        changed(small, video_dropped=False).sound(clip, video_guidance=2.0, **QUICK)
    notes = small.prepare(probe(clip), sta_v2a.SoundRequest(prompt="a dog barks " * 50)).notes
    assert any("the first 199 tokens count" in note for note in notes)
    assert small.prepare(probe(clip), sta_v2a.SoundRequest(prompt="  ")).prompt == ""
    changed(small, video_dropped=False).prepare(probe(clip), sta_v2a.SoundRequest(settings={"video_guidance": "1"}))


@torch.no_grad()
def test_two_scales_are_the_weighted_sum(small: StaV2a, clip: Path) -> None:
    """Nothing + 2 (picture - nothing) + 5 (words - picture), from three plain evaluations."""
    request = sta_v2a.SoundRequest(prompt="wood", guidance=5.0, settings={"video_guidance": "2"})
    plan = small.prepare(probe(clip), request)
    x = torch.randn(1, 128, plan.latents, generator=torch.Generator().manual_seed(0))
    t = torch.full((1,), 300.0)
    words, mask = small.text.encode(["", "wood"])
    rows = torch.from_numpy(plan.features.values)[None]
    tokens, onset = small.pooling(rows), small.local(rows, plan.latents).feature  # type: ignore[misc]
    silent, told = (sta_v2a.conditions(words[i : i + 1], mask[i : i + 1], tokens, onset) for i in (0, 1))
    nothing = sta_v2a.conditions(words[:1], mask[:1], torch.zeros_like(tokens), torch.zeros_like(onset))
    parts = [small.denoiser(x, t, small.denoiser.prepare(**given)) for given in (nothing, silent, told)]
    expected = parts[0] + 2 * (parts[1] - parts[0]) + 5 * (parts[2] - parts[1])
    assert torch.allclose(small.network(plan)(x, t), expected, atol=1e-4)


def test_what_does_not_depend_on_the_step_is_done_once(
    small: StaV2a, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"text": 0, "condition": 0, "cavp": 0, "unet": 0, "keys": 0}
    parts: dict[str, Any] = small.loaded.components

    def counted(name: str) -> Callable[..., None]:
        def count(*_: Any) -> None:
            counts[name] += 1

        return count

    attention = parts["control"].mid_block.attentions[0].transformer_blocks[0].attn2
    places = {
        "text": parts["text"].t5,
        "condition": parts["control"].controlnet_cond_embedding,
        "cavp": parts["cavp"].video_project_head,
        "unet": parts["unet"].conv_in,
        "keys": attention.to_k,
    }
    hooks = [module.register_forward_hook(counted(name)) for name, module in places.items()]
    try:
        small.sound(clip, prompt="wood", steps=5)
    finally:
        for hook in hooks:
            hook.remove()
    assert counts == {"text": 1, "condition": 1, "cavp": 1, "unet": 5, "keys": 1}


# Quirks -------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_batch_of_different_prompts_gives_what_each_gives_alone(small: StaV2a) -> None:
    """But with the published ControlNet, which attends to padding: there the longest prompt changes the others."""
    prompts = ["rain", "a dog barks behind a door", ""]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 128, 64, generator=generator)
    rows, lengths = torch.randn(3, 12, 24, generator=generator), torch.tensor([[12], [12], [7]])
    counted = torch.arange(12) < lengths
    t = torch.tensor([400.0, 700.0, 100.0])
    networks: dict[str, Any] = small.loaded.components

    def run(items: list[int], sees_padding: bool) -> torch.Tensor:
        denoiser = ControlledUNet(networks["unet"], networks["control"], 16, sees_padding)
        words, mask = small.text.encode([prompts[i] for i in items])
        longest = int(lengths[items].max())
        video, rows_here = rows[items][:, :longest], counted[items][:, :longest]
        onset = small.local(video, 64, rows_here).feature
        tokens = small.pooling(video, rows_here)  # type: ignore[misc]
        told = denoiser.prepare(**sta_v2a.conditions(words, mask, tokens, onset))
        return denoiser(x[items], t[items], told)

    together, alone = run([0, 1, 2], False), torch.cat([run([i], False) for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-4)
    padded, lonely = run([0, 1, 2], True), torch.cat([run([i], True) for i in range(3)])
    assert not torch.allclose(padded[0], lonely[0], atol=1e-3)
    assert torch.allclose(padded[1], lonely[1], atol=1e-4)  # the longest has no padding


def test_quirks_are_off_and_each_has_its_switch(small: StaV2a, clip: Path) -> None:
    assert not any(small.quirks.values())
    base = small.sound(clip, prompt="wood", seed=1, **QUICK).samples
    for name in ("controlnet_sees_padding", "zero_rows_pooled", "pooling_dropout"):
        system = quirky(small, name)
        first, again = (system.sound(clip, prompt="wood", seed=1, **QUICK).samples for _ in range(2))
        assert first.tobytes() == again.tobytes(), name
        assert first.shape == base.shape
        assert np.abs(first - base).max() > 1e-5, name
    plan = quirky(small, "zero_rows_pooled").prepare(probe(clip), sta_v2a.SoundRequest())
    assert plan.latents == 256
    assert sta_v2a.FULL["quirks"] == {
        "controlnet_sees_padding": True,
        "zero_rows_pooled": True,
        "pooling_dropout": False,
    }


# Watching -----------------------------------------------------------------------------------------


def test_watching_gives_onsets_and_a_loudness(small: StaV2a, clip: Path) -> None:
    onsets, loudness, chance = small.watch(probe(clip))
    assert (len(loudness), len(chance)) == (328, 82)
    assert ((chance.values >= 0) & (chance.values <= 1)).all()
    assert len(onsets) == 0 or float(chance.values.max()) >= 0.5
    with torch.no_grad():  # the same network, now sure of an onset where the first number is large
        certain: Any = copy.deepcopy(small.loaded.components["local"])
        head, rows = certain.pre_onset.l2, small.prepare(probe(clip), sta_v2a.SoundRequest()).features.values
        head.weight *= 40.0
        head.bias -= head(small.local(torch.from_numpy(rows)[None], 82).feature).mean((0, 1))
    system = StaV2a(Loaded("sta_v2a", small.config, small.loaded.components | {"local": certain}), "cpu")
    onsets, loudness, chance = system.watch(probe(clip))
    assert len(onsets) > 0
    for time, strength in zip(onsets.times, onsets.strengths, strict=True):
        cell = int(time * 25)
        assert strength >= 0.5
        assert chance.values[cell] == pytest.approx(strength, abs=1e-6)
        assert loudness.values[int(time * 100)] >= sta_v2a.STRUCK * strength * 0.99
    assert loudness.values.min() >= sta_v2a.QUIET * 0.99


def test_the_command_watches_and_sounds(small: StaV2a, clip: Path, tmp_path: Path) -> None:
    from synchresis.cli import app

    write_folder(small.loaded, tmp_path / "ours")
    told = ["--system", "sta_v2a", "--weights", str(tmp_path / "ours"), "--device", "cpu"]
    done = CliRunner().invoke(app, ["watch", str(clip), "--out", str(tmp_path), *told])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "wood.onsets.csv").is_file()
    assert (tmp_path / "wood.envelope.csv").is_file()


# Published files ----------------------------------------------------------------------------------

WORDS = ["<pad>", "</s>", "<unk>", "▁wood", "▁", "r", "a", "i", "n"]


def text_folder(folder: Path, text: dict[str, Any]) -> Path:
    """The text encoder's folder: a tokenizer and the sizes, no weights."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder.mkdir(parents=True)
    tokenizer = Tokenizer(models.Unigram([(word, -float(i)) for i, word in enumerate(WORDS)], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps(text | {"model_type": "mt5", "dropout_rate": 0.1}))
    return folder


def first_stage(codec: audioldm.MelCodec) -> dict[str, torch.Tensor]:
    """A file of the original's layout that means this codec: the map walked backwards, name by name."""
    deepest = 2
    pairs = {"vae.": "", "upsampler.": "ups.", "conv_shortcut.": "nin_shortcut.", "conv_norm_out.": "norm_out."}
    for i in range(3):
        pairs |= {f"mid_block.resnets.{i}.": f"mid.block_{i + 1}.", f"down_blocks.{i}.resnets.": f"down.{i}.block."}
        pairs |= {f"down_blocks.{i}.downsamplers.0.": f"down.{i}.downsample."}
        pairs |= {f"up_blocks.{i}.resnets.": f"up.{deepest - i}.block."}
        pairs |= {f"up_blocks.{i}.upsamplers.0.": f"up.{deepest - i}.upsample."}
    attention = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
    pairs |= {f"mid_block.attentions.0.{new}.": f"mid.attn_1.{old}." for new, old in attention.items()}
    tensors = {"scale_factor": codec.scale_factor.clone(), "model.diffusion_model.x": torch.zeros(1)}
    for name, value in codec.state_dict().items():
        if name in ("scale_factor", "vocoder.mean", "vocoder.scale"):
            continue
        old = name
        for new, was in pairs.items():
            old = old.replace(new, was)
        tensors[f"first_stage_model.{old}"] = value[..., None, None] if ".to_" in name and value.ndim == 2 else value
    return tensors


def checkpoint_of(system: StaV2a) -> dict[str, torch.Tensor]:
    """Tensors as `pytorch_model_2.bin` names them, CAVP's audio tower and the second embedding with them."""
    places = {"unet": "unet.", "control": "controlnet.", "local": "", "pooling": "global_video_feature.",
              "cavp": "extract_cavp.stage1_model."}  # fmt: skip
    parts = system.loaded.components
    tensors = {place + k: v.clone() for name, place in places.items() for k, v in parts[name].state_dict().items()}
    for name, value in parts["text"].state_dict().items():
        if name != "tokenizer":
            tensors[name.replace("t5.", "text_encoder.encoder.")] = value.clone()
    tensors["text_encoder.shared.weight"] = tensors["text_encoder.encoder.embed_tokens.weight"].clone()
    return tensors | {"extract_cavp.stage1_model.spec_encoder.bn.weight": torch.ones(4)}


Layout = Callable[..., Path]


@pytest.fixture
def layout(small: StaV2a, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """The authors' tree at small size: saved/STA-V2A, the T2A folder, the text encoder, the codec."""
    sizes = copy.deepcopy(sta_v2a.SIZES)
    sizes["full"] |= {"codec": SMALL["codec"], "side": SMALL["side"]}
    monkeypatch.setattr(sta_v2a, "SIZES", sizes)

    def write(tensors: dict[str, torch.Tensor], **arguments: Any) -> Path:
        told = {"text_encoder_name": "mt5-large", "unet_model_name": "t2a", "scheduler_name": "t2a",
                "unet_model_config": None, "snr_gamma": 5.0, **arguments}  # fmt: skip
        saved = tmp_path / "saved" / "STA-V2A"
        (saved / "best").mkdir(parents=True)
        (saved / "summary.jsonl").write_text(json.dumps(told) + "\n" + json.dumps({"epoch": 1}) + "\n")
        torch.save(tensors, saved / "best" / "pytorch_model_2.bin")
        text_folder(tmp_path / "mt5-large", {k: v for k, v in SMALL["text"].items() if k != "tokenizer_bytes"})
        for part, content in (("unet/config.json", SMALL["unet"]),
                              ("scheduler/scheduler_config.json", SMALL["scheduler"])):
            (tmp_path / "t2a" / part).parent.mkdir(parents=True)
            (tmp_path / "t2a" / part).write_text(json.dumps({"_class_name": "x", **content}))
        (tmp_path / "saved" / "pretrained_model").mkdir()
        codec: Any = small.loaded.components["codec"]
        torch.save({"state_dict": first_stage(codec)}, tmp_path / "saved" / "pretrained_model" / "audioldm-s-full.ckpt")
        return saved

    return write


def test_the_published_layout_is_read(small: StaV2a, layout: Layout, clip: Path, tmp_path: Path) -> None:
    saved = layout(checkpoint_of(small), use_feature_window=True, has_global_video_feature=True)
    read: StaV2a = synchresis.load("sta_v2a", weights=saved, device="cpu")  # type: ignore[assignment]
    for name, network in read.loaded.components.items():
        for key, value in network.state_dict().items():
            if key != "tokenizer":
                assert torch.equal(value, small.loaded.components[name].state_dict()[key]), (name, key)
    assert read.config["unet_source"] == "t2a"
    assert read.quirks["controlnet_sees_padding"]
    assert read.text.token_ids("wood rain") == [3, 4, 5, 6, 7, 8, 1]
    report = read.key_report
    assert report is not None
    assert "1 the text encoder's embedding a second time" in report
    assert "CAVP's audio tower" in report
    take = read.sound(clip, prompt="wood rain", **QUICK)
    assert len(take.samples) == sample_count(probe(clip).duration, 16_000)
    # The file by itself means the same, and so does a folder of ours, which needs nothing around it.
    convert("sta_v2a", saved / "best" / "pytorch_model_2.bin", tmp_path / "ours")
    ours = synchresis.load("sta_v2a", weights=tmp_path / "ours", device="cpu")
    assert ours.weights_hash == read.weights_hash
    assert ours.sound(clip, prompt="wood rain", **QUICK).samples.tobytes() == take.samples.tobytes()


def test_a_model_without_windows_and_global_branch(small: StaV2a, layout: Layout, clip: Path) -> None:
    tensors = {k: v for k, v in checkpoint_of(small).items() if not k.startswith("global_video_feature.")}
    width = SMALL["local"]["width"]
    tensors["pre_onset.l1.weight"] = tensors["pre_onset.l1.weight"][:, :width].clone()
    read: StaV2a = synchresis.load("sta_v2a", weights=layout(tensors), device="cpu")  # type: ignore[assignment]
    assert read.config["pooling"] is None
    assert read.config["local"]["windows"] == []
    assert np.isfinite(read.sound(clip, prompt="wood", **QUICK).samples).all()


def test_cavp_from_its_own_file(small: StaV2a, layout: Layout, tmp_path: Path) -> None:
    tensors = checkpoint_of(small)
    eye = {k.removeprefix("extract_cavp.stage1_model."): v for k, v in tensors.items() if k.startswith("extract_cavp.")}
    saved = layout({k: v for k, v in tensors.items() if not k.startswith("extract_cavp.")})
    with pytest.raises(BadInputError, match="--part cavp="):
        synchresis.load("sta_v2a", weights=saved, device="cpu")
    (tmp_path / "cvap").mkdir()
    torch.save({"state_dict": {f"module.{k}": v for k, v in eye.items()}}, tmp_path / "cvap" / "cavp_epoch66.ckpt")
    read = synchresis.load("sta_v2a", weights=saved, device="cpu")
    assert "cavp_epoch66.ckpt" in (read.key_report or "")
    whole = tmp_path / "whole"
    whole.mkdir()
    torch.save(tensors, whole / "pytorch_model_2.bin")
    (whole / "summary.jsonl").write_text((saved / "summary.jsonl").read_text())
    with pytest.raises(BadInputError, match="holds its own CAVP"):
        synchresis.load(
            "sta_v2a", weights=whole, parts={"cavp": tmp_path / "cvap" / "cavp_epoch66.ckpt"}, device="cpu"
        )


@pytest.mark.parametrize(
    ("change", "arguments", "reason"),
    [
        ({}, {"use_feature_window": False}, "use_feature_window=False"),
        ({"pre_onset.l1.weight": torch.zeros(16, 33)}, {}, "neither the feature of 16 alone"),
        ({"unet.conv_in.weight": None}, {}, r"1 missing: conv_in\.weight"),
        ({"clap.x": torch.zeros(1)}, {}, r"1 unknown: clap\.x"),
        ({"text_encoder.shared.weight": torch.zeros(259, 48)}, {}, "differ"),
        ({"global_video_feature.conv.weight": None}, {}, "not whole"),
        ({}, {"text_encoder_name": "flan-t5-large"}, "--part text="),
        ({}, {"unet_model_name": "elsewhere"}, "do not describe|does not fit"),
    ],
)
def test_what_does_not_fit_is_refused(
    change: dict[str, Any], arguments: dict[str, Any], reason: str, small: StaV2a, layout: Layout
) -> None:
    tensors = {k: v for k, v in (checkpoint_of(small) | change).items() if v is not None}
    with pytest.raises(BadInputError, match=reason):
        synchresis.load("sta_v2a", weights=layout(tensors, **arguments), device="cpu")


def test_other_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"best/pytorch_model_2\.bin"):
        synchresis.load("sta_v2a", weights=tmp_path, device="cpu")
    torch.save({"a": torch.zeros(1)}, tmp_path / "pytorch_model_2.bin")
    with pytest.raises(BadInputError, match=r"summary\.jsonl"):
        synchresis.load("sta_v2a", weights=tmp_path, device="cpu")


# Beginning from a prior ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prior(small: StaV2a, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text-to-audio folder as diffusers saves it."""
    folder = tmp_path_factory.mktemp("t2a")
    unet: Any = copy.deepcopy(small.loaded.components["unet"])
    randomise(unet, seed=5)
    unet.save_pretrained(folder / "unet")
    return folder


@torch.no_grad()
def test_at_the_first_step_the_controlled_unet_is_the_prior(prior: Path) -> None:
    from diffusers import UNet2DConditionModel

    begun = sta_v2a.begin("small", init=prior)
    theirs = UNet2DConditionModel.from_pretrained(prior / "unet").eval()
    parts: dict[str, Any] = begun.components
    generator = torch.Generator().manual_seed(0)
    latents, context = torch.randn(2, 8, 32, 16, generator=generator), torch.randn(2, 5, 48, generator=generator)
    onset, t = torch.randn(2, 32, 16, generator=generator), torch.tensor([300, 700])
    denoiser = ControlledUNet(parts["unet"].eval(), parts["control"].eval(), 16)
    told = denoiser.prepare(context, torch.ones(2, 5, dtype=torch.bool), onset)
    got = sta_v2a.pictured(denoiser(sta_v2a.columns(latents), t, told), 16)
    assert torch.allclose(got, theirs(latents, t, context).sample, atol=1e-5)
    downs, mid = denoiser.residuals(latents, t, told)
    assert not any(bool(value.any()) for value in (*downs, mid))
    copied = parts["control"].state_dict()
    shared = [name for name in copied if name in theirs.state_dict()]
    assert len(shared) > 100
    assert all(torch.equal(copied[name], theirs.state_dict()[name]) for name in shared)


def test_parts_of_others_are_read_before_training(small: StaV2a, prior: Path, tmp_path: Path) -> None:
    from transformers import T5Config, T5EncoderModel

    sizes = {k: v for k, v in SMALL["text"].items() if k != "tokenizer_bytes"}
    folder = text_folder(tmp_path / "t5", sizes)
    theirs: Any = T5EncoderModel(T5Config(**sizes))
    tensors = {k: v.clone() for k, v in theirs.state_dict().items()} | {"lm_head.weight": torch.zeros(2)}
    torch.save(tensors, folder / "pytorch_model.bin")
    parts: dict[str, Any] = small.loaded.components
    torch.save({f"module.{k}": v for k, v in parts["cavp"].state_dict().items()}, tmp_path / "cavp.ckpt")
    torch.save(first_stage(parts["codec"]), tmp_path / "audioldm-s-full.ckpt")
    given = {"text": folder, "cavp": tmp_path / "cavp.ckpt", "audioldm": tmp_path / "audioldm-s-full.ckpt"}
    begun = sta_v2a.begin("small", init=prior, parts=given)
    assert begun.untrained is None
    assert {report.component for report in begun.reports} == {"unet", "text", "cavp", "codec"}
    for name in ("cavp", "codec"):
        state = begun.components[name].state_dict()
        assert all(torch.equal(value, state[key]) for key, value in parts[name].state_dict().items())
    text: Any = begun.components["text"]
    assert torch.equal(text.t5.embed_tokens.weight, theirs.state_dict()["shared.weight"])
    assert text.token_ids("wood") == [3, 1]
    assert begun.config["video_dropped"]
    assert not any(begun.config["quirks"].values())


def test_a_prior_that_does_not_fit_is_refused(tmp_path: Path, prior: Path) -> None:
    with pytest.raises(BadInputError, match=r"unet/config\.json"):
        sta_v2a.begin("small", init=tmp_path)
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text((prior / "unet" / "config.json").read_text())
    with pytest.raises(BadInputError, match=r"diffusion_pytorch_model\.safetensors"):
        sta_v2a.begin("small", init=tmp_path)
    with pytest.raises(BadInputError, match="no size"):
        sta_v2a.begin("huge")
    with pytest.raises(BadInputError, match="parts text, cavp and audioldm"):
        sta_v2a.begin("small", parts={"clip": tmp_path})
