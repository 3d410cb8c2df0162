"""`synchresis picture` from the command line, with the small untrained TempoTokens."""

import json
from pathlib import Path

import numpy as np
import pytest

from synchresis.cli import run
from synchresis.media import SoundWriter, probe

SMALL = ["--system", "tempotokens", "--untrained", "small", "--width", "32", "--height", "32", "--steps", "1"]


@pytest.fixture
def sounds(tmp_path: Path) -> list[Path]:
    """Two sounds of noise with a hit, 1 s and 0.7 s."""
    paths = []
    for i, seconds in enumerate((1.0, 0.7)):
        samples = np.random.default_rng(i).normal(0, 0.01, round(16_000 * seconds)).astype(np.float32)
        samples[6000:6800] += 0.5
        paths.append(tmp_path / f"{i}.wav")
        with SoundWriter(paths[-1], 16_000, 1) as writer:
            writer.write(samples)
    return paths


def test_several_sounds_and_a_recipe(sounds: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "films"
    assert run(["picture", *map(str, sounds), *SMALL, "--out", str(out), "--prompt", "a dog", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(line["takes"][0]["path"]).name for line in lines] == ["0.synchresis.mp4", "1.synchresis.mp4"]
    assert [line["takes"][0]["mode"] for line in lines] == ["sound and prompt"] * 2
    first = out / "0.synchresis.mp4"
    made = probe(first).video
    assert made is not None
    assert (made.width, made.height, made.frames) == (32, 32, 12)
    assert first.with_suffix(".png").is_file()
    before = first.read_bytes()
    again = tmp_path / "again.mp4"
    assert run(["picture", "--recipe", str(first.with_suffix(".recipe.json")), "--out", str(again)]) == 0
    assert again.read_bytes() == before
    capsys.readouterr()
    assert run(["picture", "--recipe", str(first.with_suffix(".recipe.json")), "--seed", "3"]) == 2
    assert "leave out --seed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--fps", "fast"], "no frame rate"),
        (["--film-weight", "0.3"], "give the film with --film"),
        (["--lora", "nowhere.safetensors"], "no such file"),
        (["--onsets", "nowhere.csv"], "no such file"),
        (["--set", "window=wide"], "no int"),
        (["--set", "colour=red"], "no setting"),
        (["--out", "film.webm"], ".mp4, .mov, .mkv"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    sounds: list[Path], capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert run(["picture", str(sounds[0]), *SMALL, *options]) == 2
    assert said in capsys.readouterr().err


def test_other_errors_are_told_in_one_line(
    sounds: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["picture"]) == 2
    assert "no sound was given" in capsys.readouterr().err
    assert run(["picture", str(sounds[0]), "--system", "cinema"]) == 2
    assert "tempotokens" in capsys.readouterr().err
    assert run(["picture", str(sounds[0]), "--system", "tempotokens"]) == 2
    assert "--untrained small" in capsys.readouterr().err
    (tmp_path / "text.wav").write_text("no sound")
    assert run(["picture", str(tmp_path / "text.wav"), *SMALL]) == 2
    assert "text.wav" in capsys.readouterr().err
