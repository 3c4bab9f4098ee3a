"""Settings from modules, objects, classes, mappings, the environment and the command line, and which of them is in force."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.client.conf_cmdline import parse_arguments
from celeriac.exceptions import ImproperlyConfigured


@pytest.fixture
def plain() -> Celeriac:
    return Celeriac("shop", broker="memory://", set_as_current=False)


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory on the import path; what is imported from it is forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("conf_"):
            del sys.modules[name]


# -- objects and modules ----------------------------------------------------------------------------------------------


class Base:
    task_max_retries = 6
    task_default_queue = "base"


class Config(Base):
    """A class of settings, with inherited ones."""

    task_default_queue = "derived"
    helper = 3


@pytest.mark.parametrize(
    ("source", "origin"),
    [
        ({"task_max_retries": 6, "task_default_queue": "derived"}, "config_from_object"),
        (Config, "class Config"),
        (Config(), "object of Config"),
        (SimpleNamespace(task_max_retries=6, task_default_queue="derived", NAME="x"), "object of SimpleNamespace"),
    ],
)
def test_an_object_of_any_kind_gives_settings(plain: Celeriac, source: object, origin: str) -> None:
    plain.config_from_object(source)
    assert (plain.settings.task_max_retries, plain.settings.task_default_queue) == (6, "derived")
    assert plain.conf.origin("task_max_retries") == origin


def test_a_module_is_imported_when_settings_are_first_read(plain: Celeriac, modules: Path) -> None:
    plain.config_from_object("conf_late")  # not there yet
    (modules / "conf_late.py").write_text(
        "import os\nfrom pathlib import Path\nfrom datetime import timezone\nhost = 'h'\n_task_hidden = 1\n"
        "task_max_retries = 4\nMY_LIMIT = 9\ndef task_helper(): ...\nclass Inner:\n    task_max_retries = 6\n"
    )
    assert "conf_late" not in sys.modules
    assert plain.settings.task_max_retries == 4
    assert plain.conf.origin("task_max_retries") == "module conf_late"
    assert plain.conf.timezone is None
    assert (plain.conf.MY_LIMIT, plain.conf["host"], "MY_LIMIT" in plain.conf) == (9, "h", True)
    for spelling in ("conf_late:Inner", "conf_late.Inner"):
        plain.config_from_object({"task_max_retries": 0})
        plain.config_from_object(spelling)
        assert plain.settings.task_max_retries == 6


def test_a_task_may_be_defined_before_the_module_of_settings_can_be_imported(modules: Path) -> None:
    app = Celeriac("shop", broker="memory://", config_source="conf_cycle", set_as_current=False)
    (modules / "conf_cycle.py").write_text("task_annotations = {'shop.add': {'max_retries': 8}}\n")

    @app.task(name="shop.add")
    def add(x: int) -> int:
        return x

    assert "conf_cycle" not in sys.modules
    app.conf.finalize()
    assert add.max_retries == 8


def test_a_source_that_is_wrong_is_named(plain: Celeriac, modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (modules / "conf_wrong.py").write_text("task_max_retrys = 4\n")
    (modules / "conf_type.py").write_text("task_max_retries = 'four'\n")
    (modules / "conf_broken.py").write_text("import does_not_exist_anywhere\n")
    (modules / "conf_fine.py").write_text("task_max_retries = 4\n")
    with pytest.raises(
        ImproperlyConfigured, match=r"module conf_wrong: .*'task_max_retrys'; did you mean 'task_max_retries'\?"
    ):
        plain.config_from_object("conf_wrong", force=True)
    with pytest.raises(
        ImproperlyConfigured, match=r"module conf_type: setting 'task_max_retries' = 'four': wanted is who"
    ):
        plain.config_from_object("conf_type", force=True)
    with pytest.raises(ModuleNotFoundError, match="does_not_exist_anywhere"):
        plain.config_from_object("conf_broken", force=True)
    with pytest.raises(ImproperlyConfigured, match="conf_nowhere"):
        plain.config_from_object("conf_nowhere", force=True)
    with pytest.raises(ImproperlyConfigured, match="'nothing'"):
        plain.config_from_object("conf_fine:nothing", force=True)
    plain.config_from_object("conf_nowhere", silent=True, force=True)
    # Without `force` the same is said when settings are read, each time.
    plain.config_from_object("conf_wrong")
    late = Celeriac("late", config_source="conf_wrong", set_as_current=False)
    for _ in range(2):
        with pytest.raises(ImproperlyConfigured, match="task_max_retrys"):
            late.conf.finalize()
    # Variables that name the module.
    with pytest.raises(ImproperlyConfigured, match="SHOP_SETTINGS"):
        plain.config_from_envvar("SHOP_SETTINGS")
    assert plain.config_from_envvar("SHOP_SETTINGS", silent=True) is False
    monkeypatch.setenv("SHOP_SETTINGS", "conf_fine")
    assert plain.config_from_envvar("SHOP_SETTINGS", force=True) is True
    assert plain.settings.task_max_retries == 4


def test_the_module_that_the_environment_names_is_taken_by_apps_without_a_source(
    modules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (modules / "conf_env.py").write_text("task_max_retries = 7\n")
    monkeypatch.setenv("CELERY_CONFIG_MODULE", "conf_env")
    assert Celeriac("one", set_as_current=False).settings.task_max_retries == 7
    other = Celeriac("two", config_source={"task_default_queue": "q"}, set_as_current=False)
    assert other.settings.task_max_retries == 3


# -- names from before Celery 4 ---------------------------------------------------------------------------------------


def test_old_names_mean_the_new_settings(plain: Celeriac) -> None:
    plain.config_from_object(
        {
            "CELERY_TASK_SERIALIZER": "msgpack", "CELERYD_CONCURRENCY": 3, "CELERY_RESULT_BACKEND": "redis://b",
            "BROKER_CONNECTION_TIMEOUT": 9, "CELERY_ACKS_LATE": False, "CELERY_ROUTES": {"a": "b"},
            "CELERYBEAT_SCHEDULE": {"x": {"task": "t", "schedule": 1.0}}, "CELERYD_TASK_TIME_LIMIT": 4000,
            "CELERY_IMPORTS": "shop.tasks", "CELERY_SEND_TASK_ERROR_EMAILS": True, "SHOP_NAME": "x",
        }
    )  # fmt: skip
    settings = plain.settings
    assert (settings.task_serializer, settings.worker_concurrency, settings.result_backend) == (
        "msgpack",
        3,
        "redis://b",
    )
    assert (settings.broker_connection_timeout, settings.task_acks_late, settings.task_routes) == (9, False, {"a": "b"})
    assert (settings.task_time_limit, settings.imports) == (4000, ("shop.tasks",))
    assert list(settings.beat_schedule) == ["x"]
    assert plain.conf.SHOP_NAME == "x"


def test_old_and_new_names_in_one_source_are_an_error_that_says_which(plain: Celeriac) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"mixed; rename CELERY_ACKS_LATE -> task_acks_late$"):
        plain.config_from_object({"task_max_retries": 1, "result_extended": True, "CELERY_ACKS_LATE": True})
    with pytest.raises(ImproperlyConfigured, match=r"mixed; rename result_extended -> CELERY_RESULT_EXTENDED$"):
        plain.config_from_object({"CELERY_ACKS_LATE": True, "BROKER_URL": "memory://", "result_extended": True})
    # One setting by both of its names is written for both versions: the new one counts.
    plain.config_from_object({"result_expires": 5, "CELERY_TASK_RESULT_EXPIRES": 6})
    assert plain.settings.result_expires == 5
    # Variables of another kind are no settings, whatever their case.
    plain.config_from_object(SimpleNamespace(task_max_retries=2, S3_BUCKET="x", DATABASE_URL="y", DEBUG=True))
    assert plain.settings.task_max_retries == 2


def test_a_namespaced_name_without_its_namespace_says_what_is_missing(plain: Celeriac) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"'CELERY_TASK_MAX_RETRIES'.*namespace='CELERY'"):
        plain.config_from_object({"CELERY_TASK_MAX_RETRIES": 3})
    with pytest.raises(ImproperlyConfigured, match=r"did you mean 'CELERY_ACKS_LATE'"):
        plain.config_from_object(SimpleNamespace(CELERY_ACK_LATE=3))


# -- namespaces -------------------------------------------------------------------------------------------------------


class LazySettings:
    """Like Django's: says what it has in `dir`, and complains when something is read that nobody needs."""

    def __dir__(self) -> list[str]:
        return [
            "CELERY_TASK_MAX_RETRIES",
            "CELERY_BROKER_URL",
            "CELERYD_CONCURRENCY",
            "TIME_ZONE",
            "USE_L10N",
            "SECRET_KEY",
        ]

    def __getattr__(self, name: str) -> Any:
        values = {
            "CELERY_TASK_MAX_RETRIES": 5, "CELERY_BROKER_URL": "redis://d", "CELERYD_CONCURRENCY": 4,
            "TIME_ZONE": "Europe/Oslo", "DEBUG": True,
        }  # fmt: skip
        if name not in values:
            raise AttributeError(name)
        return values[name]


