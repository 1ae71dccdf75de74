"""How do sums get added to those that are kept? Row by row to the ones that are there, new ones beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Subquery, bindparam, case, cast, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from langchain_tokens.store.arrays import ByColumn, arrayed, by_column
from langchain_tokens.store.facts import VECTOR, Numbers
from langchain_tokens.store.manyranges import ranges_table, ranges_value
from langchain_tokens.store.measures import MONEY_COLUMNS
from langchain_tokens.store.rolluptables import COUNTS, LAST_DAY, NAMES, SUMMED, Rollup
from langchain_tokens.store.sending import Statement
from langchain_tokens.store.tuples import Prepared, prepare

__all__ = ("added", "adding_statements", "drop_empty", "rows_asked")


def adding_statements(
    changed: Iterable[tuple[Rollup, Mapping[tuple[Any, ...], Numbers]]], dialect: str
) -> Iterator[Statement]:
    """The statements that add numbers to rows of rollups.

    Args:
        changed: rollups, and for each the numbers by the rows' keys, in the order in which rows are to be locked; days
            of names before names.
        dialect: the database's.

    """
    last_days: Mapping[tuple[str, str], str] = {}
    for rollup, numbers_by_key in changed:
        if not numbers_by_key:
            continue
        if rollup is NAMES["day"]:  # which come in their order, so that the last one of a name stays
            last_days = {(dimension, name): day for dimension, day, name in numbers_by_key}
        rows = [(*key, *numbers) for key, numbers in numbers_by_key.items()]
        if rollup.has_last_day:
            rows = [(*row, last_days[row[0], row[1]]) for row in rows]
        if dialect == "sqlite":
            prepared = _prepared_upsert(rollup)
            yield prepared.sql, prepared.arranged(rows)
        else:
            adding = _add_arrayed(rollup)
            yield adding.sql, adding.parameters(zip(*rows, strict=True))


def _columns(rollup: Rollup) -> tuple[str, ...]:
    """The columns of what is added to a rollup."""
    return (*rollup.keys, *VECTOR, *([LAST_DAY] if rollup.has_last_day else []))


@cache
def _add_arrayed(rollup: Rollup) -> ByColumn:
    names = _columns(rollup)
    values = arrayed(rollup.table, names)
    chosen = select(*values).order_by(*values[: len(rollup.keys)])
    adding = _adding(postgresql.insert(rollup.table).from_select(names, chosen), rollup, "postgresql")
    return by_column(adding, rollup.table, names)


def added(old: ColumnElement[Any], new: ColumnElement[Any], dialect: str) -> ColumnElement[Any]:
    """A sum with more added to it; what is unknown adds nothing, and money never becomes a fraction.

    Where integers run out, SQLite goes on with fractions; here it fails instead, as PostgreSQL does by itself.
    """
    total: ColumnElement[Any] = old + new
    if dialect == "sqlite" and old.name in MONEY_COLUMNS:
        too_much = func.abs(-cast(total, BigInteger) - 1)  # the least integer, which has no opposite
        total = case((func.typeof(total) == "real", too_much), else_=total)
    return func.coalesce(total, old, new)


def _adding(statement: Any, rollup: Rollup, dialect: str) -> Any:
    """An insert that adds to the row that is there."""
    new, old = statement.excluded, rollup.table.c
    values: dict[str, ColumnElement[Any]] = {name: old[name] + new[name] for name in COUNTS}
    values |= {name: added(old[name], new[name], dialect) for name in SUMMED}
    if rollup.has_last_day:
        latest = func.max if dialect == "sqlite" else func.greatest
        values[LAST_DAY] = latest(old[LAST_DAY], new[LAST_DAY])
    return statement.on_conflict_do_update(index_elements=rollup.keys, set_=values)


@cache
def _prepared_upsert(rollup: Rollup) -> Prepared:
    return prepare(_adding(sqlite.insert(rollup.table), rollup, "sqlite"), _columns(rollup))


def rows_asked(rollup: Rollup, dialect: str) -> Subquery:
    """The keys of some rows of a rollup, as a table that a statement makes of its parameter `asked_rows`."""
    columns = [(key, int if key == "attempt" else str) for key in rollup.keys]
    return ranges_table("asked_rows", columns, dialect)


def drop_empty(connection: Connection, rollup: Rollup, keys: Iterable[tuple[Any, ...]]) -> None:
    """Delete those of some rows that sum no call any more."""
    if connection.dialect.name == "postgresql":  # where each row would be a statement
        connection.execute(_drop_statement(rollup), {"asked_rows": ranges_value(keys)})
        return
    table = rollup.table
    this = [table.c[key] == bindparam(f"this_{key}") for key in rollup.keys]
    names = [f"this_{key}" for key in rollup.keys]
    connection.execute(
        delete(table).where(*this, table.c.calls == 0), [dict(zip(names, key, strict=True)) for key in keys]
    )


@cache
def _drop_statement(rollup: Rollup) -> Any:
    kept, asked = rollup.table.c, rows_asked(rollup, "postgresql")
    return delete(rollup.table).where(*(kept[key] == asked.c[key] for key in rollup.keys), kept.calls == 0)
