"""Settings, and where broker and backend are."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

import pytest

from celeriac import Celeriac, Celery
from celeriac.client.locations import locate
from celeriac.core.settings import make_settings
from celeriac.exceptions import ImproperlyConfigured


@pytest.fixture
def plain() -> Celeriac:
    return Celeriac("shop", broker="memory://", task_default_queue="first")


def test_celery_is_another_name() -> None:
    assert Celery is Celeriac


def test_reading_and_changing(plain: Celeriac) -> None:
    conf = plain.conf
    assert (conf.task_default_queue, conf["task_default_queue"], conf.get("result_expires")) == (
        "first",
        "first",
        86_400,
    )
    conf.task_default_queue = "second"
    conf["task_time_limit"] = timedelta(minutes=2)
    conf["task_soft_time_limit"] = 100
    conf.update({"task_max_retries": 5}, result_extended=True)
    settings = plain.settings
    assert (settings.task_default_queue, settings.task_time_limit, settings.task_max_retries) == ("second", 120, 5)
    assert set(conf.changes) == {
        "broker_url", "task_default_queue", "task_time_limit", "task_soft_time_limit", "task_max_retries",
        "result_extended",
    }  # fmt: skip
    del conf["task_max_retries"]
    assert conf.task_max_retries == 3
    assert "task_max_retries" in conf
    assert len(dict(conf)) == len(conf)


def test_wrong_settings_change_nothing(plain: Celeriac) -> None:
    before = plain.settings
    with pytest.raises(ImproperlyConfigured, match=r"did you mean 'task_time_limit'"):
        plain.conf.task_time_limt = 3
    with pytest.raises(ImproperlyConfigured, match="task_max_retries"):
        plain.conf.update(task_default_queue="x", task_max_retries="many")
    with pytest.raises(ImproperlyConfigured, match="unknown setting"):
        Celeriac(brokr="x")
    with pytest.raises(AttributeError, match="did you mean"):
        assert plain.conf.task_time_limt
    with pytest.raises(KeyError):
        assert plain.conf["nothing"]
    assert plain.settings is before


# -- locations --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "environment", "expected"),
    [
        ({"broker_url": "redis://a"}, {}, ("redis://a", "disabled://")),
        ({"broker_url": "redis://a", "result_backend": "redis://b"}, {}, ("redis://a", "redis://b")),
        ({"broker_url": "memory://"}, {}, ("memory://", "memory://")),
        ({"broker_url": "sqlite:///x.db"}, {}, ("sqlite:///x.db", "sqlite:///x.db")),
        ({"broker_url": "redis://a"}, {"CELERY_BROKER_URL": "redis://b"}, ("redis://b", "disabled://")),
        (
            {},
            {"CELERIAC_BROKER_URL": "redis://a", "CELERY_BROKER_URL": "redis://b", "CELERY_RESULT_BACKEND": "rpc://"},
            ("redis://a", "rpc://"),
        ),
    ],
)
def test_where_things_are(
    settings: dict[str, str], environment: dict[str, str], expected: tuple[str, str], tmp_path: Path
) -> None:
    assert tuple(locate(make_settings(settings), environment, tmp_path)) == expected


def test_the_embedded_broker_says_where_its_file_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "celeriac"):
        found = locate(make_settings({}), {}, tmp_path)
    file = tmp_path / ".celeriac" / "broker.db"
    assert found == (f"sqlite:///{file}", f"sqlite:///{file}")
    (record,) = caplog.records
    assert str(file) in record.getMessage()
