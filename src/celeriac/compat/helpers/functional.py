"""`celery.utils.functional` and `kombu.utils.functional`: what programs take from them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any

__all__ = [
    "chunks",
    "dictfilter",
    "first",
    "fun_accepts_kwargs",
    "is_list",
    "lazy",
    "maybe",
    "maybe_evaluate",
    "maybe_list",
    "memoize",
    "noop",
    "padlist",
    "uniq",
]


def noop(*_args: Any, **_named: Any) -> None:
    """Do nothing."""


def first(predicate: Callable[[Any], object] | None, it: Iterable[Any]) -> Any:
    """Return the first item that the predicate holds for (or that is not None), None if there is none."""
    return next((item for item in it if (item is not None if predicate is None else predicate(item))), None)


def chunks(it: Iterator[Any], n: int) -> Iterator[list[Any]]:
    """Yield lists of `n` items, the last one of what is left."""
    it = iter(it)
    while some := list(islice(it, n)):
        yield some


def padlist(container: Iterable[Any], size: int, default: Any = None) -> Iterator[Any]:
    """Yield the first `size` items, and `default` in the place of those that are missing."""
    items = list(container)[:size]
    return iter([*items, *[default] * (size - len(items))])


def uniq(it: Iterable[Any]) -> Iterator[Any]:
    """Yield each item once, in the order of their first appearance."""
    return iter(dict.fromkeys(it))


def is_list(obj: Any, scalars: tuple[type, ...] = (Mapping, str), iters: tuple[type, ...] = (Iterable,)) -> bool:
    """Tell whether an object is iterable, and no text or mapping."""
    return isinstance(obj, iters) and not isinstance(obj, scalars)


def maybe_list(obj: Any, scalars: tuple[type, ...] = (Mapping, str)) -> Any:
    """Return None and what is iterable as it is, all else in a list."""
    return obj if obj is None or is_list(obj, scalars) else [obj]


def dictfilter(d: Mapping[str, Any] | None = None, **kw: Any) -> dict[str, Any]:
    """Return the items whose values are not None."""
    return {name: value for name, value in {**(d or {}), **kw}.items() if value is not None}


def memoize(maxsize: int | None = None, **_named: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that remembers what a function returned."""
    return lru_cache(maxsize)


class lazy:  # noqa: N801 - kombu's name
    """A call to be made later, by calling this."""

    def __init__(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._call = (fun, args, kwargs)

    def __call__(self) -> Any:
        fun, args, kwargs = self._call
        return fun(*args, **kwargs)

    evaluate = __call__


def maybe_evaluate(value: Any) -> Any:
    """Return what a `lazy` gives, all else as it is."""
    return value() if isinstance(value, lazy) else value


def maybe(typ: Callable[[Any], Any], val: Any) -> Any:
    """Convert, unless there is None."""
    return val if val is None else typ(val)


def fun_accepts_kwargs(fun: Callable[..., Any]) -> bool:
    """Tell whether a function takes keyword arguments of any name."""
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(fun).parameters.values())
