"""What an installation must not bring, and what an import must not do."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest

import synchresis

FORBIDDEN = re.compile(
    r"nvidia-.*|triton|torchvision|torchaudio|timm|open-clip-torch|laion-clap|msclap|litdata|decord|moviepy"
)
HEAVY = {"torch", "av", "cv2", "matplotlib", "soundfile", "soxr", "scipy", "rich.progress"}
PROGRAM = Path(sys.executable).with_name("synchresis")


def test_nothing_heavy_or_forbidden_was_installed() -> None:
    names = {re.sub(r"[-_.]+", "-", found.name).lower() for found in distributions()}
    assert "torch" in names
    assert [name for name in names if FORBIDDEN.fullmatch(name)] == []


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    assert project["project"]["version"] == synchresis.__version__


@pytest.mark.parametrize("command", [["-c", "import synchresis"], [str(PROGRAM), "--help"]])
def test_import_and_help_load_nothing_heavy(command: list[str]) -> None:
    result = subprocess.run([sys.executable, "-X", "importtime", *command], capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines() if line.startswith("import time:")}
    assert "synchresis" in loaded
    assert loaded & HEAVY == set()


def test_networks_and_training_need_torch_and_little_else() -> None:
    """A GPU host has torch, numpy, einops and safetensors: every module that runs there can be imported."""
    program = """
import importlib, pkgutil, sys
for absent in ("av", "cv2", "soundfile", "soxr", "matplotlib", "scipy", "typer", "rich"):
    sys.modules[absent] = None
for room in ("nn", "diffusion", "codecs", "training", "timeline"):
    found = importlib.util.find_spec(f"synchresis.{room}").submodule_search_locations
    for module in pkgutil.iter_modules(found):
        importlib.import_module(f"synchresis.{room}.{module.name}")
        print(room, module.name)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "training generator" in result.stdout


@pytest.mark.parametrize("command", [["-c", "import synchresis"], [str(PROGRAM), "--help"]])
def test_import_and_help_are_quick(command: list[str]) -> None:
    """Less than 0.5 s of processor time, of which the best of three runs is taken: others may be using the
    machine.
    """
    assert min(_processor_seconds([sys.executable, *command]) for _ in range(3)) < 0.5


def _processor_seconds(command: list[str]) -> float:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime
