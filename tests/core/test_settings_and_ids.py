"""Settings are checked one by one and say what is wrong; ids sort by birth."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.core.ids import born_at, uuid7
from celeriac.core.retry import backoff_s, crash_delay_s
from celeriac.core.settings import make_settings
from celeriac.core.urls import mask, scheme
from celeriac.exceptions import ImproperlyConfigured


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"task_time_limt": 3}, "did you mean 'task_time_limit'"),
        ({"task_time_limit": "long"}, "task_time_limit"),
        ({"task_time_limit": -1}, "task_time_limit"),
        ({"task_time_limit": 5, "task_soft_time_limit": 5}, "must be below"),
        ({"worker_lease_s": 5, "worker_heartbeat_s": 3}, "at most half"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, object], words: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=words):
        make_settings(values)


def test_a_hard_limit_alone_does_not_clash_with_the_default_soft_one() -> None:
    assert make_settings({"task_time_limit": 5}).task_time_limit == 5


@given(st.floats(0, 2**40 / 1000), st.binary(min_size=10, max_size=10))
def test_ids_are_version_7_and_tell_their_birth(now: float, randomness: bytes) -> None:
    text = uuid7(now, randomness)
    parsed = uuid.UUID(text)
    assert (parsed.version, parsed.variant, str(parsed)) == (7, uuid.RFC_4122, text)
    assert born_at(text) == int(now * 1000) / 1000


@given(st.floats(0, 2e9), st.floats(0, 2e9), st.binary(min_size=10, max_size=10))
def test_ids_sort_by_their_time(one: float, other: float, randomness: bytes) -> None:
    if int(one * 1000) < int(other * 1000):
        assert uuid7(one, randomness) < uuid7(other, randomness)


@pytest.mark.parametrize("text", ["", "x" * 36, str(uuid.UUID(int=0)), "0000000g-0000-7000-8000-000000000000"])
def test_other_text_has_no_birth(text: str) -> None:
    assert born_at(text) is None


@given(st.integers(0, 10**6), st.floats(0, 1, exclude_max=True))
def test_backoff_stays_between_a_millisecond_and_its_limit(retries: int, chance: float) -> None:
    assert 0.001 <= backoff_s(retries, 1.0, 600.0, chance) <= 600.0


def test_backoff_without_jitter_doubles_up_to_its_limit() -> None:
    assert [backoff_s(n, 1.0, 600.0, None) for n in (0, 1, 2, 9, 10, 5000)] == [1, 2, 4, 512, 600, 600]


def test_crashes_wait_longer_each_time() -> None:
    assert [crash_delay_s(n) for n in (1, 2, 3, 4)] == [0.0, 5.0, 30.0, 30.0]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@host:1/0", "redis://:**@host:1/0"),
        ("amqp://guest:gu:est@host//", "amqp://guest:**@host//"),
        ("could not reach rediss://u:p@h and amqps://a:b@c", "could not reach rediss://u:**@h and amqps://a:**@c"),
        ("sqlite:///x@y:z.db", "sqlite:///x@y:z.db"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://u:p@ss@h/0", "redis://u:**@h/0"),
        ("redis://:p/ss@h/0", "redis://:**@h/0"),
        ("amqp://me@work.org:p@h//", "amqp://me@work.org:**@h//"),
        ("amqp://a:b@h1;amqp://c:d@h2,redis://:e@h3", "amqp://a:**@h1;amqp://c:**@h2,redis://:**@h3"),
        ("db+postgresql://h/db?user=a&password=p&x=1", "db+postgresql://h/db?user=a&password=**&x=1"),
        ("redis://h:6379/0 refused celeriac@host", "redis://h:6379/0 refused celeriac@host"),
    ],
)
def test_passwords_are_masked_wherever_a_url_stands(url: str, shown: str) -> None:
    assert mask(url) == shown


@pytest.mark.parametrize("text", ["a" * 300_000, "a://" * 100_000, "x://y:" * 50_000, "x://y:?password=" * 20_000])
def test_masking_takes_linear_time(text: str) -> None:
    assert len(mask(text)) <= len(text)  # quadratic, it would take minutes


def test_scheme_is_what_stands_before_the_slashes() -> None:
    assert [scheme(url) for url in ("REDIS://x", "sqlite:///a", "nothing", "rpc://")] == ["redis", "sqlite", "", "rpc"]
