"""SQLAlchemy with real workers on real brokers and databases: atomic tasks, calls on commit, the outbox's relay."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from celeriac.torture.servers.service import wait_until
from tests.contrib.sqlalchemy_databases import made_database
from tests.contrib.sqlalchemy_shop import DATABASE_VARIABLE, PREFIX_VARIABLE, Shop, prefix
from tests.e2e.harness import SETTINGS, Fleet, Guard, Place


class Site(NamedTuple):
    shop: Shop
    fleet: Fleet


@pytest.fixture(
    params=[
        "sqlite sqlite",
        pytest.param("redis postgresql", marks=pytest.mark.redis),
        pytest.param("rabbitmq sqlite", marks=pytest.mark.rabbitmq),
    ]
)
def site(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    broker, kind = request.param.split()
    match broker:
        case "sqlite":
            broker_url = f"sqlite:///{tmp_path}/broker.db"
        case "redis":
            broker_url = request.getfixturevalue("redis_url")
        case _:
            broker_url = request.getfixturevalue("rabbit_url")
    backend_url = "rpc://" if broker == "rabbitmq" else broker_url
    guard = Guard()
    with made_database(kind, tmp_path) as database:
        monkeypatch.setenv(DATABASE_VARIABLE, database)
        monkeypatch.setenv(PREFIX_VARIABLE, prefix)
        place = Place(broker, broker_url, backend_url, tmp_path, None)
        fleet = Fleet(place, guard, "tests.contrib.sqlalchemy_shop")
        shop = Shop(database, broker=broker_url, backend=backend_url, **SETTINGS)
        yield Site(shop, fleet)
        fleet.close()
        shop.close()
        place.app.close()
    guard.close()


def test_tasks_commit_or_leave_nothing(site: Site) -> None:
    shop = site.shop
    with shop.sessions() as session, session.begin():
        shop.note.apply_async_via_outbox(["from the client"], using=session)
    results = {how: shop.book.delay(how) for how in ("well", "fail", "retry", "reject")}
    results["slow"] = shop.book.apply_async(("slow",), soft_time_limit=0.3)
    results |= {how: shop.book_async.delay(how) for how in ("async well", "async fail")}
    site.fleet.start("celery", "-c", "1", "--async", "2", settings={"outbox_poll_s": 0.05})
    kept = {f"{run}{more}" for run in ("well 0", "retry 1", "async well") for more in ("", " on commit", " via outbox")}
    kept.add("from the client")
    wait_until(lambda: kept <= set(shop.texts()), f"{kept} are committed", deadline_s=60)
    for how, result in results.items():
        if how != "reject":
            assert isinstance(result.get(timeout=60, propagate=False), Exception) == (
                how in ("fail", "slow", "async fail")
            )
    assert sorted(shop.texts()) == sorted(kept)
    assert shop.app.outbox is not None
    assert shop.app.outbox.state().waiting == 0
