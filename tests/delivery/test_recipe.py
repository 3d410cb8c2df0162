"""A recipe gives back the request it was made from, or says what has changed."""

import json
from pathlib import Path

import pytest
from arithmetic import ArithmeticSystem

from synchresis.delivery.recipe import read_recipe, recipe_of, sha256_of
from synchresis.errors import BadInputError
from synchresis.systems.request import SoundRequest


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    made = {name: tmp_path / "media" / name for name in ["clip.mp4", "like.wav", "envelope.csv", "onsets.csv"]}
    (tmp_path / "media").mkdir()
    for name, path in made.items():
        path.write_bytes(name.encode())
    return made


def written(tmp_path: Path, files: dict[str, Path], **changes: object) -> Path:
    request = SoundRequest(
        "läuten", files["like.wav"], str(files["envelope.csv"]), files["onsets.csv"], 4, 7, 1.5, {"fps": "22"}
    )
    recipe = recipe_of(ArithmeticSystem(), files["clip.mp4"], request, "keep", ".mkv")
    path = tmp_path / "take.recipe.json"
    path.write_text(json.dumps(recipe | changes), encoding="utf-8")
    return path


def test_round_trip(tmp_path: Path, files: dict[str, Path]) -> None:
    recipe = read_recipe(written(tmp_path, files))
    assert recipe.request == SoundRequest(
        "läuten", files["like.wav"], str(files["envelope.csv"]), files["onsets.csv"], 4, 7, 1.5, {"fps": "22"}
    )
    assert recipe.untrained is None
    assert (recipe.system, recipe.clip, recipe.original, recipe.suffix) == (
        "arithmetic",
        files["clip.mp4"],
        "keep",
        ".mkv",
    )
    assert recipe.differences == []
    recipe.check_system(ArithmeticSystem())
    with pytest.raises(BadInputError, match="other weights of arithmetic"):
        recipe.check_system(ArithmeticSystem(weights_hash="beef" * 16))


def test_a_relative_path_is_noted_in_full(
    tmp_path: Path, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files["clip.mp4"].parent)
    recipe = recipe_of(ArithmeticSystem(), Path("clip.mp4"), SoundRequest(), "drop", ".mp4")
    assert recipe["clip"] == {"path": str(files["clip.mp4"]), "sha256": sha256_of(files["clip.mp4"])}
    assert recipe["request"]["envelope"] == "auto"
    assert recipe["request"]["like"] is None


@pytest.mark.parametrize("name", ["clip.mp4", "like.wav", "envelope.csv", "onsets.csv"])
def test_changed_and_missing_files(tmp_path: Path, files: dict[str, Path], name: str) -> None:
    path = written(tmp_path, files)
    content = files[name].read_bytes()
    files[name].write_bytes(b"other")
    with pytest.raises(BadInputError, match="its bytes differ"):
        read_recipe(path)
    files[name].unlink()
    with pytest.raises(BadInputError, match=f"is not at .*{name}"):
        read_recipe(path)
    (tmp_path / name).write_bytes(content)  # beside the recipe
    assert read_recipe(path).request.seed == 4


def test_the_clip_may_have_moved(tmp_path: Path, files: dict[str, Path]) -> None:
    path = written(tmp_path, files)
    moved = files["clip.mp4"].rename(tmp_path / "elsewhere.mp4")
    assert read_recipe(path, moved).clip == moved
    with pytest.raises(BadInputError, match="bytes differ"):
        read_recipe(path, files["like.wav"])


def test_another_machine_is_told(tmp_path: Path, files: dict[str, Path]) -> None:
    (sentence,) = read_recipe(written(tmp_path, files, synchresis="0.0.1")).differences
    assert "synchresis 0.0.1, now" in sentence


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("", "not a recipe"),
        ("[1]", "not a recipe"),
        ('{"format": 1}', "without 'request'"),
        ('{"format": 9}', "format 9"),
    ],
)
def test_what_is_no_recipe(tmp_path: Path, content: str, word: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(BadInputError, match=word):
        read_recipe(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInputError, match="not a recipe"):
        read_recipe(path)
    with pytest.raises(BadInputError, match="cannot be read"):
        read_recipe(tmp_path / "none.json")


def test_the_first_recipes_have_no_settings(tmp_path: Path, files: dict[str, Path]) -> None:
    path = written(tmp_path, files)
    content = json.loads(path.read_text())
    del content["request"]["settings"], content["system"]["untrained"]
    path.write_text(json.dumps(content))
    recipe = read_recipe(path)
    assert (recipe.request.settings, recipe.untrained, recipe.request.seed) == ({}, None, 4)


def test_an_untrained_system_is_in_the_recipe(tmp_path: Path, files: dict[str, Path]) -> None:
    path = tmp_path / "x.recipe.json"

    def noted(untrained: str) -> object:
        recipe = recipe_of(ArithmeticSystem(untrained=untrained), files["clip.mp4"], SoundRequest(), "drop", ".mp4")
        path.write_text(json.dumps(recipe), encoding="utf-8")
        return recipe["system"]["untrained"]

    assert noted("small") == "small"
    assert read_recipe(path).untrained == "small"
    own = tmp_path / "media" / "own.json"
    own.write_text("{}")
    assert noted(str(own)) == {"path": str(own), "sha256": sha256_of(own)}
    assert read_recipe(path).untrained == own
    moved = own.rename(tmp_path / "own.json")  # beside the recipe
    assert read_recipe(path).untrained == moved
    moved.write_text("[]")
    with pytest.raises(BadInputError, match=r"configuration .*own.json is not the file"):
        read_recipe(path)
