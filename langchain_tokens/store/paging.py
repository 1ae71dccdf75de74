"""Which calls or runs come next? Pages by the place of the last row, so that rows which arrive later move nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, and_, select

from langchain_tokens.call import Call, RunFact
from langchain_tokens.errors import QueryError
from langchain_tokens.query import Query
from langchain_tokens.store.latest import latest_calls
from langchain_tokens.store.latestruns import latest_runs
from langchain_tokens.store.ordering import NUMBERS, After, calls_by
from langchain_tokens.store.rows import call_from_row, fact_from_row, from_pico, to_pico
from langchain_tokens.store.sums import conditions, run_conditions
from langchain_tokens.store.tables import CALLS, IS_TOLD, RUNS

if TYPE_CHECKING:
    from langchain_tokens.store.store import UsageStore

__all__ = ("ORDERS", "Place", "RunLine", "find_call", "find_run", "next_calls", "next_runs")

_INSTANT = timedelta(microseconds=1)
_TIME = "started_at"
ORDERS = tuple(sign + name for name in (_TIME, *NUMBERS) for sign in ("-", ""))
"""How calls can be ordered; `-` is the largest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a page ended: what its last row has in the order's column, and its id."""

    value: datetime | Decimal | float | None
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLine:
    """A run as a list shows it: its fact, and the totals that are kept with it; unknown is None."""

    fact: RunFact
    calls: int
    failed_calls: int
    calls_without_usage: int
    unpriced_calls: int
    input_tokens: int | None
    output_tokens: int | None
    total_tokens: int | None
    cost_usd: Decimal | None


def next_calls(store: UsageStore, query: Query, order: str, limit: int, after: Place | None) -> Sequence[Call]:
    """A page of calls.

    Args:
        store: whose calls.
        query: which of them.
        order: one of `ORDERS`.
        limit: the most calls.
        after: the place where the page before ended; None for the first page.

    Raises:
        QueryError: for an order that there is not, or a place that is none of it.

    """
    if order not in ORDERS:
        raise QueryError(f"unknown order {order!r}; allowed: {', '.join(ORDERS)}")
    is_newest, name = order.startswith("-"), order.removeprefix("-")
    with store._reading() as connection:
        if name == _TIME:
            rows = _calls_in_time(connection, query, limit, after, newest=is_newest)
        else:
            place = None if after is None else After(_number(name, after), after.id)
            rows = calls_by(connection, query, name, limit, largest=is_newest, after=place)
    return [call_from_row(row) for row in rows]


def next_runs(store: UsageStore, query: Query, limit: int, after: Place | None) -> Sequence[RunLine]:
    """A page of runs, the newest first; otherwise as `next_calls`, with the filters of `UsageStore.runs`."""
    with store._reading() as connection:
        rows = list(_runs_at(connection, query, limit, after)) if after is not None else []
        rest = query if after is None else replace(query, until=_earlier(query.until, _moment(after)))
        if len(rows) < limit:
            rows += latest_runs(connection, rest, limit - len(rows), 0)
    return [_run_line(row) for row in rows]


def find_call(store: UsageStore, call_id: str) -> Call | None:
    """The call of an id; None where there is none."""
    with store._reading() as connection:
        row = connection.execute(select(CALLS).where(CALLS.c.call_id == call_id)).first()
    return None if row is None else call_from_row(row)


def find_run(store: UsageStore, run_id: str) -> RunLine | None:
    """The run of an id with its totals; None where there is none."""
    with store._reading() as connection:
        row = connection.execute(select(RUNS).where(RUNS.c.run_id == run_id, IS_TOLD)).first()
    return None if row is None else _run_line(row)


def _calls_in_time(
    connection: Connection, query: Query, limit: int, after: Place | None, *, newest: bool
) -> list[Row[Any]]:
    """What is left of the moment at which the page before ended, then what comes after it."""
    if after is None:
        return list(latest_calls(connection, query, limit, 0, newest=newest))
    moment, next_moment = _moment(after), _after(_moment(after))
    same = and_(CALLS.c.started_at == moment, CALLS.c.call_id > after.id)
    statement = select(CALLS).where(conditions(query, connection.dialect.name), same).order_by(CALLS.c.call_id)
    rows = list(connection.execute(statement.limit(limit)))
    if newest:
        rest = replace(query, until=_earlier(query.until, moment))
    else:
        rest = replace(query, since=next_moment if query.since is None else max(query.since, next_moment))
    if len(rows) < limit:
        rows += latest_calls(connection, rest, limit - len(rows), 0, newest=newest)
    return rows


def _runs_at(connection: Connection, query: Query, limit: int, after: Place) -> Sequence[Row[Any]]:
    same = and_(RUNS.c.started_at == _moment(after), RUNS.c.run_id > after.id)
    statement = select(RUNS).where(run_conditions(query, connection.dialect.name), IS_TOLD, same)
    return connection.execute(statement.order_by(RUNS.c.run_id).limit(limit)).all()


def _run_line(row: Row[Any]) -> RunLine:
    stored = row._mapping
    names = ("calls", "failed_calls", "calls_without_usage", "unpriced_calls")
    counts = {name: stored[name] for name in (*names, "input_tokens", "output_tokens", "total_tokens")}
    return RunLine(fact=fact_from_row(row), **counts, cost_usd=from_pico(stored["total_cost"]))


def _moment(place: Place) -> datetime:
    if not isinstance(place.value, datetime):
        raise QueryError(f"a page in the order of time ends at a moment; found {place.value!r}")
    return place.value


def _number(name: str, place: Place) -> Any:
    value = place.value
    if isinstance(value, datetime) or (name == "cost_usd") != (value is not None and isinstance(value, Decimal)):
        if value is None:
            return None
        raise QueryError(f"a page in the order of {name} ends at a number of it; found {value!r}")
    return to_pico(value) if isinstance(value, Decimal) else value


def _earlier(until: datetime | None, moment: datetime) -> datetime:
    return moment if until is None else min(until, moment)


def _after(moment: datetime) -> datetime:
    try:
        return moment + _INSTANT
    except OverflowError:
        raise QueryError(f"{moment.isoformat()} is the end of the calendar; nothing is beyond it") from None
