"""Stamping: a value under a name is put on every call of a workflow, by a visitor that may look at each."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping
from typing import Any

from celeriac.client.canvas.chain import chain
from celeriac.client.canvas.chord import chord
from celeriac.client.canvas.group import group
from celeriac.client.canvas.nodes import listed
from celeriac.client.canvas.signature import Signature, part
from celeriac.client.options import CALL_OPTIONS
from celeriac.client.stamps import NAMES, checked_names, plain_value

Headers = dict[str, Any]


class StampingVisitor(abc.ABC):
    """Says which stamps the calls of a workflow get: `workflow.stamp(visitor)` asks it at each.

    Each method returns a dict of stamps, maybe empty; it gets the stamps so far as keyword arguments, and their names as
    `stamped_headers`.  What is returned at the start of a chain, group or header of a chord, or for a callback or errback, is put on
    everything in it; what is returned for a body, on the body and not on what comes later.

    A dict may have a key `stamped_headers` with the names of those that are stamps.  What else it holds is set as options of the calls,
    `{"priority": 3, "stamped_headers": []}`, if there are such options; the rest only reaches the methods that are called later.
    """

    @abc.abstractmethod
    def on_signature(self, sig: Signature, **headers: Any) -> dict[str, Any]:
        """Return the stamps of a call of one task; must be defined."""

    def on_group_start(self, group: group, **headers: Any) -> dict[str, Any]:
        """Called before the members of a group."""
        return {}

    def on_group_end(self, group: group, **headers: Any) -> None:  # noqa: B027 - may be left as it is
        """Called after the members of a group."""

    def on_chain_start(self, chain: chain, **headers: Any) -> dict[str, Any]:
        """Called before the steps of a chain."""
        return {}

    def on_chain_end(self, chain: chain, **headers: Any) -> None:  # noqa: B027 - may be left as it is
        """Called after the steps of a chain."""

    def on_chord_header_start(self, sig: chord, **header: Any) -> dict[str, Any]:
        """Called before the members of a chord's header; as long as it is not defined, `on_group_start` is called with them."""
        return self.on_group_start(_header_of(sig), **header)

    def on_chord_header_end(self, sig: chord, **header: Any) -> None:
        """Called after the members of a chord's header; as long as it is not defined, `on_group_end` is called with them."""
        self.on_group_end(_header_of(sig), **header)

    def on_chord_body(self, sig: chord, **header: Any) -> dict[str, Any]:
        """Called before the body of a chord, with the chord."""
        return {}

    def on_callback(self, callback: Signature, **header: Any) -> dict[str, Any]:
        """Called before a callback, which is visited as any other signature then."""
        return {}

    def on_errback(self, errback: Signature, **header: Any) -> dict[str, Any]:
        """Called before an errback, which is visited as any other signature then."""
        return {}


class GroupStampingVisitor(StampingVisitor):
    """Stamps each task with the ids of the groups that it is in, under `groups`, outermost first.

    So what is left of a group can be revoked by its id: `app.control.revoke_by_stamped_headers({"groups": result.id})`.  Groups get
    their ids by it: what it has visited is to be sent once.

    Args:
        groups: ids that every task gets besides.
    """

    def __init__(self, groups: Iterable[str] = ()) -> None:
        self.groups = list(groups)

    def on_group_start(self, group: group, **headers: Any) -> dict[str, Any]:
        from celeriac.client.calls import new_id

        if group.id is None:
            group.set(task_id=new_id())
        assert group.id is not None
        self.groups.append(group.id)
        return {}

    def on_group_end(self, group: group, **headers: Any) -> None:
        self.groups.pop()

    def on_signature(self, sig: Signature, **headers: Any) -> dict[str, Any]:
        return {"groups": list(self.groups)} if self.groups else {}


def stamp(signature: Signature, visitor: StampingVisitor | None, append: bool, headers: Mapping[str, Any]) -> None:
    """Stamp a signature and everything in it; see `Signature.stamp`."""
    _Tour(visitor or _NoVisitor(), append).visit(signature, _joined({}, headers, "stamp()"))


class _NoVisitor(StampingVisitor):
    """Leaves it at the stamps that were given to the call."""

    def on_signature(self, sig: Signature, **headers: Any) -> dict[str, Any]:
        return {}


class _Tour:
    def __init__(self, visitor: StampingVisitor, append: bool) -> None:
        self._visitor = visitor
        self._append = append

    def visit(self, sig: Signature, headers: Headers) -> None:
        # The parts may be the caller's own signatures, which are part of other workflows, too.
        sig._clone_parts()
        match sig:
            case chain():
                inner = self._asked("on_chain_start", sig, headers)
                self._links(sig, inner)
                for step in sig.tasks:
                    self.visit(step, inner)
                self._visitor.on_chain_end(sig, **inner)
            case group():
                inner = self._asked("on_group_start", sig, headers)
                self._links(sig, inner)
                for member in sig.tasks:
                    self.visit(member, inner)
                self._visitor.on_group_end(sig, **inner)
            case chord():
                self._chord(sig, headers)
            case _:
                self._links(sig, headers)
                _put(sig, self._asked("on_signature", sig, headers), self._append)

    def _chord(self, sig: chord, headers: Headers) -> None:
        inner = self._asked("on_chord_header_start", sig, headers)
        self._links(sig, inner)
        for member in sig.tasks:
            self.visit(member, inner)
        self._visitor.on_chord_header_end(sig, **inner)
        of_body = self._asked("on_chord_body", sig, inner)
        if sig.body is not None:
            self.visit(sig.body, of_body)

    def _links(self, sig: Signature, headers: Headers) -> None:
        for option, method in (("link", "on_callback"), ("link_error", "on_errback")):
            if linked := listed(sig.options.get(option)):
                copies = [part(one, sig._app).clone() for one in linked]
                for one in copies:
                    self.visit(one, self._asked(method, one, headers))
                sig.options[option] = copies

    def _asked(self, method: str, sig: Signature, headers: Headers) -> Headers:
        """Return the stamps so far with those that the visitor adds."""
        said = getattr(self._visitor, method)(sig, **headers)
        return _joined(headers, said, f"{type(self._visitor).__name__}.{method}()")


def _joined(headers: Headers, said: Mapping[str, Any] | None, where: str) -> Headers:
    if not said:
        return headers
    if not isinstance(said, Mapping):
        raise TypeError(f"{where} returns a dict of stamps, not {said!r:.200}")
    more = dict(said)
    listed_names = more.pop(NAMES, None)
    names = checked_names(list(more) if listed_names is None else listed_names, where)
    for name in names:
        if name not in more and name not in headers:
            raise TypeError(f"{where}: {NAMES} names {name!r}, but there is no such stamp")
    return {**headers, **more, NAMES: list(dict.fromkeys((*headers.get(NAMES, ()), *names)))}


def _put(sig: Signature, headers: Headers, append: bool) -> None:
    """Write the stamps into a call's options."""
    names: list[str] = headers.get(NAMES, [])
    options = sig.options
    before = list(options.get(NAMES) or ())
    for name, value in headers.items():
        if name in names:
            value = plain_value(value)
            options[name] = [*_several(value), *_several(options[name])] if append and name in before else value
        elif name != NAMES and name in CALL_OPTIONS:
            options[name] = value
    if names:
        options[NAMES] = list(dict.fromkeys((*before, *names)))


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _header_of(sig: chord) -> group:
    """Return the header of a chord as a group, which it is from now on."""
    header: list[Signature] | group = sig.kwargs["header"]
    if not isinstance(header, group):
        header = sig.kwargs["header"] = group(header, app=sig._app)
    return header
