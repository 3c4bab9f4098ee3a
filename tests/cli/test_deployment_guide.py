"""The page about deployment: each of its files can be read, and each of its command lines is one that the command line takes."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from celeriac.cli.multi import COMMANDS, multi
from celeriac.cli.root import celeriac

GUIDE = Path(__file__).parents[2] / "docs" / "guide"
PAGE = (GUIDE / "deployment.md").read_text()


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    return found


def take(words: list[str]) -> None:
    """Read a command line as the program does, and fail where that would."""
    assert Path(words[0]).name == "celeriac"
    with celeriac.make_context("celeriac", words[1:]) as ctx:
        name, command, rest = celeriac.resolve_command(ctx, [*ctx._protected_args, *ctx.args])
        assert command is not None
        if command is multi:
            assert rest[0] in COMMANDS
        else:
            assert isinstance(command, click.Command)
            command.make_context(name, rest, parent=ctx).close()


def ini(text: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser


def sections() -> Iterator[configparser.SectionProxy]:
    for text in blocks("ini"):
        if "[" in text:
            parser = ini(text)
            yield from (parser[name] for name in parser.sections())


def test_units_and_programs() -> None:
    simple, of_multi = [section for section in sections() if section.name == "Service"]
    words = shlex.split(simple["ExecStart"].replace("%%", "%"))
    take(words)
    assert float(simple["TimeoutStopSec"]) > float(words[words.index("--grace") + 1])
    variables = dict(line.split("=", 1) for line in blocks("ini")[1].splitlines() if not line.startswith("#"))
    for name in ("ExecStart", "ExecStop", "ExecReload"):
        shell = shlex.split(of_multi[name])
        assert shell[:2] == ["/bin/sh", "-c"]
        script = re.sub(r"^\$\{CELERY_BIN\}", "printf '%s\\\\n' celeriac", shell[2])
        environment = {key: value.strip('"') for key, value in variables.items()}
        said = subprocess.run(["/bin/sh", "-c", script], env=environment, capture_output=True, text=True, check=True)
        take(said.stdout.splitlines())
    (program,) = [section for section in sections() if section.name.startswith("program:")]
    take(shlex.split(program["command"].replace("%%", "%")))
    assert float(program["stopwaitsecs"]) > 60


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    units = []
    for text in blocks("ini"):
        name = Path(text.splitlines()[0].removeprefix("# ")).name
        if name.endswith(".service"):
            # Programs and users of the example are not here.
            text = re.sub(r"/srv/shop/venv/bin/celeriac", "/bin/true", text)
            text = re.sub(r"^(User|Group)=.*\n", "", text, flags=re.MULTILINE)
            (tmp_path / name).write_text(text)
            units.append(tmp_path / name)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    ours = [line for line in done.stderr.splitlines() if "shop-worker" in line]
    assert ours == []


def test_manifests() -> None:
    deployment, with_file, scaled = (yaml.safe_load(text) for text in blocks("yaml"))
    pod: dict[str, Any] = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    arguments: list[str] = container["args"]
    take([*container["command"], *arguments])
    assert pod["terminationGracePeriodSeconds"] > float(arguments[arguments.index("--grace") + 1])
    port = arguments[arguments.index("--health-port") + 1]
    assert port == f"0.0.0.0:{container['ports'][0]['containerPort']}"
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] == container["ports"][0]["name"]
        assert container[probe]["httpGet"]["path"] in ("/livez", "/readyz")
    take([*container["command"], *with_file["args"]])
    take(with_file["livenessProbe"]["exec"]["command"])
    assert scaled["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]


def test_the_container() -> None:
    (text,) = blocks("dockerfile")
    lines = [line for line in text.splitlines() if "CMD [" in line]
    assert len(lines) == 2
    for line in lines:
        take(json.loads(line.partition("CMD ")[2]))


def test_command_lines_of_the_page_about_workers() -> None:
    page = (GUIDE / "workers.md").read_text()
    lines = [line.removeprefix("$ ") for line in page.splitlines() if line.startswith("$ celeriac")]
    assert len(lines) >= 4
    for line in lines:
        take(shlex.split(line))
