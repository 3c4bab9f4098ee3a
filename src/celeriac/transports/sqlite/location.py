"""From a `sqlite:///` URL to a file that SQLite can work with: the path, the directories, the file system."""

from __future__ import annotations

import os
import stat
from typing import Final

import psutil

from celeriac.core.urls import mask, scheme
from celeriac.exceptions import ImproperlyConfigured

NETWORK_FILE_SYSTEMS: Final = frozenset(
    {"afs", "cifs", "davfs", "fuse.davfs2", "fuse.sshfs", "ncpfs", "nfs", "nfs4", "smb3", "smbfs", "webdav"}
)
"""Where two machines see one file, but SQLite's shared memory is each machine's own: the file would be ruined."""


def path_of(url: str) -> str:
    """Return the absolute path in `sqlite:///relative.db` or `sqlite:////absolute.db`.

    Relative means: to the working directory at the time of the call.  Raises `ImproperlyConfigured`.
    """
    path = url.partition("://")[2]
    if scheme(url) != "sqlite" or not path.startswith("/") or path[1:] in ("", "/", ":memory:"):
        raise ImproperlyConfigured(
            f"{mask(url)!r} names no file; write sqlite:///relative/path.db, sqlite:////absolute/path.db,"
            " or memory:// for a broker that lives in one process"
        )
    if "?" in path or "#" in path or "\0" in path:
        raise ImproperlyConfigured(f"{mask(url)!r}: a SQLite URL takes no options, and its path no '?', '#' or NUL")
    return os.path.abspath(path[1:])


def same_file(url: str, other_url: str) -> bool:
    """Tell whether two URLs name one SQLite file; False for URLs of other kinds."""
    if scheme(url) != "sqlite" or scheme(other_url) != "sqlite":
        return False
    return os.path.realpath(path_of(url)) == os.path.realpath(path_of(other_url))


def create_file(path: str) -> None:
    """Create the file (0600) and the directories above it (0700), as far as they are missing, whatever the umask."""
    if os.path.exists(path):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ImproperlyConfigured(f"{path} is no regular file; give the embedded broker a path of its own")
        return
    _create_directories(os.path.dirname(path))
    try:
        # Exclusive, so that nobody can put a link in our way; SQLite gives its side files the same mode.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if os.path.islink(path):
            raise ImproperlyConfigured(f"{path} is a link to nowhere; remove it or create what it names") from None
        # Else another process was faster: that is its file and ours.


def check_file_system(path: str) -> None:
    """Raise `ImproperlyConfigured` if the path lies on a network file system."""
    directory = os.path.realpath(os.path.dirname(path))
    best, kind = "", ""
    for partition in psutil.disk_partitions(all=True):
        mountpoint = partition.mountpoint
        inside = directory == mountpoint or directory.startswith(mountpoint.rstrip("/") + "/")
        if inside and len(mountpoint) >= len(best):
            best, kind = mountpoint, partition.fstype
    if kind.lower() in NETWORK_FILE_SYSTEMS:
        raise ImproperlyConfigured(
            f"{path} lies on a network file system ({kind} at {best}), where SQLite cannot keep it sound;"
            " put it on a local disk, or use Redis or RabbitMQ to share work between machines"
        )


def _create_directories(directory: str) -> None:
    if os.path.isdir(directory):
        return
    _create_directories(os.path.dirname(directory))
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        pass  # another process was faster
