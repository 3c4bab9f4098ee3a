"""Sees what decoding may never do: import, evaluate, open, connect, start a program."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, Final

FORBIDDEN: Final = frozenset(
    {
        "code.__new__", "compile", "ctypes.dlopen", "exec", "import", "marshal.loads", "open", "os.exec", "os.fork", "os.posix_spawn", "os.putenv",
        "os.remove", "os.spawn", "os.system", "pickle.find_class", "shutil.rmtree", "socket.connect", "subprocess.Popen", "sys.addaudithook",
    }
)  # fmt: skip


class _Watch:
    """One for the process: an audit hook cannot be taken away again."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if self.on and event in FORBIDDEN:
            self.seen.append(f"{event} {args!r:.200}")


_watches: list[_Watch] = []


@contextlib.contextmanager
def nothing_executed() -> Iterator[None]:
    """Fail if anything of `FORBIDDEN` happens inside, in whatever thread."""
    if not _watches:
        _watches.append(_Watch())
    (watch,) = _watches
    watch.seen.clear()
    watch.on = True
    try:
        yield
    finally:
        watch.on = False
    assert not watch.seen, "; ".join(watch.seen)
