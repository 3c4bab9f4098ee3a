"""`celeriac revoke`."""

from __future__ import annotations

from tests.cli.support import Project


def test_revoke_what_waits_and_what_runs(project: Project) -> None:
    task_id = project.ok("-A", "shop", "call", "shop.add", "1").strip()
    assert project.ok("-A", "shop", "revoke", task_id) == "revoked: 1 task\n"
    with project.worker("-c", "1") as worker:
        waited = project.run("-A", "shop", "result", task_id, "--wait", "30")
        assert (waited.returncode, "REVOKED" in waited.stderr) == (1, True)
        running, _gate = project.hold(worker)
        project.ok("-A", "shop", "revoke", running, "--terminate", "--signal", "KILL", "--stamp", "tenant=acme")
        ended = project.run("-A", "shop", "result", running, "--wait", "30")
        assert (ended.returncode, "REVOKED" in ended.stderr) == (1, True)


def test_what_revoke_refuses(project: Project) -> None:
    for arguments, why in (
        ((), "name tasks by their id, or with --stamp"),
        (("--stamp", "tenant"), "NAME=VALUE is wanted"),
        (("id", "--signal", "TREM"), "there is no signal 'TREM'; did you mean 'SIGTERM'?"),
    ):
        refused = project.run("-A", "shop", "revoke", *arguments)
        assert (refused.returncode, why in refused.stderr) == (2, True), refused.stderr
