"""Compositions that fit, and what they give. Checked by type checkers, never run."""

# mypy: allow-untyped-defs

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Never, assert_type

from celeriac import AsyncResult, Celeriac, Signature, Task, chain, chord, group, maybe_signature, signature
from celeriac.result import EagerResult, GroupResult

app = Celeriac("shop", broker="redis://localhost/0", backend="redis://localhost/1")


@app.task
def add(x: int, y: int = 2, *, note: str = "") -> int:
    return x + y


@app.task
def mul(x: int, y: int) -> int:
    return x * y


@app.task
def show(number: int) -> str:
    return str(number)


@app.task
def upper(text: str) -> str:
    return text.upper()


@app.task
def letter(number: int, to: str, subject: bytes) -> str:
    return to


@app.task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task
def mean(numbers: list[float]) -> float:
    return sum(numbers)


@app.task
def ping() -> None: ...


@app.task
def largest(numbers: Sequence[float]) -> float:
    return max(numbers)


@app.task
def flatten(numbers: list[list[int]]) -> list[int]:
    return [number for each in numbers for number in each]


@app.task
def maybe(number: int | None = None) -> int | None:
    return number


@app.task
def several(*numbers: int) -> int:
    return sum(numbers)


@app.task
async def fetch(url: str) -> bytes:
    return url.encode()


@app.task(bind=True)
def bound(self: Task[..., Any], size: int) -> str:
    return self.name


@app.task
def untyped(a, b=3):
    return a


def single_calls() -> None:
    assert_type(add.s(1), Signature[int, int, AsyncResult[int]])
    assert_type(add.s(1, note="x"), Signature[int, int, AsyncResult[int]])
    assert_type(add.s(1, 2), Signature[Never, int, AsyncResult[int]])
    assert_type(letter.s("me", b"hello"), Signature[int, str, AsyncResult[str]])
    assert_type(letter.s(b"hello"), Signature[Any, str, AsyncResult[str]])
    assert_type(letter.s(to="me"), Signature[Any, str, AsyncResult[str]])
    assert_type(several.s(1, 2, 3), Signature[int, int, AsyncResult[int]])
    assert_type(fetch.s("u"), Signature[Never, bytes, AsyncResult[bytes]])
    assert_type(bound.s(), Signature[int, str, AsyncResult[str]])
    assert_type(mul.si(1, 2), Signature[object, int, AsyncResult[int]])
    assert_type(mul.s(1, 2).set(queue="q"), Signature[Never, int, AsyncResult[int]])
    assert_type(mul.s(1, 2).set(immutable=True), Signature[Any, int, AsyncResult[int]])
    assert_type(mul.s(1).clone(), Signature[int, int, AsyncResult[int]])
    assert_type(mul.s(1).delay(2), AsyncResult[int])
    assert_type(mul.s(1, 2).apply_async(countdown=3), AsyncResult[int])
    assert_type(mul.s(1, 2).apply(), EagerResult[int])
    assert_type(~mul.s(1, 2), int)
    kept: Signature[int, int] = add.s(1)
    bare: Signature = group(add.s(1))
    print(kept, bare)


def pipes() -> None:
    assert_type((add.s(1) | mul.s(2))(), AsyncResult[int])
    assert_type((add.s(1) | mul.s(2) | show.s() | upper.s()).delay().get(), str)
    assert_type((add.s(1) | maybe.s()).delay().get(), int | None)
    assert_type((upper.s("u") | fetch.s())().get(), bytes)
    assert_type((mul.s(1, 2) | mul.si(2, 3))().get(), int)
    assert_type((mul.s(1, 2) | mul.s(2, 3).set(immutable=True))().get(), int)
    assert_type((mul.s(1, 2) | ping.si())().get(), None)
    assert_type((mul.s(1, 2) | group(mul.s(2), show.s()))(), GroupResult[Any])
    assert_type((mul.s(1, 2) | group(mul.s(2), mul.s(3)))(), GroupResult[int])
    assert_type((mul.s(1, 2) | group(mul.s(2), mul.s(3)) | mean.s())(), AsyncResult[float])
    assert_type((mul.s(1, 2) | group(mul.s(2), mul.s(3)) | group(total.s(), total.s()))(), GroupResult[int])
    assert_type((group(mul.s(2, 3), mul.s(3, 4)) | total.s() | show.s())(), AsyncResult[str])
    assert_type((group(mul.s(2, 3), mul.s(3, 4)) | largest.s())(), AsyncResult[float])
    assert_type((group(mul.s(2, 3), show.s(4)) | largest.s())(), AsyncResult[float])
    nested = group(mul.s(2, 3) | group(mul.s(2), mul.s(4)), total.s([1]) | group(mul.s(1), mul.s(2)))
    assert_type((nested | untyped.s())().parent.parent.get(), Any)
    result = (add.s(1) | mul.s(2))()
    print(result.parent.get(), result.parent.parent.id)


