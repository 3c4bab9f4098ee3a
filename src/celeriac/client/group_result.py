"""The result of a group: a set of results that has an id, a parent, and can be kept in the backend."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self, TypeVar

from celeriac.client import result_tuples
from celeriac.client.current import get_current_app
from celeriac.client.result import check_backend
from celeriac.client.result_base import Recipe, ResultBase
from celeriac.client.result_set import ResultSet
from celeriac.core import states
from celeriac.exceptions import DecodeError
from celeriac.wire import group_document

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

R = TypeVar("R")


class GroupResult(ResultSet[R]):
    """What a caller holds of a group that it has sent: `apply_async` of a group returns it.

    Args:
        id: the group's; a new one if not given.
        results: the members, in the group's order.
        parent: the result of what came before the group in a chain.
        app: the members', unless there are none.
        min_successes: for the header of a chord that is content with so many; then a member that failed is not what its body
            failed of.
    """

    __slots__ = ("min_successes",)

    def __init__(
        self,
        id: str | None = None,
        results: Iterable[ResultBase[R]] | None = None,
        parent: ResultBase[Any] | None = None,
        *,
        app: Celeriac | None = None,
        min_successes: int | None = None,
    ) -> None:
        super().__init__(results or (), app)
        self.id = id or str(uuid.uuid4())
        self.parent = parent
        self.min_successes = min_successes

    @property
    def may_fail(self) -> bool:
        """Tell whether what comes after it goes on although some of its members failed."""
        return self.min_successes is not None

    def member_tuples(self) -> list[tuple[Any, Any]]:
        """Return Celery's tuple forms of the members."""
        return [member.as_tuple() for member in self.results]

    # -- being kept ---------------------------------------------------------------------------------------------------

    def save(self, backend: Any = None) -> Self:
        """Keep in the backend of which results this group consists, so that its id is enough to find them; returns itself.

        It is kept for `result_expires` seconds.  `backend` is accepted for Celery's sake; it must be the app's.  Idempotent,
        blocking.  Raises `ImproperlyConfigured` for a backend that keeps no groups, `BackendUnavailable`.
        """
        app = self.app
        check_backend(app, backend)
        document = group_document.encode(self.as_tuple(), app.content.results)
        app._reader.save_group(self.id, document, app.settings.expires_of(states.SUCCESS))
        return self

    @classmethod
    def restore(cls, id: str, backend: Any = None, app: Celeriac | None = None) -> GroupResult[Any] | None:
        """Return a group that was saved, None when there is none of this id. Blocking; raises as `save`, and `DecodeError`."""
        app = app or get_current_app()
        check_backend(app, backend)
        document = app._reader.fetch_group(id)
        if document is None:
            return None
        group = group_from_document(app, document)
        if group.id != id:
            raise DecodeError(f"what is stored as group {id} is the document of group {group.id!r:.80}")
        return group

    def delete(self, backend: Any = None) -> None:
        """Forget that this group was saved; its results stay, `forget` deletes them. Idempotent, blocking; raises as `save`."""
        check_backend(self.app, backend)
        self.app._reader.forget_group(self.id)

    # -- being one among others ---------------------------------------------------------------------------------------

    def __bool__(self) -> bool:
        return True  # also without members

    def __eq__(self, other: object) -> bool:
        if isinstance(other, GroupResult):
            return (self.id, self.parent, self.results) == (other.id, other.parent, other.results)
        return self.id == other if isinstance(other, str) else NotImplemented

    __hash__ = ResultBase.__hash__  # type: ignore[assignment]  # by its id, which does not change
    __str__ = ResultBase.__str__

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id} [{self._shown_members()}]>"

    def _recipe(self) -> Recipe:
        return _restored, (type(self), self.id, self.results, self.min_successes)


class GroupResults:
    """`app.GroupResult`: makes and restores groups of one app."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app

    def __call__(
        self,
        id: str | None = None,
        results: Iterable[ResultBase[R]] | None = None,
        parent: ResultBase[Any] | None = None,
        *,
        min_successes: int | None = None,
    ) -> GroupResult[R]:
        """Return the result of a group; see `GroupResult`."""
        return GroupResult(id, results, parent, app=self._app, min_successes=min_successes)

    def restore(self, id: str, backend: Any = None) -> GroupResult[Any] | None:
        """As `GroupResult.restore`."""
        return GroupResult.restore(id, backend, self._app)


def group_from_document(app: Celeriac, document: bytes) -> GroupResult[Any]:
    """Return the group that a stored document tells of. Raises `DecodeError`, `ContentDisallowed`."""
    try:
        group = result_tuples.from_tuple(app, group_document.decode(document, app.content.results))
    except ValueError as error:
        raise DecodeError(f"no document of a group: {error}") from None
    if not isinstance(group, GroupResult):
        raise DecodeError(f"no document of a group: it tells of task {group.id}")
    return group


def _restored(
    kind: type[GroupResult[R]], group_id: str, results: list[ResultBase[R]], min_successes: int | None
) -> GroupResult[R]:
    return kind(group_id, results, min_successes=min_successes)
