"""Which runs come first? Of those with such a call, found by these calls, wherever in time they are.

To ask run after run whether it has such a call takes long where few runs have, and longest for a name that is out of
use. So the newest such calls are looked for, where sums say that they are, and the runs of these are taken. A run
starts before its calls, so once all calls since a moment are known, all runs are that started since then: but for runs
of which something else was told, which an index names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, or_, select

from langchain_tokens.query import Query
from langchain_tokens.store.counting import count_calls
from langchain_tokens.store.latest import INDEXED, called
from langchain_tokens.store.places import Span, next_hours
from langchain_tokens.store.sums import run_conditions, split_run_filters
from langchain_tokens.store.tables import IS_TOLD, RUNS, STARTS_LATE

__all__ = ("latest_runs",)

_PROBE = 200
"""Runs that are asked one by one before calls are looked for."""
_FEW = 2
"""How many calls are looked for at first, for each run that is wanted."""
_MORE = 4
"""How many times as many then, as long as they are too few."""
_MANY = 10_000
"""Calls that are looked for at most; if these are too few, runs are asked one by one."""


def latest_runs(connection: Connection, query: Query, limit: int, offset: int) -> Sequence[Row[Any]]:
    """A page of runs, the newest first.

    Args:
        connection: one that reads.
        query: which runs; agent, chain, model and provider ask for such a call.
        limit: the most rows.
        offset: how many are left out before them.

    """
    own, of_calls = split_run_filters(query)
    page = _Page(connection=connection, query=query, limit=limit, offset=offset)
    if not of_calls or limit == 0 or INDEXED & set(own):
        return page.walk()
    calls = Query(equals=of_calls)
    if count_calls(connection, calls) == 0:
        return ()
    edge = page.edge(_PROBE)
    found = page.walk(edge)
    if edge is None or len(found) == limit:
        return found
    if query.until is None:  # else calls after that, of runs before it, would have to be looked at
        by_calls = _by_calls(page, calls, replace(query, equals=own))
        if by_calls is not None:
            return by_calls
    return page.walk()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """A part of a list of runs, the newest first."""

    connection: Connection
    query: Query
    limit: int
    offset: int

    @property
    def end(self) -> int:
        """How many runs there are up to its end."""
        return self.limit + self.offset

    def edge(self, size: int) -> datetime | None:
        """When the last of so many runs of the query's time started; None where there are fewer."""
        span = run_conditions(Query(since=self.query.since, until=self.query.until), self._dialect)
        starts = select(RUNS.c.started_at).where(span).order_by(RUNS.c.started_at.desc())
        moment: datetime | None = self.connection.execute(starts.limit(1).offset(size)).scalar()
        return moment

    def walk(self, since: datetime | None = None) -> Sequence[Row[Any]]:
        """The page itself, of runs that are asked one by one; of those since a moment, where one is given."""
        return self.read(self.query, *([] if since is None else [RUNS.c.started_at >= since]))

    def read(self, query: Query, *where: ColumnElement[bool]) -> Sequence[Row[Any]]:
        """The page of those runs of a query for which something holds."""
        statement = self._first(select(RUNS), query, *where)
        return self.connection.execute(statement.limit(self.limit).offset(self.offset)).all()

    def names(self, query: Query, *where: ColumnElement[bool]) -> Sequence[str]:
        """The names of such runs, all up to the page's end."""
        statement = self._first(select(RUNS.c.run_id), query, *where)
        return self.connection.execute(statement.limit(self.end)).scalars().all()

    def _first(self, columns: Select[Any], query: Query, *where: ColumnElement[bool]) -> Select[Any]:
        chosen = columns.where(run_conditions(query, self._dialect), IS_TOLD, *where)
        return chosen.order_by(RUNS.c.started_at.desc(), RUNS.c.run_id)

    @property
    def _dialect(self) -> str:
        return self.connection.dialect.name


def _by_calls(page: _Page, calls: Query, own: Query) -> Sequence[Row[Any]] | None:
    """A page of runs, found by their calls; None where there are too many of these.

    Args:
        page: which part of the list.
        calls: one of which a run must have.
        own: what holds of the run itself.

    """
    search = _Search(page=page, calls=calls)
    for since in search.steps((page.query.since, None)):
        is_new = [] if since is None else [RUNS.c.started_at >= since]
        others = page.names(page.query, STARTS_LATE, *is_new)
        found = page.read(own, or_(RUNS.c.run_id.in_(search.runs), RUNS.c.run_id.in_(others)), *is_new)
        if since is None or len(found) == page.limit:
            return found
    return None


@dataclass(slots=True, kw_only=True)
class _Search:
    """The runs of the newest calls."""

    page: _Page
    calls: Query
    runs: set[str] = field(default_factory=set)

    def steps(self, span: Span) -> Iterator[datetime | None]:
        """Look at more and more calls of a span. Each step says since when all are known; None once all of it is."""
        rest: Span | None = span
        wanted, looked = _FEW * self.page.end, 0
        while rest is not None and looked + wanted <= _MANY:
            hours = next_hours(self.page.connection, self.calls, rest, wanted, newest=True)
            ids = called(self.page.connection, self.calls, hours.places, _MANY, newest=True, column="run_id")
            if len(ids) >= _MANY:
                return
            self.runs.update(ids)
            rest, looked, wanted = hours.rest, looked + wanted, wanted * _MORE
            yield None if rest is None else rest[1]
