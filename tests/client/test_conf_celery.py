"""`app.conf` does what Celery's does: names, reading, changing, text, pickling."""

from __future__ import annotations

import copy
import logging
import operator
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery as RealCelery
from celery.app.defaults import _TO_NEW_KEY, DEFAULTS, SETTING_KEYS

from celeriac import Celeriac
from celeriac.core.celery_defaults import CELERY_DEFAULTS
from celeriac.core.setting_without_effect import WITHOUT_EFFECT
from celeriac.core.settings import KNOWN_NAMES, OLD_NAMES, SETTING_NAMES, Settings
from celeriac.exceptions import ImproperlyConfigured

SAMPLES: dict[str, Any] = {
    "accept_content": ["json"], "beat_cron_starting_deadline": 5, "beat_max_loop_interval": 2.0,
    "beat_remote_control_max_tick_age": 3.0, "beat_schedule": {"a": {"task": "t", "schedule": 1.0}},
    "beat_scheduler": "mine:Scheduler", "broker_failover_strategy": "shuffle", "broker_port": 1234, "broker_read_url": "memory://", "broker_url": "memory://",
    "broker_write_url": "memory://", "database_engine_callback": len, "database_table_names": {"task": "x"},
    "database_table_schemas": {"task": "x"}, "imports": ("a",), "include": ("a",), "redis_backend_use_ssl": {"ssl_ca_certs": "x"},
    "redis_db": 1, "redis_port": 1234, "result_accept_content": ["json"], "result_chord_expires": 9.0,
    "result_failure_expires": 9.0, "security_key_password": b"x", "task_acks_on_failure": False, "task_acks_on_timeout": False,
    "task_annotations": {"*": {"rate_limit": "1/s"}}, "task_create_missing_queue_exchange_type": "topic",
    "task_default_priority": 3, "task_queue_max_priority": 9, "task_queues": {"q": {}}, "task_routes": {"a": "b"},
    "task_soft_time_limit": 8.0, "task_time_limit": 9.0, "timezone": "Europe/Paris", "worker_concurrency": 4,
    "worker_log_color": True, "worker_max_memory_per_child": 1000, "worker_max_tasks_per_child": 10,
    "worker_log_format": "%(message)s", "worker_task_log_format": "%(message)s", "worker_prefetch_multiplier": 2,
    "result_expires": 60.0, "result_persistent": True, "task_default_rate_limit": "10/m", "task_reject_on_worker_lost": False,
    "task_publish_retry_policy": {"max_retries": 1}, "worker_pool": "threads",
}  # fmt: skip
"""Values that programs give, where the default alone would say too little."""

OURS_SAYS_NONE = {"worker_log_format", "worker_task_log_format"}


@pytest.fixture
def plain() -> Celeriac:
    return Celeriac("shop", broker="memory://", set_as_current=False)


# -- every setting of Celery's ----------------------------------------------------------------------------------------


def test_none_of_celerys_settings_is_missing_and_none_stands_in_two_places() -> None:
    assert SETTING_KEYS <= KNOWN_NAMES
    assert not SETTING_NAMES & WITHOUT_EFFECT.keys()
    assert WITHOUT_EFFECT.keys() <= SETTING_KEYS


