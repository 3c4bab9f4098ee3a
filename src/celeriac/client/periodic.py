"""Entries of the schedule that code adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from celeriac.exceptions import ArgumentError

_OF_ENTRIES: Final = ("relative", "misfire", "jitter", "expires", "enabled")
"""Options that are the entry's, not the call's."""
WORKFLOWS: Final = ("celery.chain", "celery.group", "celery.chord")
"""Names that stand for no task."""


def periodic_entry(
    schedule: Any, sig: Any, args: Sequence[Any], kwargs: Mapping[str, Any], name: str | None, opts: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return name and entry for `app.add_periodic_task`. Raises `ArgumentError` for what is no signature."""
    if hasattr(sig, "s") and not isinstance(sig, Mapping):
        sig = sig.s()
    if not isinstance(sig, Mapping) or not isinstance(sig.get("task"), str):
        raise ArgumentError(f"add_periodic_task takes the signature of a task, as in add.s(2, 2), not {sig!r:.100}")
    known_as = name or repr(sig)
    first, following = _steps(sig)
    sig = {**first, "options": {**(first.get("options") or {}), **(sig.get("options") or {})}}
    entry: dict[str, Any] = {
        "task": sig["task"],
        "schedule": schedule,
        "args": (*args, *(sig.get("args") or ())),
        "kwargs": {**(sig.get("kwargs") or {}), **kwargs},
        "options": {
            **(sig.get("options") or {}),
            **{option: value for option, value in opts.items() if option not in _OF_ENTRIES},
        },
        **{key: opts[key] for key in _OF_ENTRIES if key in opts},
    }
    if "expires" in entry:
        entry["options"].pop("expires", None)
    if following:
        entry["options"]["chain"] = following
    return known_as, entry


def _steps(sig: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[dict[str, Any]]]:
    """Return the task that is sent, and what follows it, the last step first. Raises `ArgumentError` for other workflows."""
    steps = list(sig["kwargs"]["tasks"]) if sig["task"] == "celery.chain" else [sig]
    for step in steps:
        if step["task"] in WORKFLOWS:
            raise ArgumentError(
                f"add_periodic_task: a schedule sends one task, or a chain of tasks, not {sig!r:.100}: write a task that calls the"
                " workflow, and schedule that"
            )
    return steps[0], [dict(step) for step in reversed(steps[1:])]
