"""What needs no broker: help, errors of usage, completion."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from celeriac import __version__
from celeriac.cli.root import celeriac
from tests.cli.support import Project, clean_environment


@pytest.fixture(autouse=True)
def _nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("APP", "BROKER_URL", "RESULT_BACKEND", "ENV", "ALLOW_EMBEDDED"):
        monkeypatch.delenv(f"CELERIAC_{name}", raising=False)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(celeriac, arguments, prog_name="celeriac")


def all_commands(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(command, click.Group):
        return [path]
    return [path] + [one for name, sub in command.commands.items() for one in all_commands(sub, (*path, name))]


def test_it_is_a_program(project: Project) -> None:
    """As users start it; other tests fork it from a process that has imported it (tests/forge.py)."""
    for program in ([sys.executable, "-m", "celeriac"], [str(Path(sys.executable).with_name("celeriac"))]):
        called = subprocess.run(
            [*program, "-A", "shop", "call", "shop.add", "1"],
            cwd=project.directory,
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (called.returncode, len(called.stdout.strip())) == (0, 36), called.stderr
    assert project.depth("ready") == 2


def test_version() -> None:
    result = run("--version")
    assert (result.exit_code, result.output) == (0, f"celeriac {__version__}\n")


@pytest.mark.parametrize("path", all_commands(celeriac), ids=" ".join)
def test_every_command_has_help(path: tuple[str, ...]) -> None:
    result = run(*path, "--help")
    assert result.exit_code == 0
    assert "Usage: celeriac" in result.output


@pytest.mark.parametrize("command", sorted(celeriac.commands))
def test_help_shows_examples(command: str) -> None:
    output = run(command, "--help").output
    assert "celeriac " in output.partition("Examples:")[2] or "celeriac completion bash >" in output


def test_misspelt_command_is_answered_with_the_nearest() -> None:
    result = run("wroker")
    assert result.exit_code == 2
    assert "No such command 'wroker'; did you mean 'worker'?" in result.output


def test_strange_command_is_answered_with_all() -> None:
    assert "there are beat, call, completion, control, dead" in run("zzz").output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["worker"], "no app given: use -A module"),
        (["-A", "shop", "worker", "-P", "gevent"], "write such tasks as `async def` and use --async N"),
        (["-A", "shop", "worker", "-P", "quick"], "there are prefork, processes, threads, asyncio, solo"),
        (["-A", "shop", "worker", "-c", "-1"], "-1"),
        (["-A", "shop", "worker", "-Q", "a,,b"], "has an empty name"),
        (["call", "x", "--args", "[1"], "is no JSON"),
        (["call", "x", "--args", "{}"], "is no JSON list; write it as in '[2, 2]'"),
        (["call", "x", "--kwargs", "[]"], "is no JSON object"),
        (["call", "x", "word"], "write it as in '\"text\"'"),
        (["call", "x", "1", "--args", "[1]"], "not both"),
        (["call", "x", "--eta", "tomorrow"], "is no ISO 8601 time"),
        (["call", "x", "--eta", "2030-01-01", "--countdown", "1"], "either --countdown or --eta"),
        (["call", "x", "--expires", "never"], "is no ISO 8601 time"),
        (["call", "x", "--priority", "256"], "256"),
        (["dead", "retry"], "or give --all"),
        (["dead", "purge", "ID", "--all"], "or give --all"),
        (["completion", "tcsh"], "tcsh"),
        (["-A", "no_such_module_at_all", "queues"], "no such module on the import path"),
        (["--broker", "mysql://u:secret@h/x", "queues"], "use redis://"),
        (["--workdir", "/no/such/directory", "queues"], "/no/such/directory"),
    ],
)
def test_wrong_usage_ends_with_2_and_the_cure(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERIAC_BROKER_URL", "")  # to be put back when --broker has changed it
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.output.split())
    assert "secret" not in result.output
    assert "Traceback" not in result.output


def test_no_broker_is_named_and_none_is_made(project: Project) -> None:
    done = project.run("queues")
    assert done.returncode == 2
    assert "no broker given" in done.stderr
    assert sorted(path.name for path in project.directory.iterdir()) == ["shop.py"]


def test_app_that_fails_to_import_is_shown_with_its_own_traceback(tmp_path: Path) -> None:
    project = Project(tmp_path)
    (tmp_path / "broken.py").write_text("import shop\n1 / 0\n")
    for arguments in (["-A", "broken", "worker"], ["-A", "broken", "queues"]):
        done = project.run(*arguments)
        assert done.returncode == 2
        assert "Error: importing 'broken' of -A broken failed" in done.stderr
        assert "ZeroDivisionError" in done.stderr


def test_traceback_of_the_program_on_request(tmp_path: Path) -> None:
    done = Project(tmp_path).run("--traceback", "-A", "nope", "queues")
    assert done.returncode == 2
    assert "celeriac/client/loading.py" in done.stderr


def test_app_option_stands_before_or_after_the_command_or_in_the_environment(project: Project) -> None:
    assert "celery\t0" in project.ok("-A", "shop", "queues")
    assert "celery\t0" in project.ok("queues", "-A", "shop")
    assert "celery\t0" in project.ok("queues", CELERIAC_APP="shop")
    # The command line wins.
    assert project.run("-A", "nope", "queues", CELERIAC_APP="shop").returncode == 2


def test_workdir(project: Project, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = Project(elsewhere)
    assert "celery\t0" in other.ok("-A", "shop", "--workdir", str(project.directory), "queues")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert "_CELERIAC_COMPLETE" in result.output


def test_completion_answers(project: Project) -> None:
    answer = project.run(_CELERIAC_COMPLETE="bash_complete", COMP_WORDS="celeriac wo", COMP_CWORD="1")
    assert answer.stdout.splitlines() == ["plain,worker", "plain,workflows"]


def test_json_is_json(project: Project) -> None:
    assert json.loads(project.ok("-A", "shop", "queues", "--json"))[0]["queue"] == "celery"