@pytest.mark.parametrize("name", sorted(SETTING_KEYS))
def test_setting(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Each is accepted under both of its names, is read back, and is a setting of ours or told to be without effect."""
    value = SAMPLES.get(name, DEFAULTS[name])
    if value is None:
        value = "text"
    old = [old for old, new in OLD_NAMES.items() if new == name]
    for spelling in (name, *old):
        app = Celeriac("shop", config_source={spelling: value}, set_as_current=False)
        with caplog.at_level(logging.INFO, "celeriac"):
            found = app.conf[name]
        if name in WITHOUT_EFFECT:
            assert found == value
            assert f"without effect here (`celeriac report` says why): {name}" in caplog.text
        else:
            assert found == (tuple(value) if isinstance(value, list) else value)
            assert getattr(app.settings, name) == found
        for other in (name, *old):
            assert app.conf[other] == getattr(app.conf, other) == found
            assert app.conf.value_set_for(other)


def test_old_names_are_celerys() -> None:
    # Names without CELERY or BROKER in front may be anybody's variables.
    theirs = {old: new for old, new in _TO_NEW_KEY.items() if old.startswith(("CELERY", "BROKER_"))}
    assert {old: OLD_NAMES.get(old) for old in theirs} == theirs


def test_celerys_defaults_are_known_where_ours_differ() -> None:
    ours = Settings()
    for name in SETTING_KEYS:
        theirs = DEFAULTS[name]
        if name in CELERY_DEFAULTS:
            # Celery says None where it means no.
            assert CELERY_DEFAULTS[name] == (theirs or False if name == "task_reject_on_worker_lost" else theirs)
            if name in SETTING_NAMES:
                assert getattr(ours, name) != theirs
        elif name in SETTING_NAMES:
            found = getattr(ours, name)
            assert found == theirs or name in ("result_expires", "result_persistent", "task_routes"), name
        else:
            assert theirs in (None, {}), name


# -- as Celery's conf -------------------------------------------------------------------------------------------------


def both(**values: Any) -> tuple[Any, Any]:
    """Celery's conf and ours with the same settings."""
    ours = Celeriac("shop", set_as_current=False)
    theirs = RealCelery("shop", set_as_current=False)
    for app in (ours, theirs):
        app.conf.update(values)
    return ours.conf, theirs.conf


def test_reading_as_in_celery() -> None:
    values = {
        "task_serializer": "yaml",
        "task_default_queue": "q",
        "MY_SETTING": 1,
        "broker_url": "redis://h//",
        "timezone": "UTC",
    }
    for conf in both(**values):
        assert conf.task_serializer == conf["task_serializer"] == conf.CELERY_TASK_SERIALIZER == "yaml"
        assert conf["CELERY_TASK_SERIALIZER"] == conf.get("CELERY_TASK_SERIALIZER") == "yaml"
        assert conf.MY_SETTING == conf["MY_SETTING"] == 1
        assert (conf.get("nothing"), conf.get("nothing", 5)) == (None, 5)
        assert "MY_SETTING" in conf
        assert "task_serializer" in conf
        assert "CELERY_TASK_SERIALIZER" in conf
        assert "nothing" not in conf
        with pytest.raises(KeyError):
            conf["nothing"]
        with pytest.raises(AttributeError):
            _ = conf.nothing
        assert conf.first("nothing", "result_backend", "task_default_queue") == "q"
        assert (conf.task_default_exchange, conf.task_default_routing_key) == ("q", "q")
        assert (conf.broker_read_url, conf.broker_write_url, conf.timezone) == ("redis://h//", "redis://h//", "UTC")
        assert conf.worker_pool_putlocks is True
        assert conf.value_set_for("task_serializer")
        assert conf.value_set_for("CELERY_TASK_SERIALIZER")
        assert not conf.value_set_for("task_compression")
        assert {"task_serializer", "MY_SETTING", "worker_pool", "result_expires"} <= set(conf)
        assert dict(conf.items())["task_serializer"] == "yaml"
        assert len(list(conf.keys())) == len(list(conf.values())) == len(conf)
        assert bool(conf)


def test_changing_as_in_celery() -> None:
    for conf in both(task_serializer="yaml"):
        conf.task_serializer = "json"
        conf["result_serializer"] = "yaml"
        conf.update({"task_compression": "zlib"}, task_track_started=True)
        conf.update([("task_ignore_result", True)])
        conf.MY_THING = {"a": 1}
        assert (conf.task_serializer, conf.result_serializer, conf.task_compression) == ("json", "yaml", "zlib")
        assert (conf.task_track_started, conf.task_ignore_result, conf.MY_THING) == (True, True, {"a": 1})
        conf.setdefault("MY_OTHER", 3)
        conf.setdefault("task_serializer", "pickle")
        assert (conf.MY_OTHER, conf.task_serializer) == (3, "json")
        assert conf.pop("MY_OTHER") == 3
        assert conf.pop("MY_OTHER", None) is None
        conf.add_defaults({"task_serializer": "pickle", "worker_state_db": "file", "MY_DEFAULT": 1})
        assert (conf.task_serializer, conf.worker_state_db, conf.MY_DEFAULT) == ("json", "file", 1)
        conf.beat_schedule["a"] = {"task": "t", "schedule": 3.0}
        conf.worker_concurrency = 2  # whatever is changed next, what stands in a dict stays
        assert list(conf.beat_schedule) == ["a"]
        del conf["task_compression"]
        assert conf.task_compression is None
        with pytest.raises(KeyError):
            del conf["task_compression"]
        conf.clear()
        assert (conf.task_serializer, "MY_THING" in conf) == ("pickle", False)


def test_looking_for_settings_as_in_celery() -> None:
    for conf in both(task_serializer="yaml"):
        assert conf.find_option("disable_rate_limits")[:2] == ("worker", "disable_rate_limits")
        assert conf.find_option("serializer", "task")[:2] == ("task", "serializer")
        assert conf.find_option("timezone")[1] == "timezone"
        assert conf.find_value_for_key("serializer", "task") == "yaml"
        assert conf.find_value_for_key("prefetch_multiplier", "worker") == conf.worker_prefetch_multiplier
        assert conf.get_by_parts("task", "serializer") == "yaml"
        assert conf.find_option("always_eager").type.default is False
        with pytest.raises(KeyError):
            conf.find_option("nothing_like_it")


def test_text_as_in_celery() -> None:
    values = {
        "task_serializer": "yaml",
        "broker_url": "redis://u:geheim@h:1/0",
        "MY_API_TOKEN": "geheim",
        "MY_THING": {"password": "geheim"},
    }
    for conf in both(**values):
        text = conf.humanize(with_defaults=False, censored=True)
        assert "task_serializer: 'yaml'" in text
        assert "result_expires" not in text
        assert "geheim" not in text
        assert "geheim" not in str(conf.table(censored=True))
        assert "geheim" in conf.humanize(censored=False)
        assert "result_expires" in conf.humanize(with_defaults=True)
        assert conf.table(with_defaults=True)["worker_disable_rate_limits"] is False
        assert dict(conf.without_defaults())["task_serializer"] == "yaml"
        assert "worker_pool" not in conf.without_defaults()
        assert conf.changes["task_serializer"] == "yaml"
        assert conf.finalize() is conf


def test_a_bug_report_tells_no_secret(plain: Celeriac) -> None:
    plain.conf.broker_url = "redis://u:geheim@h:1/0"
    text = plain.bugreport()
    assert "geheim" not in text
    assert "redis://u:**@h:1/0" in text
    for part in ("software -> ", "celeriac:", "python:", "platform -> ", "settings -> ", "broker_url: "):
        assert part in text


def test_conf_is_pickled_and_copied_with_what_it_was_given(plain: Celeriac) -> None:
    plain.config_from_object({"CELERY_MAX_CACHED_RESULTS": 9, "MY_KEY": [1]})
    plain.conf.update(task_max_retries=7)
    for conf in (pickle.loads(pickle.dumps(plain.conf)), copy.copy(plain.conf), copy.deepcopy(plain.conf)):
        assert (conf.task_max_retries, conf.result_cache_max, conf.MY_KEY) == (7, 9, [1])
        assert conf.origin("task_max_retries") == "app.conf"
        conf.task_max_retries = 8
    assert plain.settings.task_max_retries == 7


# -- where we say more than Celery ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["task_time_limt", "worker_colour", "beat_shedule", "CELERY_ACK_LATE", "timezon", "imprts"]
)
def test_a_key_that_looks_like_a_setting_is_an_error(plain: Celeriac, name: str) -> None:
    changes: list[Callable[[], object]] = [
        lambda: plain.conf.update({name: 1}),
        lambda: setattr(plain.conf, name, 1),
        lambda: operator.setitem(plain.conf, name, 1),
        lambda: plain.config_from_object({name: 1}),
    ]
    for change in changes:
        with pytest.raises(ImproperlyConfigured, match=f"unknown setting '{name}'"):
            change()
    assert name not in plain.conf


