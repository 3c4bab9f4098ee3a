"""What an app writes and accepts: serializers, compression and signatures of messages and results, from its settings."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from celeriac.client.keys import KeyRing
from celeriac.exceptions import EncodeError, ImproperlyConfigured
from celeriac.wire import compression, serializers, signing, yaml_text
from celeriac.wire.result_meta import ResultFormat

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.core.settings import Settings

logger = logging.getLogger("celeriac.worker")

SIGNED: Final = (signing.X509, signing.HMAC)
"""Serializers that sign bodies and results."""


class Content:
    """Worked out once for each snapshot of an app's settings; nothing is read or loaded before it is needed.

    Raises `ImproperlyConfigured` for settings that can be found wrong at once.
    """

    def __init__(self, settings: Settings) -> None:
        check_settings(settings)
        self.settings: Final = settings
        self.keys: Final = KeyRing(settings)
        accept = settings.accept_content if settings.result_accept_content is None else settings.result_accept_content
        self.results: Final = ResultFormat(
            serializer=settings.result_serializer,
            accept=tuple(accept),
            compression=settings.result_compression,
            keys=self.keys,
            unfolded_max_bytes=settings.result_unfolded_max_bytes,
        )
        accepted = {serializers.content_type_of(word) for word in settings.accept_content}
        hmac_only, required = accepted == {signing.HMAC_TYPE}, settings.security_require_signature
        self.requires_signatures: Final = settings.security_sign_messages or hmac_only if required is None else required
        """Whether tasks, revocations and rates are refused that are not signed."""
        self.may_require_signatures: Final = self.requires_signatures or (
            signing.HMAC_TYPE in accepted and required is not False
        )
        """Whether there may be messages that are refused without a signature."""
        self.signs_control: Final = settings.security_sign_messages or (
            serializers.content_type_of(settings.task_serializer) == signing.HMAC_TYPE
        )
        """Whether revocations and rates are signed."""

    @property
    def signs_results(self) -> bool:
        """Whether results are signed or sealed, so that nobody else can have written what is read."""
        return serializers.is_wrapping(self.results.serializer)

    def carrier(self, serializer: str) -> str:
        """Return the name of the serializer that writes the values themselves: of a signed or sealed one, what is inside."""
        inner = self.settings.security_serializer
        return serializers.name_of(inner if serializers.is_wrapping(serializer) else serializer)


def check_compression(name: str, method: Any) -> None:
    """Raise `ImproperlyConfigured` for a compression that does not exist or is not installed; `name` is what asks for it."""
    if method is None:
        return
    if not isinstance(method, str):
        raise ImproperlyConfigured(f"{name} = {method!r}: the name of a compression is wanted, such as 'gzip'")
    try:
        compression.check_method(method)
    except EncodeError as error:
        raise ImproperlyConfigured(f"{name}: {error}") from None


def check_settings(settings: Settings) -> None:
    """Raise `ImproperlyConfigured` for settings that can be found wrong before anything is sent."""
    check_compression("task_compression", settings.task_compression)
    check_compression("result_compression", settings.result_compression)


def check_worker(app: Celeriac) -> None:
    """Check at a worker's start that it can read what it accepts, and that it accepts what it is told to write.

    Blocks while key files are read.  Raises `ImproperlyConfigured`.
    """
    settings = app.settings
    for setting, accept in (
        ("accept_content", settings.accept_content),
        ("result_accept_content", settings.result_accept_content or ()),
    ):
        for word in accept:
            if serializers.content_type_of(word) is None and "/" not in word:
                raise ImproperlyConfigured(f"{setting}: {serializers.unknown(word)}")
    check_accepted("task_serializer", settings.task_serializer, "accept_content", settings.accept_content)
    for task in app.tasks.values():
        if not serializers.is_accepted(task.serializer, settings.accept_content):
            logger.warning(
                "task %s is sent with serializer %r, which accept_content does not list: no worker with these settings runs it",
                task.name,
                task.serializer,
            )
    results = app.content.results
    if serializers.content_type_of(settings.result_serializer) is None:
        raise ImproperlyConfigured(f"result_serializer: {serializers.unknown(settings.result_serializer)}")
    try:
        check_accepted("result_serializer", settings.result_serializer, "result_accept_content", results.accept)
    except ImproperlyConfigured as error:
        logger.warning("%s", error)  # a worker only writes results: it is for those who read them to say
    used = {serializers.content_type_of(word) for word in (*settings.accept_content, *results.accept)}
    if signing.X509_TYPE in used:
        app.content.keys.x509()
    if signing.HMAC_TYPE in used or app.content.requires_signatures:
        app.content.keys.hmac()
    if signing.SEALED_TYPE in used:
        app.content.keys.sealing()
    if serializers.content_type_of("pickle") in used and os.geteuid() == 0:
        logger.warning("this worker reads pickle and runs as root: whoever can write to the broker is root here")
    if serializers.content_type_of("yaml") in used:
        yaml_text.dumps(None)


def check_accepted(name: str, serializer: str, setting: str, accept: Sequence[str]) -> None:
    """Raise `ImproperlyConfigured` when what `name` says is written could never be read by the same settings."""
    if serializers.content_type_of(serializer) is None:
        raise ImproperlyConfigured(f"{name}: {serializers.unknown(serializer)}")
    if not serializers.is_accepted(serializer, accept):
        raise ImproperlyConfigured(
            f"{name} = {serializer!r} could not be read: {setting} allows {', '.join(accept) or 'nothing'};"
            f" add {serializer!r} to {setting}, here and in the workers"
        )


def check_call(app: Celeriac, task_name: str, serializer: str) -> None:
    """Raise `ImproperlyConfigured` when a task of this app is called in a form that the app says it does not accept.

    An app that does not say what it accepts may be one that only sends: then the workers decide.
    """
    if serializers.content_type_of(serializer) is None:
        raise EncodeError(f"calling {task_name!r}: {serializers.unknown(serializer)}")
    accept = app.settings.accept_content
    if "accept_content" in app.conf.changes and not serializers.is_accepted(serializer, accept):
        check_accepted(f"calling {task_name!r}: serializer", serializer, "accept_content", accept)


def setup_security(
    app: Celeriac,
    allowed_serializers: Sequence[str] | None = None,
    key: str | None = None,
    key_password: str | bytes | None = None,
    cert: str | None = None,
    store: str | None = None,
    digest: str | None = None,
    serializer: str = "json",
) -> None:
    """See `Celeriac.setup_security`."""
    del allowed_serializers  # only what accept_content lists is read, here as there
    settings = app.settings
    signed = settings.task_serializer
    if signed not in SIGNED or list(settings.accept_content) != [signed]:
        raise ImproperlyConfigured(
            "signed messages have to be written and to be asked for, unsigned ones refused: set task_serializer = 'auth' and"
            " accept_content = ['auth'] (or 'hmac' in both)"
        )
    given: Mapping[str, Any] = {
        "security_key": key,
        "security_key_password": key_password,
        "security_certificate": cert,
        "security_cert_store": store,
        "security_digest": digest,
        "security_serializer": serializer,
    }
    app.conf.update({name: value for name, value in given.items() if value})
    if signed == signing.HMAC:
        app.content.keys.hmac()
        return
    for name in ("security_key", "security_certificate", "security_cert_store"):
        if not getattr(app.settings, name):
            raise ImproperlyConfigured(f"the serializer 'auth' needs the setting {name}")
    app.content.keys.x509()
