"""`synchresis sound` around a system: what goes where, what is refused, and what the exit code says."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from arithmetic import ArithmeticSystem, write_moving_square

import synchresis.cli.common
from synchresis.cli import run
from synchresis.media import probe, read_sound


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Puts the arithmetic system in the place of every other; notes what was asked for."""
    asked: list[tuple[Any, ...]] = []

    def load(
        name: str, weights: str | None, device: str, *, parts: dict[str, str], untrained: str | None
    ) -> ArithmeticSystem:
        asked.append((name, weights, device, parts, untrained))
        return ArithmeticSystem("f00d" * 16 if weights is None else weights * 16, untrained=untrained)

    monkeypatch.setattr(synchresis.cli.common, "load", load)
    return asked


@pytest.fixture
def clip(film: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(film, tmp_path / "hammer.mp4"))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_one_clip(clip: Path, capsys: pytest.CaptureFixture[str], loaded: list[tuple[Any, ...]]) -> None:
    assert run(["sound", str(clip)]) == 0
    out, err = capsys.readouterr()
    take = clip.with_name("hammer.synchresis.mp4")
    assert out == f"{take}\n"
    assert err == ""
    assert loaded == [("pocket", None, "auto", {}, None)]
    assert probe(take).duration == probe(clip).duration
    assert names(clip.parent) == {
        "hammer.mp4",
        "hammer.synchresis.mp4",
        "hammer.synchresis.recipe.json",
        "hammer.synchresis.report.json",
    }


