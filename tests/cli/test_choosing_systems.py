"""Systems with published weights on the command line: listed, converted, told settings, and loud about noise."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from synchresis.cli import run
from synchresis.cli.common import pairs
from synchresis.errors import BadInputError
from synchresis.media import SoundWriter, probe
from synchresis.systems import CLASSES, SYSTEMS
from synchresis.systems.picturing import PICTURE_SYSTEMS

NOISE = "NOISE: toy is untrained ({}): what follows is noise, for wiring and timing only"
READ = "toy: 8 tensors read: body 7 from toy.ckpt, words 1 from words.pt; 1 ignored (1 a moving average)"


@pytest.fixture
def clip(film: Path, tmp_path: Path) -> Path:
    (tmp_path / "films").mkdir()
    return Path(shutil.copy(film, tmp_path / "films" / "hammer.mp4"))


def recipe_of(take: Path) -> dict[str, Any]:
    return json.loads(take.with_suffix(".recipe.json").read_text())


def test_pairs() -> None:
    assert pairs("--set", ["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}
    assert pairs("--set", None) == {}
    for given, words in [
        (["a"], "--set a: say"),
        (["=1"], "--set =1"),
        (["a=1", "a=2"], "twice"),
    ]:
        with pytest.raises(BadInputError, match=words):
            pairs("--set", given)


def test_convert_and_sound(published: dict[str, Path], clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = clip.parent / "ours"
    asked = ["convert", "toy", str(published["toy"]), str(folder)]
    assert run(asked) == 2
    assert "add --part words=FILE" in capsys.readouterr().err
    assert not folder.exists()
    assert run([*asked, "--part", f"words={published['words']}"]) == 0
    assert capsys.readouterr() == (f"{folder}\n", f"{READ}\n")
    assert run([*asked, "--part", f"words={published['words']}"]) == 2
    assert "already holds a system" in capsys.readouterr().err

    original = [str(published["toy"]), "--part", f"words={published['words']}"]
    takes = []
    for name, weights in [("a.wav", original), ("b.wav", [str(folder)])]:
        take = clip.parent / name
        sound = [
            "sound",
            str(clip),
            "--system",
            "toy",
            "--out",
            str(take),
            "--set",
            "stereo=true",
            "--weights",
            *weights,
        ]
        assert run(sound) == 0
        out, err = capsys.readouterr()
        assert out == f"{take}\n"
        assert err.startswith("toy: ")
        assert len(err.splitlines()) == 1
        takes.append(take)
    assert takes[0].read_bytes() == takes[1].read_bytes()
    recipe = recipe_of(takes[0])
    assert recipe == recipe_of(takes[1])
    assert recipe["request"]["settings"] == {"stereo": "true"}
    assert recipe["system"]["untrained"] is None
    assert probe(takes[0]).audio[0].channels == 2

    again = ["sound", "--recipe", str(takes[0].with_suffix(".recipe.json")), "--out", str(clip.parent / "c.wav")]
    assert run(again) == 2  # a recipe has the hash of the weights, not their place
    assert "give their place with --weights" in capsys.readouterr().err
    assert run([*again, "--weights", str(folder)]) == 0
    assert (clip.parent / "c.wav").read_bytes() == takes[0].read_bytes()
    assert run([*again, "--overwrite", "--weights", *original]) == 0
    assert run([*again, "--overwrite", "--set", "stereo=false"]) == 2
    assert "leave out --set" in capsys.readouterr().err


def test_convert_as_json(published: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "ours"
    part = f"words={published['words']}"
    assert run(["convert", "toy", str(published["toy"]), str(folder), "--part", part, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert len(result.pop("weights_sha256")) == 64
    assert result == {"system": "toy", "folder": str(folder), "parameters": {"body": 28, "words": 20}}


def test_what_does_not_fit_stops_and_is_named(
    published: dict[str, Path], clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"shared.weight": torch.ones(5, 3), "stray": torch.ones(1)}, published["words"])
    sound = ["sound", str(clip), "--system", "toy", "--weights", str(published["toy"])]
    assert run([*sound, "--part", f"words={published['words']}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "words.pt does not fit words: 1 unknown: stray; 1 of another shape: shared.weight [5, 3]" in line
    assert run([*sound, "--part", "words="]) == 2
    assert "--part words= names no file" in capsys.readouterr().err
    assert list(clip.parent.iterdir()) == [clip]


def test_untrained_is_loud_and_comes_again(toy: None, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    take, again = clip.parent / "a.mp4", clip.parent / "b.mp4"
    assert run(["sound", str(clip), "--system", "toy", "--untrained", "small", "--out", str(take), "--json"]) == 0
    out, err = capsys.readouterr()
    note = "toy is untrained (small): this is noise"
    assert err == f"{NOISE.format('small')}\n{clip}: {note}\n"
    assert json.loads(out)["takes"][0]["notes"] == [note]
    assert json.loads(take.with_suffix(".report.json").read_text())["notes"] == [note]
    assert recipe_of(take)["system"]["untrained"] == "small"
    assert run(["sound", "--recipe", str(take.with_suffix(".recipe.json")), "--out", str(again)]) == 0
    assert capsys.readouterr().err.splitlines()[0] == NOISE.format("small")
    assert again.read_bytes() == take.read_bytes()


def test_untrained_from_a_file_comes_again(toy: None, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own, take, again = clip.parent / "own.json", clip.parent / "a.wav", clip.parent / "b.wav"
    own.write_text('{"width": 6, "words": 3}')
    assert run(["sound", str(clip), "--system", "toy", "--untrained", str(own), "--out", str(take)]) == 0
    assert capsys.readouterr().err.splitlines()[0] == NOISE.format("own.json")
    recipe = ["sound", "--recipe", str(take.with_suffix(".recipe.json")), "--out", str(again)]
    assert run(recipe) == 0
    assert again.read_bytes() == take.read_bytes()
    own.write_text('{"width": 7, "words": 3}')
    assert run([*recipe, "--overwrite"]) == 2
    assert "own.json is not the file that it was made from" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "gain"], "--set gain: say --set NAME=VALUE"),
        (["--set", "gain=loud"], "--set gain=loud: that is no float"),
        (["--set", "colour=red"], "--set colour=red: choose from white, blue"),
        (["--set", "stereo=2"], "say true or false"),
        (["--set", "echo=1"], "toy has no setting 'echo': it has gain, colour, stereo"),
        (["--set", "gain=1", "--set", "gain=2"], "--set gain is given twice"),
        (["--part", "words"], "--part words: say --part NAME=VALUE"),
        (["--untrained", "huge"], "no size huge"),
        (["--untrained", "small", "--weights", "x"], "takes no weights"),
        (["--untrained", "small", "--part", "words=x"], "takes no weights"),
        (["--weights", "none/at/all"], "--weights none/at/all: there is no such file or folder"),
        ([], "`synchresis systems toy` says which"),
    ],
)
def test_refusals_are_one_line(
    toy: None, clip: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert run(["sound", str(clip), "--system", "toy", *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert words in err
    assert list(clip.parent.iterdir()) == [clip]


def test_pocket_has_no_settings_and_no_parts(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, words in [
        (["--set", "gain=1"], "pocket has no setting 'gain': it has none"),
        (["--part", "clip=x"], "takes no parts"),
        (["--untrained", "small"], "never untrained"),
    ]:
        assert run(["sound", str(clip), *options]) == 2
        assert words in capsys.readouterr().err


def test_watch_takes_the_same_options(toy: None, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["watch", str(clip), "--system", "toy", "--untrained", "small"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == NOISE.format("small")
    assert "toy does not watch" in second
    assert "use --system pocket" in second
    assert run(["watch", str(clip), "--system", "toy", "--weights", "x", "--part", "a"]) == 2
    assert "--part a: say" in capsys.readouterr().err


def test_systems_are_listed(toy: None, capsys: pytest.CaptureFixture[str]) -> None:
    every = list(SYSTEMS | PICTURE_SYSTEMS)
    assert run(["systems"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == every
    assert run(["systems", "--json"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [entry["name"] for entry in listed] == every
    assert [entry["name"] for entry in listed if entry["packaged"]] == ["pocket"]
    assert run(["systems", "radio"]) == 2
    assert "no system is called 'radio'" in capsys.readouterr().err


def test_one_system_is_described(toy: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["systems", "toy", "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["weights"] == "The toy's checkpoint, toy.ckpt."
    assert described["parts"] == {"words": "the words' embeddings, which the toy's file leaves out: a .safetensors"}
    assert described["sizes"] == ["small", "full"]
    assert described["settings"][1] == {
        "name": "colour",
        "default": "white",
        "choices": ["white", "blue"],
        "help": "of the noise",
    }
    assert run(["systems", "toy"]) == 0
    text = capsys.readouterr().out
    for line in ["  The toy's checkpoint, toy.ckpt.", "  words", "  gain=0.1", "  colour=white", "  stereo=false"]:
        assert f"\n{line}\n" in text
    assert "One of white, blue." in text
    assert text.endswith("--untrained SIZE_OR_JSON\n  small, full\n")


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_describes_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["systems", name]) == 0
    text = capsys.readouterr().out
    assert ("synchresis convert" in text) == (name in CLASSES)
    assert max(len(line) for line in text.splitlines()) <= 100
    assert run(["systems", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == name


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSES)
def test_the_program_sounds_a_film_with_every_system_untrained(name: str, film: Path, tmp_path: Path) -> None:
    """As a person runs it. (Slow: importing transformers and diffusers.)"""
    program = Path(sys.executable).with_name("synchresis")

    def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=280, check=False)

    take, again = tmp_path / "a.mp4", tmp_path / "b.mp4"
    burst = tmp_path / "burst.wav"
    with SoundWriter(burst, 16000) as writer:
        writer.write(np.random.default_rng(0).normal(0, 0.1, 40000) * np.exp(-np.arange(40000) / 8000))
    wishes = ["--envelope", burst, "--like", burst] if name == "stable_foley" else []
    made = call("sound", film, "--system", name, "--untrained", "small", "--steps", "2", "--out", take, *wishes)
    assert (made.returncode, made.stdout) == (0, f"{take}\n"), made.stderr
    assert f"NOISE: {name} is untrained (small): what follows is noise" in made.stderr
    assert probe(take).duration == probe(film).duration
    assert recipe_of(take)["system"]["untrained"] == "small"
    remade = call("sound", "--recipe", take.with_suffix(".recipe.json"), "--out", again)
    assert remade.returncode == 0, remade.stderr
    assert again.read_bytes() == take.read_bytes()