@pytest.mark.parametrize("name", ["MY_SETTING", "my_thing", "redis_url", "S3_BUCKET", "sentry_dsn", "flower_port"])
def test_a_key_of_the_program_is_kept(plain: Celeriac, name: str) -> None:
    plain.conf[name] = "x"
    assert plain.conf[name] == getattr(plain.conf, name) == "x"
    assert (plain.conf.origin(name), name in plain.conf, name in list(plain.conf)) == ("app.conf", True, True)


def test_keywords_of_the_app_are_settings_only() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^unknown setting 'my_thing'"):
        Celeriac(my_thing=1)


def test_a_time_zone_must_exist(plain: Celeriac) -> None:
    with pytest.raises(ImproperlyConfigured, match="'Europe/Atlantis': there is no such time zone"):
        plain.conf.timezone = "Europe/Atlantis"
    plain.conf.timezone = "utc"


def test_broker_and_results_may_be_named_by_their_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Celeriac(
        "shop", broker_host="h", broker_user="u", broker_password="p/w", broker_vhost="v", set_as_current=False
    )
    assert app.conf.broker_url == app.locations.broker == "amqp://u:p%2Fw@h/v"
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "redis://env")
    assert (app.conf.result_backend, app.conf.origin("result_backend")) == (
        "redis://env",
        "environment CELERY_RESULT_BACKEND",
    )


