"""Programs from PyPI that were written for Celery: their own tests, unmodified, on Celeriac, in an environment without Celery.

What their archives leave out (settings of Django, an image, tasks that the tests call) stands in `programs/`.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Final

import pytest
from msgspec import Struct

from tests.compat import environment

PROGRAMS: Final = Path(__file__).parent / "programs"
DEADLINE_S: Final = 100.0
PASSED: Final = re.compile(r"(?P<passed>\d+) passed|Ran (?P<ran>\d+) tests")


class Program(Struct, frozen=True):
    """A program, which of its tests are run, and what of them has to pass."""

    archive: str
    runs: tuple[str, ...]
    """The module to run, and its arguments."""
    passes: int
    settings: str
    ours: str = ""
    """The directory in `programs/` with what its archive leaves out."""
    without: tuple[str, ...] = ()
    """Tests that are left out, each of them named in docs/migrate.md with the reason."""


PYTEST: Final = (
    "pytest",
    "-q",
    "-c",
    os.devnull,
    "--rootdir",
    ".",
    "-p",
    "no:cacheprovider",
    "-p",
    "pytest_django.plugin",
)

ALL: Final = {
    "django-celery-email": Program(
        archive="django-celery-email",
        runs=("django", "test", "tests"),
        passes=25,
        settings="email_settings",
        ours="email",
    ),
    "django-user-tasks": Program(
        archive="django_user_tasks",
        runs=(*PYTEST, "tests"),
        passes=83,
        settings="user_tasks_settings",
        ours="user_tasks",
        without=("tests/test_storages.py", "tests/test_signals.py::TestCreateUserTask::test_create_chain"),
    ),
    "edx-celeryutils": Program(
        archive="edx_celeryutils",
        runs=(*PYTEST, "tests", "celery_utils"),
        passes=16,
        settings="edx_settings",
        ours="edx",
    ),
    "django-celery-beat": Program(
        archive="django_celery_beat",
        runs=(*PYTEST, "-o", "python_classes=test_*", "t/unit"),
        passes=66,
        settings="t.proj.settings",
        without=("t/unit/test_schedulers.py",),
    ),
}


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    environment.ensure()


@pytest.mark.timeout(900)  # the environment may have to be made first
@pytest.mark.parametrize("program", list(ALL))
def test_own_tests(program: str) -> None:
    it = ALL[program]
    left_out = [f"--{'deselect' if '::' in name else 'ignore'}={name}" for name in it.without]
    done = subprocess.run(
        [str(environment.PYTHON), "-m", "celeriac.compat", "-m", *it.runs, *left_out],
        cwd=environment.source(it.archive),
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": it.settings,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPATH": os.pathsep.join((str(environment.ROOT / "src"), ".", str(PROGRAMS / it.ours))),
        },
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    match = PASSED.search(said)
    assert match is not None, said
    assert int(match["passed"] or match["ran"]) == it.passes, said


def test_celery_is_not_there() -> None:
    done = subprocess.run([str(environment.PYTHON), "-c", "import celery"], capture_output=True, text=True)
    assert "No module named 'celery'" in done.stderr
