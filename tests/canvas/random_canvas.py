"""Random workflows, each grown from a seed: the same ones in every run and under every library."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from random import Random
from typing import Any

from msgspec.structs import replace

from tests.canvas.expected import Unanswerable, work_out
from tests.canvas.trees import Call, Canvas, Chain, Chord, Does, Errback, Group, Many, Tree, unrolled

DEPTH_MAX = 4
SIZES = (3, 6, 6, 10, 10, 16, 24)
"""About how many tasks a canvas has."""
ARGS_MAX = 10_000
"""Values that are passed on by each step to many grow fast; there is nothing to be learned from large ones."""
ODD_ENDS = (Does.FAIL, Does.FAIL, Does.FAIL_OWN, Does.IGNORE, Does.REJECT, Does.EXPIRE, Does.UNKNOWN)


def random_canvas(seed: int, *, of_celery: bool = False) -> Canvas:
    """Return the canvas of a seed; its result is one that can be waited for.

    `of_celery`: it has nothing that Celery has not.
    """
    for attempt in itertools.count():
        random = Random(f"{seed}/{attempt}")
        canvas = Canvas(seed, _Grower(seed, random, of_celery).grow(), (7,) if random.random() < 0.15 else ())
        try:
            expected = work_out(canvas)
        except Unanswerable:
            continue
        if all(len(repr(run.args)) <= ARGS_MAX for run in expected.runs.values()):
            return canvas
    raise AssertionError


def canvases(count: int, first: int = 0) -> Iterator[Canvas]:
    """Yield the canvases of so many seeds."""
    return map(random_canvas, range(first, first + count))


def _in_group(tree: Tree) -> Tree:
    """Return a member as it may be one: a group in a group gives way to its members, and has no limit of its own."""
    return replace(tree, max_concurrency=None) if isinstance(tree, Group) else tree


class _Grower:
    def __init__(self, seed: int, random: Random, of_celery: bool) -> None:
        self._seed = seed
        self._random = random
        self._of_celery = of_celery
        self._numbers = itertools.count()
        self._left = random.choice(SIZES)
        # Most workflows are of tasks that do well, else hardly a long one would come to its end.
        self._odds = random.choice((0.0, 0.0, 0.03, 0.15))

    def grow(self) -> Tree:
        return self._tree(DEPTH_MAX, top=True)

    def _tree(self, depth: int, *, top: bool = False) -> Tree:
        if depth == 0 or self._left < 1:
            return self._call(depth)
        kinds: dict[str, float] = {"chain": 30, "group": 22, "chord": 26, "many": 3, "call": 2 if top else 45}
        [kind] = self._random.choices(list(kinds), list(kinds.values()))
        match kind:
            case "chain":
                return self._chain(depth)
            case "group":
                return self._group(depth)
            case "chord":
                return self._chord(depth)
            case "many":
                return self._many()
            case _:
                return self._call(depth)

    def _chain(self, depth: int) -> Chain:
        [count] = self._random.choices((1, 2, 3, 4), (10, 40, 35, 15))
        steps = tuple(self._tree(depth - 1) for _ in range(count))
        return Chain(steps, piped=count > 1 and self._random.random() < 0.4)

    def _group(self, depth: int) -> Group:
        [count] = self._random.choices((0, 1, 2, 3, 4), (5, 15, 40, 25, 15))
        members = tuple(_in_group(self._tree(depth - 1)) for _ in range(count))
        # One argument alone would be taken for an iterable of members.
        forms = ("list", "generator") if count < 2 else ("list", "generator", "arguments")
        limit = self._ours(0.1, self._random.randint(1, 2))
        return Group(members, self._random.choice(forms), limit)

    def _chord(self, depth: int) -> Chord:
        form = self._random.choice(("list", "group", "generator"))
        header, body = self._group(depth), self._tree(depth - 1)
        size = len(unrolled(header.members))
        return Chord(header, body, form, self._ours(0.15, self._random.randint(max(0, size - 2), size)))

    def _ours(self, chance: float, value: int) -> int | None:
        """Return the value of an option that only we have, now and then."""
        # The chances are taken in any case, so that a seed gives the same workflow with and without.
        given = self._random.random() < chance
        return value if given and not self._of_celery else None

    def _many(self) -> Many:
        self._left -= 1
        how = self._random.choice(("map", "starmap", "chunks"))
        numbers = tuple(range(self._random.randint(1, 4)))
        return Many(self._key(), how, numbers, self._random.randint(1, 3) if how == "chunks" else 0)

    def _call(self, depth: int) -> Call:
        self._left -= 1
        chance = self._random.random
        key, does = self._key(), self._does()
        return Call(
            key,
            does,
            args=self._args(),
            immutable=chance() < 0.08,
            in_thread=chance() < 0.25,
            links=(self._tree(min(depth, 2) - 1),) if depth > 0 and chance() < 0.08 else (),
            errbacks=tuple(
                Errback(self._key(), in_place=chance() < 0.4)
                for _ in range(self._random.choices((0, 1, 2), (80, 15, 5))[0])
            ),
            by=self._tree(max(0, depth - 1)) if does is Does.REPLACE else None,
        )

    def _does(self) -> Does:
        if self._random.random() < self._odds:
            return self._random.choice(ODD_ENDS)
        [does] = self._random.choices((Does.LIST, Does.DICT, Does.NONE, Does.RETRY, Does.REPLACE), (83, 5, 5, 4, 3))
        return does

    def _args(self) -> tuple[Any, ...]:
        return tuple(self._random.randint(0, 9) for _ in range(self._random.choices((0, 1, 2), (65, 25, 10))[0]))

    def _key(self) -> str:
        return f"{self._seed}:{next(self._numbers)}"
