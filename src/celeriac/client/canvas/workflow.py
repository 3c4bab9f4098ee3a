"""What chains, groups and chords have in common: how they are called, frozen and copied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, cast, overload

from celeriac.client.canvas.freeze import freeze, result_of
from celeriac.client.canvas.nodes import GroupNode, end_id, last_calls, listed
from celeriac.client.canvas.plan import Plan, plan
from celeriac.client.canvas.reading import read, with_options
from celeriac.client.canvas.signature import Signature, SignatureLike, part
from celeriac.client.canvas.typed import In, Out, Sent
from celeriac.client.canvas.writing import plain, write
from celeriac.client.context import running_request

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.result_base import ResultBase


class Workflow(Signature[In, Out, Sent]):
    """A signature that consists of others."""

    __slots__ = ()

    if TYPE_CHECKING:

        @overload
        def set(self, *, immutable: None = None, **options: Any) -> Self: ...
        @overload
        def set(self, *, immutable: bool, **options: Any) -> Any: ...
        def set(self, *, immutable: bool | None = None, **options: Any) -> Any: ...

    # -- calling ------------------------------------------------------------------------------------------------------

    def delay(self, *args: Any, **kwargs: Any) -> Sent:
        """Send the workflow, with these arguments added to those of its first tasks."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Sent:
        """Send the workflow: its first tasks, all in as few batches as may be, with everything that follows written into them.

        Args:
            args, kwargs: added to those of the tasks with which it begins.
            options: of `Task.apply_async`; the guide says to which tasks they go.

        Returns its last task's result, or a `GroupResult` where it ends in a group; their `parent`s are the results before.

        Raises:
            ArgumentError: arguments that are known already do not fit a task that is known here, or are no plain data.
            ImproperlyConfigured: there is a chord in it, and the result backend can't count.
            MessageTooLarge, BrokerUnavailable, BackendUnavailable, PublishTimeout: as of `Task.apply_async`; but for the last nothing
                was sent.
            PartlySent: of its first tasks, more than go in one batch, some had been accepted before sending ended.

        Blocks up to `publish_timeout_s` for each batch.  Thread-safe.  Not idempotent.
        """
        app = self.app
        if app.settings.task_always_eager:
            return cast("Sent", self.apply(args, kwargs, **options))
        return cast("Sent", app.sender.send_plan(self._plan(app, args, kwargs, options), options))

    async def adelay(self, *args: Any, **kwargs: Any) -> Sent:
        """As `delay`, without blocking the event loop."""
        return await self.aapply_async(args, kwargs)

    async def aapply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Sent:
        """As `apply_async`, without blocking the event loop."""
        app = self.app
        if app.settings.task_always_eager:
            from celeriac.client.eager import aapply_plan_eagerly

            return cast("Sent", await aapply_plan_eagerly(app, self._plan(app, args, kwargs, options)))
        return cast("Sent", await app.sender.asend_plan(self._plan(app, args, kwargs, options), options))

    def apply(self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Run the workflow here and now, one task after the other, as workers would; nothing is sent.

        `throw`: raise what it fails with; the setting `task_eager_propagates` if not given.  Raises `NotRegistered` for a task that is not
        known here.
        """
        from celeriac.client.eager import apply_plan_eagerly

        throw = options.pop("throw", None)
        return apply_plan_eagerly(self.app, self._plan(self.app, args, kwargs, options), throw=throw)

    def __call__(self, *args: Any, **kwargs: Any) -> Sent:
        """As `delay`."""
        return self.apply_async(args, kwargs)

    def _plan(
        self, app: Celeriac, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None, options: Mapping[str, Any]
    ) -> Plan:
        from celeriac.client.calls import new_id

        if "unique" in options:
            raise TypeError(f"calling {self!r:.100}: unique is an option of single tasks")
        running = running_request()
        eager = app.settings.task_always_eager
        reply_to = None if eager else (running.reply_to if running is not None else None) or app.reply_to
        lasting = {
            name: value for name, value in options.items() if name not in ("retry", "retry_policy", "add_to_parent")
        }
        if reply_to:
            lasting.setdefault("reply_to", reply_to)
        on_headers = app.settings.task_allow_error_cb_on_chord_header
        return plan(self, args or (), kwargs or {}, lasting, new_id, errbacks_on_headers=on_headers)

    # -- changing -----------------------------------------------------------------------------------------------------

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: SignatureLike | None = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> ResultBase[Any]:
        """Give ids to everything in the workflow, so that its results are known before it is sent; returns the last. Idempotent.

        It takes its normal form then.  A frozen workflow is to be sent once.
        """
        from celeriac.client.calls import new_id
        from celeriac.client.plans import to_result

        app = self.app
        node = read(self, errbacks_on_headers=app.settings.task_allow_error_cb_on_chord_header) or GroupNode([])
        given = {"group_id": group_id, "group_index": group_index, "root_id": root_id, "parent_id": parent_id}
        if end_id(node) is None:
            given["task_id"] = _id
        node = with_options(node, {name: value for name, value in given.items() if value is not None})
        if chord is not None:  # each member of a group is a part of it then, as in Celery
            for call in last_calls(node):
                call.options |= {"chord": plain(chord), "group_id": group_id}
        freeze(node, new_id)
        self._become(write(node))
        return to_result(app, result_of(node))

    def _become(self, written: SignatureLike) -> None:
        """Take over the parts and the id of a workflow that has been written down; it is of the same kind, or in a chain a step."""
        self["args"], self["kwargs"], self["options"] = [], dict(written["kwargs"]), dict(written["options"])
        self["immutable"] = False
        self._take_parts()

    def _parts(self, name: str) -> list[Signature]:
        """Make signatures of the parts that stand under a name in `kwargs`, and return them."""
        parts = self.kwargs[name] = [part(one, self._app) for one in listed(self.kwargs.get(name))]
        return parts

    def _is_bare(self) -> bool:
        """Tell whether it says nothing besides its parts."""
        more = self.kwargs.get("kwargs") or self.kwargs.keys() - {"tasks", "header", "body", "kwargs"}
        return not (self.args or self.options or self.immutable or more)
