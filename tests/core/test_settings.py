"""Single settings: their types and units, the errors that tell them, secrets, URLs put together from parts."""

from __future__ import annotations

import ssl
from datetime import timedelta
from typing import Any

import pytest

from celeriac.core.profiles import PROFILES
from celeriac.core.setting_secrets import censor, shown_value
from celeriac.core.setting_values import SECONDS, type_text, unit_of
from celeriac.core.settings import SETTING_NAMES, Settings, make_settings
from celeriac.core.url_parts import backend_url_of, broker_url_of, with_tls
from celeriac.exceptions import ImproperlyConfigured


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("task_time_limit", "30", "'task_time_limit' = '30': wanted is number of seconds above 0, or None"),
        ("task_time_limit", 0, "above 0"),
        ("result_max_bytes", 1.5, "whole number of bytes, at least 1"),
        ("worker_max_memory_per_child", "1GB", "whole number of KiB, at least 1, or None"),
        ("task_acks_late", "yes", "true or false"),
        ("task_acks_late", 2, "true or false"),
        ("task_default_exchange_type", "round", "`direct` or `topic` or `fanout` or `headers`"),
        ("broker_transport_options", "x", "mapping"),
        ("worker_queue_concurrency", {"a": 0}, "mapping"),
        ("task_default_queue", "", "text"),
        ("worker_redirect_stdouts_level", "LOUD", "`WARNING`"),
        ("task_crash_limit", timedelta(seconds=3), "whole number, at least 1"),
        ("task_protocol", 1, "version 2 only, because version 1"),
        ("broker_url", ["redis://a", "redis://b"], "text, or None"),
        ("task_default_priority", 300, "from 0 to 255"),
        ("task_time_limit", float("inf"), "above 0, or None"),
        ("publish_timeout_s", float("inf"), "number of seconds above 0"),
        ("timezone", 5, "the name of a time zone, or a tzinfo"),
    ],
)
def test_a_wrong_value_is_told_with_type_and_unit(name: str, value: Any, words: str) -> None:
    with pytest.raises(ImproperlyConfigured) as error:
        make_settings({name: value})
    assert name in str(error.value)
    assert words in str(error.value)


def test_a_wrong_secret_is_not_told() -> None:
    with pytest.raises(ImproperlyConfigured) as error:
        make_settings({"broker_password": 12345})
    assert "12345" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("task_time_limit", timedelta(hours=2), 7200.0),
        ("publish_timeout_s", timedelta(seconds=2), 2.0),
        ("result_expires", 0, None),
        ("task_track_started", 1, True),
        ("worker_log_color", 0, False),
        ("imports", "shop.tasks", ("shop.tasks",)),
        ("accept_content", {"json"}, ("json",)),
        ("worker_concurrency", "auto", None),
        ("worker_redirect_stdouts_level", "info", "INFO"),
        ("worker_redirect_stdouts_level", 17, 17),
        ("broker_url", ["redis://a"], "redis://a"),
        ("broker_transport_options", None, {}),
        ("beat_schedule", None, {}),
        ("result_persistent", None, False),
        ("task_default_rate_limit", 3, 3),
    ],
)
def test_values_as_programs_give_them(name: str, value: Any, kept: Any) -> None:
    assert getattr(make_settings({"task_soft_time_limit": None, name: value}), name) == kept


def test_mutable_defaults_are_not_shared() -> None:
    make_settings({}).beat_schedule["x"] = 1
    assert make_settings({}).beat_schedule == {}


def test_every_unit_is_told() -> None:
    assert SECONDS <= SETTING_NAMES
    for name in SETTING_NAMES:
        assert (unit_of(name) or "") in type_text(name, Settings)
        assert "anything" not in type_text(name, Settings), name


def test_profiles_hold_settings() -> None:
    for values in PROFILES.values():
        make_settings({}, values)
        assert values.keys() <= SETTING_NAMES


def test_two_brokers_are_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="make two apps"):
        make_settings({"broker_read_url": "redis://a", "broker_write_url": "redis://b"})
    assert (
        broker_url_of(make_settings({"broker_read_url": "redis://a", "broker_write_url": "redis://a"})) == "redis://a"
    )


def test_the_nodes_of_a_cluster() -> None:
    several = make_settings({"broker_url": ["amqp://a", "amqp://u:p@b:1/v"], "broker_vhost": "mine", "broker_port": 7})
    assert several.broker_failover_strategy is None, "as in Celery: round-robin"
    assert several.broker_url == "amqp://a;amqp://u:p@b:1/v"
    url = broker_url_of(several)
    assert url == "amqp://a:7/mine;amqp://u:p@b:1/v"
    assert with_tls(url, {"ca_certs": "ca"}, "x") == "amqps://a:7/mine?cacertfile=ca;amqps://u:p@b:1/v?cacertfile=ca"
    assert "u:**@b" in repr(several)
    with pytest.raises(ImproperlyConfigured, match="`round-robin` or `shuffle`"):
        make_settings({"broker_failover_strategy": "nearest"})


