"""How does the table of calls become partitioned by time, and back? In one transaction, verified by counts and sums."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection

from langchain_tokens.errors import SchemaError, StoreError
from langchain_tokens.store.engine import make_engine, reading, writing
from langchain_tokens.store.partitions import (
    KEY,
    REST,
    STEPS,
    Partition,
    PartitionStep,
    is_partitioned,
    make_partition,
    partitions,
)
from langchain_tokens.store.replacing import become_owner, qualified, replace_calls, run, totals
from langchain_tokens.store.schema import HEAD, current_revision, lock_schema
from langchain_tokens.store.tables import CALLS
from langchain_tokens.store.target import StoreTarget

__all__ = ("AHEAD", "MOST", "NewPartition", "Partitioning", "partition_store", "unpartition", "unpartition_store")

AHEAD = 12
MOST = 1_000
"""How many partitions there may be: each statement that cannot tell which one it needs looks at all of them."""
_BY_TIME = "PARTITION BY RANGE (started_at)"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPartition:
    """A partition that is made."""

    partition: Partition
    calls: int
    """How many calls come into it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Partitioning:
    """What was done, or would be."""

    by: PartitionStep
    was_partitioned: bool
    """Whether the table had been partitioned before."""
    made: tuple[NewPartition, ...]
    """The new partitions, oldest first."""
    in_rest: int
    """How many calls lie in the partition of all other times."""

    @property
    def calls(self) -> int:
        """How many calls come into the new partitions."""
        return sum(new.calls for new in self.made)


def partition_store(
    target: StoreTarget,
    *,
    by: str | None = None,
    ahead: int = AHEAD,
    dry_run: bool = False,
    now: datetime | None = None,
) -> Partitioning:
    """Partition the table of calls by time, in one transaction; where it is so already, add what is missing.

    A month, week or day (UTC) that has calls gets a partition, and so do the present one and some ahead. Calls of all
    other times lie in a partition for the rest, from where they are moved when this is done again.

    Args:
        target: a PostgreSQL database with the present schema; its user must own the tables.
        by: `month`, `week` or `day`; None is what the table has, else a month.
        ahead: how many partitions after the present one.
        dry_run: only say what would be done.
        now: the present moment; None is the clock's.

    Raises:
        SchemaError: for an older or newer schema, things that hang on the table and would be lost, and rows that differ
            afterwards (then nothing is changed).
        StoreError: for an SQLite database, an unknown step, another step than the table has, too many partitions, and
            when the database fails.

    """
    _check(target, by, ahead)
    moment = datetime.now(UTC) if now is None else now
    with _connected(target, is_writing=not dry_run) as connection:
        is_new = not is_partitioned(connection)
        source = qualified(connection, CALLS.name if is_new else REST)
        if not dry_run:
            run(connection, f"LOCK TABLE {source} IN ACCESS EXCLUSIVE MODE")
        there = partitions(connection)
        step = _step(there, by, target)
        made, left = _missing(_counts(connection, source, step), there, _coming(moment, step, ahead), step)
        _refuse_too_many(len(there) + len(made), target)
        if is_new and not dry_run:
            _convert(connection, target, made)
        elif made and not dry_run:
            _add(connection, target, made)
    return Partitioning(by=step, was_partitioned=not is_new, made=tuple(made), in_rest=left)


def unpartition_store(target: StoreTarget) -> int:
    """Make the table of calls a plain one again, in one transaction.

    Returns:
        How many calls it has; None of them is lost.

    Raises:
        SchemaError: for an older or newer schema, and as in `partition_store`.
        StoreError: for an SQLite database, and when the database fails.

    """
    _check(target, None, 0)
    with _connected(target, is_writing=True) as connection:
        return unpartition(connection, target)


def unpartition(connection: Connection, database: object) -> int:
    """Make the table of calls a plain one again, where it is partitioned, in the transaction of a connection."""
    calls = qualified(connection, CALLS.name)
    if not is_partitioned(connection):
        return int(totals(connection, calls)[0])
    run(connection, f"LOCK TABLE {calls} IN ACCESS EXCLUSIVE MODE")
    return replace_calls(connection, database, key=("call_id",), clause="", prepare=lambda _: None)


def _check(target: StoreTarget, by: str | None, ahead: int) -> None:
    if target.path is not None or target.is_memory:
        raise StoreError(f"the store {target} is SQLite, whose tables cannot be partitioned; PostgreSQL's can")
    if by is not None and by not in STEPS:
        raise StoreError(f"cannot partition by {by!r}; allowed: {', '.join(STEPS)}")
    if not 0 <= ahead <= MOST:
        raise StoreError(f"cannot make {ahead:,} partitions ahead; allowed: 0 to {MOST:,}")


