"""The routers of `task_routes`, as functions, classes, names of either, or mappings; and what they say about a call."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from celeriac.client.options import CALL_OPTIONS
from celeriac.core.routing import DESTINATION, RouteMap, Router, check_entry
from celeriac.exceptions import ImproperlyConfigured

Routers = list[RouteMap | Router]
ENTRY_OPTIONS: Final = tuple(dict.fromkeys((*DESTINATION, *CALL_OPTIONS)))


def prepare(routes: Any) -> Routers:
    """Return the routers of the setting `task_routes`, in their order. Names are imported. Raises `ImproperlyConfigured`."""
    if not routes:
        return []
    return [_router(entry) for entry in (routes if isinstance(routes, list | tuple) else [routes])]


def find_static(routers: Routers, name: str) -> dict[str, Any] | None:
    """Return what the routers say about every call of a task; None when one of them has to be asked for each call."""
    for router in routers:
        if not isinstance(router, RouteMap):
            return None
        found = router.find(name)
        if found is not None:
            return found
    return {}


def ask(
    routers: Routers, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any], task: Any
) -> dict[str, Any]:
    """Return what the first router that knows the task says about this call."""
    for router in routers:
        if isinstance(router, RouteMap):
            found = router.find(name)
        else:
            said = router(name, args, kwargs, dict(options), task=task)
            found = None if said is None else check_entry(said, f"the router's answer for task {name!r}", ENTRY_OPTIONS)
        if found is not None:
            return found
    return {}


def with_route(extra: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call's options with what its route adds; None in a call leaves the route's word."""
    own = {name: value for name, value in options.items() if value is not None}
    if "eta" in own or "countdown" in own:
        extra = {name: value for name, value in extra.items() if name not in ("eta", "countdown")}
    return {**extra, **own}


def _router(entry: Any) -> RouteMap | Router:
    if isinstance(entry, Mapping | list | tuple):
        return RouteMap(entry, ENTRY_OPTIONS)
    if isinstance(entry, str):
        entry = _imported(entry)
    if isinstance(entry, type):
        entry = entry()
    if hasattr(entry, "route_for_task"):
        return _ask_object(entry)
    if isinstance(entry, Mapping | list | tuple):
        return RouteMap(entry, ENTRY_OPTIONS)
    if not callable(entry):
        raise ImproperlyConfigured(
            f"task_routes: {entry!r} is no router: give a dict, a function (name, args, kwargs, options, task=None, **kw),"
            " an object with route_for_task, or the import path of one of them"
        )
    router: Router = entry
    return router


def _ask_object(router: Any) -> Router:
    def ask_it(name: str, args: Any, kwargs: Any, options: Any, task: Any = None) -> Any:
        return router.route_for_task(name, args, kwargs)

    return ask_it


def _imported(path: str) -> Any:
    module, _, name = path.replace(":", ".").rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ImproperlyConfigured(
            f"task_routes: {path!r} cannot be imported as a router ({error}); to send a task to a queue, write"
            " {'task name': 'queue'}"
        ) from error
