"""Checks of the options of one call: do they exist, and have they the right type?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from celeriac.client.options import check_call_option_names

Id = Annotated[str, Meta(min_length=1, max_length=255)]
Seconds = Annotated[float, Meta(ge=0)]


class _Checked(Struct):
    """The types that a schema can check; what may be given in several forms is checked where it is read."""

    countdown: float | None = None
    routing_key: str | None = None
    priority: Annotated[int, Meta(ge=0, le=255)] | None = None
    task_id: Id | None = None
    headers: dict[str, Any] | None = None
    retry: bool | None = None
    ignore_result: bool | None = None
    time_limit: Seconds | None = None
    soft_time_limit: Seconds | None = None
    shadow: str | None = None
    serializer: str | None = None
    compression: str | None = None
    reply_to: str | None = None
    add_to_parent: bool = True
    root_id: Id | None = None
    parent_id: Id | None = None
    group_id: str | None = None
    group_index: int | None = None
    retries: Annotated[int, Meta(ge=0)] | None = None
    argsrepr: str | None = None
    kwargsrepr: str | None = None


_CHECKED: Final = frozenset(_Checked.__struct_fields__)


def check_call_options(task_name: str, options: Mapping[str, Any]) -> None:
    """Raise `TypeError` for an option that does not exist, or whose value has the wrong type or is out of its range."""
    check_call_option_names(task_name, options)
    checked = {name: value for name, value in options.items() if value is not None and name in _CHECKED}
    try:
        msgspec.convert(checked, _Checked)
    except msgspec.ValidationError:
        pass
    else:
        return
    for name, value in checked.items():  # the error is to name the first that is wrong
        try:
            msgspec.convert({name: value}, _Checked)
        except msgspec.ValidationError as error:
            reason = str(error).partition(" - at ")[0]
            raise TypeError(f"calling task {task_name!r}: option {name}={value!r}: {reason}") from None
