"""What is to happen after the commit of a session's transaction, savepoints included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

Hook = Callable[[], object]

_KEY: Final = "celeriac_commit_hooks"


class CommitHooks:
    """The hooks of one session.

    Duties: 1. keep each with the transaction or savepoint in which it was asked for; 2. hand those of a released savepoint to
    what encloses it; 3. call those of a transaction that was committed, in their order, once it is over; 4. drop all others.

    Not thread-safe, as sessions are not.
    """

    def __init__(self, session: Session) -> None:
        self._waiting: dict[SessionTransaction | None, list[Hook]] = {}
        """Under None: asked for before a transaction had begun, so they belong to the next one."""
        self._committed: SessionTransaction | None = None
        event.listen(session, "after_transaction_create", self._created)
        event.listen(session, "after_commit", self._was_committed)
        event.listen(session, "after_transaction_end", self._ended)

    @classmethod
    def of(cls, session: Session) -> CommitHooks:
        """Return a session's hooks."""
        hooks: CommitHooks | None = session.info.get(_KEY)
        if hooks is None:
            hooks = session.info[_KEY] = cls(session)
        return hooks

    def add(self, session: Session, hook: Hook) -> None:
        """Call `hook` when the session's innermost transaction, and all around it, are committed."""
        self._waiting.setdefault(_innermost(session), []).append(hook)

    def _created(self, _session: Session, transaction: SessionTransaction) -> None:
        if transaction.parent is None and None in self._waiting:
            self._waiting[transaction] = self._waiting.pop(None)

    def _was_committed(self, session: Session) -> None:
        transaction = _innermost(session)
        if transaction is None or not transaction.nested:
            self._committed = transaction
            return
        hooks = self._waiting.pop(transaction, None)
        if hooks:
            self._waiting.setdefault(_enclosing(transaction), []).extend(hooks)

    def _ended(self, _session: Session, transaction: SessionTransaction) -> None:
        hooks = self._waiting.pop(transaction, [])
        if transaction.parent is not None:
            return
        committed, self._committed = self._committed, None
        self._waiting.clear()
        if committed is transaction:
            _call_all(hooks)


def _call_all(hooks: list[Hook]) -> None:
    """Call every hook, and raise what the first that failed has raised."""
    failure: Exception | None = None
    for hook in hooks:
        try:
            hook()
        except Exception as error:  # the others have been committed too
            failure = failure or error
    if failure is not None:
        raise failure


def _innermost(session: Session) -> SessionTransaction | None:
    return session.get_nested_transaction() or session.get_transaction()


def _enclosing(transaction: SessionTransaction) -> SessionTransaction | None:
    parent: Any = transaction.parent
    while parent is not None and parent.parent is not None and not parent.nested:
        parent = parent.parent
    found: SessionTransaction | None = parent
    return found
