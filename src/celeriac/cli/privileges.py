"""As which user a program goes on: `--uid` and `--gid`."""

from __future__ import annotations

import grp
import os
import pwd

from celeriac.cli.errors import USAGE, CommandError


def go_on_as(user: str | None, group: str | None) -> None:
    """Give up the rights of root for those of a user and a group, named or numbered; for good, and before anything is opened.

    Without a group it is the user's own, with all others that the user is in.  Nothing happens for who is that user already.
    Raises `CommandError` for names that do not exist and for a program that may not change.
    """
    if user is None and group is None:
        return
    account = _account(user) if user is not None else None
    gid = _gid(group) if group is not None else account.pw_gid if account is not None else os.getegid()
    if (account is None or os.geteuid() == account.pw_uid) and os.getegid() == gid:
        return
    if os.geteuid() != 0:
        wanted = " and ".join(
            f"--{name} {value}" for name, value in (("uid", user), ("gid", group)) if value is not None
        )
        raise CommandError(f"{wanted}: only root may become another user, and this is {_name(os.geteuid())}", USAGE)
    os.setgroups([gid])
    if account is not None and group is None and account.pw_name:
        os.initgroups(account.pw_name, gid)
    os.setgid(gid)
    if account is None:
        return
    os.setuid(account.pw_uid)
    if account.pw_dir and account.pw_name:
        os.environ.update(HOME=account.pw_dir, USER=account.pw_name, LOGNAME=account.pw_name)


def _account(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        pass
    if not user.isdigit():
        raise CommandError(f"--uid {user}: there is no such user", USAGE)
    try:
        return pwd.getpwuid(int(user))
    except KeyError:  # as in a container: a number without a name
        return pwd.struct_passwd(("", "", int(user), int(user), "", "", ""))


def _gid(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        if group.isdigit():
            return int(group)
        raise CommandError(f"--gid {group}: there is no such group", USAGE) from None


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
