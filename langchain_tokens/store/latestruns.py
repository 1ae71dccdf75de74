"""Which runs come first? Of those with such a call, found by these calls, wherever in time they are.

To ask run after run whether it has such a call takes long where few runs have, and longest for a name that is out of
use. So the newest such calls are looked for, where sums say that they are, and the runs of these are taken. A run
starts before its calls, so once all calls since a moment are known, all runs are that started since then: but for runs
of which something else was told, which an index names, and those that go on after the end of what is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, func, or_, select

from langchain_tokens.query import Query
from langchain_tokens.store.counting import count_calls
from langchain_tokens.store.latest import INDEXED, called
from langchain_tokens.store.manyranges import for_each, ranges_table, ranges_value
from langchain_tokens.store.places import Span, next_hours
from langchain_tokens.store.sums import conditions, run_conditions, split_run_filters
from langchain_tokens.store.tables import CALLS, IS_TOLD, RUNS, STARTS_LATE

__all__ = ("latest_runs",)

_PROBE = 200
"""Runs that are asked one by one before calls are looked for."""
_LIKELY = 10
"""How many times as many are asked after them, where by the first that should be enough."""
_SAFELY = 2
"""How many times as many runs are asked as should be enough."""
_FARTHEST = 100_000
"""Runs that are asked one by one at most for what they are themselves, before calls are looked for."""
_MOST_ASKED = 3_000
"""Runs that are asked for such a call among them, at most."""
_FEW = 2
"""How many calls are looked for at first, for each run that is wanted."""
_MORE = 4
"""How many times as many then, as long as they are too few."""
_MANY = 10_000
"""Calls, and runs of which calls tell nothing, that are looked for at most; else runs are asked one by one."""


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
    calls, own_query = Query(equals=of_calls), replace(query, equals=own)
    number = count_calls(connection, calls)
    if number == 0:
        return ()
    found = _among_newest(page, own_query, number)
    if found is None:
        found = _by_calls(page, calls, own_query)
    return page.walk() if found is None else found


def _among_newest(page: _Page, own: Query, number: int) -> Sequence[Row[Any]] | None:
    """A page of runs, found by asking the newest; None where one has to look for their calls.

    Args:
        page: which part of the list.
        own: what holds of the run itself. Who is asked for it takes far less time than for its calls, and more are.
        number: how many such calls there are in all.

    """
    has_own, of_own = bool(own.equals or own.tags), 0
    found: Sequence[Row[Any]] = ()
    for size in (_PROBE, _LIKELY * _PROBE):
        edge = page.edge(size)
        found = page.walk(edge)
        if edge is None or len(found) == page.limit:
            return found
        if page.limit > len(found) * _LIKELY and not has_own:
            return None
        of_own = page.count(own, edge) if has_own else 0
    if has_own and of_own == 0 and number > _MANY:
        return page.walk()  # among as many calls as can be looked at is hardly one of such a run
    size = _far(page.limit, len(found), of_own) if has_own else 0
    if size == 0:
        return None
    edge = page.edge(size)
    found = page.walk(edge)
    return found if edge is None or len(found) == page.limit else None


def _far(limit: int, found: int, of_own: int) -> int:
    """How many runs have to be asked, where so many of the first were found and so many are such by themselves; 0 where
    it takes less to look for their calls.
    """
    first = _LIKELY * _PROBE
    most = min(_FARTHEST, first * _MOST_ASKED // max(of_own, 1))
    wanted = _SAFELY * first * limit // found if found else most
    return wanted if wanted < most else 0


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
        starts = (
            select(RUNS.c.started_at)
            .where(run_conditions(self._span, self._dialect))
            .order_by(RUNS.c.started_at.desc())
        )
        moment: datetime | None = self.connection.execute(starts.limit(1).offset(size)).scalar()
        return moment

    def count(self, own: Query, since: datetime) -> int:
        """How many runs since a moment are such by themselves."""
        chosen = select(func.count()).select_from(RUNS).where(run_conditions(own, self._dialect), IS_TOLD)
        return int(self.connection.execute(chosen.where(RUNS.c.started_at >= since)).scalar_one())

    def walk(self, since: datetime | None = None) -> Sequence[Row[Any]]:
        """The page itself, of runs that are asked one by one; of those since a moment, where one is given."""
        return self._read(self._first(select(RUNS), self.query, since), {})

    def among(self, runs: Iterable[str], own: Query, since: datetime | None) -> Sequence[Row[Any]]:
        """The page, of some runs that one knows, of which a query says what else holds."""
        these = ranges_table("asked_runs", [("run_id", str)], self._dialect)
        chosen = self._first(select(RUNS), own, since, is_sought=False).where(RUNS.c.run_id.in_(select(these.c.run_id)))
        return self._read(chosen, {"asked_runs": _runs_value(runs)})

    def others(self, since: datetime | None) -> Sequence[str]:
        """Runs whose calls may all be out of the time since a moment, up to the query's end."""
        until = self.query.until
        goes_on = [RUNS.c.last_call_at.is_(None), RUNS.c.last_call_at >= until] if until is not None else []
        statement = self._first(select(RUNS.c.run_id), self._span, since).where(or_(STARTS_LATE, *goes_on))
        return self.connection.execute(statement.limit(_MANY)).scalars().all()

    def having(self, runs: Sequence[str], calls: Query) -> Sequence[str]:
        """Those of some runs that have such a call."""
        these = ranges_table("asked_runs", [("run_id", str)], self._dialect)
        each = select(CALLS.c.run_id).where(CALLS.c.run_id == these.c.run_id, conditions(calls, self._dialect))
        found = for_each(these, (), each, CALLS, self._dialect)
        return self.connection.execute(found, {"asked_runs": _runs_value(runs)}).scalars().all()

    def _read(self, statement: Select[Any], values: Mapping[str, str]) -> Sequence[Row[Any]]:
        return self.connection.execute(statement.limit(self.limit).offset(self.offset), values).all()

    def _first(
        self, columns: Select[Any], query: Query, since: datetime | None, *, is_sought: bool = True
    ) -> Select[Any]:
        """A query's runs, of those since a moment, where one is given; the newest first."""
        chosen = columns.where(run_conditions(query, self._dialect, is_sought=is_sought), IS_TOLD)
        is_new = [] if since is None else [RUNS.c.started_at >= since]
        return chosen.where(*is_new).order_by(RUNS.c.started_at.desc(), RUNS.c.run_id)

    @property
    def _span(self) -> Query:
        """The query's time, and nothing else of it."""
        return Query(since=self.query.since, until=self.query.until)

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
    for since in search.steps((page.query.since, page.query.until)):
        others = page.others(since)
        if len(others) == _MANY:
            return None
        found = page.among(search.runs.union(page.having(others, calls) if others else ()), own, since)
        if since is None or len(found) == page.limit:
            return found
    return None


def _runs_value(runs: Iterable[str]) -> str:
    return ranges_value((run_id,) for run_id in runs)


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
