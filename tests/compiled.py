"""Statements as SQLAlchemy compiled them, kept from test to test.

An engine keeps them for itself, and each test has engines of its own: making the same text again took a third of the time
of tests that ask a database. Who asks a server for its version, or speaks another dialect, gets a text of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.util import LRUCache

__all__ = ("kept_for_all_engines",)

_MOST = 3_000


class _Compiled(LRUCache[Any, Any]):
    """By what a dialect is, not by which: each engine has one of its own."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(_of_kind(key), default)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_of_kind(key), value)


def _of_kind(key: tuple[Any, ...]) -> tuple[Any, ...]:
    dialect, *rest = key
    return (type(dialect), getattr(dialect, "server_version_info", None), *rest)


@contextmanager
def kept_for_all_engines() -> Iterator[None]:
    """All engines take what one of them compiled."""
    compiled = _Compiled(_MOST)

    def share(connection: Connection) -> None:
        connection.execution_options(compiled_cache=compiled)

    event.listen(Engine, "engine_connect", share)
    try:
        yield
    finally:
        event.remove(Engine, "engine_connect", share)
