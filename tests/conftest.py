"""What the tests of several rooms share."""

from pathlib import Path

import pytest
from arithmetic import ArithmeticSystem, write_moving_square


@pytest.fixture
def arithmetic() -> ArithmeticSystem:
    return ArithmeticSystem()


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2.4 s at 25 fps, 64x48, with a tone of its own at 440 Hz."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    write_moving_square(path, seconds=2.4)
    return path
