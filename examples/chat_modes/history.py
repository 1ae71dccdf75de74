"""What becomes of the old tracker's rows? They move into the new tables of the same database, and can move back.

The old table `token_usage` stays as it is, whatever happens: its rows are read from the copy that is made first.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from langchain_tokens import open_store
from langchain_tokens.store.adoption import adopt_store
from langchain_tokens.store.downgrade import BASE, downgrade_store
from langchain_tokens.store.target import parse_target

__all__ = (
    "DAYS",
    "MigratedHistory",
    "MigrationError",
    "imprint",
    "make_old_database",
    "migrate",
    "roll_back",
    "tables_of",
)

DAYS = 39
"""How far back the old tracker's rows go."""
_SCHEMA = """
    CREATE TABLE chat_messages (id TEXT PRIMARY KEY, session_id TEXT, role TEXT, content TEXT);
    CREATE TABLE token_usage (
        id INTEGER PRIMARY KEY, session_id TEXT, message_id TEXT, timestamp TEXT, chat_mode TEXT, model_name TEXT,
        agent_name TEXT, input_tokens INTEGER, output_tokens INTEGER, total_tokens INTEGER, cost_usd REAL,
        duration_ms INTEGER, tool_calls TEXT, additional_info TEXT);
"""
_OLD_PRICES = {"gpt-4o-mini": (0.15, 0.6), "gpt-4-turbo": (10.0, 30.0), "gemini-2.5-flash": (0.1, 0.4)}
"""USD for one million tokens, as the old tracker had them; that of gemini-2.5-flash never was right."""
_OLD_CALLS: Sequence[tuple[str, str, str | None, int, int, Sequence[str]]] = (
    ("SIMPLE", "gpt-4o-mini", None, 180, 60, []),
    ("RAG", "gpt-4-turbo", "Orchestrator", 420, 90, []),
    ("RAG", "gemini-2.5-flash", "RAGAgent", 900, 120, ["search_documents"]),
    ("RAG", "gemini-2.5-flash", "SQLAgent", 610, 40, ["query_orders"]),
)


class MigrationError(Exception):
    """Raised when the new tables would not say what the old one does; the database is as it was before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MigratedHistory:
    """What a migration did."""

    calls: int
    """Old rows that are calls now."""
    tables: int
    """New tables and views."""
    backup: Path | None
    """The copy of the file as it was before; None where the tables were there already."""


def make_old_database(path: Path, now: datetime) -> None:
    """Write the database of the application as it was before: two messages on each day, up to yesterday."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(_SCHEMA)
        connection.executemany(f"INSERT INTO token_usage VALUES ({', '.join('?' * 14)})", _old_rows(now))  # noqa: S608  # our own


def migrate(path: Path) -> MigratedHistory:
    """Bring the old rows into the new tables, verified; a second time nothing is left to do.

    Raises:
        MigrationError: when a row was refused, or the sums differ by as much as a token. Then the new tables are taken
            away again, unless there were any before.

    """
    adoption = adopt_store(parse_target(path))
    store = open_store(path)
    try:
        moved = store.import_file(adoption.backup or path, format="token_usage")
        rows = store.breakdown("mode", "model", "agent")
    finally:
        store.close()
    before = _sums_of_old(path)
    after = {tuple(row.key.values()): (row.calls, row.input_tokens, row.output_tokens) for row in rows}
    differ = bool(moved.refused_rows) or (bool(adoption.added) and after != before)
    if differ and adoption.added:
        roll_back(path)
    if differ:
        raise MigrationError(
            f"{moved.refused_rows} rows were refused; the old table says {before}, the new say {after}"
        )
    return MigratedHistory(calls=moved.stored, tables=len(adoption.added), backup=adoption.backup)


def roll_back(path: Path) -> Path | None:
    """Take the new tables away, with what is in them; tells where the copy is. The old table is not touched."""
    return downgrade_store(parse_target(path), BASE).backup


def tables_of(path: Path) -> set[str]:
    """The names of all tables and views that there are."""
    with closing(sqlite3.connect(path)) as connection:
        return {
            name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')")
        }


def imprint(path: Path) -> str:
    """A digest of all that is in the application's own tables."""
    with closing(sqlite3.connect(path)) as connection:
        rows = [connection.execute(f"SELECT * FROM {name} ORDER BY id").fetchall() for name in _OWN_TABLES]  # noqa: S608  # our own
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


_OWN_TABLES = ("chat_messages", "token_usage")


def _sums_of_old(path: Path) -> dict[tuple[Any, ...], tuple[int, int, int]]:
    """Calls, input and output tokens of the old table by mode, model and agent."""
    query = """SELECT chat_mode, model_name, agent_name, COUNT(*), SUM(input_tokens), SUM(output_tokens)
        FROM token_usage GROUP BY 1, 2, 3"""
    with closing(sqlite3.connect(path)) as connection:
        return {row[:3]: row[3:] for row in connection.execute(query)}


def _old_rows(now: datetime) -> Iterator[tuple[Any, ...]]:
    """Rows of whole days, half a day apart from any moment that a question may begin at."""
    hour, number = now.replace(minute=0, second=0, microsecond=0), 0
    for day in range(1, DAYS + 1):
        at = hour - timedelta(days=day, hours=-12)
        for minute, (mode, model, agent, given, answered, tools) in enumerate(_OLD_CALLS):
            number += 1
            given_on_day = given + 7 * (day % 5)
            price_in, price_out = _OLD_PRICES[model]
            cost = (given_on_day * price_in + answered * price_out) / 1e6
            names = (
                f"old-{day % 8}",
                f"m{day}-{mode}",
                (at + timedelta(minutes=minute)).isoformat(),
                mode,
                model,
                agent,
            )
            counts = (given_on_day, answered, given_on_day + answered, round(cost, 8), 400 + 10 * minute)
            yield (number, *names, *counts, json.dumps(tools), None)
