"""Which settled periods may calls and runs touch? Deleted before anything else in a transaction that changes these.

What a call changes lies between the first call of its run and itself: there are the calls of which it may tell that
they were in vain. What a run's end tells is of calls within a day from its start (see `waste`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import orjson
from sqlalchemy import Connection, delete, true

from langchain_tokens.call import Call, RunFact
from langchain_tokens.store.settledtables import SETTLED
from langchain_tokens.store.tables import RUNS
from langchain_tokens.store.tuples import offset_moment, plain_moment, valid

__all__ = ("unsettle", "unsettle_range")

_DAY = timedelta(days=1)
_IS_THERE = f"SELECT 1 FROM {SETTLED.name} WHERE since <= ? LIMIT 1"  # noqa: S608  # our own name
_GONE = (
    f"DELETE FROM {SETTLED.name} WHERE since <= :until AND (until > :since OR until > ("  # noqa: S608  # our own names
    f"SELECT min(CASE WHEN first_call_at IS NULL AND calls > 0 THEN '' ELSE first_call_at END) FROM {RUNS.name}"
    " WHERE run_id IN (SELECT value FROM json_each(:runs))))"
)
_GONE_FROM_SERVER = (
    f"DELETE FROM {SETTLED.name} WHERE since <= %(until)s AND (until > %(since)s OR until > ("  # noqa: S608  # our own
    "SELECT min(CASE WHEN first_call_at IS NULL AND calls > 0 THEN '-infinity' ELSE first_call_at END)"
    f" FROM {RUNS.name} WHERE run_id = ANY(%(runs)s)))"
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
        first, last = moment(since), moment(until)
    run_ids = list({*(call.run_id for call in calls), *(fact.run_id for fact in runs)})
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(_GONE_FROM_SERVER, {"since": first, "until": last, "runs": run_ids})
    elif connection.exec_driver_sql(_IS_THERE, (last,)).first() is not None:
        connection.exec_driver_sql(_GONE, {"since": first, "until": last, "runs": orjson.dumps(run_ids).decode()})


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
