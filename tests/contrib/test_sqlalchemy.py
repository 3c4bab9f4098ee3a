"""Atomic tasks and calls on commit with SQLAlchemy: every way in which a session's transaction can end."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, scoped_session

from celeriac import Celeriac
from celeriac.contrib.sqlalchemy import (
    current_session,
    delay_on_commit,
    outbox_table,
    use_session,
    use_sqlalchemy,
)
from celeriac.exceptions import BrokerUnavailable, ImproperlyConfigured
from tests.client.recording import RecordingBackend, RecordingBroker
from tests.contrib.sqlalchemy_databases import made_database
from tests.contrib.sqlalchemy_shop import Base, Entry, Shop

GUIDE = Path(__file__).parents[2] / "docs" / "guide"


@pytest.fixture
def broker() -> RecordingBroker:
    return RecordingBroker()


@pytest.fixture
def shop(broker: RecordingBroker, tmp_path: Path) -> Iterator[Shop]:
    with made_database("sqlite", tmp_path) as url:
        shop = Shop(url, broker=broker, backend=RecordingBackend(), publish_timeout_s=0.2)
        yield shop
        shop.close()


def sent(broker: RecordingBroker) -> list[str]:
    return [message.headers["argsrepr"] for message in broker.sent.messages]


# -- after the commit -------------------------------------------------------------------------------------------------


def test_a_call_is_sent_after_the_commit(shop: Shop, broker: RecordingBroker) -> None:
    with shop.sessions() as session:
        session.add(Entry(text="one"))
        first = shop.note.apply_async_on_commit(["one"], using=session)
        second = delay_on_commit(session, shop.note, "two")
        session.flush()
        assert broker.sent.messages == []
        session.commit()
        assert [message.id for message in broker.sent.messages] == [first.id, second.id]
        session.commit()
    assert sent(broker) == ["('one',)", "('two',)"]


def _rolled_back(session: Session, call: Callable[[str], Any]) -> None:
    session.add(Entry(text="x"))
    call("no")
    session.rollback()


def _closed(session: Session, call: Callable[[str], Any]) -> None:
    session.add(Entry(text="x"))
    call("no")
    session.close()


def _raised(session: Session, call: Callable[[str], Any]) -> None:
    with pytest.raises(ZeroDivisionError), session.begin():
        call("no")
        raise ZeroDivisionError


def _failed_flush(session: Session, call: Callable[[str], Any]) -> None:
    session.add(Entry(id=1, text="x"))
    session.flush()
    call("no")
    session.add(Entry(id=2, text=None))
    with pytest.raises(IntegrityError):
        session.commit()
    session.rollback()


def _savepoint_rolled_back(session: Session, call: Callable[[str], Any]) -> None:
    with session.begin():
        call("yes 1")
        savepoint = session.begin_nested()
        call("no")
        with session.begin_nested():
            call("no either, although its own savepoint was released")
        savepoint.rollback()
        call("yes 2")


def _savepoints_released(session: Session, call: Callable[[str], Any]) -> None:
    with session.begin():
        with session.begin_nested():
            session.add(Entry(text="x"))
            with session.begin_nested():
                call("yes 1")
            call("yes 2")
        call("yes 3")


def _savepoint_released_in_what_is_rolled_back(session: Session, call: Callable[[str], Any]) -> None:
    session.begin()
    with session.begin_nested():
        call("no")
    session.rollback()


def _rolled_back_with_an_open_savepoint(session: Session, call: Callable[[str], Any]) -> None:
    outer = session.begin()
    session.begin_nested()
    call("no")
    outer.rollback()


def _committed_with_an_open_savepoint(session: Session, call: Callable[[str], Any]) -> None:
    outer = session.begin()
    session.begin_nested()
    call("yes")
    outer.commit()


def _before_it_begins(session: Session, call: Callable[[str], Any]) -> None:
    call("yes")
    session.add(Entry(text="x"))
    session.commit()


def _one_after_the_other(session: Session, call: Callable[[str], Any]) -> None:
    for text in ("yes 1", "yes 2"):
        with session.begin():
            call(text)
    _rolled_back(session, call)
    with session.begin():
        call("yes 3")


@pytest.mark.parametrize(
    "way",
    [
        _rolled_back,
        _closed,
        _raised,
        _failed_flush,
        _savepoint_rolled_back,
        _savepoints_released,
        _savepoint_released_in_what_is_rolled_back,
        _rolled_back_with_an_open_savepoint,
        _committed_with_an_open_savepoint,
        _before_it_begins,
        _one_after_the_other,
    ],
    ids=lambda way: way.__name__.strip("_"),
)
def test_only_what_was_committed_is_sent(
    shop: Shop, broker: RecordingBroker, way: Callable[[Session, Callable[[str], Any]], None]
) -> None:
    asked: list[str] = []

    def call(text: str) -> None:
        asked.append(text)
        shop.note.apply_async_on_commit([text], using=session)

    with shop.sessions() as session, shop.sessions() as other:
        way(session, call)
        other.commit()  # another session's commit says nothing
    assert sent(broker) == [f"({text!r},)" for text in asked if text.startswith("yes")]


def test_a_commit_of_an_async_session(shop: Shop, broker: RecordingBroker) -> None:
    async def commit() -> None:
        async with shop.async_sessions() as session:
            async with session.begin():
                session.add(Entry(text="x"))
                shop.note.apply_async_on_commit(["yes"], using=session)
                shop.note.apply_async_via_outbox(["row"], using=session)
                assert broker.sent.messages == []
            shop.note.apply_async_on_commit(["no"], using=session)
            session.add(Entry(text="y"))
            await session.rollback()
        await shop.async_engine.dispose()

    asyncio.run(commit())
    assert sent(broker) == ["('yes',)"]
    assert shop.app.outbox is not None
    assert shop.app.outbox.state().waiting == 1
    assert shop.texts() == ["x"]


def test_a_broker_that_is_away_after_the_commit(shop: Shop, broker: RecordingBroker) -> None:
    broker.sent.failures += [BrokerUnavailable("away")] * 50
    with shop.sessions() as session:
        session.add(Entry(text="kept"))
        shop.note.apply_async_on_commit(["lost"], using=session)
        session.info["celeriac_commit_hooks"].add(session, broker.sent.failures.clear)
        shop.note.apply_async_on_commit(["sent"], using=session)
        with pytest.raises(BrokerUnavailable, match="was not sent"):
            session.commit()
        session.add(Entry(text="goes on"))
        session.commit()
    assert shop.texts() == ["kept", "goes on"]
    assert sent(broker) == ["('sent',)"]


def test_which_session_is_meant(shop: Shop, broker: RecordingBroker) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"which transaction\? Give using=session"):
        shop.note.delay_on_commit("x")
    with pytest.raises(TypeError, match=r"using= takes a Session or AsyncSession of SQLAlchemy, not 'default'"):
        shop.note.apply_async_on_commit(["x"], using="default")
    with shop.sessions() as session, use_session(session):
        assert current_session() is session
        shop.note.delay_on_commit("current")
        session.commit()
    with pytest.raises(RuntimeError, match="no current session"):
        current_session()
    scoped = scoped_session(shop.sessions)
    use_sqlalchemy(shop.app, scoped)
    shop.note.delay_on_commit("scoped")
    scoped.commit()
    scoped.remove()
    assert sent(broker) == ["('current',)", "('scoped',)"]


# -- atomic tasks, run here -------------------------------------------------------------------------------------------


def test_an_atomic_task_commits_or_leaves_nothing(shop: Shop, broker: RecordingBroker) -> None:
    assert shop.book.apply(["well"]).get() == "well"
    assert shop.book.apply(["fail"]).failed()
    assert shop.book.apply(["retry"]).get() == "retry"
    assert shop.texts() == ["well 0", "retry 1"]
    assert sent(broker) == ["('well 0 on commit',)", "('retry 1 on commit',)"]
    assert shop.app.outbox is not None
    assert [row.task for row in shop.app.outbox.peek(10)] == [shop.note.name] * 2


def test_an_eager_task_within_another_is_part_of_its_transaction(shop: Shop) -> None:
    @shop.app.task(atomic=True)
    def outer(fails: bool) -> None:
        current_session().add(Entry(text="outer"))
        assert shop.note.apply(["inner"]).successful()
        assert shop.book.apply(["fail"]).failed()
        if fails:
            raise ValueError

    assert outer.apply([True]).failed()
    assert shop.texts() == []
    assert outer.apply([False]).successful()
    assert shop.texts() == ["outer", "inner"]


# -- set up wrongly ---------------------------------------------------------------------------------------------------


def test_what_does_not_go_together(shop: Shop) -> None:
    with pytest.raises(ImproperlyConfigured, match="a sessionmaker, an async_sessionmaker or both"):
        use_sqlalchemy(shop.app)
    with pytest.raises(ImproperlyConfigured, match="needs make_session too: the relay"):
        use_sqlalchemy(shop.app, make_async_session=shop.async_sessions, outbox=outbox_table(Base.metadata, "another"))
    Base.metadata.remove(Base.metadata.tables["another"])
    app = Celeriac("shop", set_as_current=False)
    use_sqlalchemy(app, shop.sessions)
    with pytest.raises(ImproperlyConfigured, match=r"give use_sqlalchemy.. an async_sessionmaker"):

        @app.task(atomic=True)
        async def coroutine() -> None: ...

        app.import_default_modules()
    app = Celeriac("shop", set_as_current=False)
    use_sqlalchemy(app, shop.sessions)
    with pytest.raises(ImproperlyConfigured, match="atomic='orders': with SQLAlchemy it is True"):

        @app.task(atomic="orders")
        def named() -> None: ...

        app.import_default_modules()


def test_the_examples_of_the_guide_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CELERIAC_BROKER_URL", "memory://")
    names: dict[str, Any] = {"__name__": "shop"}
    text = (GUIDE / "sqlalchemy.md").read_text()
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)):
        exec(compile(block, f"sqlalchemy.md, example {number + 1}", "exec", dont_inherit=True), names)
    assert names["result"].id
    assert names["app"].outbox.state().waiting == 1
    with names["make_session"]() as session:
        assert [order.state for order in session.query(names["Order"])] == ["new", "new"]
    names["app"].close()
    names["engine"].dispose()
