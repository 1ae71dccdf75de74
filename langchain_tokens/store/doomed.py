"""What would a deletion take away? Counted from the rows that would go, and from sums of those that are pruned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection, and_, func, select

from langchain_tokens.query import Query
from langchain_tokens.store.counting import count_calls
from langchain_tokens.store.measures import read_groups
from langchain_tokens.store.plan import ceiling_of, floor_of
from langchain_tokens.store.retention import only_name
from langchain_tokens.store.state import rows_since
from langchain_tokens.store.sums import SUMS, conditions, run_conditions, sums_statement
from langchain_tokens.store.tables import CALLS, RUNS

__all__ = ("Doomed", "read_doomed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Doomed:
    """What the same filters would take away from `store.delete`."""

    calls: int
    runs: int
    """Runs that have such a call; one that has others, too, stays with them."""
    sessions: int
    """Likewise sessions."""
    empty_runs: int
    """Runs that have no call at all, such as one that ended before its first."""
    total_tokens: int | None
    calls_without_usage: int
    cost_usd: Decimal | None
    unpriced_calls: int
    first_call_at: datetime | None
    last_call_at: datetime | None
    dropped_calls: int
    """Calls that were pruned, and whose kept sums would go."""
    unnamed_calls: int
    """Calls that were pruned, and whose kept sums would lose the session's or user's name."""
    leaves_sums: bool
    """Whether pruned calls may match whose kept sums would stay as they are, since nobody can tell them apart."""

    @property
    def is_nothing(self) -> bool:
        """Whether nothing at all would go."""
        return not (self.calls or self.empty_runs or self.dropped_calls or self.unnamed_calls)


def read_doomed(connection: Connection, query: Query) -> Doomed:
    """Count what the filters of a query match, all in one state of the database.

    Args:
        connection: one that reads.
        query: as `retention.delete` gets it.

    """
    dialect = connection.dialect.name
    where = conditions(query, dialect)
    sums = read_groups(connection.execute(sums_statement(replace(query, by=()), dialect, SUMS)), 0)[0][1]
    calls = CALLS.c
    counted = select(
        func.count(calls.run_id.distinct()),
        func.count(calls.session_id.distinct()),
        func.min(calls.started_at),
        func.max(calls.started_at),
    ).where(where)
    runs, sessions, first, last = connection.execute(counted).one()
    dropped, unnamed, leaves = _kept(connection, query)
    return Doomed(
        calls=sums.calls,
        runs=runs,
        sessions=sessions,
        empty_runs=_empty_runs(connection, query),
        total_tokens=sums.total_tokens,
        calls_without_usage=sums.calls_without_usage,
        cost_usd=sums.cost_usd,
        unpriced_calls=sums.unpriced_calls,
        first_call_at=first,
        last_call_at=last,
        dropped_calls=dropped,
        unnamed_calls=unnamed,
        leaves_sums=leaves,
    )


def _empty_runs(connection: Connection, query: Query) -> int:
    has_calls = select(CALLS.c.run_id).where(CALLS.c.run_id == RUNS.c.run_id).exists()
    of_them = and_(run_conditions(query, connection.dialect.name), RUNS.c.calls == 0, ~has_calls)
    return int(connection.execute(select(func.count()).select_from(RUNS).where(of_them)).scalar_one())


def _kept(connection: Connection, query: Query) -> tuple[int, int, bool]:
    """Of pruned calls: how many sums would go, how many would lose a name, and whether others would stay."""
    hour = rows_since(connection)
    first = None if hour is None else datetime.fromisoformat(hour)
    if first is None or (query.since is not None and query.since >= first):
        return 0, 0, False
    if not query.equals and not query.tags:
        return _pruned(connection, query, first, is_widened=False), 0, False
    dimension, names = only_name(query)
    if dimension is None or not names:
        return 0, 0, True
    named = replace(query, equals={dimension: tuple(names)})
    return 0, _pruned(connection, named, first, is_widened=True), len(names) < len(query.equals[dimension])


def _pruned(connection: Connection, query: Query, first: datetime, *, is_widened: bool) -> int:
    """How many calls of whole hours before a moment have no row: all that sums say, less those that came later.

    Args:
        connection: one that reads.
        query: which calls.
        first: the moment.
        is_widened: whether hours that the range has a part of count, too.

    """
    begin, end = (floor_of, ceiling_of) if is_widened else (ceiling_of, floor_of)
    since = None if query.since is None else begin(query.since, "hour")
    until = first if query.until is None or query.until >= first else end(query.until, "hour")
    if since is not None and since >= until:
        return 0
    whole = replace(query, since=since, until=until)
    stored = select(func.count()).select_from(CALLS).where(conditions(whole, connection.dialect.name))
    return count_calls(connection, whole) - int(connection.execute(stored).scalar_one())
