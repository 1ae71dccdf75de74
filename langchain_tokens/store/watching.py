"""Has something changed? Asked many times a second while somebody looks, so it costs next to nothing."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from langchain_tokens.breakdown import BreakdownRow
from langchain_tokens.store.engine import translated
from langchain_tokens.store.forking import before_fork
from langchain_tokens.store.looking import open_file

if TYPE_CHECKING:
    from langchain_tokens.store.store import UsageStore

__all__ = ("Watch", "make_watch")

_BUSY_SECONDS = 1.0


class Watch(Protocol):
    """One look-out on a database; for one thread."""

    interval_seconds: float
    """How long to wait between two looks."""

    def has_changed(self) -> bool:
        """Whether anything was stored, changed or deleted since the look before; the first look says no.

        Raises:
            StoreError: when the database cannot be asked.

        """

    def close(self) -> None:
        """Let go of the database."""


def make_watch(store: UsageStore) -> Watch:
    """A look-out of the kind that the store's database allows."""
    path = store.target.path
    return _SumsWatch(store) if path is None else _FileWatch(store, path)


class _FileWatch:
    """SQLite counts the commits of all other connections, in memory that processes share: a look takes microseconds."""

    interval_seconds = 0.02

    def __init__(self, store: UsageStore, path: Path) -> None:
        self._target, self._path = store.target, path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._opened = 0
        self._seen: tuple[tuple[int, int], int, int] | None = None
        """None where there is no file, or nobody has looked yet."""
        self._is_first = True
        before_fork(self.close)

    def has_changed(self) -> bool:
        with translated(self._target), self._lock:
            now = self._look()
        before, self._seen = self._seen, now
        is_first, self._is_first = self._is_first, False
        return not is_first and before != now

    def close(self) -> None:
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _look(self) -> tuple[tuple[int, int], int, int] | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._let_go()
            return None
        file = (found.st_dev, found.st_ino)
        if self._seen is not None and self._seen[0] != file:  # another file in its place
            self._let_go()
        if self._connection is None:
            self._connection = open_file(self._path, _BUSY_SECONDS, any_thread=True)
            self._opened += 1  # each counts from a number of its own: something may have changed in between
        return file, self._opened, int(self._connection.execute("PRAGMA data_version").fetchone()[0])


class _SumsWatch:
    """Anywhere else the sums of all time tell: they are few rows, and change with every call, deletion and price."""

    interval_seconds = 0.5

    def __init__(self, store: UsageStore) -> None:
        self._store = store
        self._seen: BreakdownRow | None = None

    def has_changed(self) -> bool:
        now = self._store.breakdown().total
        before, self._seen = self._seen, now
        return before is not None and before != now

    def close(self) -> None:
        self._seen = None
