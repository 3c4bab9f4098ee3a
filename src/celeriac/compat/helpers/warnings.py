"""Celery's warnings: programs name them in filters. None of them is given here."""

from __future__ import annotations

__all__ = [
    "CDeprecationWarning",
    "CPendingDeprecationWarning",
    "CeleryWarning",
    "FixupWarning",
    "NotConfigured",
    "SecurityWarning",
]


class CeleryWarning(UserWarning):
    """The root of the others."""


class CPendingDeprecationWarning(PendingDeprecationWarning):
    """Something is going to be old."""


class CDeprecationWarning(DeprecationWarning):
    """Something is old."""


class FixupWarning(CeleryWarning):
    """A framework is not as expected."""


class NotConfigured(CeleryWarning):
    """No settings were found."""


class SecurityWarning(CeleryWarning):
    """Something is dangerous."""
