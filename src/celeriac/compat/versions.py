"""Which release of Celery, kombu and billiard a program finds: those whose behaviour Celeriac is tested against."""

from __future__ import annotations

from typing import Final, NamedTuple


class Version(NamedTuple):
    """A release, as Celery's `VERSION` has it; compares with tuples of numbers."""

    major: int
    minor: int
    micro: int
    releaselevel: str = ""
    serial: str = ""

    @property
    def text(self) -> str:
        """The release, as distributions name it."""
        return f"{self.major}.{self.minor}.{self.micro}"


CELERY: Final = Version(5, 7, 0)
KOMBU: Final = Version(5, 7, 0)
BILLIARD: Final = Version(4, 3, 2)
CELERY_TEXT: Final = CELERY.text
KOMBU_TEXT: Final = KOMBU.text
BILLIARD_TEXT: Final = BILLIARD.text
