"""What the tests of several rooms share."""

import sys
from pathlib import Path

import pytest
import torch
import toy as toy_system
from arithmetic import ArithmeticSystem, write_moving_square

import synchresis.systems


@pytest.fixture
def arithmetic() -> ArithmeticSystem:
    return ArithmeticSystem()


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2.4 s at 25 fps, 64x48, with a tone of its own at 440 Hz."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    write_moving_square(path, seconds=2.4)
    return path


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts the toy among the systems."""
    monkeypatch.setitem(sys.modules, "synchresis.systems.toy", toy_system)
    monkeypatch.setitem(synchresis.systems.SYSTEMS, "toy", "noise by a formula")
    monkeypatch.setitem(synchresis.systems.CLASSES, "toy", "Toy")


@pytest.fixture
def published(toy: None, tmp_path: Path) -> dict[str, Path]:
    """What the toy's authors would give out: a checkpoint in half precision, and the words apart."""
    torch.manual_seed(1)
    body, words = toy_system.Body(4), toy_system.Words(5, 4)
    body.norm(torch.randn(8, 4))  # statistics of its own
    tensors = {f"model.{name}": value for name, value in body.state_dict().items()}
    tensors = {name: value.half() if value.is_floating_point() else value for name, value in tensors.items()}
    tensors["ema.mix.weight"] = torch.zeros(4, 4)
    torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / "toy.ckpt")
    torch.save({"shared.weight": words.shared.weight.detach()}, tmp_path / "words.pt")
    return {"toy": tmp_path / "toy.ckpt", "words": tmp_path / "words.pt"}