# -- secrets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("broker_password", "x", "'********'"),
        ("broker_password", None, "None"),
        ("security_hmac_key", b"x", "'********'"),
        ("security_key", "/etc/key.pem", "'/etc/key.pem'"),
        ("task_default_routing_key", "mail", "'mail'"),
        ("STRIPE_KEY", "x", "'********'"),
        ("broker_url", b"redis://:x@h/0", "b'redis://:**@h/0'"),
        ("AWS_SECRET_ACCESS_KEY", "x", "'********'"),
        ("s3_access_key_id", "x", "'********'"),
        ("broker_url", "redis://:x@h/0", "'redis://:**@h/0'"),
        (
            "urls",
            ["redis://:x@h/0", {"password": "x", "port": 1}],
            "['redis://:**@h/0', {'password': '********', 'port': 1}]",
        ),
        ("task_routes", ({"a": 1},), "({'a': 1},)"),
    ],
)
def test_secrets_are_not_shown(name: str, value: Any, shown: str) -> None:
    assert repr(censor(name, value)) == shown


def test_a_snapshot_shows_itself_without_secrets() -> None:
    settings = make_settings({"security_hmac_key": "a key of the whole cluster", "broker_url": "redis://:x@h/0"})
    assert repr(settings) == "Settings(broker_url='redis://:**@h/0', security_hmac_key='********')"
    assert settings.__rich_repr__() == [("broker_url", "redis://:**@h/0"), ("security_hmac_key", "********")]


def test_a_long_value_is_cut() -> None:
    assert shown_value("x", "y" * 1000, width=10) == "'yyyyyy..."


# -- URLs from parts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, None),
        ({"broker_url": "redis://a"}, "redis://a"),
        ({"broker_url": "sqlite:///x"}, "sqlite:///x"),
        ({"broker_host": "h"}, "amqp://h"),
        ({"broker_host": "redis://h/2", "broker_password": "p"}, "redis://:p@h/2"),
        ({"broker_transport": "redis", "broker_port": 7000, "broker_vhost": "3"}, "redis://localhost:7000/3"),
        ({"broker_transport": "memory"}, "memory://"),
        ({"broker_url": "amqp://h//", "broker_user": "u", "broker_password": "p:w"}, "amqp://u:p%3Aw@h//"),
        (
            {"broker_url": "amqp://a:b@h:1/v", "broker_user": "u", "broker_port": 2, "broker_vhost": "w"},
            "amqp://a:b@h:1/v",
        ),
        ({"broker_host": "h", "broker_vhost": "/x"}, "amqp://h/x"),
        ({"broker_url": "amqp://[::1]", "broker_port": 5}, "amqp://[::1]:5"),
    ],
)
def test_the_brokers_url(settings: dict[str, Any], url: str | None) -> None:
    assert broker_url_of(make_settings(settings)) == url


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, None),
        ({"result_backend": "redis://a"}, "redis://a"),
        ({"result_backend": "redis"}, "redis://localhost"),
        ({"result_backend": "redis://", "redis_host": "h", "redis_password": "p", "redis_db": 0}, "redis://:p@h/0"),
        ({"result_backend": "rpc"}, "rpc://"),
        ({"result_backend": "disabled"}, "disabled://"),
        ({"result_backend": "database", "database_url": "sqlite:///x"}, "db+sqlite:///x"),
    ],
)
def test_the_backends_url(settings: dict[str, Any], url: str | None) -> None:
    assert backend_url_of(make_settings(settings)) == url


def test_a_database_without_its_url() -> None:
    with pytest.raises(ImproperlyConfigured, match="database_url"):
        backend_url_of(make_settings({"result_backend": "database"}))


@pytest.mark.parametrize(
    ("url", "options", "over_tls"),
    [
        ("redis://h/0", None, "redis://h/0"),
        ("redis://h/0", False, "redis://h/0"),
        ("redis://h/0", True, "rediss://h/0"),
        ("memory://", True, "memory://"),
        ("redis://h", {"ssl_cert_reqs": ssl.CERT_NONE}, "rediss://h?ssl_cert_reqs=none"),
        ("redis://h", {"ssl_cert_reqs": "CERT_OPTIONAL", "ssl_check_hostname": False},
         "rediss://h?ssl_cert_reqs=optional&ssl_check_hostname=false"),
        ("rediss://h?ssl_cert_reqs=none", {"ssl_cert_reqs": "required", "ca_certs": "/ca"},
         "rediss://h?ssl_cert_reqs=none&ssl_ca_certs=%2Fca"),
        ("amqp://h/v", {"ca_certs": "/ca", "keyfile": "/k", "certfile": "/c", "cert_reqs": ssl.CERT_REQUIRED},
         "amqps://h/v?cacertfile=%2Fca&certfile=%2Fc&keyfile=%2Fk&verify=verify_peer"),
        ("pyamqp://h", {"server_hostname": "n", "cert_reqs": 0}, "amqps://h?server_name_indication=n&verify=verify_none"),
    ],
)  # fmt: skip
def test_tls(url: str, options: Any, over_tls: str) -> None:
    assert with_tls(url, options, "broker_use_ssl") == over_tls


@pytest.mark.parametrize("options", [{"cert": 1}, {"cert_reqs": "maybe"}, {"cert_reqs": 9}])
def test_wrong_options_of_tls(options: dict[str, Any]) -> None:
    with pytest.raises(ImproperlyConfigured, match="cert"):
        with_tls("redis://h", options, "broker_use_ssl")
