"""The arguments of `celeriac multi`: which nodes, and which options each of them gets. Celery's syntax, without a process."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from msgspec import Struct

from celeriac.cli.errors import USAGE, CommandError

PIDFILE: Final = ("--pidfile", "-p")
LOGFILE: Final = ("--logfile", "-f")
DEFAULT_FILES: Final = ((PIDFILE, "/var/run/celery/%n.pid"), (LOGFILE, "/var/log/celery/%n%I.log"))
"""Celery's, so that its init scripts and log rotation find them."""
OWN: Final = ("--prefix", "--suffix", "--range-prefix", "--hostname", "-n", "--append", "--executable", "--cmd")
"""Options of multi itself, that take a value; the workers' are not meant."""
DEFAULT_RANGE_PREFIX: Final = "celery"


class Arguments(Struct):
    """What was written."""

    names: list[str]
    options: dict[str, str | None]
    """For every node; None: without a value."""
    of_nodes: dict[str, dict[str, str | None]]
    """Whom it is for, as written behind the colon -> options."""
    rest: list[str]
    """What follows `--`."""
    signum: int | None = None


class Node(Struct):
    """One worker."""

    name: str
    """`short@host`."""
    options: dict[str, str | None]
    rest: list[str]

    def expand(self, template: str) -> str:
        """Replace `%n` and `%N` (the name before the `@`), `%d` (what is behind it), `%h` and `%p` (all of it); `%i` and `%I` are the worker's."""
        short, _, host = self.name.partition("@")
        parts = {"n": short, "N": short, "d": host, "h": self.name, "p": self.name, "%": "%"}
        return re.sub(r"%([nNdhp%])", lambda found: parts[found[1]], template)

    def value(self, names: Iterable[str]) -> str:
        """Return the expanded value of the first of these options that is set, empty if none is."""
        given = next((self.options[name] for name in names if self.options.get(name)), None)
        return self.expand(given or "")

    @property
    def words(self) -> list[str]:
        """The options as words of a command line."""
        words: list[str] = []
        for option, value in self.options.items():
            if value is None:
                words.append(option)
            elif option.startswith("--"):
                words.append(f"{option}={self.expand(value)}")
            else:
                words += [option, self.expand(value)]
        return [*words, *self.rest]


def parse(words: Sequence[str], flags: Collection[str], valued: Collection[str], *, with_signal: bool) -> Arguments:
    """Cut the words into names and options.

    `flags` and `valued` are the worker's options without and with a value.  Of any other, as Celery does, a short one takes the next word
    unless that begins with a hyphen, and a long one has its value behind `=`.  `with_signal`: `-9` or `-QUIT` is a signal.
    """
    found = Arguments([], {}, {}, [])
    left = [word for word in words if word]
    while left:
        word = left.pop(0)
        if word == "--":
            found.rest, left = [word, *left], []
        elif not word.startswith("-"):
            found.names.append(word)
        elif with_signal and (signum := _signal(word)) is not None:
            found.signum = signum
        else:
            option, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
            name, _, whom = option.partition(":")
            takes = name in valued or name in OWN or (name not in flags and not name.startswith("--"))
            given: str | None = value if equals else None
            if not equals and takes and left and (name in valued or not left[0].startswith("-")):
                given = left.pop(0)
            (found.of_nodes.setdefault(whom, {}) if whom else found.options)[name] = given
    return found


def nodes_of(arguments: Arguments, host: str) -> list[Node]:
    """Return the nodes, each with its options; `host` is this machine's name.

    One number for a name means so many nodes.  Raises `CommandError` when there is none, or options are for one that there is not.
    """
    common = dict(arguments.options)
    if "--cmd" in common:
        raise CommandError(
            "--cmd is not there: each node is a `celeriac worker --detach`; see --executable and --append", USAGE
        )
    here = common.pop("--hostname", None) or common.pop("-n", None) or host
    prefix, suffix = common.pop("--prefix", None) or "", common.pop("--suffix", None) or here
    range_prefix = common.pop("--range-prefix", None) or DEFAULT_RANGE_PREFIX
    append = common.pop("--append", None)
    suffix = "" if suffix in ('""', "''") else suffix
    names = arguments.names
    if len(names) == 1 and names[0].isdecimal():
        names, prefix = [str(number) for number in range(1, int(names[0]) + 1)], range_prefix
    if not names:
        raise CommandError("name the nodes, or say how many: celeriac multi start w1 w2, celeriac multi start 3", USAGE)
    full = [_full_name(name, prefix, suffix, host) for name in names]
    chosen: dict[str, dict[str, str | None]] = {name: {} for name in full}
    for whom, options in arguments.of_nodes.items():
        for name in _meant(whom, names, full):
            chosen[name].update(options)
    nodes = []
    for name in full:
        options = {"-n": name, **common, **chosen[name]}
        for alternatives, default in DEFAULT_FILES:
            if not any(option in options for option in alternatives):
                options[alternatives[0]] = default
        for option in (*PIDFILE, *LOGFILE, "--workdir"):
            if value := options.get(option):
                options[option] = os.path.expanduser(value)
        # Celery's short name for the pidfile is not the worker's.
        options = {"--pidfile" if option == "-p" else option: value for option, value in options.items()}
        node = Node(name, options, list(arguments.rest))
        if append:
            node.rest.append(node.expand(append))
        nodes.append(node)
    return nodes


def _full_name(name: str, prefix: str, suffix: str, host: str) -> str:
    whole = name if "@" in name else f"{prefix}{name}@{suffix}"
    parts = {"h": host, "n": host.partition(".")[0], "d": host.partition(".")[2]}
    return re.sub(r"%([hnd])", lambda found: parts[found[1]], whole)


def _meant(whom: str, names: Sequence[str], full: Sequence[str]) -> list[str]:
    """Return the nodes for which an option is: by name, by number from 1, by `1-3`, or several of these with commas."""
    meant: list[str] = []
    for part in whom.split(","):
        first, hyphen, last = part.partition("-")
        if part in full:
            meant.append(part)
        elif part in names:
            meant.append(full[names.index(part)])
        elif part.isdecimal() and 1 <= int(part) <= len(full):
            meant.append(full[int(part) - 1])
        elif hyphen and first.isdecimal() and last.isdecimal() and int(first) >= 1:
            meant += full[int(first) - 1 : int(last)]
        else:
            raise CommandError(
                f"an option for {part!r}: there are {', '.join(names)}, or 1 to {len(names)} by their order", USAGE
            )
    return meant


def _signal(word: str) -> int | None:
    text = word[1:].upper()
    if text.isdecimal():
        return int(text)
    name = text if text.startswith("SIG") else f"SIG{text}"
    return signal.Signals[name].value if name in signal.Signals.__members__ else None
