"""TempoTokens at small size: published files, our folders, every wish, and any length of sound."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from synchresis.data.stage import film
from synchresis.encoders.clip_prompt import PLACEHOLDERS
from synchresis.encoders.clip_text import plain_tokenizer
from synchresis.errors import BadInputError
from synchresis.media import SoundWriter, frames, probe, write_film
from synchresis.systems import tempotokens
from synchresis.systems.lora import corrected, read_lora
from synchresis.systems.picturing import PictureRequest, convert_picture, load_picture, probe_sound
from synchresis.systems.tempotokens import Settings, TempoTokens

SHARED = Path(os.environ.get("SYNCHRESIS_SHARED", Path(__file__).parents[3] / "shared"))
QUICK = {"width": 32, "height": 32, "steps": 2, "guidance": 2.0}


@pytest.fixture(scope="module")
def system() -> TempoTokens:
    made = load_picture("tempotokens", device="cpu", untrained="small")
    assert isinstance(made, TempoTokens)
    return made


def rendered(path: Path, seconds: float) -> Path:
    """The sound of a stick that strikes wood, made by the stage."""
    made = film(11, size=(64, 64), seconds=seconds, fps=25, kinds=("wood",), ugly=False)
    with SoundWriter(path, int(made.sound.rate), 1, "PCM_16") as writer:
        writer.write(np.asarray(made.sound.values, np.float32).reshape(-1, 1).clip(-1, 1))
    return path


@pytest.fixture(scope="module")
def hits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rendered(tmp_path_factory.mktemp("hits") / "hits.wav", 2.0)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rendered(tmp_path_factory.mktemp("long") / "long.wav", 4.3)


def made(system: TempoTokens, sound: Path, **wishes: object) -> np.ndarray:
    request = PictureRequest(**(QUICK | wishes))  # type: ignore[arg-type]
    return np.stack(list(system.pictures(system.prepare(sound, request))))


# Published files


@pytest.fixture(scope="module")
def published(system: TempoTokens, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What the authors of the three would give out, with all their ways: DDP's prefix, `cfg`, positions, old names."""
    from tokenizers import Tokenizer

    folder = tmp_path_factory.mktemp("published")
    parts = {name: n.state_dict() for name, n in system.loaded.components.items()}
    torch.save({f"module.{k}": v for k, v in parts["mapper"].items()}, folder / "learned_embeds.pth")
    cfg = system.config["beats"] | {"activation_fn": "gelu", "input_patch_size": 16, "dropout": 0.0}
    torch.save({"cfg": cfg, "model": parts["beats"]}, folder / "BEATs_small.pt")
    base, config = folder / "base", system.config["base"]
    for part, name in (("unet", "unet"), ("text", "text_encoder"), ("vae", "vae")):
        (base / name).mkdir(parents=True)
        described = config["text"]["network"] if part == "text" else config[part]
        described = described | {"_class_name": "X", "_diffusers_version": "0.15"}
        stock = 514  # words before the placeholders
        if part == "text":
            described["vocab_size"] = stock
        (base / name / "config.json").write_text(json.dumps(described))
    text = {f"text_model.{k.removeprefix('tower.')}": v for k, v in parts["text"].items() if k.startswith("tower.")}
    text["text_model.embeddings.token_embedding.weight"] = text["text_model.embeddings.token_embedding.weight"][:stock]
    text["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    torch.save(text, base / "text_encoder" / "pytorch_model.bin")
    save_file(parts["unet"], base / "unet" / "diffusion_pytorch_model.safetensors")
    old = {k.replace(".to_q.", ".query.").replace(".to_out.0.", ".proj_attn."): v for k, v in parts["vae"].items()}
    torch.save(old, base / "vae" / "diffusion_pytorch_model.bin")
    (base / "scheduler").mkdir()
    (base / "scheduler" / "scheduler_config.json").write_text(json.dumps(config["scheduler"] | {"_class_name": "DDIM"}))
    (base / "tokenizer").mkdir()
    Tokenizer.from_str(plain_tokenizer()).model.save(str(base / "tokenizer"))
    end = "<|endoftext|>"
    marks = {"bos_token": "<|startoftext|>", "eos_token": end, "unk_token": end, "pad_token": "!"}
    (base / "tokenizer" / "special_tokens_map.json").write_text(json.dumps(marks))
    kind = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77} | marks
    (base / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(kind))
    return {"mapper": folder / "learned_embeds.pth", "beats": folder / "BEATs_small.pt", "base": base}


