"""What can go wrong with Redis, and how it is told to those above: which server, what happened, what to do."""

from __future__ import annotations

import re
from types import TracebackType
from typing import Final

from celeriac.exceptions import BackendUnavailable, BrokerFull, BrokerUnavailable, OperationalError
from celeriac.transports.redis.address import Address
from celeriac.transports.redis.cluster import CLUSTER_SCHEME

_LOGIN: Final = frozenset({"WRONGPASS", "NOAUTH"})
_ELSEWHERE: Final = frozenset(
    {"ASK", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MOVED", "NOREPLICAS", "READONLY", "UNBLOCKED"}
)
"""What a server says that is not, or no longer, the one to talk to: the next connection may find another."""
_PASSING: Final = frozenset({*_ELSEWHERE, "TRYAGAIN", "BUSY", "MISCONF"})
UNSECURED: Final = "UNSECURED"
"""Our own: a write was made, but not as secure in time as was wanted."""
_CLUSTER: Final = frozenset({"MOVED", "ASK", "CROSSSLOT"})
_FORBIDDEN_IN_SCRIPT: Final = "The user executing the script can't"
_CODE_IN_SCRIPT: Final = re.compile(r"^ERR Error running script.*?: -([A-Z]+) ")  # Redis 6
_NO_PASSWORD_SET: Final = "without any password configured"


class ReplyError(Exception):
    """Redis answered a command with an error."""

    @property
    def code(self) -> str:
        """The word that tells the kind of error: the first one, or what an error within a script amounts to."""
        text = str(self)
        if _FORBIDDEN_IN_SCRIPT in text:
            return "NOPERM"
        within = _CODE_IN_SCRIPT.search(text)
        return within[1] if within else text.partition(" ")[0]

    @property
    def ends_connection(self) -> bool:
        """Whether the server is not the one to talk to now: then a new connection is wanted, as after a lost one."""
        return self.code in _ELSEWHERE


class ConnectionLost(Exception):
    """The connection could not be made, or broke before a command had been sent; the text says how."""


class OutcomeUnknown(ConnectionLost):
    """The connection broke, or the time was over, between a command and its answer."""


class Translator:
    """A context that turns the errors of a connection into those of a broker or a backend.

    What may pass by itself becomes `passing`, what will not (a wrong password, a missing right) `lasting`.
    """

    def __init__(
        self, address: Address, passing: type[OperationalError], lasting: type[OperationalError] = OperationalError
    ) -> None:
        self._address = address
        self._passing = passing
        self._lasting = lasting

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, ReplyError):
            raise self.of_reply(error) from None
        if isinstance(error, ConnectionLost):
            raise self._passing(f"Redis at {self._address.shown} cannot be reached: {error}") from error

    def of_reply(self, error: ReplyError) -> OperationalError:
        """Return the error that tells what Redis answered."""
        where, user, text, code = f"Redis at {self._address.shown}", self._address.username, str(error), error.code
        if code in _LOGIN or _NO_PASSWORD_SET in text:
            return self._lasting(
                f"{where} refused user {user or 'default'!r}: {text}; correct user name and password in the URL"
            )
        if code == "NOPERM":
            if "keys used as arguments" in text or "channels used as arguments" in text:
                text += " (its ACL LOG says which)"
            return self._lasting(
                f"{where} forbids this to user {user or 'default'!r}: {text}; extend the user's ACL by what the"
                " documentation's page about Redis lists"
            )
        if code == "OOM":
            full = BrokerFull if self._passing is BrokerUnavailable else self._passing
            return full(
                f"{where} is full: {text}; workers go on emptying it: start some, raise its maxmemory, or purge"
                " what is not needed"
            )
        if code in _CLUSTER and self._address.slot is None:
            return self._lasting(
                f"{where} is a cluster: {text}; write {CLUSTER_SCHEME}:// in the URL, which keeps all keys on one node and"
                " finds it"
            )
        if code == "CROSSSLOT":
            return self._lasting(f"{where} answered: {text}; keys of one program need one hash tag in global_keyprefix")
        if code == UNSECURED:
            why = text.partition(" ")[2]
            return self._passing(f"{where} wrote what it was given, but {why}; a failover may lose it")
        if code in _PASSING:
            return self._passing(f"{where} is not ready: {text}")
        return self._lasting(f"{where} answered: {text}")


def broker_errors(address: Address) -> Translator:
    """Return the context for the sides of a broker."""
    return Translator(address, BrokerUnavailable)


def backend_errors(address: Address) -> Translator:
    """Return the context for the sides of a result backend."""
    return Translator(address, BackendUnavailable, BackendUnavailable)
