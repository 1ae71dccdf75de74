"""Is the database open, and the one that it was? A store's engine, opened at first use."""

from __future__ import annotations

import threading

from sqlalchemy import Engine

from langchain_tokens.store.engine import make_engine
from langchain_tokens.store.schema import ensure_schema
from langchain_tokens.store.target import StoreTarget

__all__ = ("Opener",)


class Opener:
    """The engine of one store, shared by the stores that read after different writers.

    The engine is made at once, so that no other thread has to load the database library; it connects at the first use.
    """

    def __init__(self, target: StoreTarget) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._engine = make_engine(target)
        self._checked: tuple[int, int] | None = None
        """The file whose schema was found right; another one in its place (deleted, replaced) is opened anew."""

    @property
    def dialect(self) -> str:
        """The name of the database's dialect."""
        return self._engine.dialect.name

    def engine(self) -> Engine:
        """The engine of a database whose schema is right."""
        with self._lock:
            if self._checked is None or self._file() != self._checked:
                if self._checked is not None:
                    self._engine.dispose()
                ensure_schema(self._engine, self._target)
                self._checked = self._file()
            return self._engine

    def close(self) -> None:
        """Close its connections; a later use opens them again."""
        with self._lock:
            if not self._target.is_memory:  # a database in memory would be gone
                self._engine.dispose()
                self._checked = None

    def forget_after_fork(self) -> None:
        """In a forked child: drop the parent's connections without closing them."""
        self._lock = threading.Lock()
        self._engine.dispose(close=False)

    def _file(self) -> tuple[int, int]:
        """Which file the path names now; a server has none."""
        path = self._target.path
        try:
            found = path.stat() if path is not None else None
        except FileNotFoundError:
            return (0, 0)
        return (found.st_dev, found.st_ino) if found is not None else (1, 1)
