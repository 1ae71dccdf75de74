"""How do sums get added to those that are kept? Row by row to the ones that are there, new ones beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Table, bindparam, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from langchain_tokens.store.copying import SENT, STAGING_PAYS, json_rows, may_stage, sent, stage
from langchain_tokens.store.facts import VECTOR
from langchain_tokens.store.rolluptables import COUNTS, SUMMED, Rollup
from langchain_tokens.store.tuples import Prepared, prepare

__all__ = ("Numbers", "add_numbers", "drop_empty", "sent_rows")

Numbers = Sequence[int | None]


def add_numbers(connection: Connection, rollup: Rollup, changed: Mapping[tuple[Any, ...], Numbers]) -> None:
    """Add numbers to rows of a rollup.

    Args:
        connection: one that writes.
        rollup: which.
        changed: the numbers by the rows' keys, in the order in which rows are to be locked.

    """
    rows = [(*key, *numbers) for key, numbers in changed.items()]
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_prepared_upsert(rollup).sql, rows)
    else:
        _add_sent(connection, rollup, rows)


def sent_rows(
    connection: Connection, table: Table, names: Sequence[str], rows: Iterable[Sequence[Any]], count: int
) -> tuple[FromClause, dict[str, Any]]:
    """Take rows to PostgreSQL, the way that is fastest for so many.

    Returns:
        What to select them from, and the parameters of the statement that does.

    """
    if count >= STAGING_PAYS and may_stage(connection):
        return stage(connection, table, rows, names), {}
    return sent(table, tuple(names)), {SENT: json_rows(names, rows)}


def _add_sent(connection: Connection, rollup: Rollup, rows: Sequence[tuple[Any, ...]]) -> None:
    source, values = sent_rows(connection, rollup.table, (*rollup.keys, *VECTOR), rows, len(rows))
    connection.execute(_add_from(source, rollup), values)


@cache
def _add_from(source: FromClause, rollup: Rollup) -> Any:
    names = (*rollup.keys, *VECTOR)
    chosen = select(*(source.c[name] for name in names)).order_by(*(source.c[key] for key in rollup.keys))
    return _adding(postgresql.insert(rollup.table).from_select(names, chosen), rollup)


def _adding(statement: Any, rollup: Rollup) -> Any:
    """An insert that adds to the row that is there."""
    new, old = statement.excluded, rollup.table.c
    values: dict[str, ColumnElement[Any]] = {name: old[name] + new[name] for name in COUNTS}
    values |= {name: func.coalesce(old[name] + new[name], old[name], new[name]) for name in SUMMED}
    return statement.on_conflict_do_update(index_elements=rollup.keys, set_=values)


@cache
def _prepared_upsert(rollup: Rollup) -> Prepared:
    return prepare(_adding(sqlite.insert(rollup.table), rollup))


def drop_empty(connection: Connection, rollup: Rollup, keys: Iterable[tuple[Any, ...]]) -> None:
    """Delete those of some rows that sum no call any more."""
    table = rollup.table
    this = [table.c[key] == bindparam(f"this_{key}") for key in rollup.keys]
    names = [f"this_{key}" for key in rollup.keys]
    connection.execute(
        delete(table).where(*this, table.c.calls == 0), [dict(zip(names, key, strict=True)) for key in keys]
    )
