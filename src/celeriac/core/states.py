"""The states of a task, as they stand in results."""

from __future__ import annotations

from typing import Final

PENDING: Final = "PENDING"
RECEIVED: Final = "RECEIVED"
STARTED: Final = "STARTED"
SUCCESS: Final = "SUCCESS"
FAILURE: Final = "FAILURE"
REVOKED: Final = "REVOKED"
REJECTED: Final = "REJECTED"
RETRY: Final = "RETRY"
IGNORED: Final = "IGNORED"

READY_STATES: Final = frozenset({SUCCESS, FAILURE, REVOKED})
"""A task in one of these has ended; its result will not change again."""
EXCEPTION_STATES: Final = frozenset({RETRY, FAILURE, REVOKED})
"""In these the result holds an exception."""
PROPAGATE_STATES: Final = frozenset({FAILURE, REVOKED})
"""In these `get()` raises."""
UNREADY_STATES: Final = frozenset({PENDING, RECEIVED, STARTED, REJECTED, RETRY})
ALL_STATES: Final = READY_STATES | UNREADY_STATES
