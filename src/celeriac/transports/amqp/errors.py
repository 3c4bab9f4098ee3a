"""What goes wrong between us and RabbitMQ, told with its cure."""

from __future__ import annotations

from typing import Final

from celeriac.exceptions import BrokerUnavailable, OperationalError
from celeriac.transports import tls

ACCESS_REFUSED = 403
NOT_FOUND = 404
RESOURCE_LOCKED = 405
PRECONDITION_FAILED = 406
RESOURCE_ERROR = 506
NOT_ALLOWED = 530
INTERNAL_ERROR = 541

BEING_MADE: Final = frozenset({RESOURCE_ERROR, INTERNAL_ERROR})
"""How RabbitMQ closes the connection of whoever uses a stream or a quorum queue that somebody else is making at this moment: it is
declared already, but has no leader yet ("Stream not found for queue ...", "noproc").  A moment later the same request succeeds."""


class ChannelError(OperationalError):
    """RabbitMQ refused a request and closed the channel for it."""

    def __init__(self, code: int, text: str, about: str) -> None:
        self.code = code
        self.text = text
        super().__init__(f"RabbitMQ refused to {about}: {text}{_cure(code)}")

    @property
    def queue_is_away(self) -> bool:
        """Whether it is about a queue that exists, on a node that is down."""
        return self.code == NOT_FOUND and "down or inaccessible" in self.text


_CURES: Final = {
    ACCESS_REFUSED: "give the user the permission (rabbitmqctl set_permissions), or declare it with another user",
    RESOURCE_LOCKED: "it belongs to another connection: choose another name",
    PRECONDITION_FAILED: "delete it (rabbitmqctl delete_queue), or let the settings agree with what exists",
}


def _cure(code: int) -> str:
    cure = _CURES.get(code)
    return f"; {cure}" if cure else ""


class ConnectionLost(BrokerUnavailable):
    """The connection went away while it was used."""


class QueueBeingMade(ConnectionLost):
    """RabbitMQ closed the connection with one of `BEING_MADE`: worth to be tried again at once, over a new connection."""


def unreachable(shown_url: str, error: Exception) -> BrokerUnavailable:
    """No connection came about, because of `error`: refused, or no answer in time."""
    silent = not isinstance(error, OSError) or isinstance(error, TimeoutError)
    if isinstance(error, OSError) and (said := tls.explain(error, "cacertfile")) is not None:
        return BrokerUnavailable(f"cannot reach RabbitMQ at {shown_url}: {said}")
    why = (str(error) if "resolved" in str(error) else "no answer in time") if silent else str(error)
    return BrokerUnavailable(f"cannot reach RabbitMQ at {shown_url}: {why}; is it running?")


def login_refused(shown_url: str, user: str) -> OperationalError:
    """RabbitMQ knows the user not, or not with this password."""
    return OperationalError(
        f"{shown_url}: RabbitMQ refuses the login of user {user!r}; check user and password in broker_url"
        " (the user 'guest' may only log in from the broker's own machine)"
    )


def vhost_refused(shown_url: str, vhost: str, user: str, text: str) -> OperationalError:
    """The vhost does not exist, or is closed to this user."""
    return OperationalError(
        f"{shown_url}: RabbitMQ refuses the vhost {vhost!r} ({text}); correct the path in broker_url, or:"
        f" rabbitmqctl add_vhost {vhost}; rabbitmqctl set_permissions -p {vhost} {user} '.*' '.*' '.*'"
    )


def connection_closed(shown_url: str, code: int, text: str) -> ConnectionLost:
    """RabbitMQ closed the connection and said why."""
    lost = QueueBeingMade if code in BEING_MADE else ConnectionLost
    return lost(f"{shown_url}: RabbitMQ closed the connection: {code} {text}".rstrip())
