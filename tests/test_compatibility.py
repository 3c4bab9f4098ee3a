"""docs/compatibility.md leaves out nothing that Celery has, and every row of it has a test that exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import celery.canvas
import celery.exceptions
import celery.signals
import pytest
from celery.app.base import Celery
from celery.app.control import Control
from celery.app.defaults import SETTING_KEYS
from celery.app.task import Context, Task
from celery.canvas import StampingVisitor
from celery.result import AsyncResult, EagerResult, GroupResult, ResultSet

from celeriac import canvas, result

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "compatibility.md"
ROW: Final = re.compile(r"^\| (?P<name>(?:[^|]|\\\|)+?) \| (?P<verdict>[^|]+?) \| (?P<tests>[^|]+?) \|$")
CODE: Final = re.compile(r"`([^`]+)`")
TEST: Final = re.compile(r"`(?P<file>tests/[\w/]+\.py)(?:::(?P<name>\w+))?`")
KINDS: Final = ("Signature", "_chain", "group", "_chord", "xmap", "xstarmap", "chunks")
"""The classes of signatures."""
VERDICTS: Final = ("same", "safer default", "ours", "left out", "accepted", "later")


class Row(NamedTuple):
    """What the page says of one name."""

    section: str
    name: str
    verdict: str
    tests: str


@cache
def rows() -> list[Row]:
    found, section = [], ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            section = line[3:].strip()
        elif (match := ROW.match(line)) and not match["name"].startswith(("---", "name")):
            found.append(Row(section, match["name"], match["verdict"], match["tests"]))
    return found


def names_in(section: str) -> set[str]:
    return {name for row in rows() if row.section == section for name in CODE.findall(row.name)}


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def methods_of_signatures() -> set[str]:
    """Return the names of signatures and workflows, but for those of every dict."""
    return set().union(*(public(getattr(celery.canvas, kind)) for kind in KINDS)) - public(dict)


@pytest.mark.parametrize(
    ("section", "names"),
    [
        ("Settings", set(SETTING_KEYS)),
        ("Signals", set(celery.signals.__all__)),
        ("Exceptions", set(celery.exceptions.__all__) - {"reraise"}),
        ("Tasks", public(Task)),
        ("Requests", public(Context)),
        ("Apps", public(Celery)),
        ("Results", public(AsyncResult) | public(EagerResult)),
        ("Groups of results", public(GroupResult) | public(ResultSet)),
        ("Workflows", methods_of_signatures() - {"stamp"} | set(celery.canvas.__all__)),
        ("Stamps", public(StampingVisitor) | {"stamp"}),
        ("Control", public(Control)),
    ],
)
def test_the_page_names_everything_that_celery_has(section: str, names: set[str]) -> None:
    assert sorted(names - names_in(section)) == []


@pytest.mark.parametrize(
    ("section", "kinds"),
    [
        ("Groups of results", {GroupResult: result.GroupResult, ResultSet: result.ResultSet}),
        ("Workflows", {getattr(celery.canvas, name): getattr(canvas, name) for name in KINDS}),
        ("Stamps", {StampingVisitor: canvas.StampingVisitor}),
    ],
)
def test_whatever_is_not_left_out_is_there(section: str, kinds: dict[type, type]) -> None:
    left_out = {
        name
        for row in rows()
        if row.section == section and row.verdict.startswith(("left out", "later"))
        for name in CODE.findall(row.name)
    }
    for theirs, ours in kinds.items():
        assert sorted(public(theirs) - public(ours) - left_out) == []
        assert sorted(public(ours) & left_out) == []


@pytest.mark.parametrize("section", sorted({row.section for row in rows()}))
def test_every_row_has_a_verdict_and_a_test_that_exists(section: str) -> None:
    problems = [problem for row in rows() if row.section == section for problem in problems_of(row)]
    assert problems == []


def problems_of(row: Row) -> Iterator[str]:
    if not row.verdict.startswith(VERDICTS):
        yield f"{row.name}: {row.verdict!r} is no verdict"
    if row.verdict.startswith("left out") and len(row.verdict) <= len("left out: "):
        yield f"{row.name}: left out, but why?"
    tests = list(TEST.finditer(row.tests))
    if not tests:
        yield f"{row.name}: no test"
    for test in tests:
        if not (ROOT / test["file"]).exists():
            yield f"{row.name}: {test['file']} does not exist"
        elif test["name"] is not None and test["name"] not in functions_in(test["file"]):
            yield f"{row.name}: {test[0]} does not exist"


@cache
def functions_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
