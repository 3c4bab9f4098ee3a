"""`celeriac dead`: the messages that could not be run and were parked with the reason."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

import click

from celeriac.cli.errors import CommandError
from celeriac.cli.output import Column, age, confirm, counted, iso, moment, note, print_fields, print_json, print_table
from celeriac.cli.params import NAMES, POSITIVE
from celeriac.cli.queues import known_queues
from celeriac.cli.target import Target, target_options
from celeriac.core.headers import CRASHES, LOSSES, SENSITIVE
from celeriac.core.message import DeadLetter
from celeriac.core.ports import Admin

PAGE: Final = 1000
"""How many parked messages are read at once."""
SEARCHED: Final = 10_000
"""How many parked messages of a queue are looked through for one that was named."""
SHOWN_BODY_BYTES: Final = 4096

EXAMPLES = """\b
Examples:
  celeriac -A shop dead list
  celeriac -A shop dead show ID
  celeriac -A shop dead retry ID ID
  celeriac -A shop dead retry --all -Q mail
  celeriac -A shop dead purge --all
"""

queues_option = click.option("-Q", "--queues", "names", type=NAMES, help="Only these queues.  [default: all known]")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(epilog=EXAMPLES)
def dead() -> None:
    """Look at messages that could not be run, and retry or delete them.

    A message is parked when nobody knows its task, when it can't be read, or when it has killed its process too often.
    """


@dead.command("list")
@target_options
@queues_option
@click.option("--limit", type=POSITIVE, default=50, show_default=True, help="At most so many of each queue.")
@json_option
@click.pass_context
def list_(ctx: click.Context, *, names: tuple[str, ...] | None, limit: int, as_json: bool) -> None:
    """List parked messages, newest first."""
    with ctx.ensure_object(Target).admin() as (app, admin):
        letters: list[DeadLetter] = []
        left_out = 0
        for depth in admin.depths(names or known_queues(app, admin)):
            # Asked for even where the count says 0: a broker may count late.
            found = admin.dead_letters(depth.queue, limit)
            letters += found
            left_out += max(0, depth.dead - len(found))
    if as_json:
        print_json([_as_dict(letter) for letter in letters])
    else:
        now = time.time()
        columns = [Column(title) for title in ("id", "queue", "task", "parked", "crashes", "reason")]
        print_table(columns, (_row(letter, now) for letter in letters))
        if not letters:
            note("nothing is parked")
    if left_out:
        note(f"{counted(left_out, 'more message')} not shown; see --limit")


@dead.command()
@target_options
@queues_option
@click.argument("letter_id", metavar="ID")
@json_option
@click.option("--reveal", is_flag=True, help="Show the body, too, of a task that has sensitive arguments.")
@click.pass_context
def show(ctx: click.Context, *, names: tuple[str, ...] | None, letter_id: str, as_json: bool, reveal: bool) -> None:
    """Show all of one parked message."""
    with ctx.ensure_object(Target).admin() as (app, admin):
        letter = _find(admin, names or known_queues(app, admin), letter_id)
    if as_json:
        print_json({**_as_dict(letter), "headers": _headers(letter), "body": _body(letter, reveal)})
    else:
        print_fields(_fields(letter, reveal))


@dead.command()
@target_options
@queues_option
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All of the queues.")
@click.pass_context
def retry(ctx: click.Context, *, names: tuple[str, ...] | None, ids: tuple[str, ...], every: bool) -> None:
    """Put parked messages back to the head of their queue."""
    _act(ctx, names, ids, every, lambda admin: admin.dead_retry, "put back")


@dead.command()
@target_options
@queues_option
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All of the queues.")
@click.option("-f", "--force", is_flag=True, help="Do not ask before deleting all.")
@click.pass_context
def purge(ctx: click.Context, *, names: tuple[str, ...] | None, ids: tuple[str, ...], every: bool, force: bool) -> None:
    """Delete parked messages for good."""
    _check_named(ids, every)
    if every and not force:
        where = f"of {', '.join(names)}" if names else "of all queues"
        confirm(f"Delete all parked messages {where} for good?")
    _act(ctx, names, ids, every, lambda admin: admin.dead_purge, "deleted")


Operation = Callable[[str, Collection[str]], int]


def _act(
    ctx: click.Context,
    names: tuple[str, ...] | None,
    ids: tuple[str, ...],
    every: bool,
    operation: Callable[[Admin], Operation],
    done: str,
) -> None:
    """Do something to the messages that were named, or to all, and say to how many."""
    _check_named(ids, every)
    with ctx.ensure_object(Target).admin() as (app, admin):
        act = operation(admin)
        total = 0
        for queue in names or known_queues(app, admin):
            count = _all_of(admin, queue, act) if every else act(queue, _letter_ids(admin, queue, ids))
            if count:
                click.echo(f"{queue}: {counted(count, 'message')} {done}")
            total += count
    if ids and total < len(set(ids)):
        missing = len(set(ids)) - total
        raise CommandError(f"{counted(missing, 'message')} not found; see: celeriac dead list")
    if not total:
        click.echo("nothing is parked")


def _check_named(ids: Collection[str], every: bool) -> None:
    if bool(ids) == every:
        raise click.UsageError("name messages by their id, as `celeriac dead list` shows them, or give --all")


def _all_of(admin: Admin, queue: str, act: Operation) -> int:
    """Treat all that is parked now, page by page; what is parked again meanwhile is left for the next time."""
    begun_at, total = time.time(), 0
    while True:
        ids = [letter.id for letter in admin.dead_letters(queue, PAGE) if letter.parked_at <= begun_at]
        count = act(queue, ids) if ids else 0
        if not count:
            return total
        total += count


def _letter_ids(admin: Admin, queue: str, ids: Collection[str]) -> list[str]:
    """Return the broker's own ids of the messages that are meant: they may be named by the task's id, as logs do."""
    return [letter.id for letter in admin.dead_letters(queue, SEARCHED) if _is_named(letter, ids)]


def _is_named(letter: DeadLetter, ids: Collection[str]) -> bool:
    return letter.id in ids or (letter.message is not None and letter.message.headers.get("id") in ids)


def _find(admin: Admin, queues: Collection[str], letter_id: str) -> DeadLetter:
    for queue in queues:
        for letter in admin.dead_letters(queue, SEARCHED):
            if _is_named(letter, (letter_id,)):
                return letter
    raise CommandError(f"no parked message {letter_id!r}; see: celeriac dead list")


def _headers(letter: DeadLetter) -> dict[str, Any]:
    return letter.message.headers if letter.message is not None else {}


def _task(letter: DeadLetter) -> str:
    return str(_headers(letter).get("task") or "-")


def _row(letter: DeadLetter, now: float) -> tuple[object, ...]:
    crashes = _headers(letter).get(CRASHES) or 0
    reason = letter.reason.strip().partition("\n")[0]
    return letter.id, letter.queue, _task(letter), f"{age(now - letter.parked_at)} ago", crashes, reason


def _as_dict(letter: DeadLetter) -> dict[str, Any]:
    headers = _headers(letter)
    return {
        "id": letter.id,
        "queue": letter.queue,
        "reason": letter.reason,
        "parked_at": iso(letter.parked_at),
        "task": headers.get("task"),
        "task_id": headers.get("id"),
        "crashes": headers.get(CRASHES) or 0,
        "losses": headers.get(LOSSES) or 0,
    }


def _body(letter: DeadLetter, reveal: bool) -> Any:
    """Return the body as JSON where it is some, else as text, else in base64; a sensitive one only if it is to be revealed."""
    if _headers(letter).get(SENSITIVE) and not reveal:
        return "<sensitive: see --reveal>"
    body = letter.message.body if letter.message is not None else letter.raw
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        pass  # it may be parked for that very reason
    try:
        return body.decode()
    except UnicodeDecodeError:
        return base64.b64encode(body).decode("ascii")


def _fields(letter: DeadLetter, reveal: bool) -> Iterator[tuple[str, object]]:
    headers = _headers(letter)
    yield "id", letter.id
    yield "queue", letter.queue
    yield "parked", moment(letter.parked_at)
    yield "reason", letter.reason
    if letter.message is None:
        yield "message", "can't be read; as it stood in the queue:"
        yield "raw", letter.raw[:SHOWN_BODY_BYTES].decode(errors="backslashreplace")
        return
    yield "task", _task(letter)
    yield "task id", headers.get("id")
    yield "retries", headers.get("retries") or 0
    yield "crashes", headers.get(CRASHES) or 0
    yield "losses", headers.get(LOSSES) or 0
    yield "sent by", headers.get("origin") or "-"
    yield "arguments", f"{headers.get('argsrepr') or '()'} {headers.get('kwargsrepr') or '{}'}"
    yield "content", f"{letter.message.content_type}, {len(letter.message.body)} bytes"
    body = _body(letter, reveal)
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
    yield "body", text if len(text) <= SHOWN_BODY_BYTES else f"{text[:SHOWN_BODY_BYTES]}... (all of it: --json)"
