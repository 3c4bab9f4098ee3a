"""What type checkers must refuse of results: each `type: ignore` names the error that has to be there. Never run."""

from __future__ import annotations

from celeriac import Celeriac
from celeriac.result import GroupResult

app = Celeriac("shop")


@app.task
def add(x: int, y: int = 2) -> int:
    return x + y


def read() -> None:
    group = GroupResult("g", [add.delay(1)])
    text: list[str] = group.get()  # type: ignore[assignment]
    group.get(timeout="3")  # type: ignore[call-overload]
    group.add("id")  # type: ignore[arg-type]
    group.wait()  # type: ignore[attr-defined]
    add.delay(1).then(3)  # type: ignore[arg-type]
    print(text)
