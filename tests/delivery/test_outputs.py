"""Where takes go: chosen before any work."""

from pathlib import Path

import pytest

from synchresis.delivery.outputs import clips_in, outputs_for
from synchresis.errors import BadInputError


def takes(*clips: str, out: str | None = None, sound_only: bool = False, variants: int = 1) -> list[list[str]]:
    groups = outputs_for([Path(clip) for clip in clips], Path(out) if out else None, sound_only, variants)
    return [[str(outputs.take) for outputs in group] for group in groups]


def test_beside_the_clip_in_its_own_container() -> None:
    assert takes("a/film.mp4", "b/film.MOV", "c.webm") == [
        ["a/film.synchresis.mp4"],
        ["b/film.synchresis.mov"],
        ["c.synchresis.webm"],
    ]
    assert takes("x.mpg", "y.m4v", "z.mp3") == [["x.synchresis.mkv"], ["y.synchresis.mp4"], ["z.synchresis.wav"]]


def test_everything_about_a_take_has_its_name() -> None:
    (outputs,) = outputs_for([Path("film.mp4")], Path("to/take.2.wav"), False, 1)[0]
    assert outputs.recipe == Path("to/take.2.recipe.json")
    assert outputs.report == Path("to/take.2.report.json")
    assert outputs.picture == Path("to/take.2.png")


def test_variants_are_counted() -> None:
    assert takes("film.mp4", out="x.flac", variants=2) == [["x.1.flac", "x.2.flac"]]
    assert takes("film.mp4", sound_only=True, variants=2) == [["film.synchresis.1.wav", "film.synchresis.2.wav"]]


def test_out_is_a_file_or_a_folder(tmp_path: Path) -> None:
    assert takes("film.mp4", out="new") == [["new/film.synchresis.mp4"]]
    folder = tmp_path / "takes.v2"
    folder.mkdir()
    assert takes("film.mp4", out=str(folder)) == [[str(folder / "film.synchresis.mp4")]]
    (tmp_path / "plain").write_text("x")
    for out, word in [("take.mp3", ".mp3"), (str(tmp_path / "plain"), "no folder")]:
        with pytest.raises(BadInputError, match=word):
            takes("film.mp4", out=out)


def test_contradictions_are_refused() -> None:
    with pytest.raises(BadInputError, match="one file for 2 clips"):
        takes("a.mp4", "b.mp4", out="x.mp4")
    with pytest.raises(BadInputError, match="is a film"):
        takes("a.mp4", out="x.mp4", sound_only=True)
    with pytest.raises(BadInputError, match="both write"):
        takes("one/a.mp4", "two/a.mp4", out="takes")
    with pytest.raises(BadInputError, match="both write"):  # the recipes would have one name
        takes("a.mp4", "a.mov")


def test_a_folder_means_its_films_but_not_its_takes(tmp_path: Path) -> None:
    for name in ["b.mp4", "a.MOV", "a.synchresis.mov", "b.synchresis.1.mp4", ".hidden.mp4", "notes.txt", "c.wav"]:
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "deeper.mp4").mkdir()
    assert clips_in([tmp_path, Path("else.avi")]) == [tmp_path / "a.MOV", tmp_path / "b.mp4", Path("else.avi")]
    with pytest.raises(BadInputError, match="no film"):
        clips_in([tmp_path / "deeper.mp4"])
