"""A command line, kept running: starting Python anew for each command would be most of what the tests take.

`python -m tests.fleet.commands celery|celeriac` reads requests from standard input, one JSON list of arguments a line; it
answers each with a line: exit code and output.
"""

from __future__ import annotations

import json
import sys

import click
from click.testing import CliRunner


def command_line(name: str) -> click.Command:
    """Return what `celery` or `celeriac` runs."""
    if name == "celery":
        from celery.bin.celery import celery

        return celery  # type: ignore[no-any-return]
    from celeriac.cli.root import celeriac

    return celeriac


def serve(name: str) -> None:
    command = command_line(name)
    answers, sys.stdout = sys.stdout, sys.stderr  # what anybody prints is no answer
    for line in sys.stdin:
        done = CliRunner().invoke(command, json.loads(line), prog_name=name)
        answers.write(json.dumps([done.exit_code, done.output]) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve(sys.argv[1])
