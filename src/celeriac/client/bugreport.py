"""What a report of a bug should say about a program: versions, platform, broker, settings."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Final

from celeriac.core.urls import mask

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

PACKAGES: Final = ("celeriac", "msgspec", "hiredis", "SQLAlchemy", "Django", "celery", "kombu")
"""Whose versions are told; those that are not installed are left out."""


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that matter."""
    from importlib.metadata import PackageNotFoundError, version  # slow to import, and wanted in reports only

    found = {"python": f"{platform.python_version()} {platform.python_implementation()}"}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine() -> str:
    """Return the name of system, kernel and processor."""
    return f"{platform.system()} {platform.release()} {platform.machine()}"


def bugreport(app: Celeriac) -> str:
    """Return the text; passwords are hidden. Connects to nothing."""
    software = " ".join(f"{name}:{number}" for name, number in versions().items())
    where = app.locations
    return (
        f"software -> {software}\n"
        f"platform -> {machine()}\n"
        f"app      -> {app.main or '__main__'}, {len(app.tasks)} tasks\n"
        f"settings -> broker:{mask(where.broker)} results:{mask(where.backend)} profile:{app.settings.profile}\n"
        f"\n{app.conf.humanize()}\n"
    )