def test_a_namespace_as_django_programs_have_it() -> None:
    app = Celeriac("site", set_as_current=False)
    app.config_from_object(LazySettings(), namespace="CELERY")
    conf = app.conf
    assert (conf.task_max_retries, conf.CELERY_TASK_MAX_RETRIES, conf.worker_concurrency) == (5, 5, 4)
    assert (conf.broker_url, conf.timezone, conf.DEBUG) == ("redis://d", "Europe/Oslo", True)
    assert conf.origin("task_max_retries") == "object of LazySettings, CELERY_..."
    assert "SECRET_KEY" not in conf.changes


def test_all_unknown_names_of_a_namespace_are_told_at_once(plain: Celeriac) -> None:
    with pytest.raises(ImproperlyConfigured) as error:
        plain.config_from_object(
            {"CELERY_TASK_MAX_RETRYS": 1, "CELERY_ZZZ": 2, "CELERY_TASK_TRACK_STARTED": True, "OTHER_THING": 1},
            namespace="CELERY",
        )
    assert str(error.value) == (
        "config_from_object, CELERY_...: unknown settings 'CELERY_TASK_MAX_RETRYS' (did you mean 'CELERY_TASK_MAX_RETRIES'?), 'CELERY_ZZZ'"
    )
    assert plain.settings.task_track_started is False


