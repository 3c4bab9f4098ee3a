"""URLs of databases, their drivers and options."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from celeriac.backends import open_backend
from celeriac.backends.sqlalchemy import DatabaseBackend, drivers
from celeriac.core.settings import make_settings
from celeriac.exceptions import ImproperlyConfigured


@pytest.fixture(autouse=True)
def _no_driver_under_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests of Django, which may have run before in this process, have PyMySQL answer to the name of MySQLdb."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "MySQLdb"]:
        monkeypatch.delitem(sys.modules, name)


def open_url(url: str, **settings: Any) -> DatabaseBackend:
    backend = open_backend(url, make_settings(settings))
    assert isinstance(backend, DatabaseBackend)
    return backend


@pytest.mark.parametrize("prefix", ["db", "database"])
def test_both_prefixes_of_celery(tmp_path: Path, prefix: str) -> None:
    backend = open_url(f"{prefix}+sqlite:///{tmp_path}/results.db")
    assert backend.stores
    assert backend.counts_chords
    reader = backend.reader()
    assert reader.fetch(["a"]) == {}
    reader.close()


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("db+postgresql://u@h/d", "postgresql+psycopg"),
        ("db+postgresql+psycopg://u@h/d", "postgresql+psycopg"),
        ("db+mysql://u@h/d", "mysql+pymysql"),
        ("db+mariadb://u@h/d", "mariadb+pymysql"),
    ],
)
def test_a_url_without_a_driver_takes_one_that_is_installed(url: str, name: str) -> None:
    assert drivers.database_url(url).drivername == name


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("db+nonsense", "Could not parse SQLAlchemy URL"),
        ("db+oracular://u:secret@h/d", "oracular"),
        ("db+postgresql+psycopg2://u:secret@h/d", r"needs the package 'psycopg2': pip install psycopg2-binary"),
        ("db+mysql+mysqldb://u:secret@h/d", r"needs the package 'MySQLdb': pip install mysqlclient"),
        ("db+sqlite+aiosqlite:///x.db", "works in coroutines only"),
        ("db+sqlite://", "name a file"),
        ("db+sqlite:///:memory:", "name a file"),
        ("postgresql://u:secret@h/d", r"needs db\+ before it, as in Celery: db\+postgresql://"),
    ],
)
def test_what_cannot_work_is_said_at_once(url: str, message: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=message) as raised:
        open_backend(url, make_settings({}))
    assert "secret" not in str(raised.value)


def test_without_sqlalchemy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("celeriac.backends.sqlalchemy")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(ImproperlyConfigured, match=r"pip install 'celeriac\[sqlalchemy\]'"):
        open_backend("db+sqlite:///x.db", make_settings({}))


def test_without_any_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in ("psycopg", "psycopg2") else find_spec(name)
    )
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ImproperlyConfigured, match=r"pip install 'psycopg\[binary\]'"):
        open_backend("db+postgresql://u@h/d", make_settings({}))


def test_options_and_callback_reach_the_engine(tmp_path: Path) -> None:
    engines: list[Engine] = []
    options = {"echo": False, "pool_size": 2, "pool_pre_ping": True, "connect_args": {"timeout": 7}}
    backend = open_url(
        f"db+sqlite:///{tmp_path}/results.db", database_engine_options=options, database_engine_callback=engines.append
    )
    assert engines == [], "nothing is opened yet"
    reader = backend.reader()
    reader.fetch(["a"])
    (engine,) = engines
    assert engine.pool.size() == 2  # type: ignore[attr-defined]
    reader.close()


def test_an_option_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"database_engine_options: .*pool_sise"):
        open_url(f"db+sqlite:///{tmp_path}/results.db", database_engine_options={"pool_sise": 2})


def test_a_pool_of_ones_own(tmp_path: Path) -> None:
    from sqlalchemy.pool import NullPool

    backend = open_url(f"db+sqlite:///{tmp_path}/results.db", database_engine_options={"poolclass": NullPool})
    assert backend.reader().fetch(["a"]) == {}


def test_a_table_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match="database_table_names: there is no table 'tasks'; known are task, "):
        open_url(f"db+sqlite:///{tmp_path}/results.db", database_table_names={"tasks": "mine"})


def test_the_settings_of_celery_name_a_database(tmp_path: Path) -> None:
    from celeriac import Celeriac

    app = Celeriac("shop", broker="memory://", set_as_current=False)
    app.conf.update(result_backend="database", database_url=f"sqlite:///{tmp_path}/results.db")
    with app:
        assert app.AsyncResult("a").state == "PENDING"
    assert (tmp_path / "results.db").exists()
