"""What type checkers must accept, and the types that they must find. Checked by mypy, never run."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from celeriac import AsyncResult, Celeriac, Celery, Signature, Task, shared_task
from celeriac.result import EagerResult

app = Celeriac("shop", broker="redis://localhost/0", backend="redis://localhost/1", task_time_limit=30)
same: type[Celeriac] = Celery


@app.task
def add(x: int, y: int = 2, *, note: str = "") -> int:
    return x + y


@app.task(bind=True, autoretry_for=(ConnectionError,), max_retries=5, time_limit=timedelta(minutes=5))
def charge(self: Task[..., Any], order_id: int) -> str:
    assert_type(self.request.retries, int)
    try:
        return str(order_id)
    except OSError as error:
        raise self.retry(exc=error, countdown=3) from error


@app.task(name="shop.ping", queue="fast")
def ping() -> None: ...


@app.task
async def fetch(url: str) -> bytes:
    return url.encode()


@app.task(bind=True, soft_time_limit=3)
async def fetch_bound(self: Task[..., Any], url: str) -> bytes:
    return self.name.encode()


@shared_task
def everywhere(x: int) -> str:
    return str(x)


@shared_task(bind=True, max_retries=3)
def everywhere_bound(self: Task[..., Any], x: int) -> str:
    return self.name + str(x)


@shared_task(name="shop.everywhere")
async def everywhere_async(x: int) -> str:
    return str(x)


@dataclass
class Order:
    id: int
    note: str | None = None


@app.task(validate=True, serializer="msgpack", compression="zstd")
def ship(order: Order, *others: Order) -> list[Order]:
    return [order, *others]


@app.task(pydantic=True, pydantic_strict=True, pydantic_context={"a": 1}, pydantic_dump_kwargs={"by_alias": True})
def checked(count: int) -> int:
    return count


class Base(Task[..., Any]):
    max_retries = 7
    queue = "mail"
    autoretry_for = (OSError,)

    def on_success(self, retval: Any, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None: ...


@app.task(base=Base)
def based(x: int) -> int:
    return x


class Own(Task[[int], list[str]]):
    name = "own"
    time_limit = 5

    def run(self, count: int) -> list[str]:
        return ["x"] * count


own = app.register_task(Own())


def sync_code() -> None:
    assert_type(add(1), int)
    assert_type(add.delay(1, note="x"), AsyncResult[int])
    assert_type(add.delay(1).get(timeout=3), int)
    assert_type(add.delay(1).get(3, False), int | BaseException)
    assert_type(add.delay(1).get(propagate=False), int | BaseException)
    assert_type(add.apply((1,)), EagerResult[int])
    assert_type(add.apply((1,)).get(), int)
    assert_type(charge.delay(3), AsyncResult[str])
    assert_type(charge(3), str)
    assert_type(fetch.delay("u"), AsyncResult[bytes])
    assert_type(based.delay(3), AsyncResult[int])
    assert_type(own, Own)
    assert_type(own.delay(3).get(), list[str])
    assert_type(add.delay_many([(1,), [2], {"x": 3}]), list[AsyncResult[int]])
    assert_type(add.delay_many((n,) for n in range(3)), list[AsyncResult[int]])
    assert_type(app.send_many([add.s(1), add.s(2).set(countdown=3)]), list[AsyncResult[int]])
    assert_type(app.AsyncResult("id"), AsyncResult[Any])
    assert_type(app.send_task("far.away", (1,), queue="x"), AsyncResult[Any])
    add.apply_async(
        (1,),
        {"y": 3},
        countdown=3,
        expires=timedelta(hours=1),
        queue="q",
        priority=3,
        headers={"a": 1},
        link=charge.s(),
        link_error=[charge.si(1)],
        retry_policy={"max_retries": 3},
    )
    add.apply_async((1,), eta=datetime.now(UTC))
    assert_type(everywhere.delay(1), AsyncResult[str])
    assert_type(everywhere(1), str)
    assert_type(everywhere_bound.delay(x=1), AsyncResult[str])
    assert_type(everywhere_async.delay(1), AsyncResult[str])
    assert_type(ship.delay(Order(1), Order(2)).get(), list[Order])
    assert_type(checked.delay(count=1).get(), int)
    assert_type(add.s(1), Signature[int, int, AsyncResult[int]])
    assert_type(add.si(1, 2), Signature[object, int, AsyncResult[int]])
    assert_type(add.signature((1,), countdown=3), Signature[Any, int, AsyncResult[int]])
    assert_type(app.signature("shop.add", (1, 2)), Signature)
    assert_type(add.AsyncResult("id"), AsyncResult[int])
    assert_type(add.delay(1).successful(), bool)
    assert_type(fetch.apply(("u",)).get(), bytes)
    app.setup_security(key="key.pem", cert="cert.pem", store="certs")
    charge.max_retries = 3
    ping.delay()


async def async_code() -> None:
    assert_type(await add.adelay(1), AsyncResult[int])
    assert_type(await (await add.adelay(1)), int)
    assert_type(await (await fetch.adelay("u")).aget(timeout=3), bytes)
    assert_type(await add.aapply_async((1,), countdown=3), AsyncResult[int])
    assert_type(await everywhere_async(1), str)
    assert_type(await everywhere.adelay(1), AsyncResult[str])
    assert_type(await fetch_bound.adelay("u"), AsyncResult[bytes])
    direct: Coroutine[Any, Any, bytes] = fetch("u")
    assert_type(await direct, bytes)
    assert_type(await fetch_bound("u"), bytes)
