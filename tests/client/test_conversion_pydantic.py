"""`pydantic=True` does what it does in Celery: the same function as a task of both, side by side."""

from typing import Any

import pydantic
import pytest
from celery import Celery

from celeriac import Celeriac
from celeriac.exceptions import ArgumentError, ImproperlyConfigured
from celeriac.wire import task_v2
from tests.client.recording import RecordingBroker


class Item(pydantic.BaseModel):
    id: int
    name: str = "x"

    @pydantic.field_validator("id")
    @classmethod
    def _shift(cls, value: int, info: pydantic.ValidationInfo) -> int:
        return value + ((info.context or {}).get("shift") or 0)


class Big(Item):
    size: int = 1


class Own(pydantic.BaseModel):
    id: int

    def __json__(self) -> Any:
        return {"own": self.id}


def one(item: Item, other: Item | None = None, count: int = 1) -> Any:
    return [type(item).__name__, type(other).__name__, getattr(item, "id", None), count]


def returns_item(item: Item) -> Item:
    return item


def returns_base(item: Item) -> Big:
    return item  # type: ignore[return-value]


def returns_optional(item: Item) -> Item | None:
    return item


def many(*items: Item, **named: Item) -> Any:
    return [[type(item).__name__ for item in items], {name: type(item).__name__ for name, item in named.items()}]


CALLS: list[tuple[Any, tuple[Any, ...], dict[str, Any], dict[str, Any]]] = [
    (one, ({"id": 1},), {}, {}),
    (one, ({"id": "1"},), {}, {}),
    (one, ({"id": "1"},), {}, {"pydantic_strict": True}),
    (one, ({"id": 1},), {"other": {"id": 2}}, {}),
    (one, ({"id": 1}, None), {"count": "many"}, {}),
    (one, (Item(id=1),), {}, {}),
    (one, ({"id": 1},), {}, {"pydantic_context": {"shift": 5}}),
    (one, ({"nope": 1},), {}, {}),
    (returns_item, ({"id": 1},), {}, {}),
    (returns_item, ({"id": 1},), {}, {"pydantic_dump_kwargs": {"exclude": {"name"}}}),
    (returns_base, ({"id": 1},), {}, {}),
    (returns_optional, ({"id": 1},), {}, {}),
]


def ended(run: Any) -> Any:
    try:
        value = run()
    except Exception as error:  # of either side
        return type(error).__name__, str(error).splitlines()[0]
    return value if not isinstance(value, pydantic.BaseModel) else (type(value).__name__, value.model_dump())


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "options"),
    CALLS,
    ids=[f"{call[0].__name__}-{number}" for number, call in enumerate(CALLS)],
)
def test_the_function_sees_and_gives_the_same(
    app: Celeriac, function: Any, args: Any, kwargs: Any, options: dict[str, Any]
) -> None:
    celery = Celery("shop", set_as_current=False)
    theirs = celery.task(pydantic=True, name="shop.f", shared=False, **options)(function)
    ours = app.task(pydantic=True, name="shop.f", **options)(function)
    assert ended(lambda: ours(*args, **kwargs)) == ended(lambda: theirs(*args, **kwargs))
    if function is not returns_base:  # no worker of either could store a model; Celery's eager mode does not look
        assert ended(lambda: ours.apply(args, kwargs).get()) == ended(lambda: theirs.apply(args, kwargs).get())


@pytest.mark.parametrize(
    "value",
    [Item(id=1), Big(id=1, size=2), Own(id=1), {"id": 1}, None],
    ids=["item", "subclass", "own", "dict", "none"],
)
@pytest.mark.parametrize("options", [{}, {"pydantic_context": {"shift": 1}}, {"pydantic_strict": True}])
def test_a_caller_sends_the_same(app: Celeriac, broker: RecordingBroker, value: Any, options: dict[str, Any]) -> None:
    celery = Celery("shop", set_as_current=False)
    theirs = celery.task(pydantic=True, name="shop.f", shared=False, **options)(one)
    ours = app.task(pydantic=True, name="shop.f", **options)(one)
    for args, kwargs in (((value,), {}), (({"id": 1},), {"other": value}), (({"id": 1}, None, value), {})):
        expected = theirs._dump_pydantic_arguments(args, kwargs)
        try:
            ours.apply_async(args, kwargs)
        except ArgumentError:
            refused = True  # by an EncodeError in Celery
        else:
            refused = False
        left = [one for one in (*expected[0], *expected[1].values()) if isinstance(one, pydantic.BaseModel)]
        assert refused == any(not isinstance(one, Own) for one in left)
        if refused:
            continue
        sent_args, sent_kwargs, _ = task_v2.decode_body(broker.sent.messages[-1], ["json"])
        own = [{"own": 1} if isinstance(one, Own) else one for one in expected[0]]
        assert list(sent_args) == own
        assert sent_kwargs == {name: {"own": 1} if isinstance(one, Own) else one for name, one in expected[1].items()}


def test_each_of_many_is_a_model(app: Celeriac) -> None:
    # Celery takes all of them together for one model, and fails.
    ours = app.task(pydantic=True)(many)
    assert ours.apply(({"id": 1}, Item(id=2)), {"a": {"id": 1}}).get() == [["Item", "Item"], {"a": "Item"}]


def test_pickle_carries_models_as_they_are(app: Celeriac, broker: RecordingBroker) -> None:
    ours = app.task(pydantic=True)(one)
    ours.apply_async((Item(id=1),), serializer="pickle")
    assert task_v2.decode_body(broker.sent.messages[-1], ["pickle"])[0][0] == Item(id=1)


def test_the_task_knows_app_and_name_in_the_validators(app: Celeriac) -> None:
    seen: dict[str, Any] = {}

    class Looks(pydantic.BaseModel):
        id: int

        @pydantic.field_validator("id")
        @classmethod
        def _look(cls, value: int, info: pydantic.ValidationInfo) -> int:
            seen.update(info.context or {})
            return value

    @app.task(pydantic=True, pydantic_context={"x": 1})
    def look(item: Looks) -> None: ...

    look.apply(({"id": 1},))
    assert seen == {"x": 1, "celery_app": app, "celery_task_name": look.name}


def test_bound_and_async_tasks(app: Celeriac) -> None:
    @app.task(pydantic=True, bind=True)
    def bound(self: Any, item: Item) -> Item:
        assert self.request.id
        return item

    @app.task(pydantic=True)
    async def in_coroutine(item: Item) -> Item:
        assert isinstance(item, Item)
        return item

    got: list[Any] = [bound.apply(({"id": 1},)).get(), in_coroutine.apply((Item(id=1),)).get()]
    assert got == [{"id": 1, "name": "x"}] * 2


def test_a_bad_argument_fails_the_task_as_in_celery(app: Celeriac) -> None:
    ours = app.task(pydantic=True)(returns_item)
    result = ours.apply(({"id": "no"},))
    assert result.failed()
    assert isinstance(result.result, pydantic.ValidationError)


def test_two_ways_at_once_are_refused(app: Celeriac) -> None:
    with pytest.raises(ImproperlyConfigured, match="choose one"):
        app.task(pydantic=True, validate=True)(returns_item)
    with pytest.raises(ImproperlyConfigured, match="pydantic_strict"):
        app.task(pydantic=True, pydantic_strict="yes")(returns_item)  # type: ignore[call-overload]
