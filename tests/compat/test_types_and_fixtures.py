"""celery-types' view of a program, and Celery's fixtures for pytest, beside pytest-celery."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.compat import environment
from tests.compat.running import PROGRAMS

pytestmark = pytest.mark.timeout(900)  # the environment may have to be made first


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    environment.ensure()


def python(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=PROGRAMS / "typed", env={**os.environ, **variables}, capture_output=True, text=True, timeout=200
    )


def test_a_program_that_celery_types_approves_of_runs(tmp_path: Path) -> None:
    """Strictly checked with the stubs of celery-types; on Celery and on Celeriac it prints the same."""
    checked = python(
        "-m", "mypy", "--strict", "--config-file", "", "--cache-dir", str(tmp_path), "--python-executable", str(environment.PYTHON),
        "typed_program.py",
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr
    on_celery = python("typed_program.py")
    here = python("-m", "celeriac.compat", "typed_program.py")
    assert here.returncode == 0, here.stderr
    assert here.stdout == on_celery.stdout
    assert here.stdout.startswith("3 SUCCESS True\n7\n4 6\n[1, 2, 3]\n")


def test_each_name_of_celery_types_is_there_or_says_what_to_use() -> None:
    (stubs,) = environment.PYTHON.parents[1].glob("lib/*/site-packages/celery-stubs")
    code = Path(__file__).with_name("stubs.py")
    done = python("-m", "celeriac.compat", str(code), str(stubs))
    assert (done.stdout, done.stderr) == ("", "")


def test_celerys_fixtures(tmp_path: Path) -> None:
    shutil.copy(PROGRAMS / "fixtures" / "check_fixtures.py", tmp_path)
    done = subprocess.run(
        [
            str(environment.PYTHON),
            "-m",
            "celeriac.compat",
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "check_fixtures.py",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(environment.ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