def test_published_files_make_the_same_film_as_the_networks_they_hold(
    system: TempoTokens, published: dict[str, Path], hits: Path, tmp_path: Path
) -> None:
    parts = {"base": published["base"], "beats": published["beats"]}
    original = load_picture("tempotokens", published["mapper"], "cpu", parts=parts)
    assert original.untrained is None
    assert original.key_report is not None
    assert "1 ignored (1 a list of numbers" in original.key_report
    report = convert_picture("tempotokens", published["mapper"], tmp_path / "ours", parts)
    assert report.digest == original.weights_hash
    ours = load_picture("tempotokens", tmp_path / "ours", "cpu")
    assert ours.weights_hash == original.weights_hash
    assert isinstance(original, TempoTokens)
    assert isinstance(ours, TempoTokens)
    films = [made(which, hits, prompt="a dog") for which in (original, ours)]
    assert films[0].shape == (24, 32, 32, 3)
    assert films[0].tobytes() == films[1].tobytes()
    for name in ("unet", "vae", "beats", "mapper"):
        there = original.loaded.components[name].state_dict()
        assert all(torch.equal(v, there[k]) for k, v in system.loaded.components[name].state_dict().items()), name
    words = "text.tower." + next(k for k in report.components["text"].tower.state_dict() if "token_embedding" in k)  # type: ignore[union-attr, operator]
    grown = report.components["text"].state_dict()[words.removeprefix("text.")]
    assert grown.shape == (520, 32)
    assert not grown[514:].any()  # rows that are overwritten whenever they are looked at


def test_what_is_missing_is_named(published: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="--part base=PLACE"):
        load_picture("tempotokens", published["mapper"], "cpu", parts={"beats": published["beats"]})
    parts = {"base": published["base"], "beats": published["beats"]}
    with pytest.raises(BadInputError, match="no mapper of TempoTokens"):
        load_picture("tempotokens", published["beats"], "cpu", parts=parts)
    parts = {"base": tmp_path, "beats": published["beats"]}
    with pytest.raises(BadInputError, match="tokenizer"):
        load_picture("tempotokens", published["mapper"], "cpu", parts=parts)


# Sound


def test_what_is_heard_decides_the_frames(system: TempoTokens, hits: Path, tmp_path: Path) -> None:
    silent = tmp_path / "silent.wav"
    with SoundWriter(silent, 16_000, 1) as writer:
        writer.write(np.zeros(32_000, np.float32))
    first, again = made(system, hits, seed=3), made(system, hits, seed=3)
    assert first.tobytes() == again.tobytes()
    assert np.abs(first.astype(int) - made(system, silent, seed=3)).max() > 2
    assert np.abs(first.astype(int) - made(system, hits, seed=4)).max() > 20


@pytest.mark.parametrize("published_order", [False, True])
def test_a_later_sound_tells_later_frames(system: TempoTokens, tmp_path: Path, published_order: bool) -> None:
    """Noise in the second half of a sound changes what the frames of the first half are told but little."""
    rng = np.random.default_rng(0)
    told = []
    for late in (0.0, 0.3):
        sound = np.concatenate([rng.normal(0, 0.1, 96_000) * 0 + 0.01, rng.normal(0, 1, 96_000) * late])
        with SoundWriter(tmp_path / "half.wav", 16_000, 1) as writer:
            writer.write(sound.astype(np.float32))
        clip = probe_sound(tmp_path / "half.wav")
        settings = Settings(published_order=published_order)
        told.append(system.heard(clip, Fraction(12), 144, settings)[:, 0])
    change = (told[1] - told[0]).abs().mean(1)
    assert change[:48].max() < 1e-6  # heard in stretches that end before
    assert change[84:].min() > 1e-2


def test_stretches_of_any_sound_blend_without_a_jump(system: TempoTokens, long: Path) -> None:
    clip = probe_sound(long)
    vectors = system.heard(clip, Fraction(12), 52, Settings())
    assert vectors.shape == (52, 6, 32)
    steady = vectors[:, 5].diff(dim=0).abs().mean(1)  # <class>: one per stretch
    whole = (vectors[-1, 5] - vectors[0, 5]).abs().mean()
    assert steady.max() < whole + 1e-3
    twice = system.heard(clip, Fraction(24), 104, Settings())
    between = (twice[1:-1:2] + twice[2::2]) / 2 - (vectors[:-1] * 0.5 + vectors[1:] * 0.5)
    assert between.abs().max() < 1e-5


