"""Which calls come first? Found where such calls are, without walking through all the others.

Rows lie in the order of time, and what is common is soon found among the first. A rare name, or one that does not
exist, would have every row read in vain; so the sums that are kept say where there are such calls at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Integer, Row, Select, bindparam, select

from langchain_tokens.query import Query
from langchain_tokens.store.manyranges import for_each, moment_value, ranges_table, ranges_value
from langchain_tokens.store.places import Place, Span, next_hours
from langchain_tokens.store.prepared import Form, asked, question_of
from langchain_tokens.store.sums import UnindexedCalls, conditions, one_of
from langchain_tokens.store.tables import CALLS

__all__ = ("INDEXED", "called", "latest_calls", "read_calls")

_FEW = 1_000
"""Rows that are looked for hour by hour; for more of them all are walked through."""
_NEAR = (
    "SELECT set_config('random_page_cost', '1.1', true)"
    " WHERE CAST(current_setting('random_page_cost', true) AS float) > 1.1"
)
"""Tells a server that what it finds by an index lies together: rows lie in the order of time, it reads some hours."""
_PROBE = 2_000
"""Rows that are walked through before the sums are asked."""
_LIKELY = 10
"""How many times as many are walked through after them, where by the first that should be enough."""
_FORMS = 100
"""Statements that are kept."""
_MANY = 10_000
"""Calls that are looked for at once at most."""
_MORE = 4
"""How many times as many are looked for when few of them had what sums cannot tell of, such as a tag."""
INDEXED = frozenset({"run", "session", "user"})
"""Filters that leave few rows, by an index."""
_COMMON = (None, "")
"""Values of which a server should know when it looks how best to find them: they are of most calls, or of none."""
_Kind = tuple[str | None, tuple[str | None, ...]]
"""Of places: the name of their column, and the value that all have there; none where each has its own."""


def read_calls(
    connection: Connection,
    query: Query,
    order: Sequence[ColumnElement[Any]],
    limit: int,
    offset: int = 0,
    *,
    columns: Sequence[ColumnElement[Any]] = tuple(CALLS.c),
) -> Sequence[Row[Any]]:
    """A page of calls, or of some of their columns, in any order."""
    statement = select(*columns).where(conditions(query, connection.dialect.name)).order_by(*order)
    return connection.execute(statement.limit(limit).offset(offset)).all()


def latest_calls(
    connection: Connection,
    query: Query,
    limit: int,
    offset: int,
    *,
    newest: bool = True,
    columns: Sequence[ColumnElement[Any]] = tuple(CALLS.c),
) -> Sequence[Row[Any]]:
    """A page of calls in the order in which they started.

    Args:
        connection: one that reads.
        query: which calls.
        limit: the most rows.
        offset: how many are left out before them.
        newest: whether the newest come first; the oldest otherwise.
        columns: what is read of them.

    """
    wanted, calls = limit + offset, _Calls(connection=connection, query=query, columns=columns, newest=newest)
    if wanted > _FEW or INDEXED & set(query.equals) or not query.equals:
        return read_calls(connection, query, calls.order, limit, offset, columns=columns)
    found, rest = calls.walk((query.since, query.until), _PROBE, wanted)
    if rest is not None and len(found) < wanted <= len(found) * _LIKELY:
        more, rest = calls.walk(rest, _PROBE * _LIKELY, wanted - len(found))
        found += more
    names, times = Query(equals=query.equals), 1
    while rest is not None and len(found) < wanted:
        left = wanted - len(found)
        hours = next_hours(connection, names, rest, min(left * times, _MANY), newest=newest)
        those = calls.look(hours.places, left)
        found, rest = [*found, *those], hours.rest
        times = times if 2 * len(those) >= left else min(times * _MORE, _MANY)
    return found[offset:]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Calls:
    """Calls in the order in which they started."""

    connection: Connection
    query: Query
    columns: Sequence[ColumnElement[Any]]
    newest: bool

    @property
    def order(self) -> Sequence[ColumnElement[Any]]:
        """What they are ordered by."""
        return _direction(CALLS.c.started_at, newest=self.newest), CALLS.c.call_id

    def walk(self, span: Span, size: int, limit: int) -> tuple[list[Row[Any]], Span | None]:
        """The first among so many rows of a span, and what is left of the span; None where nothing is."""
        moment, (since, until) = CALLS.c.started_at, span
        in_span = conditions(Query(since=since, until=until), self.connection.dialect.name)
        next_one = select(moment).where(in_span).order_by(self.order[0]).limit(1).offset(size)
        edge: datetime | None = self.connection.execute(next_one).scalar()
        rest: Span | None = None
        if edge is not None:
            since, until, rest = (edge, until, (since, edge)) if self.newest else (since, edge, (edge, until))
        part = replace(self.query, since=since, until=until)
        return [*read_calls(self.connection, part, self.order, limit, columns=self.columns)], rest

    def look(self, places: Sequence[Place], limit: int) -> Sequence[Row[Any]]:
        """The first of those in some places."""
        ids = called(self.connection, self.query, places, limit, newest=self.newest)
        these = select(*self.columns).where(CALLS.c.call_id.in_(ids)).order_by(*self.order).limit(limit)
        return self.connection.execute(these).all() if ids else ()


def called(
    connection: Connection,
    query: Query,
    places: Sequence[Place],
    limit: int,
    *,
    newest: bool,
    column: Literal["call_id", "run_id"] = "call_id",
) -> Sequence[str]:
    """The first calls in some places, and some others; in no order.

    Args:
        connection: one that reads.
        query: which calls, of any time.
        places: where to look.
        limit: how many of each kind of place at most.
        newest: whether the newest come first; the oldest otherwise.
        column: what is read of them, their own ids or those of their runs.

    """
    dialect = connection.dialect.name
    kinds: dict[_Kind, list[tuple[str | int, ...]]] = {}
    for place in places:
        value, row = place.value, [moment_value(moment, dialect) for moment in (place.first, place.last)]
        kind: _Kind = place.column, ((value,) if value in _COMMON else ())
        kinds.setdefault(kind, []).append((*row, *([] if value is None or kind[1] else [value])))
    if kinds and dialect == "postgresql":
        connection.exec_driver_sql(_NEAR)
    question = asked(replace(query, since=None, until=None), dialect, spans=())
    found: list[str] = []
    for kind, rows in kinds.items():
        values = {**question.values, "asked_places": ranges_value(rows), "asked_most": limit}
        found += connection.execute(_statement(question.form, kind, column, newest=newest), values).scalars()
    return found


@lru_cache(_FORMS)
def _statement(form: Form, kind: _Kind, wanted: str, *, newest: bool) -> Select[Any]:
    """A column of the first calls in places of a kind."""
    (name, common), dialect = kind, form.dialect
    column = None if name is None else CALLS.c[name]
    values = [] if column is None or common else [("value", column.type.python_type)]
    places = ranges_table("asked_places", [("first", datetime), ("last", datetime), *values], dialect)
    calls = UnindexedCalls() if dialect == "sqlite" else CALLS.c
    where = [
        conditions(question_of(form)[0], dialect, calls),
        CALLS.c.started_at.between(places.c.first, places.c.last),
    ]
    if column is not None:
        where.append(one_of(column, common) if common else column == places.c.value)
    ids = (CALLS.c[name] for name in dict.fromkeys((wanted, "call_id")))
    each = for_each(places, (), select(*ids, CALLS.c.started_at).where(*where), CALLS, dialect)
    found = each.selected_columns
    order = _direction(found.started_at, newest=newest), found.call_id
    return each.order_by(*order).limit(bindparam("asked_most", type_=Integer()))


def _direction(column: Any, *, newest: bool) -> ColumnElement[Any]:
    ordered: ColumnElement[Any] = column.desc() if newest else column.asc()
    return ordered