def test_out_picture_and_json(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = clip.parent / "takes" / "x.wav"
    assert run(["sound", str(clip), "--out", str(out), "--picture", "--json", "--seed", "3"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {
        "clip": str(clip),
        "ok": True,
        "takes": [
            {
                "path": str(out),
                "recipe": str(out.with_suffix(".recipe.json")),
                "report": str(out.with_suffix(".report.json")),
                "picture": str(out.with_suffix(".png")),
                "seed": 3,
                "mode": "onsets",
                "notes": [],
            }
        ],
    }
    assert names(out.parent) == {"x.wav", "x.recipe.json", "x.report.json", "x.png"}


def test_variants_differ_and_have_their_seeds(clip: Path) -> None:
    assert run(["sound", str(clip), "--sound-only", "--seed", "7", "--variants", "2"]) == 0
    takes = [clip.with_name(f"hammer.synchresis.{k}.wav") for k in (1, 2)]
    assert takes[0].read_bytes() != takes[1].read_bytes()
    seeds = [json.loads(take.with_suffix(".recipe.json").read_text())["request"]["seed"] for take in takes]
    assert seeds == [7, 8]


def test_notes_are_said_on_stderr(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sound", str(clip), "--prompt", "silence"]) == 0
    assert capsys.readouterr().err == f"{clip}: nothing sounds here\n"


@pytest.mark.parametrize("original", ["drop", "keep", "mix"])
def test_original(clip: Path, original: str) -> None:
    assert run(["sound", str(clip), "--original", original]) == 0
    take = probe(clip.with_name("hammer.synchresis.mp4"))
    assert len(take.audio) == (2 if original == "keep" else 1)
    # The clip's own tone sounds before the first onset (0.4 s) only where it is mixed in.
    before = read_sound(take, mono=True).values[4800:14400]
    assert (abs(before).max() > 0.05) == (original == "mix")


def test_nothing_is_overwritten_unless_asked(clip: Path, capsys: pytest.CaptureFixture[str], loaded: list[Any]) -> None:
    report = clip.with_name("hammer.synchresis.report.json")
    report.write_text("mine")
    assert run(["sound", str(clip)]) == 2
    assert "hammer.synchresis.report.json: is there already" in capsys.readouterr().err
    assert loaded == []  # refused before any work
    assert names(clip.parent) == {"hammer.mp4", report.name}
    assert run(["sound", str(clip), "--overwrite"]) == 0
    assert run(["sound", str(clip), "--overwrite", "--seed", "2"]) == 0
    assert json.loads(report.read_text())["mode"] == "onsets"


def test_a_clip_is_never_replaced_by_its_take(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = clip.read_bytes()
    assert run(["sound", str(clip), "--out", str(clip), "--overwrite"]) == 2
    assert "would replace its own clip" in capsys.readouterr().err
    assert clip.read_bytes() == before


def test_a_failed_clip_does_not_stop_the_rest(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad, empty = clip.with_name("anvil.mp4"), clip.with_name("empty.mp4")
    bad.write_bytes(bytes(range(256)) * 40)
    empty.write_bytes(b"")
    missing = clip.parent / "none.mov"
    takes = clip.parent / "takes"
    assert run(["sound", str(clip.parent), str(missing), "--out", str(takes)]) == 2
    out, err = capsys.readouterr()
    assert out == f"{takes / 'hammer.synchresis.mp4'}\n"
    lines = err.splitlines()
    assert len(lines) == 4
    assert [str(path) in line for path, line in zip([bad, empty, missing], lines, strict=False)] == [True] * 3
    assert lines[3] == f"3 of 4 clips failed: {bad}, {empty}, {missing}"
    assert names(takes) == {f"hammer.synchresis.{end}" for end in ("mp4", "recipe.json", "report.json")}


def test_json_has_a_line_for_every_clip(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = clip.parent / "none.mov"
    assert run(["sound", str(missing), str(clip), "--json"]) == 2
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["clip"], first["ok"], first["bad_input"], first["takes"]) == (str(missing), False, True, [])
    assert "no such file" in first["error"]
    assert (second["clip"], second["ok"], len(second["takes"])) == (str(clip), True, 1)


@pytest.mark.parametrize(("prompt", "code"), [("refuse", 2), ("crash", 1)])
def test_exit_codes(clip: Path, capsys: pytest.CaptureFixture[str], prompt: str, code: int) -> None:
    assert run(["sound", str(clip), "--prompt", prompt]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("synchresis: ")
    assert names(clip.parent) == {"hammer.mp4"}
    # With one fault among bad requests the fault decides.
    both = [str(clip.parent / "none.mp4"), str(clip)]
    assert run(["sound", *both, "--prompt", prompt]) == code


def test_debug_shows_the_trace(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sound", str(clip), "--prompt", "crash", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err
    assert run(["--debug", "sound", str(clip), "--variants", "0"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{clip}", "--like", "none.wav"], "--like none.wav: there is no such file"),
        (["{clip}", "--onsets", "none.csv"], "--onsets none.csv: there is no such file"),
        (["{clip}", "--envelope", "none.csv"], "--envelope none.csv: there is no such file"),
        (["{clip}", "--out", "x.mp3"], "x.mp3"),
        (["{clip}", "--out", "x.mp4", "--sound-only"], "--sound-only"),
        (["{clip}", "--sound-only", "--original", "keep"], "needs a film"),
        (["{clip}", "--original", "loud"], "loud"),
        (["{clip}", "--device", "abacus"], "abacus"),
        (["{clip}", "--seed", "-1"], "--seed"),
        (["{clip}", "--steps", "0"], "--steps"),
        (["{clip}", "--recipe", "none.json"], "none.json"),
        (["{clip}", "--loud"], "--loud"),
        ([], "no clip"),
    ],
)
def test_bad_requests_are_one_line_and_touch_nothing(
    clip: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str, loaded: list[Any]
) -> None:
    assert run(["sound", *(argument.format(clip=clip) for argument in arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert words in err
    assert loaded == []
    assert names(clip.parent) == {"hammer.mp4"}


def test_a_sound_is_no_film(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sound", str(clip), "--sound-only"]) == 0
    take = clip.with_name("hammer.synchresis.wav")
    assert run(["sound", str(take), "--out", str(clip.with_name("x.mp4"))]) == 2
    assert "has no picture" in capsys.readouterr().err


def test_a_recipe_makes_the_same_bytes(clip: Path, capsys: pytest.CaptureFixture[str], loaded: list[Any]) -> None:
    again = clip.with_name("again.mp4")
    recipe = clip.with_name("hammer.synchresis.recipe.json")
    assert run(["sound", str(clip), "--seed", "9", "--original", "keep"]) == 0
    assert run(["sound", "--recipe", str(recipe), "--out", str(again)]) == 0
    assert again.read_bytes() == clip.with_name("hammer.synchresis.mp4").read_bytes()
    assert again.with_suffix(".recipe.json").read_bytes() == recipe.read_bytes()
    assert loaded[1] == ("arithmetic", None, "cpu", {}, None)
    # Without --out it would be the take that is there.
    capsys.readouterr()
    assert run(["sound", "--recipe", str(recipe)]) == 2
    assert "is there already" in capsys.readouterr().err


def test_a_recipe_is_refused_where_it_cannot_hold(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = clip.with_name("hammer.synchresis.recipe.json")
    assert run(["sound", str(clip)]) == 0
    remake = ["sound", "--recipe", str(recipe), "--out", str(clip.with_name("again.mp4"))]
    capsys.readouterr()
    assert run([*remake, "--seed", "1", "--prompt", "rain"]) == 2
    assert "leave out --prompt, --seed" in capsys.readouterr().err
    assert run([*remake, "--weights", "beef"]) == 2
    assert "other weights" in capsys.readouterr().err
    write_moving_square(clip, seconds=1.0)
    assert run(remake) == 2
    assert "bytes differ" in capsys.readouterr().err
    assert not clip.with_name("again.mp4").exists()
