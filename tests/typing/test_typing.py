"""The types of tasks and results, as a type checker sees them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def test_mypy_finds_the_types_and_the_mistakes() -> None:
    pytest.importorskip("mypy")
    files = [str(HERE / name) for name in ("accepted.py", "refused.py")]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", *files], cwd=ROOT, capture_output=True, text=True, check=False
    )
    # Errors of other files that these import are their own tests' business.
    ours = [line for line in done.stdout.splitlines() if line.startswith("tests/typing/") and ": error:" in line]
    assert ours == [], "\n".join(ours)
    assert done.returncode in (0, 1), done.stdout + done.stderr