def test_a_namespace_in_lower_case(plain: Celeriac) -> None:
    plain.config_from_object({"celery_task_max_retries": 2, "task_max_retries": 9}, namespace="celery_")
    assert plain.settings.task_max_retries == 2


# -- which one counts -------------------------------------------------------------------------------------------------


def test_the_order_of_the_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Celeriac("shop", broker="memory://", task_max_retries=10, set_as_current=False)
    app.add_defaults({"task_max_retries": 1, "task_crash_limit": 1, "task_loss_limit": 1, "result_expires": 1})
    app.add_defaults(lambda: {"task_loss_limit": 2})
    app.config_from_object({"task_max_retries": 20, "task_crash_limit": 20, "result_extended": True})
    app.conf.task_crash_limit = 30
    monkeypatch.setenv("CELERIAC_RESULT_EXPIRES", "40")
    monkeypatch.setenv("CELERIAC_TASK_TIME_LIMIT", "none")
    conf = app.conf
    found = {
        name: (conf[name], conf.origin(name))
        for name in ("task_max_retries", "task_crash_limit", "task_loss_limit", "result_extended", "result_expires")
    }
    assert found == {
        "task_max_retries": (10, "keyword"),
        "task_crash_limit": (30, "app.conf"),
        "task_loss_limit": (2, "add_defaults"),
        "result_extended": (True, "config_from_object"),
        "result_expires": (40, "environment CELERIAC_RESULT_EXPIRES"),
    }
    conf.result_expires = 50
    assert conf.result_expires == 40
    app.config_from_cmdline(["result.expires=60"])
    assert (conf.result_expires, conf.origin("result_expires")) == (60, "command line")
    assert (conf.task_time_limit, conf.origin("task_always_eager")) == (None, "default")
    # A second source replaces the first, as in Celery.
    app.config_from_object({"result_persistent": True})
    assert (conf.result_extended, conf.result_persistent) == (False, True)


def test_a_function_of_defaults_may_come_late(plain: Celeriac) -> None:
    assert plain.settings.task_max_retries == 3
    plain.add_defaults(lambda: {"task_max_retries": 8})
    assert plain.settings.task_max_retries == 8


def test_on_configure_may_change_settings_before_they_are_read(plain: Celeriac) -> None:
    def configure(sender: Celeriac, **_: Any) -> None:
        sender.conf.task_max_retries = 12

    plain.on_configure.connect(configure, weak=False)
    assert plain.settings.task_max_retries == 12
    plain.conf.task_max_retries = 1
    assert plain.settings.task_max_retries == 1


