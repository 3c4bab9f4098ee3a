"""Exceptions as they travel in results: `{"exc_type", "exc_message", "exc_module"}`.

Reading builds an exception only from a class that this process has already imported and that is an `Exception`; nothing else
named by a document is ever called, and nothing is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Final

from celeriac import exceptions
from celeriac.exceptions import DecodeError, EncodeError, SoftTimeLimitExceeded, TaskFailed
from celeriac.wire import json_text, pickled

Dumps = Callable[[Any], object]
"""Writes a value; raises `EncodeError` for what it can't write."""

_CELERY_NAMES: Final = frozenset(
    {
        "AlreadyRegistered",
        "BackendError",
        "CeleryError",
        "ChordError",
        "Ignore",
        "ImproperlyConfigured",
        "InvalidTaskError",
        "MaxRetriesExceededError",
        "NotRegistered",
        "QueueNotFound",
        "Reject",
        "Retry",
        "SecurityError",
        "TaskError",
        "TaskPredicate",
        "TaskRevokedError",
        "TimeoutError",
    }
)
_BILLIARD_NAMES: Final = frozenset({"SoftTimeLimitExceeded", "TimeLimitExceeded", "WorkerLostError"})
_KOMBU_NAMES: Final = frozenset({"ContentDisallowed", "DecodeError", "EncodeError", "OperationalError"})
_MODULE_OF: Final = {
    **dict.fromkeys(_CELERY_NAMES, "celery.exceptions"),
    **dict.fromkeys(_BILLIARD_NAMES, "billiard.exceptions"),
    **dict.fromkeys(_KOMBU_NAMES, "kombu.exceptions"),
}
_OURS: Final = exceptions.__name__
_FOREIGN_MODULES: Final = frozenset({"celery.exceptions", "billiard.exceptions", "kombu.exceptions"})
_WRAPPER: Final = "UnpickleableExceptionWrapper"
_WRAPPER_MODULE: Final = "celery.utils.serialization"


def to_wire(exc: BaseException, dumps: Dumps = json_text.dumps) -> dict[str, Any]:
    """Return the document of an exception; arguments that `dumps` cannot write are replaced by their `repr`."""
    cls = type(exc)
    name, module = cls.__qualname__, cls.__module__
    if module == _OURS:
        name = "CeleryError" if cls is exceptions.CeleriacError else name
        module = _MODULE_OF.get(name, module)
    return {
        "exc_type": name,
        "exc_message": [_writable(argument, dumps) for argument in exc.args],
        "exc_module": module,
    }


def to_pickle(exc: BaseException) -> BaseException | dict[str, Any]:
    """Return what Celery puts into a pickled result: the exception itself, its document when it does not come back as it was.

    Our own classes travel as documents, because not everybody who reads the result has them.
    """
    if type(exc).__module__ == _OURS:
        return to_wire(exc, pickled.dumps)
    try:
        back = pickled.loads(pickled.dumps(exc))
    except (EncodeError, DecodeError):
        return to_wire(exc, pickled.dumps)
    return exc if type(back) is type(exc) else to_wire(exc, pickled.dumps)


def from_wire(document: Any) -> Exception:
    """Return the exception that a document tells of; one that came pickled is there already.

    `TaskFailed` stands in for a class that is not known here, is no `Exception`, or does not take the arguments.
    """
    if isinstance(document, BaseException):
        return (
            document if isinstance(document, Exception) else TaskFailed(type(document).__name__, _joined(document.args))
        )
    if not isinstance(document, dict):
        return TaskFailed("Exception", "" if document is None else _text(document))
    name, module = document.get("exc_type"), document.get("exc_module")
    message = document.get("exc_message", ())
    arguments = message if isinstance(message, list | tuple) else (message,)
    if not isinstance(name, str):
        return TaskFailed("Exception", _joined(arguments))
    if name == _WRAPPER and module == _WRAPPER_MODULE and len(arguments) == 4:
        # What Celery's prefork pool makes of an exception that cannot be pickled: module, name, arguments, text.
        wrapped = dict(zip(("exc_module", "exc_type", "exc_message"), arguments, strict=False))
        return from_wire(wrapped)
    cls = _find_class(module, name) if isinstance(module, str) else None
    if cls is not None:
        try:
            exc = cls(*arguments)
        except SoftTimeLimitExceeded:  # the time of the task that reads this is over: no fault of the class
            raise
        except Exception:  # the class is the user's: whatever its __init__ raises, the failure must still be told
            exc = None
        if isinstance(exc, Exception):
            return exc
    return TaskFailed(name, _joined(arguments))


def _find_class(module_name: str, qualified_name: str) -> type[Exception] | None:
    if module_name in _FOREIGN_MODULES and isinstance(getattr(exceptions, qualified_name, None), type):
        module_name = _OURS
    found: Any = sys.modules.get(module_name)
    if not isinstance(found, ModuleType):
        return None
    for part in qualified_name.split("."):
        # Only what stands there: `getattr` could run a module's __getattr__, and that may import.
        found = vars(found).get(part) if isinstance(found, ModuleType | type) else None
    return found if isinstance(found, type) and issubclass(found, Exception) else None


def _writable(argument: Any, dumps: Dumps) -> Any:
    try:
        dumps(argument)
    except EncodeError:
        return _text(argument, repr)
    return argument


def _joined(arguments: Sequence[Any]) -> str:
    """Return the text of an exception with these arguments, as `str` would give it."""
    if not arguments:
        return ""
    return _text(arguments[0]) if len(arguments) == 1 else _text(tuple(arguments))


def _text(value: Any, show: Any = str) -> str:
    try:
        return str(show(value))
    except SoftTimeLimitExceeded:  # as above
        raise
    except Exception as error:  # any __repr__ may raise anything
        return f"<unrepresentable {type(value).__name__}: {type(error).__name__}>"