def test_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    def app(**settings: Any) -> Celeriac:
        return Celeriac("shop", broker="memory://", set_as_current=False, **settings)

    names = (
        "task_acks_late", "task_reject_on_worker_lost", "task_time_limit", "task_soft_time_limit", "task_retry_backoff",
        "task_default_retry_delay", "worker_prefetch_multiplier", "task_default_queue_type",
    )  # fmt: skip

    def values(app: Celeriac) -> tuple[Any, ...]:
        return tuple(getattr(app.settings, name) for name in names)

    assert values(app()) == (True, True, 3600, 3540, 1, 180, None, "quorum")
    assert values(app(profile="celery")) == (False, False, None, None, 0, 180, 4, "classic")
    mixed = app(profile="celery", task_acks_late=True)
    assert (mixed.settings.task_acks_late, mixed.settings.task_reject_on_worker_lost) == (True, False)
    assert (mixed.conf.origin("task_acks_late"), mixed.conf.origin("task_time_limit")) == ("keyword", "profile celery")

    @mixed.task(autoretry_for=ValueError)
    def add(x: int) -> int:
        return x

    assert (add.policy.retry_backoff_s, add.policy.default_retry_delay_s, add.policy.time_limit_s) == (0, 180, None)
    monkeypatch.setenv("CELERIAC_PROFILE", "celery")
    assert values(app()) == values(app(profile="safe")) == (False, False, None, None, 0, 180, 4, "classic")
    with pytest.raises(ImproperlyConfigured, match="`safe` or `celery`"):
        app(profile="fast")


def test_the_depth_of_the_short_texts(plain: Celeriac) -> None:
    plain.conf.task_repr_maxlevels = 1
    assert plain.message("shop.add", ([1, [2]],)).headers["argsrepr"] == "([...],)"
    plain.conf.task_repr_maxlevels = 9
    assert plain.message("shop.add", ([1, [2]],)).headers["argsrepr"] == "([1, [2]],)"


def test_the_way_and_kind_of_messages(plain: Celeriac) -> None:
    assert plain.message("shop.add").properties["delivery_mode"] == 2
    plain.conf.task_default_delivery_mode = "transient"
    assert plain.message("shop.add").properties["delivery_mode"] == 1
    assert plain.message("shop.add", options={"delivery_mode": 2}).properties["delivery_mode"] == 2

    @plain.task
    def add(x: int) -> int:
        return x

    assert plain.message(add.name, (1,)).properties["delivery_mode"] == 1
    assert add.default_retry_delay == 180
    plain.conf.task_default_retry_delay = 5
    assert (add.default_retry_delay, add.policy.default_retry_delay_s) == (5, 5)
