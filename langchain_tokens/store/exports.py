"""How do calls leave the store? Oldest first, a few at a time, into a file that other tools read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from sqlalchemy import Connection, Engine, select

from langchain_tokens.call import Call, RunFact
from langchain_tokens.exporting import BATCH
from langchain_tokens.query import Query
from langchain_tokens.store.engine import reading
from langchain_tokens.store.rows import call_from_row, fact_from_row
from langchain_tokens.store.sums import conditions
from langchain_tokens.store.tables import CALLS, IS_TOLD, RUNS
from langchain_tokens.store.target import StoreTarget
from langchain_tokens.textfiles import CallWriter

__all__ = ("export_calls", "streamed")


def export_calls(
    engine: Engine,
    target: StoreTarget,
    query: Query,
    opened: AbstractContextManager[CallWriter],
    progress: Callable[[int], object] | None = None,
) -> int:
    """Write the calls that a query's filters match, and the runs that they belong to; as `UsageStore.export`.

    Args:
        engine: the database's.
        target: the database, for errors.
        query: which calls.
        opened: where to.
        progress: told after each part how many calls are written.

    Returns:
        How many calls they are.

    """
    count = 0
    with opened as writer, reading(engine, target, is_long=True) as connection:
        for calls in streamed(connection, query):
            writer.write(calls)
            count += len(calls)
            if progress is not None:
                progress(count)
        for runs in _runs(connection, query) if writer.holds_runs else ():
            writer.write_runs(runs)
    return count


def streamed(connection: Connection, query: Query) -> Iterator[list[Call]]:
    """The calls that a query's filters match, oldest first, as many at a time as memory is meant to hold."""
    statement = select(CALLS).where(conditions(query, connection.dialect.name))
    ordered = statement.order_by(CALLS.c.started_at, CALLS.c.call_id)
    for rows in connection.execute(ordered, execution_options={"yield_per": BATCH}).partitions():
        yield [call_from_row(row) for row in rows]


def _runs(connection: Connection, query: Query) -> Iterator[list[RunFact]]:
    """The runs of such calls that are listed; of all calls, those that have none too."""
    statement = select(RUNS).where(IS_TOLD).order_by(RUNS.c.started_at, RUNS.c.run_id)
    if query != Query():
        these = (CALLS.c.run_id == RUNS.c.run_id) & conditions(query, connection.dialect.name)
        statement = statement.where(select(CALLS.c.run_id).where(these).exists())
    for rows in connection.execute(statement, execution_options={"yield_per": BATCH}).partitions():
        yield [fact_from_row(row) for row in rows]
