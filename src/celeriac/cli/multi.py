"""`celeriac multi`: several workers of this machine, started and stopped together. Celery's syntax and words."""

from __future__ import annotations

import shlex
import signal
import socket
import sys
from collections.abc import Callable
from typing import Final

import click

from celeriac import __version__
from celeriac.cli import multi_nodes
from celeriac.cli.errors import FAILED, USAGE, CommandError
from celeriac.cli.multi_arguments import Arguments, Node, nodes_of, parse
from celeriac.cli.target import Target
from celeriac.cli.worker import worker

HELP: Final = """\
Usage: celeriac multi COMMAND NODES [OPTIONS]

  Start and stop several workers of this machine together.

Commands:
  start NODES [worker options]       start them in the background, and wait until they are ready
  stop NODES [-SIGNAL]               ask them to stop (TERM), and do not wait
  stopwait NODES [-SIGNAL]           the same, and wait until they have ended
  restart NODES [-SIGNAL] [...]      stop each, wait, start it again
  kill NODES                         end them now
  show NODES [...]                   print the commands that `start` would run
  get NODE NODES [...]               print the options of one of them
  names NODES                        print their full names
  expand TEMPLATE NODES              print a template with %n, %h ... filled in, for each

Nodes are names (w1 w2), full names (w1@%h), or one number: 3 stands for celery1 celery2 celery3.
An option may be for some of them only: -c:w1 4, -Q:1-3 images, -l:2,5 DEBUG.

  --pidfile=FILE      [default: /var/run/celery/%n.pid]; the same for all commands
  --logfile=FILE      [default: /var/log/celery/%n%I.log]
  --prefix, --suffix, --range-prefix, --hostname   parts of the names
  --executable=FILE   Python for the workers        --append=WORD   one more word for each
  --nosplash --quiet --verbose --no-color           how much is printed

Examples:
  celeriac multi start 3 -A shop -l INFO -c 4 -c:1 10 --pidfile=/run/shop/%n.pid --logfile=/var/log/shop/%n%I.log
  celeriac multi stopwait 3 --pidfile=/run/shop/%n.pid
  celeriac multi restart web mail -A shop -Q:mail mail --pidfile=/run/shop/%n.pid --logfile=/var/log/shop/%n%I.log

Exit codes:
  0 done    1 a node did not start, or there is none of that name    2 wrong arguments
"""
SWITCHES: Final = {"--nosplash", "--quiet", "-q", "--verbose", "--no-color", "-C"}
WITH_SIGNAL: Final = ("stop", "stopwait", "stop_verify", "restart")


class RawCommand(click.Command):
    """A command that reads its arguments itself: most of them are another command's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Leave them as they are."""
        ctx.args = list(args)
        return ctx.args

    def get_help(self, ctx: click.Context) -> str:
        """Return our own text."""
        return HELP


@click.command(cls=RawCommand, add_help_option=False, short_help="Start and stop several workers together.")
@click.pass_context
def multi(ctx: click.Context) -> None:
    """Start and stop several workers of this machine together."""
    switches, words = _switches(ctx.args)
    if not words or words[0] in ("help", "-h", "--help"):
        click.echo(HELP, nl=False)
        sys.exit(0 if words else USAGE)
    command, words = words[0], words[1:]
    if command not in COMMANDS:
        raise CommandError(f"celeriac multi {command}: there are {', '.join(COMMANDS)}", USAGE)
    template = ""
    if command in ("expand", "get"):
        if not words:
            raise CommandError(f"celeriac multi {command}: say what, then the nodes", USAGE)
        template, words = words[0], words[1:]
    flags, valued = _worker_options()
    arguments = parse(
        [*_given_before(ctx.ensure_object(Target)), *words], flags, valued, with_signal=command in WITH_SIGNAL
    )
    nodes = nodes_of(arguments, socket.gethostname())
    sys.exit(COMMANDS[command](Run(nodes, arguments, template, switches)))


