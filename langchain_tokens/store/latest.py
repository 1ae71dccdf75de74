"""Which calls and runs come first? Found where such calls are, without walking through all the others.

Rows lie in the order of time, and what is common is soon found among the first. A rare name, or one that does not
exist, would have every row read in vain; so the sums that are kept say in which hours there are such calls at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, select

from langchain_tokens.query import Query
from langchain_tokens.store.plan import moment_in
from langchain_tokens.store.rolluptables import CUBE_COLUMNS, CUBES, Step
from langchain_tokens.store.rows import CALL_COLUMNS
from langchain_tokens.store.sums import Filters, conditions, run_conditions, split_run_filters
from langchain_tokens.store.tables import CALLS, IS_TOLD, RUNS

__all__ = ("latest_calls", "latest_runs", "read_calls")

_FEW = 500
"""Rows that are looked for hour by hour; for more of them all are walked through."""
_PROBES = (2_000, 20_000)
"""Rows that are walked through at first, and if there was such a call among them, before the sums are asked."""
_INDEXED = frozenset({"run", "session", "user"})
"""Filters that leave few rows, by an index."""
_FINER: Mapping[Step, Step] = {"month": "day", "day": "hour"}
_LONGEST = {"hour": timedelta(hours=1), "day": timedelta(days=1), "month": timedelta(days=31)}
_Span = tuple[datetime | None, datetime | None]


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
    order, wanted = (_direction(CALLS.c.started_at, newest=newest), CALLS.c.call_id), limit + offset
    if wanted > _FEW or _INDEXED & set(query.equals) or not _names(query):
        return read_calls(connection, query, order, limit, offset, columns=columns)
    found: list[Row[Any]] = []
    for since, until in _spans(connection, query, found, newest=newest):
        part = replace(query, since=since, until=until)
        found += read_calls(connection, part, order, wanted - len(found), columns=columns)
        if len(found) == wanted:
            break
    return found[offset:]


def latest_runs(connection: Connection, query: Query, limit: int, offset: int) -> Sequence[Row[Any]]:
    """A page of runs, the newest first."""
    of_calls = Query(equals=split_run_filters(query)[1])
    if _names(of_calls) and not _steps(connection, of_calls, "month", (None, None), newest=True):
        return ()
    statement = select(RUNS).where(run_conditions(query, connection.dialect.name), IS_TOLD)
    statement = statement.order_by(RUNS.c.started_at.desc(), RUNS.c.run_id).limit(limit).offset(offset)
    return connection.execute(statement).all()


def _spans(connection: Connection, query: Query, found: Sequence[object], *, newest: bool) -> Iterator[_Span]:
    """Spans of time, one after another, that have all such calls; `found` are those of the spans before."""
    rest = (query.since, query.until)
    for size in _PROBES:
        edge = _edge(connection, rest, size, newest=newest)
        if edge is None:
            yield rest
            return
        before, after = (rest[0], edge), (edge, rest[1])
        yield after if newest else before
        rest = before if newest else after
        if not found:
            break
    yield from _hours(connection, query, "month", rest, newest=newest)


def _edge(connection: Connection, span: _Span, size: int, *, newest: bool) -> datetime | None:
    """The start of the call after so many of a span; None where it has no more."""
    column = CALLS.c.started_at
    in_span = conditions(Query(since=span[0], until=span[1]), connection.dialect.name)
    statement = select(column).where(in_span).order_by(_direction(column, newest=newest)).limit(1).offset(size)
    edge: datetime | None = connection.execute(statement).scalar()
    return edge


def _hours(connection: Connection, query: Query, step: Step, span: _Span, *, newest: bool) -> Iterator[_Span]:
    """The hours of a span, cut to it, in which there are such calls; found month by month, day by day."""
    for start in _steps(connection, query, step, span, newest=newest):
        inner = _cut((start, _after(start, step)), span)
        if step == "hour":
            yield inner
        else:
            yield from _hours(connection, query, _FINER[step], inner, newest=newest)


def _steps(connection: Connection, query: Query, step: Step, span: _Span, *, newest: bool) -> Sequence[datetime]:
    """The hours, days or months in which there are such calls, or were: sums stay when rows are pruned."""
    kept, (since, until) = CUBES[step].table.c, span
    moment = kept[step]
    where: list[ColumnElement[bool]] = [
        kept[name].in_([value or "" for value in allowed]) for name, allowed in _names(query).items()
    ]
    if since is not None:
        where.append(moment >= moment_in(since, step))
    if until is not None:
        where.append(moment <= moment_in(until, step))
    found = connection.execute(select(moment).where(*where).distinct().order_by(_direction(moment, newest=newest)))
    return [_start(text, step) for text in found.scalars().all()]


def _names(query: Query) -> Filters:
    """The filters that sums can tell about, by their columns."""
    columns = {CALL_COLUMNS.get(name, name): allowed for name, allowed in query.equals.items()}
    return {name: allowed for name, allowed in columns.items() if name in CUBE_COLUMNS}


def _start(text: str, step: Step) -> datetime:
    moment = datetime.fromisoformat(f"{text}-01" if step == "month" else text)
    return moment.replace(tzinfo=UTC)


def _after(start: datetime, step: Step) -> datetime | None:
    """The start of the next step; None at the end of the calendar."""
    try:
        later = start + _LONGEST[step]
    except OverflowError:
        return None
    return later.replace(day=1) if step == "month" else later


def _cut(inner: _Span, outer: _Span) -> _Span:
    since = max((moment for moment in (inner[0], outer[0]) if moment is not None), default=None)
    until = min((moment for moment in (inner[1], outer[1]) if moment is not None), default=None)
    return since, until


def _direction(column: Any, *, newest: bool) -> ColumnElement[Any]:
    ordered: ColumnElement[Any] = column.desc() if newest else column.asc()
    return ordered
