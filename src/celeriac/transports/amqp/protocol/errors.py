"""What can be wrong with bytes."""

from __future__ import annotations


class ProtocolError(Exception):
    """The peer sent bytes that are no AMQP, or more than our limits allow; the connection is of no use any more."""


class CodecError(ProtocolError):
    """A value cannot be written as AMQP, or bytes cannot be read as one."""
