"""What type checkers must refuse: each `type: ignore` names the error that has to be there. Checked by mypy, never run."""

from __future__ import annotations

from typing import Any

from celeriac import Celeriac, Task, shared_task

app = Celeriac("shop", broker=7)  # type: ignore[arg-type]


@app.task
def add(x: int, y: int = 2) -> int:
    return x + y


@app.task(bind=True)
def charge(self: Task[..., Any], order_id: int) -> str:
    return str(order_id)


@app.task
async def fetch(url: str) -> bytes:
    return url.encode()


@app.task(max_retires=3)  # type: ignore[call-overload]
def misspelled() -> None: ...


@app.task(max_retries="many")  # type: ignore[call-overload]
def mistyped() -> None: ...


@app.task(compression=3)  # type: ignore[call-overload]
def compressed() -> None: ...


@app.task(pydantic="yes")  # type: ignore[call-overload]
def checked() -> None: ...


@shared_task(vaildate=True)  # type: ignore[call-overload]
def misspelled_too() -> None: ...


@shared_task
def everywhere(x: int) -> str:
    return str(x)


@shared_task(bind=True)
def everywhere_bound(self: Task[..., Any], x: int) -> str:
    return self.name + str(x)


class Own(Task[[int], list[str]]):
    def run(self, count: int) -> list[str]:
        return ["x"] * count


own = app.register_task(Own())


def sync_code() -> None:
    own.delay("3")  # type: ignore[arg-type]
    number: int = own.delay(3).get()  # type: ignore[assignment]
    everywhere.delay("1")  # type: ignore[arg-type]
    everywhere.delay(1, 2)  # type: ignore[call-arg]
    everywhere_bound.delay(everywhere_bound, 1)  # type: ignore[call-arg, arg-type]
    everywhere_bound("1")  # type: ignore[arg-type]
    add.apply_async((1,), compression=True)  # type: ignore[arg-type]
    add.apply_async((1,), serializer=7)  # type: ignore[arg-type]
    later: str = add.s(1)  # type: ignore[assignment]
    print(number, later)
    add.delay("one")  # type: ignore[arg-type]
    add.delay()  # type: ignore[call-arg]
    add.delay(1, 2, 3)  # type: ignore[call-arg]
    add.delay(1, z=3)  # type: ignore[call-arg]
    charge.delay(charge, 1)  # type: ignore[call-arg, arg-type]
    charge("1")  # type: ignore[arg-type]
    fetch.delay(3)  # type: ignore[arg-type]
    add.apply_async((1,), countdwon=3)  # type: ignore[call-arg]
    add.apply_async((1,), countdown="3")  # type: ignore[arg-type]
    add.delay_many([1, 2])  # type: ignore[list-item]
    add.delay_many("ab")  # type: ignore[arg-type]
    app.send_many([(1,)])  # type: ignore[list-item]
    text: str = add.delay(1).get()  # type: ignore[assignment]
    body: bytes = fetch("u")  # type: ignore[assignment]
    print(text, body)


async def async_code() -> None:
    await fetch.adelay(1)  # type: ignore[arg-type]
    add.adelay(1)  # type: ignore[unused-coroutine]
    text: str = await (await add.adelay(1))  # type: ignore[assignment]
    print(text)
