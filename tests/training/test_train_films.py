"""The list of films: what is refused, what is left out aloud, and that lessons are computed once."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from synchresis.errors import BadInputError
from synchresis.timeline.time import Span
from synchresis.training.films import Film, Lesson, learned_from, lessons_folder, read_films, stretches


def listed(folder: Path, *lines: str) -> Path:
    (folder / "films.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder / "films.jsonl"


def test_a_list_says_places_relative_to_it_and_prompts(tmp_path: Path) -> None:
    place = listed(
        tmp_path, '{"film": "a/b.mp4", "prompt": "Käfer"}', "", json.dumps({"film": str(tmp_path / "c.mp4")}),
        '{"video_location": "d.mp4", "captions": null}',
    )  # fmt: skip
    films = read_films(place)
    assert [(film.path, film.prompt) for film in films] == [
        (tmp_path / "a/b.mp4", "Käfer"), (tmp_path / "c.mp4", ""), (tmp_path / "d.mp4", ""),
    ]  # fmt: skip
    assert films[1].said.startswith("films.jsonl, line 3")


def test_bad_lines_are_named_by_their_numbers(tmp_path: Path) -> None:
    bad = ["{", "[1]", '{"prompt": "rain"}', '{"film": 3}', '{"film": "a.mp4", "loud": 1}', '{"film": ""}']
    with pytest.raises(BadInputError) as raised:
        read_films(listed(tmp_path, '{"film": "fine.mp4"}', *bad, '{"film": "a", "video_location": "b"}'))
    for number in range(2, 8):
        assert f"line {number} " in str(raised.value)
    assert "line 1 " not in str(raised.value)
    assert "and 1 more" in str(raised.value)


def test_no_film_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="names no film"):
        read_films(listed(tmp_path, "", " "))
    with pytest.raises(BadInputError, match="no film in this folder"):
        read_films(tmp_path)
    with pytest.raises(BadInputError, match="should be a folder of films or a list"):
        read_films(tmp_path / "absent.jsonl")
    (tmp_path / "b.mp4").touch()
    (tmp_path / "a.mov").touch()
    assert [film.path.name for film in read_films(tmp_path)] == ["a.mov", "b.mp4"]


def test_long_films_become_stretches_of_one_length() -> None:
    assert stretches(Fraction(7, 2), 10, 1) == [Span(Fraction(0), Fraction(7, 2))]
    assert [(span.start, span.end) for span in stretches(Fraction(51, 2), 10, 1)] == [(0, 10), (10, 20), (15, 25)]
    assert [(span.start, span.end) for span in stretches(20, 10, 1)] == [(0, 10), (10, 20)]
    with pytest.raises(BadInputError, match="shorter than 1 s"):
        stretches(Fraction(9, 10), 10, 1)


def films(folder: Path, *names: str) -> list[Film]:
    for name in names:
        if name != "absent":
            (folder / name).write_text(f"the content of {name}")
    return [Film(folder / name, name, name) for name in names]


def test_lessons_are_computed_once_for_a_content_and_a_key(tmp_path: Path) -> None:
    read: list[str] = []

    def look(film: Film) -> list[Lesson]:
        read.append(film.path.name)
        return [{"x": torch.full((2,), i), "name": torch.tensor([len(read)])} for i in range(3)]

    def learn(given: list[Film], key: str = "k") -> list[tuple[str, int, int]]:
        with lessons_folder(tmp_path / "cache") as folder:
            lessons = learned_from(
                given, look, lambda film, told: (film.prompt, int(told["x"][0]), int(told["name"])),
                folder=folder, key=key,
            )  # fmt: skip
            return [lessons[i] for i in range(len(lessons))]

    given = films(tmp_path, "one", "two")
    first = learn(given)
    assert first == [("one", 0, 1), ("one", 1, 1), ("one", 2, 1), ("two", 0, 2), ("two", 1, 2), ("two", 2, 2)]
    given[0].path.rename(tmp_path / "moved")
    assert learn([Film(tmp_path / "moved", "one", ""), given[1]]) == first  # by content, wherever it lies
    assert read == ["one", "two"]
    learn(given[1:], key="other networks")
    (tmp_path / "two").write_text("another content")
    learn(given[1:])
    assert read == ["one", "two", "two", "two"]


def test_what_is_left_out_is_said_and_counted(tmp_path: Path) -> None:
    said: list[str] = []

    def look(film: Film) -> list[Lesson]:
        if film.path.name == "silent":
            raise BadInputError("it is silent")
        return [{"x": torch.zeros(1)}]

    with lessons_folder(None) as folder:
        given = films(tmp_path, "silent", "absent", "good")
        lessons = learned_from(given, look, lambda film, _: film.prompt, folder=folder, key="k", say=said.append)
        assert list(lessons) == ["good"]
        assert said[0] == "silent: left out: it is silent"
        assert "there is no such file" in said[1]
        assert said[2:] == ["2 of 3 films are left out"]
        with pytest.raises(BadInputError, match="none of the 2 films"):
            learned_from(given[:2], look, lambda film, _: film.prompt, folder=folder, key="k")
    assert not folder.exists()
    with pytest.raises(BadInputError, match="is a file"), lessons_folder(tmp_path / "good"):
        pass
