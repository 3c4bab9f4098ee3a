"""The observer pattern behind Celery's signals: functions that are called when something happens."""

from __future__ import annotations

import inspect
import logging
import threading
import time
import weakref
from collections.abc import Callable
from functools import wraps
from types import MethodType
from typing import Any, Final, TypeVar, overload

logger = logging.getLogger("celeriac")

Receiver = Callable[..., Any]
F = TypeVar("F", bound=Receiver)

RETRIES: Final = 3
RETRY_PAUSE_S: Final = 0.2
ANY: Final = None
"""As a sender: whoever it is."""


class Signal:
    """Something that happens, and the functions to be called then; Celery's interface.

    A receiver that raises is logged and disturbs neither the others nor whoever sends.  Thread-safe.
    """

    def __init__(self, name: str, providing_args: frozenset[str] = frozenset()) -> None:
        self.name = name
        self.providing_args = providing_args
        self.receivers: tuple[tuple[object, object, Callable[[], Receiver | None]], ...] = ()
        """Key, sender, and what gives the function; empty for a signal that nobody listens to, which then costs nothing."""
        self._lock = threading.RLock()

    @overload
    def connect(self, receiver: F, /, *, sender: Any = ..., weak: bool = ..., dispatch_uid: Any = ...) -> F: ...
    @overload
    def connect(
        self,
        receiver: None = None,
        /,
        *,
        sender: Any = ...,
        weak: bool = ...,
        dispatch_uid: Any = ...,
        retry: bool = ...,
    ) -> Callable[[F], F]: ...
    def connect(
        self,
        receiver: Any = None,
        /,
        *,
        sender: Any = ANY,
        weak: bool = True,
        dispatch_uid: Any = None,
        retry: bool = False,
    ) -> Any:
        """Have a function called with `sender=` and the signal's arguments; also used as a decorator.

        Args:
            sender: call it for this sender only; a task may be named by its name.
            weak: keep no reference, so that a receiver that is deleted is disconnected.
            dispatch_uid: a name under which only one receiver is connected, however often the module is imported.
            retry: call a receiver that raises up to three times more.

        Idempotent.  Raises `TypeError` for what can't be called.
        """

        def add(function: F) -> F:
            if not callable(function):
                raise TypeError(f"signal {self.name}: a receiver is a function, not {function!r}")
            if inspect.iscoroutinefunction(function):
                raise TypeError(f"signal {self.name}: receivers are called, not awaited; {function!r} is async")
            called = _retried(function) if retry else function
            key = dispatch_uid if dispatch_uid is not None else _identity(function)
            with self._lock:
                if not any(known == key and whose == _sender(sender) for known, whose, _ in self.receivers):
                    reference = self._reference(called, key, weak and not retry)
                    self.receivers = (*self.receivers, (key, _sender(sender), reference))
            return function

        return add if receiver is None else add(receiver)

    def disconnect(self, receiver: Receiver | None = None, sender: Any = ANY, dispatch_uid: Any = None) -> bool:
        """Stop calling a receiver; tells whether it was connected. Idempotent."""
        key = dispatch_uid if dispatch_uid is not None else _identity(receiver)
        with self._lock:
            kept = tuple(entry for entry in self.receivers if entry[:2] != (key, _sender(sender)))
            found = len(kept) != len(self.receivers)
            self.receivers = kept
        return found

    def has_listeners(self, sender: Any = ANY) -> bool:
        """Tell whether anyone would be called."""
        return bool(self._live(sender))

    def send(self, sender: Any, **named: Any) -> list[tuple[Receiver, Any]]:
        """Call every receiver; returns each with what it returned, or with what it raised."""
        if not self.receivers:
            return []
        responses: list[tuple[Receiver, Any]] = []
        for receiver in self._live(sender):
            try:
                response = receiver(signal=self, sender=sender, **named)
            except Exception as error:
                logger.exception("receiver %r of signal %s raised: %r", receiver, self.name, error)
                response = error
            responses.append((receiver, response))
        return responses

    send_robust = send

    def _live(self, sender: Any) -> list[Receiver]:
        wanted = _sender(sender)
        found = (reference() for _, whose, reference in self.receivers if whose is ANY or whose == wanted)
        return [receiver for receiver in found if receiver is not None]

    def _reference(self, function: Receiver, key: object, weak: bool) -> Callable[[], Receiver | None]:
        if not weak:
            return lambda: function

        def gone(_reference: object) -> None:
            with self._lock:
                self.receivers = tuple(entry for entry in self.receivers if entry[0] != key)

        return weakref.WeakMethod(function, gone) if isinstance(function, MethodType) else weakref.ref(function, gone)

    def __repr__(self) -> str:
        return f"<Signal: {self.name}>"


def _identity(function: Any) -> object:
    return (id(function.__self__), id(function.__func__)) if isinstance(function, MethodType) else id(function)


def _sender(sender: Any) -> object:
    """Return what stands for a sender: tasks and apps are the same whenever they compare so, and a task is its name."""
    if sender is None or isinstance(sender, str):
        return sender
    name = getattr(sender, "name", None)
    return name if isinstance(name, str) and name else id(sender)


def _retried(function: F) -> Receiver:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        for attempt in range(RETRIES):
            try:
                return function(*args, **kwargs)
            except Exception as error:
                logger.warning("receiver %r raised %r and is called again", function, error)
                time.sleep(RETRY_PAUSE_S * (attempt + 1))
        return function(*args, **kwargs)

    return call