class Run:
    """One call: the nodes, and how to speak of them."""

    def __init__(self, nodes: list[Node], arguments: Arguments, template: str, switches: set[str]) -> None:
        self.nodes = nodes
        self.template = template
        self.signum = arguments.signum or signal.SIGTERM
        self._quiet = bool(switches & {"--quiet", "-q"})
        self._splash = "--nosplash" not in switches
        self._verbose = "--verbose" in switches
        self._colour = False if switches & {"--no-color", "-C"} else None

    def splash(self) -> None:
        """Say who speaks."""
        if self._splash:
            self.say(f"celeriac multi v{__version__}")

    def say(self, text: str) -> None:
        """Print, unless asked to be quiet."""
        if not self._quiet:
            click.echo(text, color=self._colour)

    def detail(self, text: str) -> None:
        """Print if asked to be verbose."""
        if self._verbose:
            self.say(text)


def _start(run: Run) -> int:
    run.splash()
    run.say("> Starting nodes...")
    return 0 if multi_nodes.start(run.nodes, run.say, run.detail) else FAILED


def _stop(run: Run) -> int:
    run.splash()
    multi_nodes.stop(run.nodes, run.signum, run.say)
    return 0


def _stopwait(run: Run) -> int:
    run.splash()
    multi_nodes.wait_for_end(multi_nodes.stop(run.nodes, run.signum, run.say), run.say)
    return 0


def _restart(run: Run) -> int:
    run.splash()
    results: list[bool] = []

    def again(node: Node) -> None:
        run.say(f"> Restarting node {node.name}:")
        results.append(multi_nodes.start([node], run.say, run.detail))

    running = multi_nodes.stop(run.nodes, run.signum, run.say)
    names = {node.name for node, _process in running}
    for node in run.nodes:
        if node.name not in names:
            again(node)
    multi_nodes.wait_for_end(running, run.say, again)
    return 0 if all(results) else FAILED


def _kill(run: Run) -> int:
    run.splash()
    multi_nodes.stop(run.nodes, signal.SIGKILL, run.say)
    return 0


def _show(run: Run) -> int:
    for node in run.nodes:
        click.echo(shlex.join(multi_nodes.command_of(node)))
    return 0


def _names(run: Run) -> int:
    for node in run.nodes:
        click.echo(node.name)
    return 0


def _expand(run: Run) -> int:
    for node in run.nodes:
        click.echo(node.expand(run.template))
    return 0


def _get(run: Run) -> int:
    for node in run.nodes:
        if run.template in (node.name, node.name.partition("@")[0]):
            click.echo(shlex.join(multi_nodes.command_of(node)[1:]))
            return 0
    return FAILED


COMMANDS: Final[dict[str, Callable[[Run], int]]] = {
    "start": _start,
    "stop": _stop,
    "stopwait": _stopwait,
    "stop_verify": _stopwait,
    "restart": _restart,
    "kill": _kill,
    "show": _show,
    "get": _get,
    "names": _names,
    "expand": _expand,
}


def _switches(words: list[str]) -> tuple[set[str], list[str]]:
    """Take out what is multi's own and takes no value, wherever it stands before `--`."""
    end = words.index("--") if "--" in words else len(words)
    return set(words[:end]) & SWITCHES, [word for word in words[:end] if word not in SWITCHES] + words[end:]


def _given_before(target: Target) -> list[str]:
    """Return the options that stood before `multi`, as in `celeriac -A shop multi start w1`."""
    options = (("--app", target.app_spec), ("--broker", target.broker), ("--result-backend", target.result_backend))
    return [f"{name}={value}" for name, value in (*options, ("--workdir", target.workdir)) if value is not None]


def _worker_options() -> tuple[set[str], set[str]]:
    """Return the worker's options without and with a value."""
    options = [param for param in worker.params if isinstance(param, click.Option)]
    flags = {name for option in options if option.is_flag for name in option.opts}
    return flags, {name for option in options if not option.is_flag for name in option.opts}
