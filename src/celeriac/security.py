"""Celery's `celery.security`: signed messages. See the guide's page on security."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from celeriac.client.content import setup_security as _setup_security
from celeriac.client.current import get_current_app
from celeriac.client.readable import disable_insecure_serializers
from celeriac.exceptions import SecurityError

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

__all__ = ["SecurityError", "disable_untrusted_serializers", "setup_security"]


def setup_security(
    allowed_serializers: Sequence[str] | None = None,
    key: str | None = None,
    key_password: str | bytes | None = None,
    cert: str | None = None,
    store: str | None = None,
    digest: str | None = None,
    serializer: str = "json",
    app: Celeriac | None = None,
) -> None:
    """Do what `Celeriac.setup_security` does, for an app or for the current one. Raises `ImproperlyConfigured`."""
    _setup_security(app or get_current_app(), allowed_serializers, key, key_password, cert, store, digest, serializer)


def disable_untrusted_serializers(whitelist: Sequence[str] | None = None) -> None:
    """Another name of `celeriac.serialization.disable_insecure_serializers`."""
    disable_insecure_serializers(() if whitelist is None else whitelist)