def test_the_first_stretch_is_what_the_mapper_says_of_it(system: TempoTokens, hits: Path) -> None:
    from synchresis.media import read_sound

    sound = read_sound(hits)
    with torch.no_grad():
        alone = system.map(tempotokens.monaural(sound.values, int(sound.rate)), Settings())
    told = system.heard(probe_sound(hits), Fraction(12), 24, Settings())
    assert torch.equal(told, tempotokens.vectors_of(alone))


def test_the_named_faults_of_the_original_can_be_had(system: TempoTokens, hits: Path) -> None:
    clip = probe_sound(hits)
    plain = system.heard(clip, Fraction(12), 24, Settings())
    order = system.heard(clip, Fraction(12), 24, Settings(published_order=True))
    assert (plain - order).abs().max() > 1e-3
    assert torch.equal(plain[0::2, 0], plain[1::2, 0])  # two frames hear one column of 160 ms, all of it
    assert not torch.equal(order[0::2, 0], order[1::2, 0])
    dropped = [system.heard(clip, Fraction(12), 24, Settings(class_dropout=True), seed) for seed in (0, 0, 1)]
    assert torch.equal(dropped[0], dropped[1])
    assert not torch.equal(dropped[0][:, 5], dropped[2][:, 5])
    assert torch.equal(dropped[0][:, :5], plain[:, :5])


# Wishes


def test_words_lead_beside_the_sound_or_alone(system: TempoTokens, hits: Path) -> None:
    plans = {
        "sound": PictureRequest(),
        "sound and prompt": PictureRequest(prompt="a dog"),
        "prompt": PictureRequest(prompt="a dog", settings={"sound": "false"}),
    }
    for mode, request in plans.items():
        assert system.prepare(hits, request).mode == mode
    own = system.prepare(hits, PictureRequest(prompt="<temp> a dog <class>"))
    assert own.prompt == "<temp> a dog <class>"
    assert own.mode == "sound and prompt"
    assert system.prepare(hits, PictureRequest(prompt="<temp> <class>")).mode == "sound"
    films = [made(system, hits, prompt=p, guidance=9.0) for p in (None, "a dog", "rain")]
    assert np.abs(films[0].astype(int) - films[1]).max() > 1
    assert np.abs(films[1].astype(int) - films[2]).max() > 1
    against = made(system, hits, prompt="a dog", negative="rain", guidance=9.0)
    assert np.abs(films[1].astype(int) - against).max() > 1
    for wrong, said in (
        ({"prompt": "<temp> <temp>"}, "2 times"),
        ({"prompt": "a " * 80 + "<temp>"}, "too long"),
        ({"negative": "<class>"}, "words alone"),
        ({"settings": {"sound": "false"}}, "leads alone"),
        ({"width": 30}, "multiples of 8"),
        ({"settings": {"stretch": "5"}}, "1 to 4"),
        ({"settings": {"overlap": "24"}}, "less than the window"),
        ({"steps": 2000}, "ask for 1 to 999"),
    ):
        with pytest.raises(BadInputError, match=said):
            made(system, hits, **wrong)


def test_a_long_film_is_joined_from_windows(system: TempoTokens, long: Path) -> None:
    """Blended windows do not depend on how many there are where they do not reach, and rotation moves them."""
    plan = system.prepare(long, PictureRequest(**QUICK, settings={"window": "12", "overlap": "4"}))  # type: ignore[arg-type]
    blended = system.latents(plan)
    assert blended.shape == (1, 4, 52, 4, 4)
    jumps = blended[0].diff(dim=1).abs().mean((0, 2, 3))
    assert jumps.max() < 3 * jumps.median()
    rotated = system.latents(replace(plan, settings=replace(plan.settings, join="rotate")))
    assert (rotated - blended).abs().max() > 1e-3
    looped = system.latents(replace(plan, settings=replace(plan.settings, loop=True)))
    assert torch.equal(looped, rotated)
    assert any("blend" in note for note in plan.notes)


