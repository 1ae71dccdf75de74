"""Which settled periods may calls and runs touch? Deleted before anything else in a transaction that changes these.

What a call changes lies between the first call of its run and itself: there are the calls of which it may tell that
they were in vain. What a run's end tells is of calls within a day from its start (see `waste`), which may turn out to
be earlier than it was said before: then it tells nothing any more of its last calls.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, and_, case, delete, func, literal, select, true, tuple_

from langchain_tokens.call import Call, RunFact
from langchain_tokens.store.inserts import chunks
from langchain_tokens.store.settledtables import SETTLED
from langchain_tokens.store.tables import RUNS, UtcDateTime
from langchain_tokens.store.tuples import offset_moment, plain_moment, valid

__all__ = ("unsettle", "unsettle_range")

_DAY = timedelta(days=1)
_BEGINNING, _END = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_GONE = f"DELETE FROM {SETTLED.name} WHERE since <= ? AND until > ?"  # noqa: S608  # our own name
_IS_THERE = f"SELECT 1 FROM {SETTLED.name} LIMIT 1"  # noqa: S608  # our own name
# The deletion takes the table's lock before the statement sees anything; each statement names one table alone. The last
# rows are locked first, also where earlier ones follow: so those who delete never wait for each other in a circle.
_GONE_FROM_SERVER = (
    f"WITH gone AS (DELETE FROM {SETTLED.name} WHERE (step, since) IN ("  # noqa: S608  # our own name
    f"SELECT step, since FROM {SETTLED.name} WHERE since <= %(until)s AND until > %(since)s"
    f" ORDER BY until DESC, step FOR UPDATE)) {_IS_THERE}"
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
        first, last = _calls_of(connection, list(run_ids), {fact.run_id for fact in runs})
        earlier, later = min(first or since, since), max(last or until, until)
        if (earlier, later) != (since, until):
            unsettle_range(connection, earlier, later)


def _delete(connection: Connection, since: str, until: str) -> bool:
    """Delete the periods of a range, and tell whether there may be others."""
    if connection.dialect.name == "postgresql":
        return connection.exec_driver_sql(_GONE_FROM_SERVER, {"since": since, "until": until}).first() is not None
    if connection.exec_driver_sql(_IS_THERE).first() is None:
        return False
    connection.exec_driver_sql(_GONE, (until, since))
    return True


def _calls_of(
    connection: Connection, run_ids: Sequence[str], told: Collection[str]
) -> tuple[datetime | None, datetime | None]:
    """When the first call of these runs started that is stored, and the last one of those of which something is told;
    the beginning and the end of time where that is not known.
    """
    known, calls = RUNS.c, RUNS.c.calls > 0
    first = func.min(case((calls, func.coalesce(known.first_call_at, literal(_BEGINNING, UtcDateTime())))))
    last = func.coalesce(known.last_call_at, literal(_END, UtcDateTime()))
    found = []
    for chunk in chunks(run_ids):
        is_told = known.run_id.in_([run_id for run_id in chunk if run_id in told])
        these = select(first, func.max(case((and_(calls, is_told), last)))).where(known.run_id.in_(chunk))
        found.append(connection.execute(these).one())
    firsts, lasts = ([moment for moment in moments if moment is not None] for moments in zip(*found, strict=True))
    return min(firsts, default=None), max(lasts, default=None)


def unsettle_range(connection: Connection, since: datetime | None, until: datetime | None) -> None:
    """Delete the periods of a range; None is an end that is open."""
    known = SETTLED.alias("known")
    bounds = [known.c.until > since] if since is not None else []
    bounds += [known.c.since <= until] if until is not None else []
    doomed = select(known.c.step, known.c.since).where(true(), *bounds)
    if connection.dialect.name == "postgresql":
        doomed = doomed.order_by(known.c.until.desc(), known.c.step).with_for_update()  # as `_GONE_FROM_SERVER` does
    connection.execute(delete(SETTLED).where(tuple_(SETTLED.c.step, SETTLED.c.since).in_(doomed)))


def _day_after(moment: datetime) -> datetime:
    try:
        return moment + _DAY
    except OverflowError:  # the last day of the calendar
        return moment
