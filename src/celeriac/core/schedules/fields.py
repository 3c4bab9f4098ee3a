"""One field of a crontab: `*`, `*/15`, `9-17`, `9-17/2`, `mon,wed-fri` to the numbers that it means. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from celeriac.exceptions import ParseException

WEEKDAYS: Final = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
"""Cron counts them from 0."""
MONTHS: Final = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)

Spec = int | str | Iterable[int]
"""What may stand in a field: a number, numbers, or a text."""


class Field:
    """A field that takes the `size` numbers from `first` on, as Celery's `crontab_parser(size, first)`."""

    def __init__(self, size: int = 60, first: int = 0) -> None:
        self.first = first
        self.last = first + size - 1
        self._is_weekday = (size, first) == (7, 0)
        names = WEEKDAYS if self._is_weekday else MONTHS if (size, first) == (12, 1) else ()
        self._numbers = {name[:3]: first + index for index, name in enumerate(names)}
        self._names = {name: first + index for index, name in enumerate(names)} | self._numbers

    def parse(self, text: str) -> set[int]:
        """Return the numbers that a text means. Raises `ParseException` that says what can't be read."""
        found: set[int] = set()
        for part in text.split(","):
            found.update(self._part(part.strip(), text))
        return {number % 7 for number in found} if self._is_weekday else found

    def expand(self, spec: Spec) -> tuple[int, ...]:
        """Return the numbers that a value of any form means, in order.

        Raises `ParseException` (a `ValueError`) for what is out of range or can't be read, `TypeError` for another type.
        """
        if isinstance(spec, str):
            return tuple(sorted(self.parse(spec)))
        numbers = [spec] if isinstance(spec, int) else spec
        if not isinstance(numbers, Iterable):
            raise TypeError(f"a field of a crontab takes a number, numbers or a text, not {spec!r}")
        found = {self._checked(number, spec) for number in numbers}
        if not found:
            raise ParseException("a field of a crontab needs at least one number; '*' means all of them")
        return tuple(sorted({number % 7 for number in found} if self._is_weekday else found))

    def _part(self, part: str, whole: str) -> list[int]:
        span, slash, step_text = part.partition("/")
        if not span:
            raise ParseException(f"crontab field {whole!r} has an empty part")
        low, dash, high = span.partition("-")
        if span == "*":
            numbers = list(range(self.first, self.last + 1))
        elif dash:
            numbers = self._range(self._number(low, whole), self._number(high, whole))
        elif slash:
            raise ParseException(
                f"crontab field {whole!r}: a step follows '*' or a range: write {span}-{self.last}/{step_text}"
            )
        else:
            numbers = [self._number(span, whole)]
        if not slash:
            return numbers
        if not step_text.isdecimal() or int(step_text) == 0:
            raise ParseException(f"crontab field {whole!r}: {step_text!r} is no step; write it as in */5")
        return numbers[:: int(step_text)]

    def _range(self, low: int, high: int) -> list[int]:
        if low <= high:
            return list(range(low, high + 1))
        return [*range(low, self.last + 1), *range(self.first, high + 1)]  # as in fri-mon, or 22-4

    def _number(self, text: str, whole: str) -> int:
        text = text.strip()
        if text.isdecimal():
            return self._checked(int(text), whole)
        number = self._names.get(text.lower())
        if number is None:
            known = f" or one of {', '.join(self._numbers)}" if self._numbers else ""
            raise ParseException(
                f"crontab field {whole!r}: {text!r} is no number from {self.first} to {self.last}{known}"
            )
        return number

    def _checked(self, number: object, whole: object) -> int:
        highest = 7 if self._is_weekday else self.last  # cron knows Sunday as 7, too
        if not isinstance(number, int) or not self.first <= number <= highest:
            raise ParseException(
                f"crontab field {whole!r}: {number!r} is out of range, which goes from {self.first} to {self.last}"
            )
        return number
