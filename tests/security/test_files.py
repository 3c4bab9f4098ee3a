"""Files that Celeriac makes are for their user alone, whatever the umask, and no link of somebody else's is followed."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac.backends import open_backend
from celeriac.client.log_handlers import make_handler
from celeriac.contrib.outbox_turn import RelayTurn
from celeriac.coordination.limits import open_rate_board
from celeriac.coordination.seen import open_seen_store
from celeriac.coordination.unique import open_unique_store
from celeriac.core.settings import make_settings
from celeriac.core.unique import Release
from celeriac.exceptions import ImproperlyConfigured


@pytest.fixture(autouse=True)
def _no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def modes(directory: Path) -> dict[str, int]:
    return {str(file.relative_to(directory)): stat.S_IMODE(file.stat().st_mode) for file in directory.rglob("*")}


def test_every_file_is_0600_and_every_directory_0700(tmp_path: Path) -> None:
    settings = make_settings({})
    opening: dict[str, Callable[[str], Any]] = {
        "seen": lambda url: open_seen_store(url, settings).remember(["x"], 60.0, 5.0),
        "unique": lambda url: open_unique_store(url, settings).apply([Release("key", "id")], 5.0),
        "limits": lambda url: open_rate_board(url, settings).set_rate("task", "1/s"),
        "results": lambda url: open_backend(url, settings).reader().fetch(["x"]),
    }
    for name, open_it in opening.items():
        open_it(f"sqlite:///{tmp_path}/{name}/file.db")
    open_backend(f"db+sqlite:///{tmp_path}/results.db", settings).reader().fetch(["x"])
    with RelayTurn().taken(f"{tmp_path}/outbox.db") as alone:
        assert alone
    handler = make_handler(tmp_path / "worker.log")
    handler.emit(logging.makeLogRecord({"msg": "x"}))
    handler.close()
    found = modes(tmp_path)
    files = {name: mode for name, mode in found.items() if Path(name).suffix}
    assert {"results.db", "outbox.db-outbox-lock", "worker.log", "seen/file.db"} <= files.keys()
    assert {name for name, mode in files.items() if mode != 0o600} == set()
    assert {mode for name, mode in found.items() if name not in files} == {0o700}


def test_links_are_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    for link in ("broker.db", "outbox.db-outbox-lock"):
        (tmp_path / link).symlink_to(precious)
    with pytest.raises(ImproperlyConfigured, match="is a link to nowhere"):
        open_seen_store(f"sqlite:///{tmp_path}/broker.db", make_settings({})).remember(["x"], 60.0, 5.0)
    precious.write_text("x")
    with pytest.raises(OSError, match="symbolic links"), RelayTurn().taken(f"{tmp_path}/outbox.db"):
        pass
    assert precious.read_text() == "x"


def test_a_log_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.touch(0o640)
    make_handler(log).close()
    assert stat.S_IMODE(log.stat().st_mode) == 0o640
