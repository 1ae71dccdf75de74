"""Which calls have the most, or the least, of a number? Read in the order of an index, or from the rows of a range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, and_, or_, select

from langchain_tokens.query import Query
from langchain_tokens.store.counting import count_calls
from langchain_tokens.store.plan import needs_rows
from langchain_tokens.store.sums import UnindexedCalls, conditions, unindexed
from langchain_tokens.store.tables import CALLS

__all__ = ("NUMBERS", "After", "calls_by")

NUMBERS: Mapping[str, Column[Any]] = {
    "duration_ms": CALLS.c.duration_ms,
    "total_tokens": CALLS.c.total_tokens,
    "cost_usd": CALLS.c.total_cost,
}
"""What calls can be ordered by, beside their time; an index has each in its order."""
_INDEXED = frozenset({"agent"})
"""Filters that an index finds, of those that sums are kept for in every combination."""


@dataclass(frozen=True, slots=True)
class After:
    """The place after which calls are wanted: a call's number, as it is stored, and its id."""

    value: Any
    call_id: str


def calls_by(
    connection: Connection, query: Query, name: str, limit: int, *, largest: bool, after: After | None = None
) -> list[Row[Any]]:
    """Calls in the order of a number; those that do not know it come last, either way.

    Args:
        connection: one that reads.
        query: which calls.
        name: one of `NUMBERS`.
        limit: the most calls.
        largest: whether the largest come first.
        after: only those after this one.

    """
    column, rows = NUMBERS[name], []
    if after is None or after.value is not None:
        where, order = _plan(connection, query, column, limit)
        beyond = [] if after is None else [_beyond(column, after, largest=largest)]
        statement = select(CALLS).where(*where, column.is_not(None), *beyond)
        statement = statement.order_by(order.desc() if largest else order.asc(), CALLS.c.call_id)
        rows = list(connection.execute(statement.limit(limit)))
    if len(rows) < limit:
        rest = [] if after is None or after.value is not None else [CALLS.c.call_id > after.call_id]
        unknown = select(CALLS).where(conditions(query, connection.dialect.name), column.is_(None), *rest)
        rows += connection.execute(unknown.order_by(CALLS.c.call_id).limit(limit - len(rows)))
    return rows


def _beyond(column: Column[Any], after: After, *, largest: bool) -> ColumnElement[bool]:
    """What comes after a place; a bound for an index first, then what of equal ones was there already."""
    bound = column <= after.value if largest else column >= after.value
    return and_(bound, or_(column != after.value, CALLS.c.call_id > after.call_id))


def _plan(
    connection: Connection, query: Query, column: Column[Any], limit: int
) -> tuple[list[ColumnElement[bool]], ColumnElement[Any]]:
    """The filters and the order, so that SQLite goes the shorter way; it keeps no statistics that would tell it."""
    dialect = connection.dialect.name
    if dialect != "sqlite":
        return [conditions(query, dialect)], column
    if _is_shorter(connection, query, limit):
        return [conditions(query, dialect, UnindexedCalls())], column
    return [conditions(query, dialect)], unindexed(column)


def _is_shorter(connection: Connection, query: Query, limit: int) -> bool:
    """Whether to walk through all calls in the order until enough are found takes fewer rows than to read a range's."""
    if needs_rows(query):
        return False
    found, everything = count_calls(connection, query), count_calls(connection, Query())
    read = found if set(query.equals) <= _INDEXED else count_calls(connection, replace(query, equals={}))
    return limit * everything < found * read
