"""What a run leaves in a file: every figure, with what is needed to understand it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import environments
from bench.campaign import Campaign
from bench.catalogue import BARE, SYSTEMS
from bench.workloads import WORKLOADS

Record = dict[str, Any]


def make(campaign: Campaign, began_at: datetime, servers: Mapping[str, str]) -> Record:
    """Put down a run; `servers`: versions of the brokers."""
    libraries = dict.fromkeys(system.library for system in campaign.systems)
    return {
        "began_at": began_at.isoformat(),
        "ended_at": datetime.now(UTC).isoformat(),
        "machine": {
            "processors": os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
            "load": os.getloadavg(),
        },
        "servers": dict(servers),
        "versions": {library: dict(environments.versions(library)) for library in libraries},
        "counts": campaign.counts,
        "rounds": campaign.figures.as_json(),
        "failures": campaign.failures,
    }


def write(record: Record, file: Path) -> None:
    """Write a record as JSON."""
    file.write_text(json.dumps(record, indent=1) + "\n")


def read(files: tuple[Path, ...]) -> tuple[Campaign, list[Record]]:
    """Read records back, as if their runs had been one; where two measured the same, the later file counts."""
    records: list[Record] = [json.loads(file.read_text()) for file in files]
    campaign = Campaign([], [], {}, {})
    for record in records:
        campaign.counts.update(record["counts"])
        campaign.figures.merge(record["rounds"])
    measured = {name for systems in campaign.figures.rounds.values() for name in systems}
    campaign.systems = [system for name, system in SYSTEMS.items() if name in measured]
    campaign.workloads = [workload for name, workload in WORKLOADS.items() if name in campaign.figures.rounds]
    return campaign, records


def about(record: Record) -> Iterator[str]:
    """Say in lines of Markdown when, where and with what it was measured."""
    machine = record["machine"]
    yield f"Measured from {record['began_at'][:16]} to {record['ended_at'][:16]} UTC: {', '.join(record['rounds'])}."
    servers = [f"{name} {version}" for name, version in record["servers"].items()]
    yield f"{machine['processors']} processors, {machine['system']}, Python {machine['python']}, {', '.join(servers)}."
    libraries = {name: pins[name] for name, pins in record["versions"].items() if name != BARE}
    yield f"{', '.join(f'{name} {version}' for name, version in libraries.items())}."