def test_states_made_at_every_step_are_those_that_are_kept(
    system: TempoTokens, long: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = system.prepare(long, PictureRequest(**QUICK))  # type: ignore[arg-type]
    kept = system.latents(plan)
    monkeypatch.setattr(tempotokens, "KEPT", 0)
    assert torch.allclose(system.latents(plan), kept, atol=1e-4)


def test_a_film_to_begin_from_is_kept_the_more_the_larger_its_weight(
    system: TempoTokens, hits: Path, tmp_path: Path
) -> None:
    start = tmp_path / "start.mp4"
    ramp = np.linspace(30, 220, 32).astype(np.uint8)
    write_film(start, [np.broadcast_to(ramp[None, :, None], (32, 32, 3))] * 10, 10)
    there = system.base.encode([p for _, p in frames(start, times=[Fraction(1, 2)] * 24, size=(32, 32))], 8)
    distances = []
    for weight in (0.2, 0.5, 0.9):
        request = PictureRequest(**(QUICK | {"steps": 10}), film=start, film_weight=weight)  # type: ignore[arg-type]
        distances.append(float((system.latents(system.prepare(hits, request)) - there).abs().mean()))
    assert distances == sorted(distances, reverse=True)
    with pytest.raises(BadInputError, match="leaves no step"):
        made(system, hits, film=start, film_weight=1.0)


def test_less_memory_makes_about_the_same_film(system: TempoTokens, hits: Path) -> None:
    plain = made(system, hits).astype(int)
    few = made(system, hits, settings={"vae_batch": "3"})
    assert np.abs(few - plain).max() <= 1
    half = made(system, hits, settings={"precision": "half"})
    assert 0 < np.abs(half - plain).mean() < 8
    tiles = made(system, hits, settings={"tiles": "true"})
    assert np.abs(tiles - plain).max() <= 1  # so small a picture is one tile


@pytest.mark.parametrize("kind", ["peft", "diffusers", "old"])
def test_a_lora_is_put_in_and_taken_out(system: TempoTokens, hits: Path, tmp_path: Path, kind: str) -> None:
    name = next(n for n, _ in system.base.unet.named_parameters() if n.endswith("attn2.to_v.weight"))  # type: ignore[attr-defined]
    weight = system.base.unet.get_parameter(name)  # type: ignore[attr-defined]
    draw = torch.Generator().manual_seed(0)
    down, up = torch.randn(4, weight.shape[1], generator=draw), torch.randn(weight.shape[0], 4, generator=draw)
    module = name.removesuffix(".weight")
    path = tmp_path / "adapter_model.safetensors"
    names = {
        "peft": (f"base_model.model.{module}.lora_A.weight", f"base_model.model.{module}.lora_B.weight"),
        "diffusers": (f"unet.{module}.lora_A.weight", f"unet.{module}.lora_B.weight"),
        "old": (f"unet.{module}.lora.down.weight", f"unet.{module}.lora.up.weight"),
    }
    save_file(dict(zip(names[kind], (down, up), strict=True)), path)
    scale = 1.0
    if kind == "peft":
        (tmp_path / "adapter_config.json").write_text('{"r": 4, "lora_alpha": 8}')
        scale = 2.0
    networks = {"unet": system.base.unet}  # type: ignore[attr-defined]
    before = weight.clone()
    with corrected(networks, read_lora(path, networks)):
        assert torch.allclose(weight, before + scale * up @ down, atol=1e-5)
    assert torch.equal(weight, before)
    with corrected(networks, read_lora(path, networks, rank=1)):
        assert torch.linalg.matrix_rank((weight - before).detach(), rtol=1e-3) == 1
    if kind == "peft":
        plain, other = made(system, hits), made(system, hits, lora=path)
        assert np.abs(plain.astype(int) - other).max() > 1
        assert torch.equal(weight, before)
        save_file({"a.weight": down}, path)
        with pytest.raises(BadInputError, match="no LoRA that is known"):
            made(system, hits, lora=path)


# Rotation


def test_windows_rotate_over_every_frame_and_are_told_theirs() -> None:
    seen: list[list[int]] = []

    def make(frames: list[int]) -> object:
        seen.append(frames)
        return lambda x, t: x * 0 + torch.tensor(frames, dtype=torch.float32)

    run = tempotokens.rotating(make, 7, 3, [2, 3])  # type: ignore[arg-type]
    for i in range(3):
        out = run(i, torch.zeros(1, 1, 7), torch.zeros(1))
        assert out[0, 0].tolist() == list(range(7))
    assert seen[:3] == [[5, 6, 0], [1, 2, 3], [4]]
    assert seen[3][0] == (0 - 5) % 7


def test_shifts_are_the_primes_up_to_the_window() -> None:
    assert sorted(tempotokens.prime_shifts(12, 0)) == [2, 3, 5, 7, 11]
    assert sorted(tempotokens.prime_shifts(2, 0)) == [2, 3]
    assert tempotokens.prime_shifts(24, 1) != tempotokens.prime_shifts(24, 2)


def test_placeholders_are_six(system: TempoTokens) -> None:
    assert tuple(system.base.placeholders) == PLACEHOLDERS
    assert sorted(system.base.text.placeholders.values()) == list(range(514, 520))  # type: ignore[attr-defined]


# End to end


def check_take(system: TempoTokens, sound: Path, folder: Path) -> None:
    out = folder / "take.mkv"
    report = system.picture(sound, out, prompt="a hand", **QUICK)
    clip, film_made = probe(sound), probe(out)
    assert film_made.video is not None
    assert film_made.video.frames == report["timing"]["frames"]
    assert report["timing"]["sound_seconds"] == pytest.approx(float(clip.duration), abs=1e-3)
    assert abs(film_made.audio[0].duration - clip.duration) < Fraction(1, 100)
    assert any("noise" in note for note in report["notes"])
    assert set(report["av_align"]) == {"value", "null", "z", "onsets_of_sound", "peaks_of_flow"}
    assert report["watched"]["within_100_ms"]["null"] is not None
    for suffix in (".recipe.json", ".report.json", ".png"):
        assert out.with_suffix(suffix).is_file()


def test_a_rendered_sound_from_end_to_end(system: TempoTokens, hits: Path, tmp_path: Path) -> None:
    check_take(system, hits, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["short_4s.mp4", "drum.mp4"])
def test_real_sounds_from_end_to_end(published: dict[str, Path], tmp_path: Path, name: str) -> None:
    """A hammer on an anvil and a drummer, by networks that were saved and loaded."""
    sound = SHARED / "media" / "clips" / name
    if not sound.is_file():
        pytest.skip(f"{sound} is not here")
    parts = {"base": published["base"], "beats": published["beats"]}
    convert_picture("tempotokens", published["mapper"], tmp_path / "ours", parts)
    loaded = load_picture("tempotokens", tmp_path / "ours", "cpu")
    loaded.loaded.untrained = "small"  # type: ignore[attr-defined]
    assert isinstance(loaded, TempoTokens)
    check_take(loaded, sound, tmp_path)


def test_what_peft_writes_is_read(system: TempoTokens, tmp_path: Path) -> None:
    """The same prediction by peft's own layers and by ours."""
    peft = pytest.importorskip("peft")
    unet = system.base.unet  # type: ignore[attr-defined]
    x, t, states = torch.randn(1, 4, 2, 4, 4), torch.tensor([500]), torch.randn(2, 77, 32)
    with torch.no_grad():
        plain = system.base.predict(x, t, states)
    copied = type(unet).from_config(unet.config)
    copied.load_state_dict(unet.state_dict())
    kind = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["to_q", "to_v", "conv_in"])
    wrapped = peft.get_peft_model(copied, kind)
    with torch.no_grad():
        for name, param in wrapped.named_parameters():
            if "lora_" in name:
                param.normal_(0, 0.3)
    wrapped.save_pretrained(tmp_path)
    corrections = read_lora(tmp_path / "adapter_model.safetensors", {"unet": unet})
    assert len(corrections) == 1 + sum(name.endswith(("to_q.weight", "to_v.weight")) for name in unet.state_dict())
    merged = wrapped.merge_and_unload().state_dict()
    with torch.no_grad(), corrected({"unet": unet}, corrections):
        for name, value in unet.state_dict().items():
            assert torch.allclose(value, merged[name], atol=1e-5), name
        assert (system.base.predict(x, t, states) - plain).abs().max() > 1e-2
    with torch.no_grad():
        assert torch.equal(system.base.predict(x, t, states), plain)
