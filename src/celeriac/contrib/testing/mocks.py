"""Stand-ins for unit tests; Celery's names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

from celeriac.client.app import Celeriac
from celeriac.client.calls import new_id
from celeriac.client.canvas.signature import as_signatures
from celeriac.wire import serializers

Signatures = Sequence[Mapping[str, Any]] | None


def TaskMessage(  # noqa: N802 - Celery's name
    name: str,
    id: str | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    callbacks: Signatures = None,
    errbacks: Signatures = None,
    chain: Signatures = None,
    shadow: str | None = None,
    utc: bool | None = None,
    **options: Any,
) -> Mock:
    """Return a mock of a received task message of protocol 2: `headers`, `payload`, `body`, `content_type`, `content_encoding`.

    `options` become headers.
    """
    id = id or new_id()  # noqa: A001
    message = Mock(name=f"TaskMessage-{id}")
    embed = {"callbacks": callbacks, "errbacks": errbacks, "chain": chain}
    message.headers = {"id": id, "task": name, "shadow": shadow, **options}
    message.payload = (list(args), dict(kwargs or {}), embed)
    _serialize(message)
    return message


def TaskMessage1(  # noqa: N802 - Celery's name
    name: str,
    id: str | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    callbacks: Signatures = None,
    errbacks: Signatures = None,
    chain: Signatures = None,
    **options: Any,
) -> Mock:
    """Return the same of protocol 1, which has everything in its `payload`."""
    id = id or new_id()  # noqa: A001
    message = Mock(name=f"TaskMessage-{id}")
    message.headers = {}
    message.payload = {
        "task": name,
        "id": id,
        "args": list(args),
        "kwargs": dict(kwargs or {}),
        "callbacks": callbacks,
        "errbacks": errbacks,
        **options,
    }
    _serialize(message)
    return message


def task_message_from_sig(
    app: Celeriac,
    sig: Mapping[str, Any],
    utc: bool = True,
    TaskMessage: Callable[..., Mock] = TaskMessage,  # noqa: N803
) -> Mock:
    """Return the mock message of a signature's call; times are reckoned by the app's clock."""
    options = dict(sig.get("options") or {})
    now = datetime.fromtimestamp(app.time_source.time(), UTC)
    countdown, eta, expires = (options.pop(name, None) for name in ("countdown", "eta", "expires"))
    if countdown:
        eta = now + timedelta(seconds=countdown)
    if isinstance(expires, int | float):
        expires = now + timedelta(seconds=expires)
    return TaskMessage(
        sig["task"],
        id=options.pop("task_id", None) or new_id(),
        args=sig.get("args") or (),
        kwargs=sig.get("kwargs") or {},
        callbacks=as_signatures(options.pop("link", None)) or None,
        errbacks=as_signatures(options.pop("link_error", None)) or None,
        eta=eta.isoformat() if isinstance(eta, datetime) else eta,
        expires=expires.isoformat() if isinstance(expires, datetime) else expires,
        utc=utc,
        **options,
    )


class _Context(Mock):
    """A `with` statement looks for these two in the class."""

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        return None


def ContextMock(*args: Any, **kwargs: Any) -> Mock:  # noqa: N802 - Celery's name
    """Return a mock for a `with` statement, which enters itself; its `__enter__` and `__exit__` are mocks too."""
    mock = _Context(*args, **kwargs)
    # What `__exit__` returns must be false: an exception goes on.
    for name, value in (("__enter__", mock), ("__exit__", None)):
        mock.attach_mock(_Context(return_value=value), name)
    return mock


def _serialize(message: Mock) -> None:
    message.content_type, message.content_encoding, message.body = serializers.dumps(message.payload, "json")
