"""Projects on the embedded broker and on Redis."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.support import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project that names no broker: the embedded one in its directory."""
    return Project(tmp_path)


@pytest.fixture(params=["embedded", "redis"])
def any_project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    """A project on each broker that the tests can have quickly."""
    if request.param == "embedded":
        return Project(tmp_path)
    url = request.getfixturevalue("redis_url")
    return Project(tmp_path, broker=url, backend=url)
