"""The end of the demo: what came of it, and whether every file was counted once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from msgspec import Struct
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from celeriac.core.message import QueueDepth
from celeriac.demo.progress import Job, Tally
from celeriac.demo.sources import short_name

REASONS_SHOWN: Final = 5
REASON_LENGTH: Final = 90
CRASH: Final = re.compile(r"\[(?P<id>[^\[\]]+)\]: its executor \(pid (?P<pid>\d+)\) died")
"""How the worker's log tells of a task that went down with its executor."""


class Crash(Struct, frozen=True):
    """A task that went down with its executor."""

    task_id: str
    pid: int


class Facts(Struct, frozen=True):
    """What is known at the end besides the results."""

    files: Sequence[str]
    files_found: int
    pages: int
    seconds: float
    killed_pids: Sequence[int]
    crashes: Sequence[Crash]
    refused: int
    depths: Sequence[QueueDepth]


def find_crashes(messages: Iterable[str]) -> list[Crash]:
    """Return the crashes that a worker's log tells of."""
    found = (CRASH.search(message) for message in messages)
    return [Crash(match["id"], int(match["pid"])) for match in found if match is not None]


def problems(facts: Facts, tally: Tally) -> Iterator[str]:
    """Yield what is wrong: nothing, if every call ran to its end and every file was counted once."""
    counted = Counter(job.subject for job in tally.jobs if job.is_file and job.id in tally.ended)
    missing = [path for path in facts.files if path not in counted]
    doubled = [path for path, count in counted.items() if count > 1]
    if missing:
        yield f"{len(missing)} files were not counted: {_some(missing)}"
    if doubled:
        yield f"{len(doubled)} files were counted twice: {_some(doubled)}"
    if len({job.id for job in tally.jobs}) != len(tally.jobs):
        yield "two calls had the same id"
    wrong = [job.subject for job, value in tally.values(files=True) if value.get("path") != job.subject]
    if wrong:
        yield f"{len(wrong)} files have the result of another one: {_some(wrong)}"
    lost = [job.subject for job in tally.missing() if not job.is_file]
    lost += [job.subject for job, _error in tally.failures() if not job.is_file]
    if lost:
        yield f"{len(lost)} pages were not fetched: {_some(lost)}"
    for depth in facts.depths:
        if depth.ready or depth.delayed or depth.claimed or depth.dead:
            yield (
                f"queue {depth.queue!r} is not empty: {depth.ready} ready, {depth.delayed} delayed, {depth.claimed} claimed,"
                f" {depth.dead} dead"
            )


def print_report(console: Console, facts: Facts, tally: Tally, found: Sequence[str]) -> None:
    """Print the closing tables and the outcome of the check."""
    failures = list(tally.failures())
    if failures:
        console.print()
        reasons = _table(console, "file that failed", "why")
        for job, reason in _various([(job, _reason(error)) for job, error in failures]):
            reasons.add_row(Text(short_name(job.subject)), Text(reason))
        console.print(reasons)
        if len(failures) > REASONS_SHOWN:
            console.print(f"and {len(failures) - REASONS_SHOWN} more", highlight=False)
    console.print()
    table = _table(console, "what", "how many", right=True)
    for name, value in _rows(facts, tally, failures):
        table.add_row(Text(name), Text(value))
    console.print(table)
    console.print()
    if found:
        for problem in found:
            console.print(Text(f"CHECK FAILED: {problem}", style="bold red"), soft_wrap=True)
    else:
        text = f"CHECK PASSED: each of {len(facts.files)} files counted once, each of {facts.pages} pages fetched, no queue holds anything"
        console.print(Text(text, style="bold green"), soft_wrap=True)


def _rows(facts: Facts, tally: Tally, failures: Sequence[tuple[Job, object]]) -> Iterator[tuple[str, str]]:
    measured = [value for _job, value in tally.values(files=True)]
    fetched = [value for _job, value in tally.values(files=False)]
    ended = len(tally.ended)
    yield "tasks", str(ended)
    yield "files measured", f"{len(measured)} of {len(facts.files)}"
    if len(facts.files) < facts.files_found:
        yield "files left out", f"{facts.files_found - len(facts.files)}"
    yield "failures", str(len(failures))
    yield "pages fetched", f"{len(fetched)} of {facts.pages}"
    yield "requests that the web server failed", str(facts.refused)
    yield "retries", str(_sum(fetched, "retries"))
    yield "executors killed", str(len(facts.killed_pids))
    survived = sum(crash.task_id in tally.ended for crash in facts.crashes)
    yield "crashes survived", str(survived)
    for crash in facts.crashes:
        yield (
            "  was running, and ran again",
            next((short_name(job.subject) for job in tally.jobs if job.id == crash.task_id), "?"),
        )
    yield "seconds", f"{facts.seconds:.1f}"
    yield "tasks/s", f"{ended / max(facts.seconds, 1e-3):.0f}"
    if measured:
        yield "lines of Python", f"{_sum(measured, 'lines'):,}"
        yield "functions, classes", f"{_sum(measured, 'functions'):,}, {_sum(measured, 'classes'):,}"
        longest = max(measured, key=lambda value: int(str(value["longest_function_lines"])))
        yield "longest function", f"{longest['longest_function']}, {longest['longest_function_lines']} lines"
        yield "  in", short_name(str(longest["path"]))
        deepest = max(measured, key=lambda value: int(str(value["deepest_nesting"])))
        yield "deepest nesting", f"{deepest['deepest_nesting']} in {short_name(str(deepest['path']))}"


def _table(console: Console, *titles: str, right: bool = False) -> Table:
    table = Table(box=SIMPLE_HEAD if console.is_terminal else None, pad_edge=False, header_style="bold")
    for index, title in enumerate(titles):
        table.add_column(title, justify="right" if right and index else "left")
    return table


def _various(failures: Sequence[tuple[Job, str]]) -> list[tuple[Job, str]]:
    """Return some failures, of different kinds as far as there are."""
    kinds: dict[str, tuple[Job, str]] = {}
    for job, reason in failures:
        kinds.setdefault(reason.partition(": ")[2], (job, reason))
    others = [failure for failure in failures if failure not in kinds.values()]
    return [*kinds.values(), *others][:REASONS_SHOWN]


def _reason(error: object) -> str:
    where = f" in line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
    what = error.msg if isinstance(error, SyntaxError) else error
    text = " ".join(f"{type(error).__name__}{where}: {what}".split())
    return text if len(text) <= REASON_LENGTH else f"{text[: REASON_LENGTH - 3]}..."


def _some(subjects: Sequence[str]) -> str:
    more = ", ..." if len(subjects) > 3 else ""
    return ", ".join(short_name(subject) for subject in subjects[:3]) + more


def _sum(values: Iterable[dict[str, object]], key: str) -> int:
    return sum(int(str(value[key])) for value in values)
