"""Compositions that do not fit: each `type: ignore` names the error that has to be there. Never run."""

from __future__ import annotations

from celeriac import Celeriac, chain, chord, group

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


def single_calls() -> None:
    mul.s("x")  # type: ignore[call-overload]
    mul.s(1, 2, 3)  # type: ignore[call-overload]
    letter.s("me", "hello")  # type: ignore[call-overload]
    mul.si(3)  # type: ignore[call-arg]
    mul.si(3, "4")  # type: ignore[arg-type]
    text: str = mul.s(1, 2).delay().get()  # type: ignore[assignment]
    print(text)


def pipes() -> None:
    print(show.s(1) | mul.s(1))  # type: ignore[operator]
    print(mul.s(1, 2) | mul.s(3, 4))  # type: ignore[operator]
    print(mul.s(1, 2) | ping.s())  # type: ignore[operator]
    print(add.s() | mul.s(2) | upper.s())  # type: ignore[operator]
    print(add.s() | mul)  # type: ignore[operator]
    print(ping.s() | add.s())  # type: ignore[operator]
    print(total.s() | total.s())  # type: ignore[operator]
    same = group(upper.s(), upper.s())
    print(add.s(1) | same)  # type: ignore[operator]
    text: str = (add.s() | mul.s(3))().get()  # type: ignore[assignment]
    print(text)


def groups() -> None:
    print(group(show.s(1), show.s(2)) | total.s())  # type: ignore[operator]
    print(group(show.s(1), show.s(2)) | mean.s())  # type: ignore[operator]
    print(group(add.s(1), add.s(2)) | mul.s(2))  # type: ignore[operator]
    shown = add.s(1) | group(show.s(), show.s())
    print(shown | mean.s())  # type: ignore[operator]
    group(add)  # type: ignore[call-overload]
    texts: list[str] = group(add.s(), mul.s(3))().get()  # type: ignore[assignment]
    print(texts)


def chords() -> None:
    chord([show.s(1)], total.s())  # type: ignore[misc]
    chord([show.s(1)])(total.s())  # type: ignore[arg-type]
    chord(group(show.s(1)), total.s())  # type: ignore[misc]


def chains() -> None:
    chain(show.s(1), mul.s(2))  # type: ignore[misc]
    chain(add.s(1), mul.s(2), upper.s())  # type: ignore[misc]
    chain(add.s(), mul)  # type: ignore[call-overload]
