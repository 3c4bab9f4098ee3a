"""`self.replace(...)`: another task takes over the running one's id, and with it everyone who waits for its result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from celeriac.client.canvas.nodes import ACCUMULATE, ends_in_group
from celeriac.client.canvas.reading import read
from celeriac.client.canvas.signature import as_signatures
from celeriac.client.stamps import stamps_of, with_stamps
from celeriac.exceptions import Ignore, ImproperlyConfigured

if TYPE_CHECKING:
    from celeriac.client.context import Request


class Replaced(Ignore):
    """Raised in a task: it ends without a result, because the task of `signature` gives it under the same id."""

    def __init__(self, signature: dict[str, Any]) -> None:
        self.signature = signature
        super().__init__(f"replaced by {signature['task']}")


def make_replacement(request: Request, signature: Mapping[str, Any], *, here: bool = False) -> dict[str, Any]:
    """Return the signature as it has to be sent: with the id of the running task and everything that follows it.

    A workflow gives its value under that id; a group, the list of its values.  `here`: it is run on the spot, as a part of the running
    task; then what follows is left to the end of that.

    Raises `ImproperlyConfigured` for a signature that is a member of a chord and for an empty chain, `TypeError` for what is none.
    """
    (copied,) = as_signatures(signature)
    options = dict(copied.get("options") or {})
    if "chord" in options:
        raise ImproperlyConfigured("a signature that replaces a task must not be a member of a chord itself")
    node = read(copied)
    if node is None:
        raise ImproperlyConfigured("a task can't be replaced by an empty chain: there would be no result")
    if ends_in_group(node):
        accumulate: dict[str, Any] = {
            "task": ACCUMULATE,
            "args": [],
            "kwargs": {"index": 0},
            "options": {},
            "subtask_type": None,
            "immutable": False,
        }
        copied = {
            **copied,
            "task": "celery.chain",
            "subtask_type": "chain",
            "args": [],
            "kwargs": {"tasks": [copied, accumulate]},
        }
        options = {}
    if stamps := stamps_of(request):
        # It is the same call for whoever revokes it by a stamp.
        copied = with_stamps({**copied, "options": options}, stamps)
        options = copied["options"]
    if not here:
        # What hung on the replaced task comes after what the replacement brings along.
        options["link"] = [*as_signatures(options.get("link")), *(request.callbacks or [])]
        options["link_error"] = [*as_signatures(options.get("link_error")), *(request.errbacks or [])]
    options |= {
        "task_id": request.id or None,
        "root_id": request.root_id,
        "group_id": request.group,
        "group_index": request.group_index,
        "chord": request.chord,
        "reply_to": request.reply_to,
        "chain": None if here else request.chain,
        "replaced_task_nesting": request.replaced_task_nesting + 1,
    }
    return {**copied, "options": {name: value for name, value in options.items() if value not in (None, [])}}