@contextmanager
def _connected(target: StoreTarget, *, is_writing: bool) -> Iterator[Connection]:
    engine = make_engine(target)
    try:
        with (writing if is_writing else reading)(engine, target, is_long=True) as connection:
            if is_writing:
                lock_schema(connection)
            found = current_revision(connection)
            if found != HEAD:
                raise SchemaError(
                    f"the store {target} has schema {found or 'none'}, and {HEAD} is needed; run first: "
                    f"langchain-tokens db upgrade --db '{target}'"
                )
            yield connection
    finally:
        engine.dispose()


def _step(there: Sequence[Partition], by: str | None, target: StoreTarget) -> PartitionStep:
    found = there[-1].step if there else None
    asked = next((step for step in STEPS if step == by), None)
    if found is not None and asked not in (None, found):
        raise StoreError(
            f"the store {target} is partitioned by {found}; to partition it by {asked}: langchain-tokens db partition "
            "--undo first; nothing was changed"
        )
    return found or asked or "month"


def _counts(connection: Connection, source: str, step: PartitionStep) -> Mapping[datetime, int]:
    """How many calls of a table began in each step."""
    began = f"date_trunc('{step}', started_at AT TIME ZONE 'UTC')"
    found = connection.exec_driver_sql(f"SELECT {began}, count(*) FROM {source} GROUP BY 1")  # noqa: S608  # our own names
    return {moment.replace(tzinfo=UTC): calls for moment, calls in found}


def _coming(moment: datetime, step: PartitionStep, ahead: int) -> Iterator[Partition]:
    """The partition of the present moment, and some after it."""
    found = make_partition(moment, step)
    for _ in range(ahead + 1):
        if found is None:  # the end of the calendar
            return
        yield found
        found = make_partition(found.until, step)


def _missing(
    counts: Mapping[datetime, int], there: Sequence[Partition], coming: Iterator[Partition], step: PartitionStep
) -> tuple[list[NewPartition], int]:
    """The partitions to make, oldest first, and how many calls have none."""
    wanted = {partition.since: partition for partition in coming}
    left = 0
    for moment, calls in counts.items():
        partition = make_partition(moment, step)
        if partition is None:
            left += calls
        else:
            wanted[moment] = partition
    for known in there:
        wanted.pop(known.since, None)
    return [
        NewPartition(partition=partition, calls=counts.get(since, 0)) for since, partition in sorted(wanted.items())
    ], left


def _refuse_too_many(count: int, target: StoreTarget) -> None:
    if count > MOST:
        raise StoreError(
            f"the store {target} would have {count:,} partitions; at most {MOST:,}: choose a longer step (--by month), "
            "or fewer ahead; nothing was changed"
        )


def _convert(connection: Connection, target: StoreTarget, made: Sequence[NewPartition]) -> None:
    def prepare(table: str) -> None:
        run(connection, f"CREATE TABLE {qualified(connection, REST)} PARTITION OF {table} DEFAULT")
        for new in made:
            name = qualified(connection, new.partition.name)
            run(connection, f"CREATE TABLE {name} PARTITION OF {table} {_bounds(new.partition)}")

    replace_calls(connection, target, key=KEY, clause=_BY_TIME, prepare=prepare)


def _add(connection: Connection, target: StoreTarget, made: Sequence[NewPartition]) -> None:
    """Add partitions, with the calls of their time that lie in the rest, while others go on reading and writing."""
    calls, rest = qualified(connection, CALLS.name), qualified(connection, REST)
    become_owner(connection)
    before = totals(connection, rest)
    names = [qualified(connection, new.partition.name) for new in made]
    for name, new in zip(names, made, strict=True):
        run(connection, f"CREATE TABLE {name} (LIKE {calls} INCLUDING ALL EXCLUDING INDEXES)")
        if new.calls:
            span = f"started_at >= '{new.partition.since}' AND started_at < '{new.partition.until}'"
            gone = f"DELETE FROM {rest} WHERE {span} RETURNING *"  # noqa: S608  # our own names
            run(connection, f"WITH gone AS ({gone}) INSERT INTO {name} SELECT * FROM gone")  # noqa: S608
        run(connection, f"ALTER TABLE {calls} ATTACH PARTITION {name} {_bounds(new.partition)}")
    if totals(connection, rest, *names) != before:
        raise SchemaError(f"the calls of {target} would have come out different in sum; nothing was changed")
    run(connection, f"ANALYZE {calls}")


def _bounds(partition: Partition) -> str:
    return f"FOR VALUES FROM ('{partition.since}') TO ('{partition.until}')"
