"""What an app does by itself in a Django project, and calls that wait for a commit."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.client import current
from celeriac.client.current import find_current_app, set_current_app, set_default_app
from celeriac.client.django_task import DjangoTask
from celeriac.client.fixups import find_fixup
from celeriac.client.result import AsyncResult
from celeriac.client.task import Task
from celeriac.contrib.django.task import DjangoTask as NamedByCelery
from celeriac.core.headers import to_timestamp
from celeriac.exceptions import ArgumentError, BrokerUnavailable, ImproperlyConfigured, MessageTooLarge, Retry
from tests.client.recording import RecordingBroker
from tests.contrib.django_site import PROJECT, SETTINGS_MODULE, Databases, Journal, manage, site_environment

GUIDE = PROJECT.parent.parent.parent / "docs" / "guide"


@pytest.fixture
def add(django_app: Celeriac) -> Task[..., int]:
    @django_app.task(name="add")
    def add(x: int, y: int = 0) -> int:
        return x + y

    return add


@pytest.fixture
def atomic(empty_databases: Databases) -> Callable[..., Any]:
    from django.db import transaction

    made: Callable[..., Any] = transaction.atomic
    return made


class Rollback(Exception):
    pass


# -- the fixup --------------------------------------------------------------------------------------------------------


def test_overridden_settings_are_heeded(django_app: Celeriac) -> None:
    from django.test.utils import override_settings

    django_app.config_from_object("django.conf:settings", namespace="CELERY")
    values = [django_app.settings.task_always_eager]
    with override_settings(CELERY_TASK_ALWAYS_EAGER=True):
        values += [django_app.settings.task_always_eager, django_app.conf.task_always_eager]
    values.append(django_app.settings.task_always_eager)
    assert values == [False, True, True, False]


def test_an_app_in_a_django_project_makes_django_tasks(django_app: Celeriac, add: Task[..., int]) -> None:
    assert NamedByCelery is DjangoTask
    assert isinstance(add, DjangoTask)

    class Own(Task[..., Any]):
        pass

    @django_app.task(base=Own)
    def own() -> None: ...

    assert isinstance(own, Own)


def test_an_app_elsewhere_has_no_fixup(broker: RecordingBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    app = Celeriac("plain", broker=broker, set_as_current=False)
    assert find_fixup(app) is None
    assert app.Task is Task
    assert app.outbox is None
    app.autodiscover_tasks()
    app.import_default_modules()


def test_django_is_imported_no_earlier_than_it_is_used() -> None:
    program = (
        "import sys, os; from celeriac import Celeriac; app = Celeriac('a'); app.autodiscover_tasks();"
        "app.task(print, name='p'); print('django' in sys.modules, type(app.fixup).__name__)"
    )
    for environment, expected in (({}, "False NoneType"), ({"DJANGO_SETTINGS_MODULE": "x"}, "False DjangoFixup")):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={"CELERIAC_BROKER_URL": "memory://", **environment},
            capture_output=True,
        )
        assert done.stdout.decode().strip() == expected, done.stderr


def test_a_project_is_read_as_celery_reads_it(django_databases: Databases) -> None:
    program = (
        "from django_shop import celeriac_app as app; app.import_default_modules(); import django.apps;"
        "print(sorted(name for name in app.tasks if name.startswith('django_orders'))[:2], app.conf.task_max_retries,"
        "django.apps.apps.ready, app.settings.outbox_poll_s, app.outbox is not None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        env=site_environment(django_databases, "memory://"),
        capture_output=True,
        text=True,
    )
    assert (
        done.stdout.strip() == "['django_orders.tasks.book', 'django_orders.tasks.book_elsewhere'] 5 True 0.05 True"
    ), done.stderr


def test_the_migrations_are_complete(django_databases: Databases) -> None:
    done = manage(site_environment(django_databases, "memory://"), "makemigrations", "--check", "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr


# -- after the commit -------------------------------------------------------------------------------------------------


def test_a_call_on_commit_is_sent_by_the_commit(
    add: Task[..., int], broker: RecordingBroker, atomic: Callable[..., Any]
) -> None:
    with atomic():
        result = add.delay_on_commit(1, y=2)
        other = add.apply_async_on_commit((3,), queue="elsewhere", task_id="chosen")
        assert isinstance(result, AsyncResult)
        assert other.id == "chosen"
        assert broker.sent.messages == []
    assert [(message.id, message.queue) for message in broker.sent.messages] == [
        (result.id, "celery"),
        ("chosen", "elsewhere"),
    ]


def test_many_calls_on_commit_are_sent_by_the_commit(
    add: Task[..., int], broker: RecordingBroker, atomic: Callable[..., Any]
) -> None:
    with atomic():
        results = add.delay_many_on_commit((n,) for n in range(3))
        assert broker.sent.messages == []
    assert [[message.id for message in batch] for batch in broker.sent.batches] == [[result.id for result in results]]
    with pytest.raises(Rollback), atomic():
        add.delay_many_on_commit([(1,)])
        raise Rollback
    assert len(broker.sent.messages) == 3


def test_a_call_on_commit_goes_with_a_rollback(
    add: Task[..., int], broker: RecordingBroker, atomic: Callable[..., Any]
) -> None:
    with pytest.raises(Rollback), atomic():
        add.delay_on_commit(1)
        raise Rollback
    with atomic():
        with pytest.raises(Rollback), atomic():
            add.delay_on_commit(2)
            raise Rollback
        add.delay_on_commit(3)
    assert [message.headers["argsrepr"] for message in broker.sent.messages] == ["(3,)"]


def test_without_a_transaction_a_call_is_sent_at_once(add: Task[..., int], broker: RecordingBroker) -> None:
    add.delay_on_commit(1)
    assert len(broker.sent.messages) == 1


def test_each_database_has_its_own_commit(
    add: Task[..., int], broker: RecordingBroker, atomic: Callable[..., Any]
) -> None:
    with atomic():
        add.apply_async_on_commit((1,), using="second")  # no transaction there
        assert len(broker.sent.messages) == 1
        with atomic(using="second"):
            add.apply_async_on_commit((2,), using="second")
            add.delay_on_commit(3)
            assert len(broker.sent.messages) == 1
        assert len(broker.sent.messages) == 2
    assert len(broker.sent.messages) == 3


def test_bad_arguments_are_told_at_the_call(
    django_app: Celeriac, add: Task[..., int], broker: RecordingBroker, atomic: Callable[..., Any]
) -> None:
    untyped: Any = add
    with atomic():
        with pytest.raises(ArgumentError, match="takes no argument 'z'"):
            untyped.delay_on_commit(z=1)
        with pytest.raises(ArgumentError, match=r"add.*'x' is a set"):
            add.delay_on_commit({1})
        with pytest.raises(TypeError, match="unknown option 'quue'"):
            untyped.apply_async_on_commit((1,), quue="a")
        with pytest.raises(MessageTooLarge):
            untyped.delay_on_commit("x" * django_app.settings.task_message_max_bytes)
    assert broker.sent.messages == []


def test_a_broker_that_is_away_is_told_after_the_commit(
    django_app: Celeriac, add: Task[..., int], broker: RecordingBroker, atomic: Callable[..., Any]
) -> None:
    from django.apps import apps

    django_app.conf.publish_timeout_s = 0.05
    broker.sent.failures = [BrokerUnavailable("away")] * 1000
    with pytest.raises(BrokerUnavailable, match="add"), atomic():
        apps.get_model("django_orders", "Entry").objects.create(text="kept")
        add.delay_on_commit(1)
    assert Journal("default").texts() == {"kept": 1}


def test_time_that_passes_before_the_commit_counts(
    add: Task[..., int], broker: RecordingBroker, atomic: Callable[..., Any]
) -> None:
    with atomic():
        add.apply_async_on_commit((1,), expires=100)
        add.apply_async_on_commit((2,), expires=0.001, countdown=0.001)
        time.sleep(0.01)
    first, second = broker.sent.messages
    left_ms = (to_timestamp(first.headers["expires"], "expires") or 0) * 1000 - time.time() * 1000
    assert left_ms - 1 <= int(first.properties["expiration"]) < 100_000
    # Over before it was sent: a worker is to see that, where RabbitMQ would drop it without a word.
    assert "expiration" not in second.properties
    assert second.headers["expires"]
    assert second.not_before is None


def test_a_unique_task_takes_its_key_at_the_commit(
    django_app: Celeriac, broker: RecordingBroker, atomic: Callable[..., Any], tmp_path: Path
) -> None:
    django_app.conf.coordination_url = f"sqlite:///{tmp_path}/keys.db"

    @django_app.task(unique=True)
    def once(x: int) -> None: ...

    with pytest.raises(Rollback), atomic():
        once.delay_on_commit(1)
        raise Rollback
    with atomic():
        first = once.delay_on_commit(1)
        once.delay_on_commit(1)
        assert broker.sent.messages == []
    assert [message.id for message in broker.sent.messages] == [first.id]


def test_in_eager_mode_a_call_on_commit_runs_after_the_commit(
    django_app: Celeriac, broker: RecordingBroker, atomic: Callable[..., Any]
) -> None:
    ran: list[tuple[str, int]] = []

    @django_app.task(bind=True)
    def keep(self: Any, x: int) -> None:
        ran.append((self.request.id, x))

    django_app.conf.task_always_eager = True
    with atomic():
        first = keep.delay_on_commit(1)
        second = keep.delay_via_outbox(2)
        assert ran == []
    assert ran == [(first.id, 1), (second.id, 2)]
    assert broker.sent.messages == []


# -- atomic tasks, as far as they need no worker ----------------------------------------------------------------------


def test_an_eager_atomic_task_is_one_transaction(django_app: Celeriac) -> None:
    from django.apps import apps
    from django.db import connection

    entries = apps.get_model("django_orders", "Entry").objects

    @django_app.task(atomic=True, max_retries=1)
    def book(text: str, how: str) -> bool:
        entries.create(text=text)
        match how:
            case "fail":
                raise ValueError("no")
            case "retry":
                raise Retry
        return bool(connection.in_atomic_block)

    assert book.apply(("well", "well")).get() is True
    assert book.apply(("failed", "fail")).state == "FAILURE"
    assert book.apply(("retried", "retry")).state in ("RETRY", "FAILURE")
    assert Journal("default").texts() == {"well": 1}
    assert not connection.in_atomic_block


def test_an_eager_atomic_task_in_a_transaction_is_a_savepoint(django_app: Celeriac, atomic: Callable[..., Any]) -> None:
    """As under Django's TestCase, which holds each test in a transaction."""
    from django.apps import apps

    entries = apps.get_model("django_orders", "Entry").objects

    @django_app.task(atomic=True)
    def book(text: str) -> None:
        entries.create(text=text)
        if text == "bad":
            raise ValueError("no")

    with atomic():
        assert book.apply(("good",)).state == "SUCCESS"
        assert book.apply(("bad",)).state == "FAILURE"
        assert Journal("default").texts() == {"good": 1}
    assert Journal("default").texts() == {"good": 1}


