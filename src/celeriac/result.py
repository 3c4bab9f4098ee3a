"""Results of tasks: Celery's names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celeriac.client import result_tuples
from celeriac.client.current import get_current_app
from celeriac.client.eager_result import EagerResult
from celeriac.client.group_result import GroupResult
from celeriac.client.joining import allow_join_result, assert_will_not_block, denied_join_result, task_join_will_block
from celeriac.client.progress import Progress
from celeriac.client.result import AsyncResult
from celeriac.client.result_base import ResultBase
from celeriac.client.result_graph import DependencyGraph
from celeriac.client.result_set import ResultSet

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

__all__ = [
    "AsyncResult",
    "DependencyGraph",
    "EagerResult",
    "GroupResult",
    "Progress",
    "ResultBase",
    "ResultSet",
    "allow_join_result",
    "assert_will_not_block",
    "denied_join_result",
    "result_from_tuple",
    "task_join_will_block",
]


def result_from_tuple(r: Any, app: Celeriac | None = None) -> ResultBase[Any]:
    """Return the result that a tuple from `as_tuple` stands for (a list will do: so it comes out of JSON); a result as it is.

    Raises `ValueError` for what is none, `ImproperlyConfigured` when there is no app.
    """
    if isinstance(r, ResultBase):
        return r
    return result_tuples.from_tuple(app or get_current_app(), r)
