"""The text in which Prometheus is told of metrics."""

from __future__ import annotations


def read_metrics(text: str) -> dict[str, float]:
    """Return series -> value, as in `{'flower_worker_online{worker="celery@here"}': 1.0}`."""
    lines = (line.rsplit(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#"))
    return {series: float(value) for series, value in lines}
