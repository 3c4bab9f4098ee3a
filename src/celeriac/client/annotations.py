"""`task_annotations`: options of tasks that the configuration changes, whatever the code says."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import update_wrapper
from typing import TYPE_CHECKING, Any

from celeriac.client.options import TASK_OPTIONS, check_task_options, nearest
from celeriac.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from celeriac.client.task import Task

AROUND = "@"
"""Before the name of a method: the value takes the method and returns what stands in its place."""


def annotate(task: Task[Any, Any], annotations: Any) -> None:
    """Change a task as the setting says: a dict of task name (or `*`) to options, an object with `annotate(task)`, or a list.

    Raises `ImproperlyConfigured` for what is none of these, and for options that tasks do not have.
    """
    for changes in _changes_for(task, annotations):
        options = {}
        for name, value in changes.items():
            if name.startswith(AROUND):
                _wrap(task, name.removeprefix(AROUND), value)
            elif name in TASK_OPTIONS:
                options[name] = value
            elif hasattr(task, name) or callable(value):
                bind = getattr(value, "__get__", None)  # as a class would do it: functions become methods, others stay
                setattr(task, name, bind(task) if bind is not None else value)
            else:
                raise ImproperlyConfigured(
                    f"task_annotations: tasks have no option {name!r} (for {task.name!r}){nearest(name, TASK_OPTIONS)}"
                )
        for name, value in check_task_options(task.name, options).items():
            setattr(task, name, value)
        task.handles_start = task.handles_success = True  # a handler may be among what has changed


def _changes_for(task: Task[Any, Any], annotations: Any) -> Iterator[Mapping[str, Any]]:
    listed = annotations if isinstance(annotations, list | tuple) else (annotations,)
    for item in listed:
        source = _imported(item) if isinstance(item, str) else item
        if isinstance(source, Mapping):
            found = [source.get("*"), source.get(task.name)]
        elif hasattr(source, "annotate"):
            anyway = getattr(source, "annotate_any", None)
            found = [anyway() if anyway is not None else None, source.annotate(task)]
        else:
            raise ImproperlyConfigured(
                f"task_annotations takes dicts of task name -> options, or objects with annotate(task), not {item!r}"
            )
        yield from (changes for changes in found if changes)


def _imported(path: str) -> Any:
    module, _, attribute = path.replace(":", ".").rpartition(".")
    found = getattr(importlib.import_module(module), attribute)
    return found() if isinstance(found, type) else found


def _wrap(task: Task[Any, Any], method: str, around: Any) -> None:
    original = getattr(task, method)
    wrapped = around(getattr(original, "__wrapped_by_annotation__", original))
    if wrapped is not original:
        update_wrapper(wrapped, original)
        wrapped.__wrapped_by_annotation__ = original
    if method == "run" and task.entry == original:  # a class's own __call__ stays before it
        task.entry = wrapped
    setattr(task, method, wrapped)
