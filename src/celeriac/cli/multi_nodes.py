"""The processes behind the nodes of `celeriac multi`, known by their pidfiles."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import click
import psutil

from celeriac.cli.errors import FAILED, CommandError
from celeriac.cli.multi_arguments import LOGFILE, PIDFILE, Node
from celeriac.cli.pidfile import running_pid
from celeriac.client.log_setup import file_name

POLL_S: Final = 0.1
"""How often it is looked whether a worker has ended: it is no child of ours, so nobody tells."""

Say = Callable[[str], None]


class Running(NamedTuple):
    """A node and the process behind it."""

    node: Node
    process: psutil.Process


def command_of(node: Node) -> list[str]:
    """Return the words that start a node in the background."""
    options = dict(node.options)
    executable = options.pop("--executable", None) or sys.executable
    flags = Node(node.name, options, node.rest).words
    return [*shlex.split(executable), "-m", "celeriac", "worker", "--detach", *flags]


def pidfile_of(node: Node) -> str:
    """Return the file in which the node's process number stands."""
    return _in_workdir(node, PIDFILE)


def start(nodes: Sequence[Node], say: Say, detail: Say) -> bool:
    """Start all, each at the same time as the others, and wait until they work; tell whether all do."""
    started = []
    for node in nodes:
        for file in (pidfile_of(node), _in_workdir(node, LOGFILE)):
            _make_directory(Path(file).parent)
        command = command_of(node)
        detail(f"  {shlex.join(command)}")
        started.append((node, subprocess.Popen(command)))
    well = True
    for node, process in started:
        code = process.wait()
        say(f"\t> {node.name}: {_mark('FAILED', 'red') if code else _mark('OK', 'green')}")
        if code:
            well = False
            say(f"* Child terminated with exit code {code}")
    return well


def stop(nodes: Sequence[Node], signum: int, say: Say) -> list[Running]:
    """Send a signal to all that run and return them; those that do not are named as down."""
    running = []
    for node in nodes:
        process = _process_of(node)
        if process is None:
            say(f"> {node.name}: {_mark('DOWN', 'magenta')}")
        else:
            running.append(Running(node, process))
    if running:
        say("> Stopping nodes...")
    for node, process in running:
        say(f"\t> {node.name}: {signal.Signals(signum).name.removeprefix('SIG')} -> {process.pid}")
        try:
            process.send_signal(signum)
        except psutil.NoSuchProcess:
            say(f"Could not signal {node.name} ({process.pid}): No such process")
        except psutil.AccessDenied:
            raise CommandError(
                f"{node.name} (pid {process.pid}) belongs to another user; run this as that user or as root"
            ) from None
    return running


def wait_for_end(running: Sequence[Running], say: Say, ended: Callable[[Node], None] | None = None) -> None:
    """Return when all have ended; `ended` is told of each one at once."""
    left = list(running)
    while left:
        numbers = ", ".join(str(one.process.pid) for one in left)
        say(f"> Waiting for {len(left)} {'node' if len(left) == 1 else 'nodes'} -> {numbers}...")
        gone: list[Running] = []
        while not gone:
            gone = [one for one in left if _has_ended(one.process)]
            time.sleep(0 if gone else POLL_S)
        for node, _process in gone:
            say(f"\t> {node.name}: {_mark('OK', 'green')}")
            if ended is not None:
                ended(node)
        left = [one for one in left if one not in gone]


def _process_of(node: Node) -> psutil.Process | None:
    pid = running_pid(pidfile_of(node))
    try:
        return None if pid is None else psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def _has_ended(process: psutil.Process) -> bool:
    """Tell whether a process has ended; in a container without an init nobody may ever ask for its exit code."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _in_workdir(node: Node, names: Sequence[str]) -> str:
    return os.path.join(node.value(["--workdir"]), file_name(node.value(names), node.name))


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(
            f"the directory {path} can't be made: {error.strerror}; say with --pidfile and --logfile where the files are to be",
            FAILED,
        ) from None


def _mark(text: str, colour: str) -> str:
    return click.style(text, fg=colour)
