"""The program as a person runs it: help, errors in one line, what is installed, films of the stage."""

import subprocess
import sys
from pathlib import Path

import pytest

import synchresis
from synchresis.cli import doctor, run
from synchresis.media import probe, read_sound
from synchresis.systems import CLASSES
from synchresis.timeline.files import read_onsets

PROGRAM = Path(sys.executable).with_name("synchresis")


def program(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=120)


def test_help_names_every_command() -> None:
    result = program("--help")
    assert (result.returncode, result.stderr) == (0, "")
    for command in ["sound", "watch", "systems", "doctor", "render", "train"]:
        assert f"  {command}" in result.stdout
    assert program().stdout == result.stdout
    assert program("--version").stdout == f"synchresis {synchresis.__version__}\n"


def test_help_of_sound_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sound", "--help"]) == 0
    text = capsys.readouterr().out
    given_out = ["out", "sound-only", "original", "picture", "json", "overwrite", "debug"]
    wishes = ["prompt", "like", "envelope", "onsets", "seed", "variants", "steps", "guidance", "recipe"]
    for option in ["system", "weights", "device", *wishes, *given_out]:
        assert f"--{option} " in text


def test_errors_are_one_line(tmp_path: Path) -> None:
    for arguments in (["sound", tmp_path / "none.mp4"], ["watch", tmp_path], ["sing"], ["render", "1", "--size"]):
        result = program(*arguments)
        assert result.returncode == 2
        assert result.stdout == ""
        assert len(result.stderr.splitlines()) == 1


def test_systems(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["systems"]) == 0
    assert capsys.readouterr().out.startswith("pocket  ")


def test_an_unknown_system_is_refused_with_those_there_are(film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sound", str(film), "--system", "nagra"]) == 2
    assert "'nagra': choose from pocket" in capsys.readouterr().err


def test_doctor_finds_nothing_to_mend(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    text = capsys.readouterr().out
    for subject in [
        "python",
        "torch",
        "av",
        "codec libx264",
        "codec libopus",
        "device cpu",
        "weights of pocket",
        "disk",
    ]:
        assert f"ok   {subject} " in text
    assert "weights of pocket       sha256 " in text  # loadable offline; the published ones are not
    for name in CLASSES:
        assert f"ok   weights of {name:<13}not in the package: `synchresis systems {name}`" in text


def test_doctor_says_how_to_mend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    missing = doctor._package("a-package-that-is-not-there")
    assert missing.remedy == f"{sys.executable} -m pip install a-package-that-is-not-there"
    (stranger, cuda) = doctor._strangers({"torchvision", "numpy", "nvidia-cudnn-cu12", "triton"})
    assert stranger.remedy is not None
    assert stranger.remedy.endswith("pip uninstall -y torchvision")
    assert (cuda.text.startswith("2 "), cuda.remedy) == (True, None)
    monkeypatch.setattr(doctor, "LEAST_DISK", 2**80)
    assert doctor._disk(tmp_path).remedy is not None
    monkeypatch.setattr(doctor, "examine", lambda: iter([missing, stranger]))
    assert run(["doctor"]) == 1


def test_render(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "films" / "drum.mp4"
    arguments = ["render", "4", "--out", str(out), "--kind", "drum", "--seconds", "2", "--size", "96x64", "--fps", "24"]
    assert run(arguments) == 0
    assert capsys.readouterr().out == f"{out}\n"
    clip = probe(out)
    assert clip.video is not None
    assert (clip.video.width, clip.video.height, clip.video.fps, clip.duration) == (96, 64, 24, 2)
    onsets = read_onsets(out.with_suffix(".onsets.csv"))
    assert len(onsets) >= 1
    sound = read_sound(out, mono=True)
    for time in onsets.times:
        after = sound.values[round(time * int(sound.rate)) :][: int(sound.rate) // 10]
        assert abs(after).max() > 1e-3
    first = out.read_bytes()
    assert run(arguments) == 2
    assert run([*arguments, "--overwrite"]) == 0
    assert out.read_bytes() == first


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--size", "big"], "--size"),
        (["--fps", "1/0"], "--fps"),
        (["--kind", "tuba"], "tuba"),
        (["--seconds", "0"], "0"),
    ],
)
def test_render_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str) -> None:
    assert run(["render", "1", "--out", str(tmp_path / "x.mp4"), *options]) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_train_refuses_what_it_cannot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "lova", "--out", str(tmp_path / "w")]) == 2
    assert run(["train", "pocket", "--out", str(tmp_path / "w"), "--part", "codec"]) == 2
    assert "--recordings" in capsys.readouterr().err
