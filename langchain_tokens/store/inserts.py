"""How do new rows get in, each once? The fastest way of each database, which also tells what they add up to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from operator import attrgetter, itemgetter
from typing import Any, TypeVar

from sqlalchemy import Connection, FromClause, Integer, literal_column, select
from sqlalchemy.dialects import postgresql, sqlite

from langchain_tokens.call import Call
from langchain_tokens.store.copying import call_rows
from langchain_tokens.store.facts import Fact, fact_of, facts_statement, read_facts
from langchain_tokens.store.partitions import is_partitioned, unstored
from langchain_tokens.store.tables import CALLS
from langchain_tokens.store.tuples import COLUMNS, Prepared, gathered_rows, plain_moment, prepare
from langchain_tokens.store.upserts import sent_rows

__all__ = ("chunks", "insert_calls")

Item = TypeVar("Item")

_CHUNK = 500
_PIECE = 50
_BY_ID = attrgetter("call_id")
_LAST = f"SELECT coalesce(max(rowid), 0), total_changes() FROM {CALLS.name}"  # noqa: S608  # our own name


def insert_calls(connection: Connection, calls: Sequence[Call]) -> Sequence[Fact]:
    """Insert the calls that are not stored yet.

    Returns:
        Those that were inserted.

    """
    if not calls:
        return ()
    if connection.dialect.name == "sqlite":
        return _insert_tuples(connection, calls)
    if is_partitioned(connection):  # where the key has the time in it too
        calls = unstored(connection, calls)
    # Sorted, so that writers with the same calls never wait for each other in a circle.
    return _insert_sent(connection, sorted(calls, key=_BY_ID)) if calls else ()


def chunks(items: Sequence[Item], size: int = _CHUNK) -> Iterable[Sequence[Item]]:
    """Cut a sequence into parts that one statement can name."""
    return (items[start : start + size] for start in range(0, len(items), size))


def _insert_tuples(connection: Connection, calls: Sequence[Call]) -> Sequence[Fact]:
    into_calls, arrange = _prepared()
    last, before = connection.exec_driver_sql(_LAST).one()
    facts: list[Fact] = []
    for chunk in chunks(calls, _PIECE):
        rows = gathered_rows(chunk, plain_moment)
        connection.exec_driver_sql(into_calls.sql, [arrange(row) for row in rows])
        facts += map(fact_of, rows)
        time.sleep(0)  # lets go of the interpreter, for the host's threads
    if connection.exec_driver_sql("SELECT total_changes()").scalar_one() - before == len(facts):
        return facts
    # SQLite numbers rows upwards, and nobody else writes during the transaction.
    return read_facts(connection, literal_column(f"{CALLS.name}.rowid", Integer) > last)


@cache
def _prepared() -> tuple[Prepared, Callable[[Any], tuple[Any, ...]]]:
    into_calls = prepare(sqlite.insert(CALLS).on_conflict_do_nothing())
    return into_calls, itemgetter(*(COLUMNS.index(name) for name in into_calls.names))


def _insert_sent(connection: Connection, calls: Sequence[Call]) -> Sequence[Fact]:
    names, rows = call_rows(calls)
    source, values = sent_rows(connection, CALLS, names, rows, len(calls))
    return [tuple(row) for row in connection.execute(_insert_from(source, names), values)]


@cache
def _insert_from(source: FromClause, names: Sequence[str]) -> Any:
    into_calls = postgresql.insert(CALLS).from_select(names, select(*(source.c[name] for name in names)))
    return into_calls.on_conflict_do_nothing().returning(*facts_statement(CALLS.c, "postgresql").selected_columns)
