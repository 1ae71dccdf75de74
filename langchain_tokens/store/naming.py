"""Which names are there? Looked up in a moment, for whoever types; reads only, makes nothing, and never waits long."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from langchain_tokens.store.target import StoreTarget

__all__ = ("names_like",)

_SECONDS = 0.2
_SERVER_SECONDS = 2.0
"""For a server the database library has to be loaded first."""
_MOST = 50
_STEPS = 1_000
"""Instructions of SQLite's between looks at the clock."""
_QUERY = (
    "SELECT name FROM usage_by_name WHERE dimension = ? AND name <> '' AND substr(name, 1, ?) = ?"
    " ORDER BY total_tokens DESC LIMIT ?"
)


def names_like(target: StoreTarget, dimension: str, start: str) -> list[str]:
    """Names of a dimension that begin with a text, those with the most tokens first; none when that takes too long.

    Args:
        target: the database.
        dimension: `agent`, `chain`, `model`, `mode`, `provider`, `session` or `user`.
        start: how they begin; empty is any.

    """
    if target.path is not None:
        return _in_file(target.path, dimension, start)
    return [] if target.is_memory else _on_server(target, dimension, start)


def _in_file(path: Path, dimension: str, start: str) -> list[str]:
    if not path.exists():
        return []
    # Without a write-ahead log nobody writes now: as a file that nobody changes it is opened without making one.
    options = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "mode=ro&immutable=1"
    deadline = time.monotonic() + _SECONDS
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?{options}", uri=True, timeout=_SECONDS)) as connection:
            connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
            return [row[0] for row in connection.execute(_QUERY, (dimension, len(start), start, _MOST))]
    except sqlite3.Error:  # locked, slow, older, no database of ours: nothing is offered
        return []


def _on_server(target: StoreTarget, dimension: str, start: str) -> list[str]:
    found: list[str] = []
    asking = threading.Thread(target=_ask, args=(target, dimension, start, found), daemon=True)
    asking.start()
    asking.join(_SERVER_SECONDS)
    return list(found)


def _ask(target: StoreTarget, dimension: str, start: str, found: list[str]) -> None:
    from sqlalchemy import func, select

    from langchain_tokens.errors import TokensError
    from langchain_tokens.store.engine import make_engine, reading
    from langchain_tokens.store.rolluptables import NAMES

    kept = NAMES["ever"].table.c
    named = (kept.dimension == dimension, kept.name != "", func.substr(kept.name, 1, len(start)) == start)
    statement = select(kept.name).where(*named).order_by(kept.total_tokens.desc().nulls_last()).limit(_MOST)
    with suppress(TokensError), ExitStack() as stack:  # one that is away, refuses or is older offers nothing
        engine = make_engine(target)
        stack.callback(engine.dispose)
        found += stack.enter_context(reading(engine, target)).execute(statement).scalars()
