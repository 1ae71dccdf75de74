"""How much room would a database give back? SQLite keeps what deleted rows leave until it is told otherwise."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from langchain_tokens.errors import StoreError
from langchain_tokens.store.looking import open_file, require_file
from langchain_tokens.store.target import StoreTarget

__all__ = ("free_bytes", "vacuum")

_TEMPORARY = "SQLITE_TMPDIR"


def free_bytes(target: StoreTarget) -> int | None:
    """How much of an SQLite file nothing is stored in; None for another database."""
    if target.path is None:
        return None
    with closing(open_file(target.path, target.timeout)) as connection:
        return _pragma(connection, "freelist_count") * _pragma(connection, "page_size")


def vacuum(target: StoreTarget) -> int:
    """Write an SQLite file anew without what is free in it. Nobody else can write to it as long as that takes.

    Returns:
        How many bytes the file is smaller.

    Raises:
        StoreError: for another database, where there is not enough room on the disk for a copy, and where somebody
            else is using the file; it is then as it was.

    """
    path = require_file(target)
    try:
        with closing(open_file(path, target.timeout)) as connection:
            _require_room(connection, path)
            before = path.stat().st_size
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return before - path.stat().st_size
    except sqlite3.Error as error:
        is_used = "locked" in str(error) or "busy" in str(error)
        hint = "; somebody else uses it: try again when nobody does" if is_used else ""
        raise StoreError(f"{path} could not be vacuumed, and has all its rows: {error}{hint}") from error


def _require_room(connection: sqlite3.Connection, path: Path) -> None:
    """SQLite writes a copy to its folder for temporary files, and from there to the log beside the file."""
    pages = _pragma(connection, "page_count") - _pragma(connection, "freelist_count")
    copy = pages * _pragma(connection, "page_size")
    temporary = Path(os.environ.get(_TEMPORARY) or tempfile.gettempdir())
    is_one_disk = temporary.stat().st_dev == path.parent.stat().st_dev
    for folder, needed in ((path.parent, copy * 2 if is_one_disk else copy), (temporary, copy)):
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise StoreError(
                f"VACUUM of {path} needs {needed:,} bytes in {folder}, where {free:,} are free; nothing was changed"
            )


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
