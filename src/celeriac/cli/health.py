"""`celeriac health`: ask a worker of this machine how it is, as a probe of a container does. Imports little, for it runs often."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from typing import Any, Final

import click

from celeriac.cli.errors import FAILED, USAGE, CommandError

ANSWER_MAX_BYTES: Final = 65536

EXAMPLES = """\b
Examples:
  celeriac health --port 8091              is it alive?
  celeriac health --port 8091 --ready      does it begin tasks?
  celeriac health --file /tmp/worker.beat --max-age 30
\b
Exit codes:
  0 yes    1 no, or no answer    2 wrong options
"""


class Place(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click only
    """`PORT` or `HOST:PORT`."""

    name = "[host:]port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str | None, int]:
        """Split the text."""
        if isinstance(value, tuple):
            return value
        host, _, port = str(value).rpartition(":")
        if not port.isdigit() or not 1 <= int(port) <= 65535:
            self.fail(f"{value!r}: give a port from 1 to 65535, or HOST:PORT", param, ctx)
        return host.strip("[]") or None, int(port)


PLACE: Final = Place()


@click.command(epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--port", "place", type=PLACE, metavar="[HOST:]PORT", help="Where a worker with --health-port answers.")
@click.option("--file", "path", metavar="FILE", help="What a worker with --heartbeat-file writes.")
@click.option("--ready", is_flag=True, help="Ask whether it begins tasks, and not only whether it is alive.")
@click.option(
    "--max-age",
    type=click.FloatRange(min=0),
    metavar="S",
    default=30.0,
    show_default=True,
    help="Age of a file still alive.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.001),
    metavar="S",
    default=2.0,
    show_default=True,
    help="Wait so long for an answer.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what the worker says of itself.")
def health(
    place: tuple[str | None, int] | None, path: str | None, ready: bool, max_age: float, timeout: float, as_json: bool
) -> None:
    """Ask a worker whether it is alive, or ready."""
    if (place is None) == (path is None):
        raise CommandError(
            "give either --port, as the worker's --health-port, or --file, as its --heartbeat-file", USAGE
        )
    if place is not None:
        good, said = _ask(place[0] or "127.0.0.1", place[1], ready, timeout)
    else:
        assert path is not None
        good, said = _read(path, ready, max_age)
    if as_json:
        click.echo(json.dumps(said))
    else:
        problems = ", ".join(said["problems"]) or "no problems"
        click.echo(f"{said['node']} is {'' if good else 'not '}{'ready' if ready else 'alive'}: {problems}")
    sys.exit(0 if good else FAILED)


def _ask(host: str, port: int, ready: bool, timeout_s: float) -> tuple[bool, dict[str, Any]]:
    """Make the request by hand: a library for it would take longer to import than all the rest."""
    deadline = time.monotonic() + timeout_s
    answer = b""
    try:
        with socket.create_connection((host, port), timeout_s) as sock:
            sock.sendall(b"GET /%s HTTP/1.1\r\nHost: worker\r\n\r\n" % (b"readyz" if ready else b"livez"))
            while len(answer) < ANSWER_MAX_BYTES:
                sock.settimeout(max(deadline - time.monotonic(), 0.001))
                data = sock.recv(ANSWER_MAX_BYTES)
                if not data:
                    break
                answer += data
    except TimeoutError:
        raise CommandError(f"the worker at {host}:{port} hangs: no answer within {timeout_s:g} s") from None
    except OSError as error:
        raise CommandError(f"no worker answers at {host}:{port}: {error.strerror or error}") from None
    head, _, body = answer.partition(b"\r\n\r\n")
    try:
        said = json.loads(body)
        return head.split(b" ", 2)[1] == b"200", {"node": said["node"], "problems": said["problems"], **said}
    except (ValueError, LookupError, TypeError):
        raise CommandError(f"what answers at {host}:{port} is no worker") from None


def _read(path: str, ready: bool, max_age_s: float) -> tuple[bool, dict[str, Any]]:
    try:
        with open(path, "rb") as file:
            age_s = time.time() - os.fstat(file.fileno()).st_mtime
            said = json.loads(file.read(ANSWER_MAX_BYTES))
            good = bool(said["ready"] if ready else said["live"])
            said = {"node": said["node"], "problems": said["problems"], **said, "age_s": round(age_s, 3)}
    except OSError as error:
        raise CommandError(f"no worker writes {path}: {error.strerror}") from None
    except (ValueError, LookupError, TypeError):
        raise CommandError(f"{path} is not written by a worker") from None
    if age_s > max_age_s:
        good, said["problems"] = False, [f"{path} was last written {age_s:.0f} s ago", *said["problems"]]
    return good, said
