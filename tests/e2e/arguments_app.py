"""The program whose tasks the tests of arguments, serializers, compression and signatures run; `make` gives them to the callers' app."""

from __future__ import annotations

import enum
import json
import os
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pydantic

from celeriac import Celeriac, Task
from tests.e2e.app import SETTINGS_VARIABLE, note


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Order:
    id: int
    at: datetime
    colour: Colour = Colour.RED


class Address(pydantic.BaseModel):
    street: str
    since: date | None = None


class Price(msgspec.Struct):
    amount: Decimal
    currency: str = "EUR"


class OutOfStock(Exception):
    """An error of the program's own."""

    def __init__(self, article: str, left: int) -> None:
        super().__init__(article, left)


def kinds(*values: Any) -> list[str]:
    return [type(value).__name__ for value in values]


class Ship(Task[[Order], str]):
    """A task written as a class."""

    validate = True

    def run(self, order: Order) -> str:
        return type(order).__name__


def make(**settings: Any) -> Celeriac:
    """Return an app with the tasks."""
    app = Celeriac("arguments", **settings)

    @app.task(validate=True)
    def typed(order: Order, address: Address, price: Price, uid: UUID, *more: Colour) -> list[str]:
        return kinds(order, order.at, address, price, price.amount, uid, *more)

    @app.task(validate=True, bind=True, max_retries=1)
    def typed_twice(self: Task[..., Any], order: Order) -> Order:
        if not self.request.retries:
            raise self.retry(args=(Order(order.id + 1, order.at),), countdown=0.01)
        return order

    @app.task(validate=True)
    async def typed_async(order: Order) -> Price:
        assert type(order) is Order
        return Price(Decimal(order.id))

    @app.task(validate=True, executor="thread")
    def typed_in_thread(order: Order) -> list[str]:
        return kinds(order)

    @app.task(pydantic=True)
    def with_model(address: Address, other: Address | None = None) -> Address:
        assert isinstance(address, Address)
        return address

    @app.task
    def echo(value: Any) -> Any:
        return value

    @app.task
    def noted(key: str) -> None:
        note("end", key)

    @app.task
    def fail() -> None:
        raise OutOfStock("spoon", 0)

    @app.task(bind=True, max_retries=1)
    def echo_twice(self: Task[..., Any], value: Any) -> Any:
        if not self.request.retries:
            raise self.retry(args=(value * 2,), countdown=0.01)
        return value

    @app.task(bind=True, max_retries=1)
    def echo_elsewhere(self: Task[..., Any], value: Any, queue: str) -> Any:
        if not self.request.retries:
            raise self.retry(countdown=0.01, queue=queue)
        return kinds(value)

    @app.task(compression="zstd")
    def small(value: str) -> int:
        return len(value)

    @app.task
    def pair(first: Any, second: Any = None) -> Any:
        return [first, second]

    app.register_task(Ship())
    return app


app = make(**json.loads(os.environ.get(SETTINGS_VARIABLE, "{}")))
