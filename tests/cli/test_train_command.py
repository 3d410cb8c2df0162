"""`synchresis train`: two films, a few steps, a folder that sounds; and what is refused."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import synchresis
from synchresis.cli import run
from synchresis.data.stage import film
from synchresis.media import read_sound, write_film
from synchresis.systems import random_weights
from synchresis.systems.weights import write_folder
from synchresis.timeline import Track

PROGRAM = Path(sys.executable).with_name("synchresis")
RATES = {"lova": 44_100, "stable_foley": 44_100, "vta_ldm": 16_000, "sta_v2a": 16_000}
TRAINED = {
    "lova": {"denoiser"},
    "stable_foley": {"denoiser"},
    "vta_ldm": {"unet", "projection"},
    "sta_v2a": {"control", "local", "pooling"},
}

Trained = Callable[..., Path]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of two films of the stage, one of them with a prompt; of one that is not there; and of a silent one."""
    folder = tmp_path_factory.mktemp("films")
    for seed, seconds in ((3, 2.0), (11, 2.5)):
        wood = film(seed, size=(64, 64), seconds=seconds, fps=12, kinds=("wood",), ugly=False)
        write_film(folder / f"{seed}.mp4", wood.frames, wood.fps, wood.sound)
    silence = Track(np.zeros(16_000, np.float32), Fraction(16_000))
    write_film(folder / "silent.mp4", (np.full((32, 32, 3), 90, np.uint8) for _ in range(8)), 8, silence)
    lines = [{"film": "3.mp4", "prompt": "wood"}, *({"film": f"{name}.mp4"} for name in ("11", "absent", "silent"))]
    (folder / "films.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "films.jsonl"


@pytest.fixture
def train(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Trained:
    """Runs the command for a small system, and checks what it says."""

    def trained(system: str, name: str, *options: str | Path, steps: int = 3, size: str | None = "small") -> Path:
        out = tmp_path / name
        command = ["train", system, "--films", films, "--out", out, "--steps", steps, "--batch", 2, "--device", "cpu"]
        sizes = [] if size is None else ["--size", size]
        torch.set_num_threads(1)
        assert run([*map(str, command), *sizes, *map(str, options)]) == 0
        said = capsys.readouterr()
        assert said.out.splitlines()[-1] == f"synchresis sound FILM --system {system} --weights {out}"
        assert "line 3: absent.mp4: left out" in said.err
        assert "line 4: silent.mp4: left out: it is silent" in said.err
        assert "2 of 4 films are left out" in said.err
        assert f"step {steps}: loss " in said.err
        return out

    return trained


def sounds(system: str, folder: Path, films: Path, *options: str) -> None:
    out = folder.with_suffix(".wav")
    command = ["sound", films.with_name("3.mp4"), "--system", system, "--weights", folder, "--out", out, "--steps", 2]
    assert run([*map(str, command), *options]) == 0
    assert len(read_sound(out).values) == 2 * RATES[system]


@pytest.mark.parametrize("system", RATES)
def test_from_films_to_a_sound_and_the_same_again(system: str, train: Trained, films: Path, tmp_path: Path) -> None:
    one = train(system, "one", "--cache", tmp_path / "cache", "--save-every", "2")
    assert len(list((tmp_path / "cache").iterdir())) == 2
    two = train(system, "two", "--cache", tmp_path / "cache")  # from the cache, and not saved on the way
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in two.iterdir())
    for path in one.iterdir():
        assert path.read_bytes() == (two / path.name).read_bytes(), path.name
        assert path.stat().st_mode & 0o044, path.name
    noted = json.loads((one / "training.json").read_text())
    assert (noted["steps"], noted["films_left_out"], noted["stretches"]) == (3, 2, 2)
    assert [entry["prompt"] for entry in noted["films"]] == ["wood", ""]
    sounds(system, one, films)


@pytest.mark.parametrize("system", RATES)
def test_only_what_is_trained_changes_and_a_folder_is_a_beginning(
    system: str, train: Trained, films: Path, tmp_path: Path
) -> None:
    begin = write_folder(random_weights(system, "small"), tmp_path / "begin")
    out = train(system, "on", "--init", begin, steps=2, size=None)
    changed = set()
    for path in begin.glob("*.safetensors"):
        before, after = load_file(path), load_file(out / path.name)
        assert before.keys() == after.keys()
        if any(not torch.equal(value, after[name]) for name, value in before.items()):
            changed.add(path.stem)
    assert changed == TRAINED[system]
    assert synchresis.load(system, weights=out, device="cpu").untrained == "small"  # what stays is random
    if system == "stable_foley":  # of the denoiser only the branch
        before, after = load_file(begin / "denoiser.safetensors"), load_file(out / "denoiser.safetensors")
        moved = {name.split(".")[0] for name, value in before.items() if not torch.equal(value, after[name])}
        assert moved == {"controlnet"}


def test_the_mapper_of_loudness(train: Trained, films: Path) -> None:
    out = train("stable_foley", "mapper", "--network", "rms_mapper")
    assert json.loads((out / "system.json").read_text())["config"]["rms_mapper"]["features"] > 24
    sounds("stable_foley", out, films)
    report = json.loads(out.with_suffix(".report.json").read_text())
    assert report["mode"] == "loudness"  # what the mapper tells leads, not pocket's watcher


def test_unets_to_begin_with(train: Trained, films: Path, tmp_path: Path) -> None:
    unet = random_weights("vta_ldm", "small").components["unet"]
    save_file({f"unet.{name}": value for name, value in unet.state_dict().items()}, tmp_path / "unet.safetensors")
    out = train("vta_ldm", "vta", "--init", tmp_path / "unet.safetensors", "--rate", "1e-9", steps=1)
    kept = load_file(out / "unet.safetensors")
    assert all(torch.allclose(kept[name], value, atol=1e-6) for name, value in unet.state_dict().items())
    prior = random_weights("sta_v2a", "small").components["unet"]
    prior.save_pretrained(tmp_path / "t2a" / "unet")  # type: ignore[operator]
    out = train("sta_v2a", "sta", "--init", tmp_path / "t2a", "--rate", "1e-9", steps=1)
    control, kept = load_file(out / "control.safetensors"), load_file(out / "unet.safetensors")
    assert all(torch.equal(kept[name], value) for name, value in prior.state_dict().items())
    assert torch.allclose(control["conv_in.weight"], kept["conv_in.weight"], atol=1e-6)
    out = train("sta_v2a", "both", "--init", tmp_path / "t2a", "--network", "control+unet", steps=1)
    assert not torch.equal(load_file(out / "unet.safetensors")["conv_in.weight"], kept["conv_in.weight"])


@pytest.mark.parametrize("size", ["small-text", "small-pe", "small-cavp"])
def test_variants_of_vta_ldm(size: str, train: Trained, films: Path) -> None:
    """One film of the list has words, the other none."""
    out = train("vta_ldm", "variant", steps=2, size=size)
    sounds("vta_ldm", out, films, *(["--prompt", "wood"] if size == "small-text" else []))


def test_an_interruption_keeps_what_was_saved(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--size", "small", "--steps", "100000", "--batch", "1", "--save-every", "10", "--device", "cpu"]
    with subprocess.Popen(
        [PROGRAM, "train", "stable_foley", "--films", films, "--out", out, *options],
        stderr=subprocess.PIPE,
        text=True,
        # Whoever starts the tests in the background has told them, and so their children, to ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as program:
        assert program.stderr is not None
        for line in program.stderr:
            if line.startswith("step 50: loss"):
                break
        program.send_signal(signal.SIGINT)
        said = program.stderr.read()
    assert program.returncode == 130, said
    assert "holds the averaged weights of step" in said
    assert json.loads((out / "training.json").read_text())["steps"] >= 40
    assert not [path for path in out.iterdir() if ".part" in path.name]
    sounds("stable_foley", out, films)


def test_a_loss_that_is_no_number_leaves_what_was_saved(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from synchresis.training import latent_unet

    losses = iter([1.0, 1.0, float("nan")])
    loss_of = latent_unet.loss_of
    monkeypatch.setattr(latent_unet, "loss_of", lambda *given: loss_of(*given) * next(losses))
    options = ["--size", "small", "--steps", "9", "--batch", "1", "--save-every", "2", "--device", "cpu"]
    assert run(["train", "vta_ldm", "--films", str(films), "--out", str(tmp_path / "out"), *options]) == 1
    said = capsys.readouterr()
    assert "A lower --rate may help" in said.err
    assert "holds the averaged weights of step 2" in said.err
    assert said.out == ""
    assert synchresis.load("vta_ldm", weights=tmp_path / "out", device="cpu").untrained == "small"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("pocket --films {films} --out {out}", "leave out --films"),
        ("pocket --size small --rate 0.1 --out {out}", "leave out --size, --rate"),
        ("pocket --part clip=x --out {out}", "choose one of watcher, codec"),
        ("lova --films {films} --recordings {out} --out {out}", "leave out --recordings"),
        ("lova --out {out}", "with --films"),
        ("lova --films {films} --network control --out {out}", "nothing to choose from"),
        ("stable_foley --films {films} --network unet --out {out}", "choose from control, rms_mapper"),
        ("lova --films {films} --rate 0 --out {out}", "learning rate"),
        ("lova --films {films} --size tiny --out {out}", "has no size tiny"),
        ("lova --films {films} --size small --init {folder} --out {out}", "sizes are those of --init"),
        ("lova --films {films} --size small --part clip={out} --out {out}", "--init"),
        ("lova --films {films} --init nowhere.ckpt --out {out}", "no such file"),
        ("vta_ldm --films {films} --size small --init {folder} --out {out}", "does not hold a UNet"),
        ("nobody --films {films} --out {out}", "no system is called"),
        ("lova --films {folder}/none.jsonl --size small --out {out}", "list of them"),
    ],
)
def test_what_is_refused(
    command: str, reason: str, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, folder = tmp_path / "out", tmp_path / "folder"
    folder.mkdir()
    if "clip={out}" in command:
        out.mkdir()
    assert run(["train", *command.format(films=films, out=out, folder=folder).split()]) == 2
    assert reason in capsys.readouterr().err
    assert not (out / "system.json").exists()


def test_a_folder_with_a_system_is_not_written_over(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin = write_folder(random_weights("lova", "small"), tmp_path / "begin")
    assert run(["train", "lova", "--films", str(films), "--size", "small", "--out", str(begin)]) == 2
    assert "already holds a system" in capsys.readouterr().err
