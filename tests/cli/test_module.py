"""`python -m synchresis` is the command."""

import subprocess
import sys


def test_the_module_is_the_command() -> None:
    result = subprocess.run([sys.executable, "-m", "synchresis", "systems"], capture_output=True, text=True, check=True)
    assert "pocket" in result.stdout
