"""Is the table of calls partitioned by time, and which partitions has it? In PostgreSQL only; `partitioning` does it.

Its primary key is then (call_id, started_at), since the database keeps no key across partitions that leaves out the
time. That a call which comes again is stored once, whatever time it carries, is what `unstored` sees to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from sqlalchemy import BindParameter, Connection, bindparam, text

from langchain_tokens.call import Call
from langchain_tokens.store.tables import CALLS

__all__ = (
    "KEY",
    "REST",
    "STEPS",
    "Partition",
    "PartitionStep",
    "floor",
    "is_partition_name",
    "is_partitioned",
    "make_partition",
    "next_start",
    "partitions",
    "partitions_before",
    "primary_key",
    "unstored",
)

PartitionStep = Literal["month", "week", "day"]
STEPS: tuple[PartitionStep, ...] = get_args(PartitionStep)
KEY = ("call_id", "started_at")
"""The primary key of a partitioned table."""
REST = f"{CALLS.name}_rest"
"""The partition of all times that have none of their own."""
_NAME = re.compile(rf"{CALLS.name}_([0-9]{{4}}_([0-9]{{2}}|w[0-9]{{2}}|[0-9]{{2}}_[0-9]{{2}})|rest)")
_WEEK = timedelta(days=7)
_DAY = timedelta(days=1)
_CHUNK = 500

_KIND = text("SELECT relkind FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass(:calls)")
_PARTITIONS = text("""
    WITH found AS (
        SELECT c.relname::text AS name, pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS bound
        FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = pg_catalog.to_regclass(:calls)
    )
    SELECT name, (regexp_match(bound, 'FROM \\(''(.+)''\\) TO '))[1]::timestamptz AS since,
        (regexp_match(bound, ' TO \\(''(.+)''\\)'))[1]::timestamptz AS until
    FROM found WHERE bound ~ 'FROM \\(''.* TO \\(''' ORDER BY 2, 1
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A part of the table: the calls that started from one moment until before another."""

    name: str
    since: datetime
    until: datetime

    @property
    def step(self) -> PartitionStep:
        """How much time it holds."""
        length = self.until - self.since
        return "day" if length == _DAY else "week" if length == _WEEK else "month"


def is_partitioned(connection: Connection) -> bool:
    """Tell whether the table of calls is partitioned; also for a database that has none of our tables."""
    if connection.dialect.name != "postgresql":
        return False
    return bool(connection.execute(_KIND, {"calls": CALLS.name}).scalar() == "p")


def is_partition_name(table_name: str | None) -> bool:
    """Tell whether a table of that name is one of our partitions."""
    return table_name is not None and _NAME.fullmatch(table_name) is not None


def primary_key(connection: Connection) -> tuple[str, ...]:
    """The columns that the table of calls must have as its primary key in this database."""
    return KEY if is_partitioned(connection) else tuple(column.name for column in CALLS.primary_key)


def partitions(connection: Connection) -> list[Partition]:
    """The partitions of a partitioned table but `REST`, oldest first."""
    found = connection.execute(_PARTITIONS, {"calls": CALLS.name})
    return [
        Partition(name=name, since=since.astimezone(UTC), until=until.astimezone(UTC)) for name, since, until in found
    ]


def partitions_before(connection: Connection, moment: datetime) -> list[Partition]:
    """The partitions that lie wholly before a moment, oldest first."""
    return [partition for partition in partitions(connection) if partition.until <= moment]


def unstored(connection: Connection, calls: Sequence[Call]) -> Sequence[Call]:
    """Those of some calls that are not in a partitioned table yet, whatever time it has for them; each once.

    Two transactions that store one call with two times at the very same moment do not see each other here. A call has
    one time in all of its records, so that would take a record that somebody changed by hand.
    """
    first: dict[str, Call] = {}
    for call in calls:
        first.setdefault(call.call_id, call)
    call_ids = sorted(first)
    known: set[str] = set()
    for start in range(0, len(call_ids), _CHUNK):
        these: BindParameter[list[str]] = bindparam("these", call_ids[start : start + _CHUNK])
        found = text(f"SELECT call_id FROM {CALLS.name} WHERE call_id = ANY(:these)")  # noqa: S608  # our own name
        known.update(connection.execute(found.bindparams(these)).scalars())
    return [call for call_id, call in first.items() if call_id not in known]


def make_partition(moment: datetime, step: PartitionStep) -> Partition | None:
    """The partition of a step that a moment lies in; None for the last of the calendar, which has no end."""
    since = floor(moment, step)
    try:
        until = next_start(since, step)
    except (OverflowError, ValueError):
        return None
    year, week, _ = since.isocalendar()
    day = since.date().isoformat().replace("-", "_")
    mark = {"month": day[:7], "week": f"{year:04}_w{week:02}", "day": day}[step]
    return Partition(name=f"{CALLS.name}_{mark}", since=since, until=until)


def floor(moment: datetime, step: PartitionStep) -> datetime:
    """When the month, the week (from Monday) or the day began that a moment lies in; UTC."""
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if step == "month":
        return day.replace(day=1)
    return day - timedelta(days=day.weekday()) if step == "week" else day


def next_start(since: datetime, step: PartitionStep) -> datetime:
    """When the month, week or day after the one begins that begins at a moment."""
    if step != "month":
        return since + (_WEEK if step == "week" else _DAY)
    december = 12
    if since.month == december:
        return since.replace(year=since.year + 1, month=1)
    return since.replace(month=since.month + 1)
