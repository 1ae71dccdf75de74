"""Is the database as it was? A stamp of its state, which is equal for as long as nothing was committed since."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import text

from langchain_tokens.store.engine import translated
from langchain_tokens.store.forking import before_fork
from langchain_tokens.store.looking import open_file

if TYPE_CHECKING:
    from langchain_tokens.store.store import UsageStore

__all__ = ("Stamps",)

_BUSY_SECONDS = 1.0
_SNAPSHOT = text(
    "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()::text ELSE txid_current_snapshot()::text END"
)
"""Which transactions a query sees: equal texts, equal data. A copy of another server says what it has taken over."""


class Stamps:
    """Stamps of one store's database; for any thread."""

    def __init__(self, store: UsageStore) -> None:
        self._store = store
        path = store.target.path
        self._file = None if path is None else _File(path)

    def now(self) -> object:
        """The stamp of this moment; None where the database has none (one in memory), or is being replaced.

        What is read after a stamp was taken is as new as the stamp, or newer.

        Raises:
            StoreError: when the database cannot be asked.

        """
        engine = self._store._ready()
        if self._store.target.is_memory:
            return None
        with translated(self._store.target):
            if self._file is not None:
                return self._file.stamp()
            with engine.connect() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT")
                return connection.execute(_SNAPSHOT).scalar_one()


class _File:
    """SQLite counts the commits of all other connections; this one never writes, so that it sees them all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._file = (0, 0)
        self._opened = 0
        before_fork(self.let_go)

    def stamp(self) -> object:
        """Which file it is, how often it was opened here, and the number of its last commit for that connection."""
        with self._lock:
            try:
                found = self._path.stat()
            except FileNotFoundError:
                return None
            file = (found.st_dev, found.st_ino)
            if self._connection is None or self._file != file:  # another one may have taken its place
                self._connection, self._file, self._opened = self._open(), file, self._opened + 1
            return file, self._opened, int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def let_go(self) -> None:
        """Close the connection; the next stamp opens another."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None:
            self._connection.close()
        opened = open_file(self._path, _BUSY_SECONDS, any_thread=True)
        weakref.finalize(self, opened.close)
        return opened
