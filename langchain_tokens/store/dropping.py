"""How do many calls go at once? Whole partitions, which the database drops without looking at each of their rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from langchain_tokens.store.partitions import Partition, partitions_before
from langchain_tokens.store.replacing import qualified, run
from langchain_tokens.store.runrows import refresh_totals
from langchain_tokens.store.tables import CALLS, CONTENTS, COST_REVISIONS, RUNS

__all__ = ("Dropped", "drop_partitions_before", "lock_calls")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """What went with a partition."""

    partition: Partition
    calls: int
    runs: int
    """Runs that have no call left."""


def drop_partitions_before(connection: Connection, moment: datetime) -> list[Dropped]:
    """Drop the partitions that lie wholly before a moment, with what was said in their calls and their earlier prices.

    Runs of which all calls are in one of them go too; the totals of others are derived again. What else is earlier than
    the moment (a part of a partition, the rest) stays: for DELETE. The sums by hour, day, month and name stay as they
    are: for whoever calls this to keep (`keep_rows_since`) or to drop.

    Args:
        connection: one that writes, to a partitioned store, of the table's owner; nobody else reads or writes calls
            until its transaction ends.
        moment: how far.

    """
    lock_calls(connection)
    return [_drop(connection, partition) for partition in partitions_before(connection, moment)]


def lock_calls(connection: Connection) -> None:
    """Keep others from reading and writing calls until the transaction ends.

    Before any weaker lock than that: a writer that has read and is kept from writing would wait for this transaction,
    and it for the writer.
    """
    run(connection, f"LOCK TABLE {qualified(connection, CALLS.name)} IN ACCESS EXCLUSIVE MODE")


def _drop(connection: Connection, partition: Partition) -> Dropped:
    name = qualified(connection, partition.name)
    gone = f"(SELECT run_id, count(*) AS calls FROM {name} GROUP BY run_id) AS gone"  # noqa: S608  # names of our own
    # By the number that a run's row has of its calls: to look for them in all other partitions takes very long.
    runs, same = f"{RUNS.name} AS runs", "runs.run_id = gone.run_id AND runs.calls"
    more = f"SELECT runs.run_id FROM {runs} JOIN {gone} ON {same} > gone.calls ORDER BY 1"  # noqa: S608
    shortened = [str(row[0]) for row in connection.exec_driver_sql(more)]
    ended = connection.exec_driver_sql(f"DELETE FROM {runs} USING {gone} WHERE {same} <= gone.calls").rowcount  # noqa: S608
    count = connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one()  # noqa: S608
    for beside in (CONTENTS, COST_REVISIONS):
        run(connection, f"DELETE FROM {beside.name} WHERE call_id IN (SELECT call_id FROM {name})")  # noqa: S608
    run(connection, f"DROP TABLE {name}")
    refresh_totals(connection, shortened)
    return Dropped(partition=partition, calls=int(count), runs=ended)