async def awaited() -> None:
    assert_type(await (add.s(1) | mul.s(2)).adelay(), AsyncResult[int])
    assert_type(await group(add.s(1), mul.s(2)).aapply_async(), GroupResult[int])


def groups() -> None:
    assert_type(group(mul.s(2), mul.s(3))(), GroupResult[int])
    assert_type(group(mul.s(2), add.s(2) | mul.s(3)).delay().get(), list[int])
    assert_type(group([mul.s(2), add.s(3)])(), GroupResult[int])
    group([mul.s(2, 3), mul.s(3)])().get()[0].bit_length()
    assert_type(group(mul.s(i, i) for i in range(3))(), GroupResult[int])
    assert_type(group(group(mul.s(3)), group(mul.s(3)))(), GroupResult[int])
    assert_type(group(group(mul.s(3)), mul.s(3))(), GroupResult[Any])
    number, text = group(mul.s(2), show.s(3))().get()
    print(number + 1, text.upper())
    assert_type(group([show.s(2), mul.s(3, 4)])(), GroupResult[Any])
    assert_type(group(mul.s(2), mul.s(3)).skew()(), GroupResult[int])
    group(total.s(), mean.s()).delay([1]).get()
    assert_type(group(add.s(1), queue="q").tasks, list[Signature])


def chords() -> None:
    assert_type(chord([mul.s(2, 3), mul.s(3, 4)], total.s())(), AsyncResult[int])
    assert_type(chord([mul.s(2, 3), mul.s(3, 4)], mean.s())(), AsyncResult[float])
    assert_type(chord([mul.s(2, 3), mul.s(3, 4)])(total.s()), AsyncResult[int])
    assert_type(chord(mul.s(i, i) for i in range(3))(largest.s()).get(), float)
    assert_type(chord(group(mul.s(2, 3), mul.s(3, 4)), total.s(), min_successes=1)(), AsyncResult[int])
    assert_type(chord(group(group(mul.s(2, 3)), mul.s(3, 4)), total.s())(), AsyncResult[int])
    assert_type(chord([show.s(3), mul.s(3, 4)], untyped.s())().parent.get(), Any)
    assert_type(chord([mul.s(2, 3)], group(total.s(), mean.s()))(), GroupResult[Any])
    assert_type((chord([mul.s(2, 3)], total.s()) | show.s())(), AsyncResult[str])
    assert_type((add.s(1) | chord([mul.s(2), mul.s(3)], total.s()))(), AsyncResult[int])
    again = chord([mul.s(2, 3)], total.s())
    assert_type(again(show.s()), AsyncResult[str])  # another body is not compared with the header


def chains() -> None:
    assert_type(chain(mul.s(1, 2), show.s(), upper.s())(), AsyncResult[str])
    assert_type(chain(mul.s(1, 2), add.s(), add.s(), add.s(), show.s(), upper.s())(), AsyncResult[str])
    assert_type(chain(mul.s(1, 2), group(mul.s(1), mul.s(3)))(), GroupResult[int])
    assert_type(chain(mul.s(1, 2), group(mul.s(1), mul.s(3)), mean.s())(), AsyncResult[float])
    assert_type(chain(group(mul.s(1), mul.s(3)), mean.s())(), AsyncResult[float])
    steps = [mul.s(2, 1), add.s(3), show.s()]
    chain(*steps)().parent.parent.get()
    chain(steps)().parent.parent.get()
    group(*steps)().get()[2].upper()
    chord(steps, untyped.s())().get()
    several_steps = chain(add.s(), add.s(), add.s(), add.s(), add.s(), add.s(), add.s())
    assert_type(several_steps, chain[Any, Any, Any])


def without_types(sig: Signature, anything: Any, header: list[Signature]) -> None:
    assert_type((signature("far.away") | add.s())(), AsyncResult[int])
    (add.s() | signature("far.away"))().results[0].get()
    (add.s(1) | {"task": "far.away"})().results[0].get()
    (add.s(1) | maybe_signature({"task": "far.away"})).delay().get()
    chain({"task": "far.away"}, add.s(3))().parent.get()
    chain(add.s(3), {"task": "far.away"})().parent.get()
    group({"task": "far.away"}, add.s(3))().get()
    chord([{"task": "far.away"}], {"task": "far.away"})().get()
    (sig | sig | add.s() | sig)().results[0].get()
    chain(sig, anything, sig)().results[0].get()
    assert_type(group(header)(), GroupResult[Any])
    assert_type(chord(header)(total.s()), AsyncResult[int])
    (untyped.s(1) | add.s() | untyped.s())().get().anything()
    group(untyped.s(1), untyped.s(2))().get()
    chord([untyped.s(1), untyped.s(2)])(untyped.s()).get()
    chord([untyped.s(1), untyped.s(2)], total.s())().get()
    add.map([1, 2])().get()
    (add.s(1, 2) | add.starmap([(1, 2)]))().get()
    add.s(1).link(show.s())
    add.s(1).link_error(show.s())
    add.apply_async((1,), link=[show.s(), group(add.s(), mul.s(3))], link_error=ping.si())
