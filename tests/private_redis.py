"""A private Redis that, on request, lets programs in with the documented rights only."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import redis as redis_py

from celeriac.torture.servers import redis
from celeriac.torture.servers.service import HOST

PAGE: Final = Path(__file__).parents[1] / "docs" / "brokers" / "redis.md"
PREFIX: Final = "shop:"
"""The page's `global_keyprefix`."""
USER, PASSWORD = "celeriac", "least-rights"
UNDER_ACL: Final = os.environ.get("CELERIAC_TEST_REDIS_ACL", "") not in ("", "0")
"""Every private Redis of the run lets programs in with these rights only."""


def documented_rights() -> list[str]:
    """The rules of the ACL that the operator's page says to set with `PREFIX`, but for the password."""
    (block,) = re.findall(r"ACL SETUSER celeriac (.*?)```", PAGE.read_text(), re.DOTALL)
    return [word for word in block.split() if not word.startswith(">")]


def rights_without_prefix(*queues: str) -> list[str]:
    """The rules for names without a prefix, with further queues."""
    (keys,) = re.findall(r"```\n(~celeriac:.*?)\n```", PAGE.read_text())
    commands = [word for word in documented_rights() if not word.startswith(("~", "&"))]
    return [*commands, *keys.split(), *(f"~{queue}*" for queue in queues)]


class PrivateRedis(redis.PrivateRedis):
    """As that of the torture command; with `rights`, its URLs are those of a user who has these, and no others.

    Tests that look into the server themselves go on doing so as the user who may do everything: see `as_default_user`.
    """

    def __init__(
        self, *, options: Sequence[str] = (), password: str | None = None, rights: Sequence[str] | None = None
    ) -> None:
        super().__init__(options=options, password=password)
        under_acl = rights is None and UNDER_ACL and password is None
        # Tests have queues and prefixes of any name: for those two tests see to the patterns that always run so.
        self.rights = [*rights_without_prefix(), "~*", "&*celery-task-meta-*", "&*/*"] if under_acl else rights
        if self.rights is not None:
            users = self.directory / "users.acl"
            users.write_text(f"user default on nopass ~* &* +@all\nuser {USER} >{PASSWORD} {' '.join(self.rights)}\n")
            self._options += ["--aclfile", str(users)]

    def database_url(self, number: int) -> str:
        if self.rights is None:
            return super().database_url(number)
        return f"redis://{USER}:{PASSWORD}@{HOST}:{self.port}/{number}"


def as_default_user(url: str) -> str:
    """The same URL for what a test does itself, as an operator would."""
    parts = urlsplit(url)
    if parts.username != USER or parts.password != PASSWORD:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


if UNDER_ACL:
    # What tests do themselves, and Celery in their process, goes through this library, of which Celeriac uses nothing.
    _connect: Callable[..., None] = redis_py.Connection.__init__

    def _connect_as_default_user(self: Any, *arguments: Any, **options: Any) -> None:
        if options.get("username") == USER:
            options["username"] = options["password"] = None
        _connect(self, *arguments, **options)

    redis_py.Connection.__init__ = _connect_as_default_user  # type: ignore[method-assign]
