"""Types of options and arguments: text in, checked values out, errors that show how to write it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import click


class Names(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click only
    """Names with commas between them, as `-Q mail,default`."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Split the text; an empty name is an error."""
        if isinstance(value, tuple):
            return value
        names = tuple(part.strip() for part in str(value).split(","))
        if not all(names):
            self.fail(f"{value!r} has an empty name; write names with commas between them: mail,default", param, ctx)
        return tuple(dict.fromkeys(names))


class Json(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click only
    """A JSON text, optionally of one type."""

    name = "json"

    def __init__(self, kind: type[list[Any]] | type[dict[str, Any]] | None = None, example: str = '"text"') -> None:
        self._kind = kind
        self._example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text."""
        if not isinstance(value, str):
            return value
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError) as error:
            self.fail(f"{value!r} is no JSON ({error}); write it as in '{self._example}'", param, ctx)
        if self._kind is not None and not isinstance(parsed, self._kind):
            what = "list" if self._kind is list else "object"
            self.fail(f"{value!r} is no JSON {what}; write it as in '{self._example}'", param, ctx)
        return parsed


class Moment(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click only
    """A time in ISO 8601; without a zone it is UTC, as everywhere in Celeriac."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Parse the text."""
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no ISO 8601 time; write it as 2030-01-31T18:00:00+01:00", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class SecondsOrMoment(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click only
    """Seconds from now, or a time in ISO 8601."""

    name = "seconds|time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | datetime:
        """Parse the text."""
        if isinstance(value, float | datetime):
            return value
        try:
            return float(value)
        except ValueError:
            return Moment().convert(value, param, ctx)


class Autoscale(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click only
    """`10,3`: at most 10 and at least 3, in either order; `10`: at most 10."""

    name = "max,min"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Split the text into most and least."""
        if isinstance(value, tuple):
            return value
        numbers = str(value).split(",")
        if len(numbers) > 2 or not all(number.strip().isdecimal() for number in numbers) or not any(map(int, numbers)):
            self.fail(f"{value!r}: write the most and the fewest processes as in 10,3", param, ctx)
        most, least = sorted((int(number) for number in (*numbers, "1")[:2]), reverse=True)
        return most, least


class Umask(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click only
    """Rights that new files do not get, as an octal number."""

    name = "octal"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the number."""
        try:
            mask = value if isinstance(value, int) else int(str(value), 8)
        except ValueError:
            mask = -1
        if not 0 <= mask <= 0o777:
            self.fail(f"{value!r}: write it as an octal number up to 777, as in 022", param, ctx)
        return mask


AUTOSCALE = Autoscale()
UMASK = Umask()
NAMES = Names()
SECONDS = click.FloatRange(min=0)
COUNT = click.IntRange(min=0)
POSITIVE = click.IntRange(min=1)
