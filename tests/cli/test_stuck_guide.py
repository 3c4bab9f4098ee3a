"""The page about stuck workflows: its program and its commands do what it says."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from celeriac.exceptions import ChordError
from celeriac.testing.worker import TestWorker
from celeriac.torture.servers.service import wait_until
from tests.cli.support import Project

PAGE = (Path(__file__).parents[2] / "docs" / "guide" / "stuck_workflows.md").read_text()
GET_S = 60.0


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The page's program, imported here, with the embedded broker."""
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "shop.py").write_text(program)
    url = f"sqlite:///{tmp_path}/broker.db"
    for name in ("CELERIAC_BROKER_URL", "CELERIAC_RESULT_BACKEND"):
        monkeypatch.setenv(name, url)
    spec = importlib.util.spec_from_file_location("shop", tmp_path / "shop.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "shop", module)
    spec.loader.exec_module(module)
    yield module
    module.app.close()


def test_the_commands_of_the_page_finish_its_workflow(shop: ModuleType, tmp_path: Path) -> None:
    project = Project.__new__(Project)
    project.directory = tmp_path
    url = f"sqlite:///{tmp_path}/broker.db"
    environment = {"CELERIAC_BROKER_URL": url, "CELERIAC_RESULT_BACKEND": url}
    listing, finishing = re.findall(r"^\$ celeriac (.*)$", PAGE, re.MULTILINE)
    with TestWorker(shop.app):
        album = shop.order_album()
        reader = shop.app._reader
        wait_until(lambda: [state.ended for state in reader.chords()] == [2], "two members have ended")
        (state,) = reader.chords()
        (line,) = project.ok(*listing.split(), "--after", "0", **environment).splitlines()[1:]
        shown = line.split("\t")
        assert [*shown[:3], shown[4]] == [state.group_id, "shop.make_album", "2/3", "stuck"]
        done = project.run(*finishing.replace("019ab0c2-…", state.group_id).split(), typed="y\n", **environment)
        assert done.returncode == 0, done.stderr
        promised = PAGE.partition(f"$ celeriac {finishing}\n")[2].partition("```")[0].replace("[y/N]: y\n", "[y/N]: ")
        assert without_ids(done.stdout) == without_ids(promised)
        with pytest.raises(ChordError):
            shop.app.AsyncResult(album).get(timeout=GET_S)


def without_ids(text: str) -> str:
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|019ab0c\d-…", "ID", text)
