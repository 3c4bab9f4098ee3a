"""Options of limits are checked where the task is defined, and keys are worked out where it is called."""

from __future__ import annotations

import enum
import hashlib
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.client.task import Task
from celeriac.client.task_limits import TaskLimits
from celeriac.core.headers import MAX_CONCURRENCY_KEY, RATE_LIMIT_KEY
from celeriac.core.settings import make_settings
from celeriac.exceptions import ArgumentError, ImproperlyConfigured
from celeriac.worker.limits import LimitBook, shared_limits


class Colour(enum.Enum):
    RED = "red"


@pytest.fixture
def app() -> Iterator[Celeriac]:
    with Celeriac("limits", broker="memory://", backend="memory://", set_as_current=False) as app:
        yield app


def do(tenant: Any, text: str = "x", *rest: Any, colour: Any = None) -> None:
    """A task's function."""


def key_of(app: Celeriac, key: str | Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    task = app.task(name=uuid.uuid4().hex, max_concurrency=1, max_concurrency_key=key)(do)
    return app.message(task.name, args, kwargs).headers[MAX_CONCURRENCY_KEY]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"rate_limit": "fast"}, "option rate_limit: 'fast' is no rate"),
        ({"rate_limit": "10/d"}, "is no rate"),
        ({"max_concurrency": 0}, "max_concurrency=0"),
        ({"max_concurrency": "3"}, "max_concurrency='3'"),
        ({"rate_limit_scope": "planet"}, "rate_limit_scope='planet'"),
        ({"max_concurrency": 1, "max_concurrency_key": 5}, "max_concurrency_key takes the name of a parameter"),
        ({"max_concurrency": 1, "max_concurrency_key": "tenent"}, "'tenent' is none of its parameters"),
        ({"max_concurrency_key": "tenant"}, "max_concurrency_key needs max_concurrency"),
        ({"max_concurency": 1}, "did you mean 'max_concurrency'"),
    ],
)
def test_wrong_options_are_refused_where_the_task_is_defined(
    app: Celeriac, options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ImproperlyConfigured, match=complaint):
        app.task(name="limits.do", **options)(do)


def test_a_wrong_default_rate_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="task_default_rate_limit"):
        make_settings({"task_default_rate_limit": "often"})


def test_options_come_from_task_class_and_settings(app: Celeriac) -> None:
    class Slow(Task[Any, Any]):
        rate_limit = "1/s"
        max_concurrency = 2

    named = app.task(name="named", rate_limit="10/m")(do)
    classed = app.task(name="classed", base=Slow)(do)
    plain = app.task(name="plain")(do)
    assert named.limits == TaskLimits(6.0, False, False, None, False)
    assert classed.limits == TaskLimits(1.0, False, False, 2, False)
    before = plain.limits
    assert before is None
    app.conf.task_default_rate_limit = "5/s"
    app.conf.task_rate_limit_scope = "worker"
    assert plain.limits == TaskLimits(0.2, True, False, None, False)
    assert named.limits == TaskLimits(6.0, True, False, None, False)
    plain.rate_limit = "2/s"
    assert plain.limits == TaskLimits(0.5, True, False, None, False)


def test_the_profile_celery_has_celerys_scope() -> None:
    with Celeriac("limits", broker="memory://", profile="celery", set_as_current=False) as app:
        assert app.task(name="x", rate_limit="1/s")(do).limits == TaskLimits(1.0, True, False, None, False)


def test_which_tasks_workers_have_to_agree_on(app: Celeriac) -> None:
    app.task(name="rate", rate_limit="1/s")(do)
    app.task(name="own", rate_limit="1/s", rate_limit_scope="worker")(do)
    app.task(name="permits", max_concurrency=1)(do)
    app.task(name="plain")(do)
    assert shared_limits(app) == {"rate": "rate_limit", "permits": "max_concurrency"}
    app.conf.worker_disable_rate_limits = True
    assert shared_limits(app) == {"permits": "max_concurrency"}
    book = LimitBook(app)
    assert book.limits_of("rate") is None
    assert book.limits_of("permits") is not None


def test_rates_set_at_run_time_stand_before_the_tasks_own(app: Celeriac) -> None:
    app.task(name="rate", rate_limit="1/s")(do)
    app.task(name="plain")(do)
    book = LimitBook(app)
    assert book.limits_of("plain") is None
    book.take_rates({"plain": "2/s", "rate": "0", "unknown": "1/s", "broken": "?"})
    plain = book.limits_of("plain")
    assert plain is not None
    assert plain.interval_s == 0.5
    assert book.limits_of("rate") is None
    assert book.limits_of("unknown") is None
    book.take_rates({})
    assert book.limits_of("plain") is None


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("tenant", "7"),
        ("text", "x"),
        ("colour", ""),
        (lambda tenant, *_: tenant, "7"),
        (lambda tenant, text, *rest, colour: (tenant, text), "7\x1fx"),
        (lambda *_, **__: None, ""),
        (lambda *_, **__: Colour.RED, "red"),
        (lambda *_, **__: uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (lambda *_, **__: "x" * 10_000, hashlib.sha256(b"x" * 10_000).hexdigest()),
    ],
)
def test_a_key_is_worked_out_from_the_arguments(app: Celeriac, key: Any, expected: str) -> None:
    assert key_of(app, key, 7) == expected


def test_a_key_does_not_depend_on_how_arguments_are_given(app: Celeriac) -> None:
    assert key_of(app, lambda tenant, text, *_, **__: f"{tenant}{text}", 7, "y") == "7y"
    assert key_of(app, lambda tenant, text, *_, **__: f"{tenant}{text}", text="y", tenant=7) == "7y"


def test_a_key_that_cannot_be_worked_out_is_the_callers_to_mend(app: Celeriac) -> None:
    with pytest.raises(ArgumentError, match="max_concurrency_key raised KeyError"):
        key_of(app, lambda tenant, *_, **__: {}[tenant], 7)
    with pytest.raises(ArgumentError, match="which is no key"):
        key_of(app, lambda *_, **__: {"a": 1}, 7)


def test_both_keys_travel_and_calls_by_name_have_them_too(app: Celeriac) -> None:
    app.task(name="both", rate_limit="1/s", rate_limit_key="tenant", max_concurrency=1, max_concurrency_key="text")(do)
    headers = app.message("both", ("a", "b")).headers
    assert (headers[RATE_LIMIT_KEY], headers[MAX_CONCURRENCY_KEY]) == ("a", "b")
    assert app.message("both", ()).headers[RATE_LIMIT_KEY] == ""  # it does not fit: the worker says so
    assert RATE_LIMIT_KEY not in app.message("unknown", ("a",)).headers


def test_eager_calls_heed_no_limits(app: Celeriac) -> None:
    app.conf.task_always_eager = True
    task = app.task(name="eager", rate_limit="1/h", max_concurrency=1)(do)
    for _ in range(3):
        assert task.delay(1).get() is None


def test_what_is_no_rate_is_refused_at_run_time(app: Celeriac) -> None:
    with pytest.raises(ArgumentError, match="is no rate"):
        app.control.rate_limit("a", "often")
    with pytest.raises(ArgumentError, match="name of a task"):
        app.control.rate_limit("", "1/s")


def test_going_back_to_the_tasks_own_rate_needs_a_place_that_keeps_rates(app: Celeriac) -> None:
    with (
        Celeriac("limits", broker="amqp://localhost//", set_as_current=False) as rabbit,
        pytest.raises(ImproperlyConfigured, match=r"control.reset_rate_limit\(\) needs .* set coordination_url"),
    ):
        rabbit.control.reset_rate_limit("a")
