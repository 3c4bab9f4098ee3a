"""Result backends that stand above this layer: those of other projects, found by entry points, and ours in `celeriac.contrib`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Final

from celeriac.core.urls import mask
from celeriac.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from celeriac.core.ports import Backend
    from celeriac.core.settings import Settings

GROUP: Final = "celeriac.result_backends"
CELERYS_GROUP: Final = "celery.result_backends"
"""Those are made for Celery's own classes, and are not loaded."""
_DJANGO: Final = "celeriac.contrib.django.results_backend:DjangoBackend"
OWN: Final[Mapping[str, str]] = {
    "django-db": _DJANGO,
    "django_celery_results.backends:DatabaseBackend": _DJANGO,
    "django_celery_results.backends.DatabaseBackend": _DJANGO,
    "django_celery_results.backends.database:DatabaseBackend": _DJANGO,
    "django_celery_results.backends.database.DatabaseBackend": _DJANGO,
}
"""Of ours, by name: what they need is imported when they are asked for."""
_MEMBERS: Final = ("stores", "counts_chords", "reader", "listener", "writer", "shown_url")


def open_own(kind: str, url: str, settings: Settings, clock: Callable[[], float]) -> Backend | None:
    """Return the backend of `celeriac.contrib` that this names, None where it names none. Raises what that raises."""
    path = OWN.get(kind)
    if path is None:
        return None
    module, _, name = path.partition(":")
    try:
        backend: Backend = getattr(importlib.import_module(module), name)(url, settings, clock)
    except ModuleNotFoundError as error:
        raise ImproperlyConfigured(
            f"result backend {mask(url)} needs the package {error.name!r}; pip install it"
        ) from error
    return backend


def open_other(kind: str, url: str, settings: Settings, clock: Callable[[], float]) -> Backend | None:
    """Return the backend that a distribution offers for URLs of this kind (their scheme), None where none does.

    Raises `ImproperlyConfigured` when two offer it, when it can't be loaded, and when what it returns is no backend.
    """
    offers = _distinct(entry_points(group=GROUP, name=kind))
    if not offers:
        return None
    if len(offers) > 1:
        who = " and ".join(sorted(map(_whose, offers)))
        raise ImproperlyConfigured(f"result backend {mask(url)!r}: {who} both offer {kind}://; uninstall one of them")
    (offer,) = offers
    what = f"result backend {mask(url)!r}: {offer.value} of {_whose(offer)}"
    try:
        factory = offer.load()
    except Exception as error:  # importing somebody's module may raise anything
        raise ImproperlyConfigured(f"{what} can't be loaded: {type(error).__name__}: {error}") from error
    backend = factory(url, settings, clock)
    missing = [name for name in _MEMBERS if not hasattr(backend, name)]
    if missing:
        raise ImproperlyConfigured(f"{what} returned {backend!r}, which is no backend: it lacks {', '.join(missing)}")
    found: Any = backend
    return found  # type: ignore[no-any-return]


def celery_has(kind: str) -> bool:
    """Tell whether a distribution offers such a backend to Celery."""
    return bool(entry_points(group=CELERYS_GROUP, name=kind))


def _distinct(offers: Any) -> list[EntryPoint]:
    """Leave out repetitions: a distribution may be on the path twice."""
    return list({(offer.value, _whose(offer)): offer for offer in offers}.values())


def _whose(offer: EntryPoint) -> str:
    return offer.dist.name if offer.dist is not None else "a distribution without a name"
