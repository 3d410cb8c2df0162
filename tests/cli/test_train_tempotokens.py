"""`synchresis train tempotokens`: a film, a few steps, a folder that `synchresis picture` takes; and where to begin."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from synchresis.cli import run
from synchresis.data.stage import film
from synchresis.media import SoundWriter, probe, write_film
from synchresis.systems import random_weights, tempotokens
from synchresis.systems.picturing import load_picture
from synchresis.systems.weights import Loaded, write_folder

PROGRAM = Path(sys.executable).with_name("synchresis")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of a film of the stage, two stretches long, and of one that is not there; its first second as a sound."""
    folder = tmp_path_factory.mktemp("films")
    wood = film(11, size=(64, 64), seconds=2.5, fps=12, kinds=("wood",), ugly=False)
    write_film(folder / "wood.mp4", wood.frames, wood.fps, wood.sound)
    with SoundWriter(folder / "wood.wav", int(wood.sound.rate), 1, "PCM_16") as writer:
        writer.write(np.asarray(wood.sound.values, np.float32).reshape(-1, 1)[: int(wood.sound.rate)].clip(-1, 1))
    lines = [{"film": "wood.mp4", "prompt": "wood"}, {"film": "absent.mp4"}]
    (folder / "films.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "films.jsonl"


@pytest.fixture(scope="module")
def small() -> Loaded:
    return random_weights("tempotokens", "small")


def command(films: Path, out: Path, *options: str | Path, steps: int = 2) -> list[str]:
    given = ["train", "tempotokens", "--films", films, "--out", out, "--steps", steps, "--device", "cpu", *options]
    return [str(part) for part in given]


def tensors(loaded: Loaded, name: str) -> dict[str, Any]:
    return loaded.components[name].state_dict()


def same(one: dict[str, Any], other: dict[str, Any], off: float = 0.0) -> bool:
    return one.keys() == other.keys() and all(torch.allclose(v, other[k], rtol=0, atol=off) for k, v in one.items())


def test_from_films_to_a_film_and_the_same_again(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, cache = tmp_path / "one", tmp_path / "two", tmp_path / "cache"
    done = subprocess.run(
        [PROGRAM, *command(films, one, "--size", "small", "--cache", cache, "--save-every", "2", steps=3)],
        capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "line 2: absent.mp4: left out" in done.stderr
    assert "1 of 2 films are left out" in done.stderr
    assert "NOISE: networks that are not trained here have random weights" in done.stderr
    assert "step 3: loss " in done.stderr
    use = done.stdout.splitlines()[-1]
    assert use == f"synchresis picture SOUND --system tempotokens --weights {one}"
    noted = json.loads((one / "training.json").read_text())
    assert (noted["steps"], noted["batch"], noted["rate"], noted["stretches"]) == (3, 1, 1e-5, 2)
    assert [entry["prompt"] for entry in noted["films"]] == ["wood"]

    kept = next(cache.iterdir())
    written = kept.stat().st_mtime_ns
    torch.set_num_threads(1)
    assert run(command(films, two, "--size", "small", "--cache", cache, steps=3)) == 0  # in one go, from the cache
    assert [(path, path.stat().st_mtime_ns) for path in cache.iterdir()] == [(kept, written)]
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in two.iterdir())
    for path in one.iterdir():
        assert path.read_bytes() == (two / path.name).read_bytes(), path.name

    made = tmp_path / "made.mp4"
    told = [str(films.with_name("wood.wav")) if word == "SOUND" else word for word in shlex.split(use)[1:]]
    capsys.readouterr()
    assert run([*told, "--out", str(made), "--steps", "1", "--width", "32", "--height", "32"]) == 0
    assert capsys.readouterr().out.splitlines() == [str(made)]
    picture = probe(made).video
    assert picture is not None
    assert picture.frames == 12


def test_only_the_mapper_changes_and_a_folder_is_a_beginning(small: Loaded, films: Path, tmp_path: Path) -> None:
    begin, out = write_folder(small, tmp_path / "begin"), tmp_path / "out"
    assert run(command(films, out, "--init", begin, "--rate", "1e-3", "--batch", "2")) == 0
    changed = {
        path.stem for path in begin.glob("*.safetensors") if not same(load_file(path), load_file(out / path.name))
    }
    assert changed == {"mapper"}
    assert json.loads((out / "training.json").read_text())["began_with"] == "begin"


@pytest.fixture(scope="module")
def parts(small: Loaded, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The base as diffusers writes it, BEATs and the mapper as their authors do."""
    from tokenizers import Tokenizer

    from synchresis.encoders.clip_text import plain_tokenizer

    folder = tmp_path_factory.mktemp("parts")
    base, networks = folder / "base", dict[str, Any](small.components)
    networks["unet"].save_pretrained(base / "unet")
    networks["vae"].save_pretrained(base / "vae")
    networks["text"].tower.save_pretrained(base / "text_encoder")
    (base / "scheduler").mkdir()
    (base / "scheduler" / "scheduler_config.json").write_text(json.dumps(small.config["base"]["scheduler"]))
    (base / "tokenizer").mkdir()
    Tokenizer.from_str(plain_tokenizer()).model.save(str(base / "tokenizer"))
    end = "<|endoftext|>"
    marks = {"bos_token": "<|startoftext|>", "eos_token": end, "unk_token": end, "pad_token": "!"}
    (base / "tokenizer" / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"} | marks))
    cfg = small.config["beats"] | {"activation_fn": "gelu"}
    torch.save({"cfg": cfg, "model": tensors(small, "beats")}, folder / "BEATs.pt")
    torch.save({f"module.{k}": v for k, v in tensors(small, "mapper").items()}, folder / "learned_embeds.pth")
    return {"base": base, "beats": folder / "BEATs.pt", "mapper": folder / "learned_embeds.pth"}


def test_published_files_are_a_beginning_with_a_mapper_or_without(
    small: Loaded,
    parts: dict[str, Path],
    films: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    beside = ["--part", f"base={parts['base']}", "--part", f"beats={parts['beats']}"]
    made = {**small.config, "width": 32, "height": 32, "mapper": {"input": 1, "hidden": 24, "output": 1}}
    (tmp_path / "size.json").write_text(json.dumps(made))
    new, on = tmp_path / "new", tmp_path / "on"
    assert run(command(films, new, *beside, "--size", tmp_path / "size.json")) == 0
    system = load_picture("tempotokens", new, "cpu")
    assert system.untrained is None
    said = json.loads((new / "system.json").read_text())["config"]
    assert (said["mapper"], said["width"]) == ({"input": 96, "hidden": 24, "output": 32}, 32)  # its ends fit the parts
    for name in ("unet", "vae", "beats"):
        assert same(load_file(new / f"{name}.safetensors"), tensors(small, name)), name

    read_original = tempotokens.read_original

    def smaller(path: Path, beside: dict[str, Path]) -> Loaded:
        """At the published 384 x 384 this takes half a minute."""
        loaded = read_original(path, beside)
        loaded.config.update(width=32, height=32)
        return loaded

    monkeypatch.setattr(tempotokens, "read_original", smaller)
    assert run(command(films, on, *beside, "--init", parts["mapper"], "--rate", "1e-9", steps=1)) == 0
    assert same(load_file(on / "mapper.safetensors"), tensors(small, "mapper"), off=1e-6)
    assert json.loads((on / "training.json").read_text())["began_with"] == "learned_embeds.pth"

    assert run(command(films, tmp_path / "half", *beside[:2])) == 2
    assert "give both, or neither" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--network", "mapper"], "nothing to choose from"),
        (["--stage", "films"], "leave out --stage"),
        (["--size", "tiny"], "has no size tiny"),
        (["--init", "nowhere.pth"], "no such file"),
    ],
)
def test_what_is_refused(
    options: list[str], reason: str, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command(films, tmp_path / "out", *options)) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_prompt_that_leaves_no_room_for_the_sound_is_named(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "long.jsonl"
    listed.write_text(json.dumps({"film": str(films.with_name("wood.mp4")), "prompt": "so many words " * 9}))
    assert run(command(listed, tmp_path / "out", "--size", "small")) == 2
    said = capsys.readouterr().err
    assert "long.jsonl, line 1" in said
    assert "too long" in said
    assert not (tmp_path / "out").exists()
