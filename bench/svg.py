"""Bar charts for the documentation, as SVG.

Written here, and not by a library: matplotlib and its dependencies weigh 100 MB, and its files differ with every run; pygal's
carry a script and a style sheet each. Rectangles and texts are all that is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from xml.etree import ElementTree

from bench.catalogue import BARE, OURS, System
from bench.figures import Figures
from bench.workloads.base import MORE, Metric, Workload

WIDTH: Final = 720
LABEL: Final = 190
"""Room for names at the left, pixels."""
VALUE: Final = 90
"""Room for figures at the right."""
HEAD: Final = 30
LINE: Final = 22
BAR: Final = 14
STYLE: Final = """
text { font: 12px system-ui, sans-serif; fill: #333 } .title { font-weight: 600 }
.ours { fill: #3d8b40 } .bare { fill: #c9c9c9 } .peer { fill: #6b8fb5 }
@media (prefers-color-scheme: dark) { text { fill: #ddd } .bare { fill: #555 } }
"""


class Bar(NamedTuple):
    """One bar."""

    name: str
    kind: str
    """`ours`, `bare` or `peer`."""
    value: float


def write(
    directory: Path, workloads: Sequence[Workload], systems: Sequence[System], figures: Figures
) -> Iterator[Path]:
    """Write a chart for each figure that is compared, and tell its file."""
    directory.mkdir(parents=True, exist_ok=True)
    for workload in workloads:
        for metric in workload.metrics:
            bars = list(_bars(workload, metric, systems, figures))
            if metric.compared and bars:
                file = directory / f"{workload.name}-{metric.key}.svg"
                better = "more is better" if metric.better == MORE else "less is better"
                file.write_text(render(f"{workload.name}: {metric.title}, {better}", bars, metric.digits))
                yield file


def render(title: str, bars: Sequence[Bar], digits: int) -> str:
    """Draw bars below each other, in proportion to their values."""
    height = HEAD + LINE * len(bars) + 6
    chart = ElementTree.Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {WIDTH} {height}", role="img")
    ElementTree.SubElement(chart, "title").text = title
    ElementTree.SubElement(chart, "style").text = STYLE
    _text(chart, title, 0, 16, kind="title")
    most = max(bar.value for bar in bars) or 1.0
    for number, bar in enumerate(bars):
        top = HEAD + LINE * number
        width = max(1.0, (WIDTH - LABEL - VALUE) * bar.value / most)
        _text(chart, bar.name, LABEL - 8, top + BAR - 2, anchor="end")
        place = {"x": f"{LABEL}", "y": f"{top}", "width": f"{width:.1f}", "height": f"{BAR}"}
        ElementTree.SubElement(chart, "rect", {"class": bar.kind, **place})
        _text(chart, f"{bar.value:,.{digits}f}", LABEL + width + 6, top + BAR - 2)
    ElementTree.indent(chart)
    return ElementTree.tostring(chart, encoding="unicode") + "\n"


def _bars(workload: Workload, metric: Metric, systems: Sequence[System], figures: Figures) -> Iterator[Bar]:
    found = []
    for system in systems:
        if spread := figures.spread(workload.name, metric.key, system.name):
            kind = {OURS: "ours", BARE: "bare"}.get(system.library, "peer")
            found.append(Bar(system.name, kind, spread.median))
    yield from sorted(found, key=lambda bar: bar.value, reverse=metric.better == MORE)


def _text(chart: ElementTree.Element, text: str, x: float, y: float, kind: str = "", anchor: str = "start") -> None:
    attributes = {"x": f"{x:.1f}", "y": f"{y}", "text-anchor": anchor, **({"class": kind} if kind else {})}
    ElementTree.SubElement(chart, "text", attributes).text = text
