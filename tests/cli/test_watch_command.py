"""`synchresis watch`: what it writes is what `sound` reads."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from arithmetic import ArithmeticSystem

import synchresis.cli.common
from synchresis.cli import run
from synchresis.cli.watch import Format, places
from synchresis.errors import BadInputError
from synchresis.media import probe
from synchresis.timeline.files import quantise_envelope, quantise_onsets, read_envelope, read_onsets


@pytest.fixture
def clip(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(synchresis.cli.common, "load", lambda *_, **__: ArithmeticSystem())
    return Path(shutil.copy(film, tmp_path / "hammer.mp4"))


@pytest.mark.parametrize("format", ["csv", "json", "mid", "wav"])
def test_every_format_reads_back_exactly(clip: Path, format: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["watch", str(clip), "--format", format]) == 0
    onsets_path, envelope_path = (clip.with_name(f"hammer.{what}.{format}") for what in ("onsets", "envelope"))
    out, err = capsys.readouterr()
    assert out == f"{onsets_path}\n{envelope_path}\n"
    assert f"synchresis sound {clip} --onsets {onsets_path}" in err
    onsets, envelope, _ = ArithmeticSystem().watch(probe(clip))
    wanted = quantise_onsets(onsets)
    read = read_onsets(onsets_path)
    np.testing.assert_array_equal(read.times, wanted.times)
    np.testing.assert_array_equal(read.strengths, wanted.strengths)
    np.testing.assert_array_equal(read_envelope(envelope_path).values, quantise_envelope(envelope).values)


def test_places() -> None:
    clip = Path("a/film.mp4")
    assert places(clip, None, None) == (Path("a/film.onsets.csv"), Path("a/film.envelope.csv"))
    assert places(clip, Path("b"), Format.mid) == (Path("b/film.onsets.mid"), Path("b/film.envelope.mid"))
    assert places(clip, Path("b/x.json"), None) == (Path("b/x.json"), Path("b/x.envelope.json"))
    with pytest.raises(BadInputError, match="--format"):
        places(clip, Path("x.csv"), Format.wav)
    with pytest.raises(BadInputError, match="no folder"):
        places(clip, Path("x.txt"), None)


def test_json_and_refusals(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = clip.parent / "marks" / "x.csv"
    assert run(["watch", str(clip), "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "clip": str(clip),
        "onsets": str(out),
        "envelope": str(out.with_name("x.envelope.csv")),
        "count": 3,
    }
    edited = out.read_text() + "2.0,0.5\n"
    out.write_text(edited)
    assert run(["watch", str(clip), "--out", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert out.read_text() == edited
    assert run(["watch", str(out)]) == 2
    assert run(["watch", str(clip.parent / "none.mp4")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