def test_a_direct_call_of_an_atomic_task_is_a_plain_call(django_app: Celeriac) -> None:
    from django.db import connection

    @django_app.task(atomic=True)
    def look() -> bool:
        return bool(connection.in_atomic_block)

    assert look() is False


def test_an_atomic_coroutine_is_refused_where_it_is_defined(django_app: Celeriac) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"atomic=True does not go with `async def`.*plain `def`"):

        @django_app.task(atomic=True)
        async def book() -> None: ...


def test_an_atomic_task_names_a_database_that_exists(django_app: Celeriac) -> None:
    @django_app.task(atomic="third")
    def book() -> None: ...

    error = book.apply().result
    assert isinstance(error, ImproperlyConfigured)
    assert "'third' is none of Django's DATABASES (default," in str(error)


def test_an_atomic_option_of_the_wrong_type_is_refused(django_app: Celeriac) -> None:
    with pytest.raises(ImproperlyConfigured, match="option atomic=3"):
        django_app.task(atomic=3)(lambda: None)  # type: ignore[call-overload]


def test_an_atomic_task_needs_a_database(broker: RecordingBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    app = Celeriac("plain", broker=broker, set_as_current=False)

    @app.task(atomic=True)
    def book() -> None: ...

    with pytest.raises(ImproperlyConfigured, match=r"book': atomic=True needs a database.*DJANGO_SETTINGS_MODULE"):
        app.import_default_modules()
    with pytest.raises(ImproperlyConfigured, match="delay_on_commit"):
        book.delay_on_commit()
    with pytest.raises(ImproperlyConfigured, match=r"has no outbox.*INSTALLED_APPS"):
        book.delay_via_outbox()


# -- the guide --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["django", "outbox"])
def test_the_examples_of_the_guide_run(page: str, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERIAC_BROKER_URL", "memory://")
    monkeypatch.setenv("CELERIAC_RESULT_BACKEND", "memory://")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", SETTINGS_MODULE)
    before, definitions = find_current_app(), current._apps.definitions
    names: dict[str, Any] = {"__name__": "shop"}
    blocks = re.findall(r"^```python\n(.*?)^```$", (GUIDE / f"{page}.md").read_text(), re.MULTILINE | re.DOTALL)
    try:
        current._apps.definitions = []  # what the page shares is for its own app alone
        for number, block in enumerate(blocks):
            exec(compile(block, f"{page}.md, example {number + 1}", "exec", dont_inherit=True), names)
        app = names["app"]
        assert app.fixup is not None
        ids = [names["place_order"](1)]
        if page == "django":
            ids.append(names["place_order_later"](2))
            assert app.tasks["shop.book"].apply((3,)).get() == "booked 3"
        else:
            assert app.outbox.relay().relay_all() == 1
        assert all(ids)
        app.close()
    finally:
        current._apps.definitions = definitions
        set_current_app(before)
        set_default_app(before)
