"""URLs of Sentinels and clusters: what they may say, what is refused, and the keys that go with a cluster."""

from __future__ import annotations

from typing import Any

import pytest
import redis.cluster
import redis.crc

from celeriac.backends import open_backend
from celeriac.brokers import open_broker
from celeriac.core.settings import make_settings
from celeriac.core.url_parts import with_tls
from celeriac.exceptions import ImproperlyConfigured
from celeriac.transports.redis.address import Address, Tls, parse_address
from celeriac.transports.redis.cluster import key_options, key_slot
from celeriac.transports.redis.durability import durability_of

NAMED = {"master_name": "shop"}


def places(address: Address) -> list[tuple[str, int]]:
    """Whom an address has to be asked of."""
    return [(guide.host, guide.port) for guide in address.guides]


def test_sentinels_are_asked_and_the_login_is_the_masters() -> None:
    url = "sentinel://user:p%40ss@one:1/3;sentinel://two/3;sentinel://:other@three:3/3"
    address = parse_address(url, {**NAMED, "sentinel_kwargs": {"password": "theirs", "socket_timeout": 0.5}})
    assert places(address) == [("one", 1), ("two", 26379), ("three", 3)]
    assert (address.db, address.master_name, address.credentials()) == (3, "shop", ["AUTH", "user", "p@ss"])
    assert all(guide.credentials() == ["AUTH", "default", "theirs"] and guide.db == 0 for guide in address.guides)
    assert address.shown == "sentinel://user:**@one:1/3;sentinel://two/3;sentinel://:**@three:3/3"
    assert "theirs" not in repr(address.guides)
    assert address.at("db", 6379).credentials() == address.credentials()
    assert address.at("db", 6379).db == 3


@pytest.mark.parametrize(
    "url",
    ["sentinel://:secret@h", "rediscluster://:secret@h", "unix:///run/redis.sock", "redis+socket:///run/redis.sock"],
)
def test_every_scheme_opens_broker_and_results(url: str) -> None:
    settings = make_settings({"broker_transport_options": NAMED, "result_backend_transport_options": NAMED})
    assert open_broker(url, settings).shown_url() == url.replace("secret", "**")
    assert open_backend(url, settings).shown_url() == url.replace("secret", "**")


def test_tls_to_the_master_and_to_the_sentinels_are_told_apart() -> None:
    url = with_tls("sentinel://one:1/0;sentinel://two:2/0", {"ssl_ca_certs": "/ca.pem"}, "broker_use_ssl")
    assert url == "sentinel://one:1/0?ssl=true&ssl_ca_certs=%2Fca.pem;sentinel://two:2/0"
    address = parse_address(url, NAMED)
    assert address.tls == Tls(ca_certs="/ca.pem")
    assert [guide.tls for guide in address.guides] == [None, None]
    kwargs = {"ssl": True, "ssl_cert_reqs": "none"}
    (guide,) = parse_address("sentinel://one", {**NAMED, "sentinel_kwargs": kwargs}).guides
    assert guide.tls is not None
    assert guide.tls.context().check_hostname is False
    assert parse_address("rediscluster://one?ssl=true", {}).tls == Tls()


@pytest.mark.parametrize(
    ("url", "options", "complaint"),
    [
        ("sentinel://:secret@h", {}, "the name of the master is missing.*master_name"),
        ("sentinel://:secret@h", {"master_name": 3}, "the name of the master is missing"),
        ("sentinel://:secret@h;i:26379", NAMED, "each member of the list needs sentinel://"),
        ("sentinel://:secret@h", {**NAMED, "sentinel_kwargs": "secret"}, "'sentinel_kwargs' must be a dict"),
        ("sentinel://h", {**NAMED, "sentinel_kwargs": {"passwd": "secret"}}, "has no key 'passwd'"),
        ("sentinel://h", {**NAMED, "min_other_sentinels": -1}, "a number from 0"),
        ("rediscluster://:secret@h/1", {}, "a cluster has database 0 only"),
        ("rediscluster://:secret@h", {"global_keyprefix": "shop:"}, r"needs a hash tag.*'\{shop\}:'"),
        ("redis://:secret@h/0;redis://:secret@i/0", {}, "for failover name Sentinels"),
    ],
)
def test_a_bad_url_is_told_with_its_cure(url: str, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=complaint) as caught:
        parse_address(url, options)
    assert "secret" not in str(caught.value)


def test_two_urls_of_one_master_lead_to_the_same_server() -> None:
    one = parse_address("sentinel://a:1/0;sentinel://b:1/0", NAMED)
    assert one.same_server(parse_address("sentinel://b:1/1;sentinel://a:1/1", NAMED))
    assert not one.same_server(parse_address("sentinel://a:1/0;sentinel://b:1/0", {"master_name": "other"}))
    cluster = parse_address("rediscluster://a:1")
    assert cluster.same_server(parse_address("rediscluster://a:1"))
    assert not cluster.same_server(parse_address("rediscluster://a:1", {"global_keyprefix": "{other}:"}))


@pytest.mark.parametrize("key", ["{celeriac}:queue", "plain", "{}x", "a{b}c{d}", "{open", "x}y{z}", "{{a}}b", "ž{ž}"])
def test_slots_are_those_of_redis(key: str) -> None:
    assert key_slot(key) == redis.crc.key_slot(key.encode())


def test_keys_in_a_cluster_have_one_hash_tag() -> None:
    assert key_options("rediscluster://h", {"sep": ":"}) == {"sep": ":", "global_keyprefix": "{celeriac}:"}
    assert key_options("rediscluster://h", {"global_keyprefix": "{shop}_"})["global_keyprefix"] == "{shop}_"
    assert key_options("redis://h", {}) == {}


def test_durability_that_waits_for_nothing_is_refused() -> None:
    assert durability_of(make_settings({})) is None
    wanted = durability_of(make_settings({"redis_durability": "fsync", "redis_durability_timeout_s": 2.0}))
    assert wanted is not None
    assert wanted.command(10.0) == ["WAITAOF", 1, 0, 2000]
    assert wanted.command(1.05) == ["WAITAOF", 1, 0, 1000]
    assert wanted.command(0.0) == ["WAITAOF", 1, 0, 1]  # 0 would be for ever
    with pytest.raises(ImproperlyConfigured, match="waits for nothing"):
        durability_of(make_settings({"redis_durability": "replica", "redis_durability_replicas": 0}))
