"""One thing that a program uses and that is otherwise here."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Level = Literal["stops", "differs", "idle"]
"""`stops`: the program does not get beyond it. `differs`: it runs, and does something else. `idle`: it has no effect, and need not."""

ORDER: tuple[Level, ...] = ("stops", "differs", "idle")


class Finding(Struct, frozen=True):
    """What was found."""

    level: Level
    where: str
    """File and line, or the app."""
    what: str
    here: str
    """What happens with Celeriac."""
    instead: str
    """What to do, empty where nothing has to be done."""
