"""How do new rows get in, each once? The fastest way of each database, which also tells which they were."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar

from sqlalchemy import Connection, FromClause, Integer, exc, literal_column, select
from sqlalchemy.dialects import postgresql

from langchain_tokens.call import Call
from langchain_tokens.store.copying import SENT, STAGING_PAYS, call_rows, copy, json_rows, may_stage, sent, stage
from langchain_tokens.store.facts import Fact, fact_of, facts_statement, read_facts
from langchain_tokens.store.partitions import is_partitioned, unstored
from langchain_tokens.store.tables import CALLS
from langchain_tokens.store.tuples import COLUMNS, gathered, plain_moment, valid

__all__ = ("chunks", "insert_calls")

Item = TypeVar("Item")

_CHUNK = 500
_PIECE = 50
_COPYING_PAYS = 20
"""How many rows it takes until to copy them is as fast as JSON in the statement."""
_IS_THERE = "23505"
"""PostgreSQL's code for a key that is there already."""
_BY_ID = attrgetter("call_id")
_LAST = f"SELECT coalesce(max(rowid), 0), total_changes() FROM {CALLS.name}"  # noqa: S608  # our own name

_INTO_CALLS = (
    f"INSERT INTO {CALLS.name} ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))}) ON CONFLICT DO NOTHING"  # noqa: S608  # our own names
)
"""For SQLite's driver; in the order of rows, which then go to it as they are."""


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
    calls = sorted(calls, key=_BY_ID)
    are_new = len(calls) >= _COPYING_PAYS and not any(call.revision for call in calls)
    if are_new and len({call.call_id for call in calls}) == len(calls):
        inserted = _copy(connection, calls)
        if inserted is not None:
            return inserted
    return _insert_sent(connection, calls) if calls else ()


def chunks(items: Sequence[Item], size: int = _CHUNK) -> Iterable[Sequence[Item]]:
    """Cut a sequence into parts that one statement can name."""
    return (items[start : start + size] for start in range(0, len(items), size))


def _insert_tuples(connection: Connection, calls: Sequence[Call]) -> Sequence[Fact]:
    last, before = connection.exec_driver_sql(_LAST).one()
    facts: list[Fact] = []
    for chunk in chunks(calls, _PIECE):
        with valid():
            rows = [gathered(call, plain_moment) for call in chunk]
        connection.exec_driver_sql(_INTO_CALLS, rows)
        facts += map(fact_of, rows)
        time.sleep(0)  # lets go of the interpreter, for the host's threads
    if connection.exec_driver_sql("SELECT total_changes()").scalar_one() - before == len(facts):
        return facts
    # SQLite numbers rows upwards, and nobody else writes during the transaction.
    return read_facts(connection, literal_column(f"{CALLS.name}.rowid", Integer) > last)


def _copy(connection: Connection, calls: Sequence[Call]) -> Sequence[Fact] | None:
    """Copy calls into the table itself, so that the server writes each row once; None where one of them is there
    already, and nothing was done then.
    """
    facts: list[Fact] = []
    savepoint = connection.begin_nested()
    try:
        copy(connection, CALLS, _noted(call_rows(calls)[1], facts), COLUMNS)
    except exc.IntegrityError as error:
        savepoint.rollback()
        if getattr(error.orig, "sqlstate", None) != _IS_THERE:
            raise
        return None
    savepoint.commit()
    return facts


def _noted(rows: Iterable[tuple[Any, ...]], facts: list[Fact]) -> Iterator[tuple[Any, ...]]:
    for values in rows:
        facts.append(fact_of(values))
        yield values


def _insert_sent(connection: Connection, calls: Sequence[Call]) -> Sequence[Fact]:
    """Insert those calls that are not there, from a stage or from JSON in the statement."""
    names, rows = call_rows(calls)
    if len(calls) >= STAGING_PAYS and may_stage(connection):
        statement, values = _insert_from(stage(connection, CALLS, rows, names), names), {}
    else:
        statement, values = _insert_from(sent(CALLS, names), names), {SENT: json_rows(names, rows)}
    return [tuple(row) for row in connection.execute(statement, values)]


@cache
def _insert_from(source: FromClause, names: Sequence[str]) -> Any:
    into_calls = postgresql.insert(CALLS).from_select(names, select(*(source.c[name] for name in names)))
    return into_calls.on_conflict_do_nothing().returning(*facts_statement(CALLS.c, "postgresql").selected_columns)
