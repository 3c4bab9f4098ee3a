"""Versions for packages that ask which Celery is installed (`importlib.metadata`), where none is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, DistributionFinder, MetadataPathFinder
from pathlib import Path
from typing import Final

from celeriac.compat import versions

VERSIONS: Final[Mapping[str, str]] = {
    "celery": versions.CELERY_TEXT,
    "kombu": versions.KOMBU_TEXT,
    "billiard": versions.BILLIARD_TEXT,
}


class AnsweredDistribution(Distribution):
    """A distribution that has a name and a version, and no files."""

    def __init__(self, name: str, version: str) -> None:
        self._text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"

    def read_text(self, filename: str) -> str | None:
        """Return the metadata; there is no other file."""
        return self._text if filename == "METADATA" else None

    def locate_file(self, path: object) -> Path:
        """Return where a file would be."""
        return Path("celeriac-compat") / str(path)


def distributions(name: str | None) -> Iterator[Distribution]:
    """Return those of the distributions (of this name, or all) that are not really installed."""
    for own, version in VERSIONS.items():
        if name in (None, own) and not _is_installed(own):
            yield AnsweredDistribution(own, version)


def _is_installed(name: str) -> bool:
    return any(MetadataPathFinder.find_distributions(DistributionFinder.Context(name=name)))
