"""`self.add_to_chord(...)`: one more member for the chord that the running task belongs to."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from celeriac.client.canvas.plan import plan
from celeriac.client.plans import to_result

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.canvas.signature import Signature
    from celeriac.client.context import Request
    from celeriac.client.result_base import ResultBase


def add_to_chord(app: Celeriac, request: Request, signature: Signature, *, lazy: bool) -> ResultBase[Any]:
    """Have the chord of the running task wait for one more member, and send it, unless `lazy`: then the caller sends the signature.

    A workflow is one member, a group too: its part is the list.  A task that is run again after a crash adds the same members again, and
    they count once: their ids are derived from its own and from their order.
    """
    assert request.group is not None
    ids = _ids(request)
    root_id = request.root_id or request.id
    options = {"chord": request.chord, "group_id": request.group, "root_id": root_id, "parent_id": request.id}
    if request.reply_to:
        options["reply_to"] = request.reply_to
    planned = plan(signature, (), {}, options, lambda: next(ids))
    request.added_to_chord.append(planned)
    if request.is_eager:  # it is run as soon as this task has ended
        return to_result(app, planned.result)
    app._reader.extend_chord(request.group, planned.result.id, app.settings.chord_expires_s)
    if not lazy:
        return app.sender.send_plan(planned, {})
    signature.freeze(planned.result.id, request.group, request.chord, root_id, request.id)
    return to_result(app, planned.result)


def _ids(request: Request) -> Iterator[str]:
    order = len(request.added_to_chord)
    namespace = uuid.uuid5(uuid.NAMESPACE_OID, f"{request.id}/{request.retries}/added/{order}")
    return (str(uuid.uuid5(namespace, str(number))) for number in itertools.count())
