"""The tables for the documentation."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from bench.report import Table

BEGIN: Final = "<!-- figures: written by `python -m bench --markdown`, from here -->"
END: Final = "<!-- figures: to here -->"


def render(about: Iterable[str], tables: Iterable[Table], charts: Iterable[Path], page: Path) -> str:
    """Write what was measured, with a heading for each workload and its charts, as they are seen from `page`."""
    known = list(charts)
    paragraphs = ["\n".join(about), *(part for table in tables for part in _section(table, known, page))]
    return "\n\n".join(paragraphs) + "\n"


def write(text: str, page: Path) -> None:
    """Write to a page: between the two marks if it has them, so that the rest stays, else instead of what it had."""
    old = page.read_text() if page.exists() else ""
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    page.write_text(f"{before}{begin}\n\n{text}\n{end}{after}" if begin and end else text)


def _section(table: Table, charts: Sequence[Path], page: Path) -> Iterator[str]:
    heading, _, explained = table.title.partition(": ")
    yield f"### {heading.capitalize()}"
    if explained:
        yield f"{explained}."
    for chart in charts:
        if table.name and chart.name.startswith(f"{table.name}-"):
            yield f"![{chart.stem}]({os.path.relpath(chart, page.parent)})"
    yield "\n".join(_lines(table))
    if table.notes:
        yield "  \n".join(table.notes)


def _lines(table: Table) -> Iterator[str]:
    yield _line(table.columns)
    yield _line(["---", *["--:" if table.is_numbers else "---"] * (len(table.columns) - 1)])
    for row in table.rows:
        yield _line([f"**{row[0]}**" if row[0] in table.ours else row[0], *row[1:]])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
