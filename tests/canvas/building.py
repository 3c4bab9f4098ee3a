"""Signatures of a library, Celery's or ours, made of a workflow that is plain data."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

from tests.canvas.trees import Call, Canvas, Chain, Chord, Does, Errback, Group, Many, Tree


class Builder:
    """Builds for one app, with the `chain`, `group` and `chord` of its library."""

    def __init__(self, app: Any, canvas: Any) -> None:
        """`canvas`: the library's module of that name."""
        self._app = app
        self._canvas = canvas

    def send(self, canvas: Canvas) -> Any:
        """Send a canvas and return its result."""
        return self.build(canvas.tree).apply_async(canvas.args)

    def build(self, tree: Tree) -> Any:
        match tree:
            case Call():
                return self._call(tree)
            case Many():
                return self._many(tree)
            case Chain():
                steps = [self.build(step) for step in tree.steps]
                return functools.reduce(operator.or_, steps) if tree.piped else self._canvas.chain(*steps)
            case Group():
                members = [self.build(member) for member in tree.members]
                given = members if tree.form == "arguments" else [self._given(members, tree.form)]
                return self._canvas.group(*given, **_options(max_concurrency=tree.max_concurrency))
            case Chord():
                header = [self.build(member) for member in tree.header.members]
                options = _options(min_successes=tree.min_successes)
                return self._canvas.chord(self._given(header, tree.form), self.build(tree.body), **options)

    def _given(self, members: list[Any], form: str) -> Any:
        match form:
            case "generator":
                return (member for member in members)
            case "group":
                return self._canvas.group(members)
            case _:
                return members

    def _call(self, call: Call) -> Any:
        name = (
            "canvas.nosuch" if call.does is Does.UNKNOWN else "canvas.act_in_thread" if call.in_thread else "canvas.act"
        )
        signature = self._signature(name, call.args, call.key, call.immutable, does=str(call.does))
        if call.by is not None:
            signature.kwargs["by"] = self.build(call.by)
        if call.does is Does.EXPIRE:
            signature.set(expires=-1)
        for link in call.links:
            signature.link(self.build(link))
        for errback in call.errbacks:
            signature.link_error(self._errback(errback))
        return signature

    def _errback(self, errback: Errback) -> Any:
        return self._signature("canvas.errback_in_place" if errback.in_place else "canvas.errback", (), errback.key)

    def _signature(self, name: str, args: Sequence[Any], key: str, immutable: bool = False, **kwargs: Any) -> Any:
        return self._app.signature(name, args=tuple(args), kwargs={"key": key, **kwargs}, immutable=immutable)

    def _many(self, many: Many) -> Any:
        items = [[many.key, number] for number in many.numbers]
        match many.how:
            case "map":
                return self._app.tasks["canvas.pair"].map(items)
            case "starmap":
                return self._app.tasks["canvas.item"].starmap(items)
            case _:
                return self._app.tasks["canvas.item"].chunks(items, many.size).group()


def _options(**options: Any) -> dict[str, Any]:
    """Return the options that are set; Celery has none of them."""
    return {name: value for name, value in options.items() if value is not None}
