"""Where weights come from."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import synchresis
from synchresis.errors import BadInputError
from synchresis.systems.packaged import WEIGHTS
from synchresis.systems.weights import place_of


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert place_of(tmp_path) == tmp_path


def test_what_is_no_folder_and_no_hub_id(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such file or folder"):
        place_of(tmp_path / "deeper" / "nothing")


def test_a_hub_id_without_the_client_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(BadInputError, match="pip install huggingface_hub"):
        place_of("someone/pocket")


def test_a_hub_id_is_fetched_and_its_refusal_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []

    def snapshot_download(name: str, allow_patterns: list[str]) -> str:
        asked.append(name)
        if name == "someone/absent":
            raise OSError("404: not found")
        return str(tmp_path)

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=snapshot_download))
    assert place_of("someone/pocket") == tmp_path
    with pytest.raises(BadInputError, match="404"):
        place_of("someone/absent")
    assert asked == ["someone/pocket", "someone/absent"]


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    for file in WEIGHTS.glob("*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "codec.safetensors").write_bytes((WEIGHTS / "generator.safetensors").read_bytes())
    with pytest.raises(BadInputError, match="do not fit"):
        synchresis.load("pocket", weights=tmp_path)