# -- environment ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("task_time_limit", "30", 30.0),
        ("task_time_limit", "none", None),
        ("task_acks_late", "no", False),
        ("task_acks_late", "1", True),
        ("worker_concurrency", "auto", None),
        ("worker_concurrency", "4", 4),
        ("accept_content", "json, msgpack", ("json", "msgpack")),
        ("imports", '["a", "b"]', ("a", "b")),
        ("broker_transport_options", '{"global_keyprefix": "x"}', {"global_keyprefix": "x"}),
        ("task_default_rate_limit", "10/m", "10/m"),
        ("worker_redirect_stdouts_level", "info", "INFO"),
        ("task_default_delivery_mode", "1", 1),
        ("task_default_delivery_mode", "persistent", "persistent"),
        ("task_routes", '{"a": "b"}', {"a": "b"}),
        ("task_default_queue", "none", "none"),
    ],
)
def test_a_variable_gives_any_setting(monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object) -> None:
    monkeypatch.setenv(f"CELERIAC_{name.upper()}", text)
    app = Celeriac("shop", broker="memory://", task_soft_time_limit=None, set_as_current=False)
    assert getattr(app.settings, name) == value


def test_wrong_variables(plain: Celeriac, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("CELERIAC_TASK_TIM_LIMIT", "3")
    monkeypatch.setenv("CELERIAC_SOMETHING_ELSE", "3")
    with caplog.at_level(logging.WARNING, "celeriac"):
        assert plain.settings.task_time_limit == 3600
    assert [record.getMessage() for record in caplog.records] == [
        "the environment variable CELERIAC_TASK_TIM_LIMIT is no setting and has no effect; did you mean"
        " CELERIAC_TASK_TIME_LIMIT?"
    ]
    monkeypatch.setenv("CELERIAC_TASK_TIME_LIMIT", "soon")
    other = Celeriac("other", broker="memory://", set_as_current=False)
    with pytest.raises(
        ImproperlyConfigured,
        match=r"environment variable CELERIAC_TASK_TIME_LIMIT: setting 'task_time_limit' = 'soon': wanted is number of seconds",
    ):
        other.conf.finalize()
    monkeypatch.delenv("CELERIAC_TASK_TIME_LIMIT")
    monkeypatch.setenv("CELERIAC_TIMEZONE", "Nowhere/City")
    with pytest.raises(ImproperlyConfigured, match="no such time zone"):
        other.conf.finalize()


def test_celerys_variables_for_two_brokers_are_warned_of(
    plain: Celeriac, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CELERY_BROKER_READ_URL", "redis://:geheim@r")
    with caplog.at_level(logging.WARNING, "celeriac"):
        plain.conf.finalize()
    assert caplog.messages == [
        "CELERY_BROKER_READ_URL has no effect: an app reads and writes on one broker, see CELERY_BROKER_URL"
    ]


# -- command line -----------------------------------------------------------------------------------------------------


def test_arguments_as_celery_writes_them() -> None:
    arguments = [
        "worker.prefetch_multiplier=1", "broker_heartbeat=30", "BROKER.CONNECTION_TIMEOUT=2.5", "task.acks_late=false",
        ".timezone=UTC", "accept_content=(list)[\"json\", \"yaml\"]", "worker.pool_putlocks=(str)x",
        "task.default_priority=(int)4",
    ]  # fmt: skip
    assert parse_arguments(arguments[:4] + arguments[5:]) == {
        "worker_prefetch_multiplier": 1, "broker_heartbeat": 30, "broker_connection_timeout": 2.5, "task_acks_late": False,
        "accept_content": ["json", "yaml"], "worker_pool_putlocks": "x", "task_default_priority": 4,
    }  # fmt: skip
    assert parse_arguments([".default_queue=mail"], namespace="task") == {"task_default_queue": "mail"}


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("worker.prefetch_multiplier", "is written name=value"),
        ("worker.prefetch_multiplyer=1", "did you mean 'worker_prefetch_multiplier'"),
        ("worker.concurrency=(int)many", "invalid literal"),
        ("worker.concurrency=(thing)1", r"unknown type \(thing\)"),
        ("task.time_limit=soon", "number of seconds"),
    ],
)
def test_wrong_arguments(argument: str, words: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=words):
        parse_arguments([argument])
