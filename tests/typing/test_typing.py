"""The types of tasks and results, as type checkers see them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SUBJECTS = ("", "_results", "_canvas")
FILES = [HERE / f"{verdict}{subject}.py" for verdict in ("accepted", "refused") for subject in SUBJECTS]


def test_mypy_finds_the_types_and_the_mistakes() -> None:
    pytest.importorskip("mypy")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", *map(str, FILES)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    # Errors of other files that these import are their own tests' business.
    ours = [line for line in done.stdout.splitlines() if line.startswith("tests/typing/") and ": error:" in line]
    assert ours == [], "\n".join(ours)
    assert done.returncode in (0, 1), done.stdout + done.stderr


def test_pyright_finds_the_same(tmp_path: Path) -> None:
    pytest.importorskip("basedpyright")
    settings = {
        "include": [str(file) for file in FILES],
        "extraPaths": [str(ROOT / "src")],
        "pythonVersion": "3.11",
        "typeCheckingMode": "standard",
        # What mypy refuses has to be refused here, too.
        "reportUnnecessaryTypeIgnoreComment": "error",
    }
    project = tmp_path / "pyrightconfig.json"
    project.write_text(json.dumps(settings))
    command = [sys.executable, "-m", "basedpyright", "--project", str(project), "--pythonpath", sys.executable]
    done = subprocess.run([*command, "--outputjson"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "{" in done.stdout, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["summary"]["filesAnalyzed"] == len(FILES), done.stdout
    found = [
        f"{Path(one['file']).name}:{one['range']['start']['line'] + 1}: {one['message']}"
        for one in told["generalDiagnostics"]
        if one["severity"] == "error"
    ]
    assert found == [], "\n".join(found)


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "src" / "celeriac" / "py.typed").exists()
