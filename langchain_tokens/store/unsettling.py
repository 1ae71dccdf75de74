"""Which settled periods may calls and runs touch? Deleted before anything else in a transaction that changes these.

What a call changes lies between the first call of its run and itself: there are the calls of which it may tell that
they were in vain. What a run's end tells is of calls within a day from its start (see `waste`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, case, delete, func, literal, select, true

from langchain_tokens.call import Call, RunFact
from langchain_tokens.store.inserts import chunks
from langchain_tokens.store.settledtables import SETTLED
from langchain_tokens.store.tables import RUNS, UtcDateTime
from langchain_tokens.store.tuples import offset_moment, plain_moment, valid

__all__ = ("unsettle", "unsettle_range")

_DAY = timedelta(days=1)
_BEGINNING = datetime.min.replace(tzinfo=UTC)
_GONE = f"DELETE FROM {SETTLED.name} WHERE since <= ? AND until > ?"  # noqa: S608  # our own name
_IS_THERE = f"SELECT 1 FROM {SETTLED.name} WHERE since <= ? LIMIT 1"  # noqa: S608  # our own name
# The deletion takes the table's lock before the statement sees anything; each statement names one table alone.
_GONE_FROM_SERVER = (
    f"WITH gone AS (DELETE FROM {SETTLED.name} WHERE since <= %(until)s AND until > %(since)s)"  # noqa: S608  # our own
    f" SELECT 1 FROM {SETTLED.name} WHERE since <= %(until)s LIMIT 1"
)


def unsettle(connection: Connection, calls: Sequence[Call], runs: Sequence[RunFact]) -> None:
    """Delete the periods that these may touch when they are stored or corrected; first of all in a transaction.

    On PostgreSQL also where nothing is settled: it takes the lock that keeps others from settling meanwhile.

    Raises:
        RowError: for a start that is no moment.

    """
    if not (calls or runs):
        return
    with valid():
        started = [*(call.started_at for call in calls), *(fact.started_at for fact in runs)]
        since, until = min(started), max([*started, *(_day_after(fact.started_at) for fact in runs)])
        moment = offset_moment if connection.dialect.name == "postgresql" else plain_moment
        bounds = moment(since), moment(until)
    if _delete(connection, *bounds):
        run_ids = {*(call.run_id for call in calls), *(fact.run_id for fact in runs)}
        first = _first_call(connection, list(run_ids))
        if first is not None and first < since:
            unsettle_range(connection, first, until)


def _delete(connection: Connection, since: str, until: str) -> bool:
    """Delete the periods of a range, and tell whether there may be earlier ones."""
    if connection.dialect.name == "postgresql":
        return connection.exec_driver_sql(_GONE_FROM_SERVER, {"since": since, "until": until}).first() is not None
    if connection.exec_driver_sql(_IS_THERE, (until,)).first() is None:
        return False
    connection.exec_driver_sql(_GONE, (until, since))
    return True


def _first_call(connection: Connection, run_ids: Sequence[str]) -> datetime | None:
    """When the first call of these runs started that is stored; the beginning of time where that is not known."""
    known = func.coalesce(RUNS.c.first_call_at, literal(_BEGINNING, UtcDateTime()))
    first = select(func.min(case((RUNS.c.calls > 0, known))))
    found = (connection.execute(first.where(RUNS.c.run_id.in_(chunk))).scalar() for chunk in chunks(run_ids))
    return min((moment for moment in found if moment is not None), default=None)


def unsettle_range(connection: Connection, since: datetime | None, until: datetime | None) -> None:
    """Delete the periods of a range; None is an end that is open."""
    bounds = [SETTLED.c.until > since] if since is not None else []
    bounds += [SETTLED.c.since <= until] if until is not None else []
    connection.execute(delete(SETTLED).where(true(), *bounds))


def _day_after(moment: datetime) -> datetime:
    try:
        return moment + _DAY
    except OverflowError:  # the last day of the calendar
        return moment
