"""What survives a loss of power? What the device has, not only the operating system: files, folders, SQLite's log."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

if sys.platform != "win32":
    import fcntl

__all__ = ("make_folder", "sync_file", "sync_folder", "sync_sqlite")

_NO_SYNC = (errno.EINVAL, errno.ENOTSUP)
"""What file systems answer that have no sync of folders, as some of networks and of FUSE."""


def sync_file(descriptor: int) -> None:
    """Wait until the device has what was written to a file.

    Raises:
        OSError: when it could not be written.

    """
    if sys.platform == "darwin":
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # its fsync leaves it in the device's cache
    else:
        getattr(os, "fdatasync", os.fsync)(descriptor)


def sync_folder(folder: Path) -> None:
    """Wait until the device has the names in a folder; Windows, and file systems without such a sync, keep them by
    themselves.

    Raises:
        OSError: when they could not be written.

    """
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path, *, is_synced: bool) -> None:
    """Make a folder where there is none, and those above it.

    Args:
        folder: its path.
        is_synced: whether their names are to survive a loss of power.

    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()] if is_synced else []
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        sync_folder(place.parent)


def sync_sqlite(database: Path) -> None:
    """Wait until the device has what is committed to an SQLite database.

    A commit goes to the write-ahead log, which SQLite itself syncs later, before it moves it to the database. The
    database file must not be opened here: to close it would free the locks that SQLite holds on it.
    """
    try:
        descriptor = os.open(f"{database}-wal", os.O_RDWR)
    except FileNotFoundError:
        return  # the last connection has moved it to the database, and synced that
    try:
        sync_file(descriptor)
    finally:
        os.close(descriptor)
    sync_folder(database.parent)
