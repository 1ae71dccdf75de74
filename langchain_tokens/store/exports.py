"""How do calls leave the store? Oldest first, a few at a time, into a file that other tools read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, Engine, select

from langchain_tokens.call import Call
from langchain_tokens.exporting import BATCH, CallFile
from langchain_tokens.query import Query
from langchain_tokens.store.engine import reading
from langchain_tokens.store.rows import call_from_row
from langchain_tokens.store.sums import conditions
from langchain_tokens.store.tables import CALLS
from langchain_tokens.store.target import StoreTarget

__all__ = ("export_calls", "streamed")


def export_calls(engine: Engine, target: StoreTarget, query: Query, path: str | Path) -> int:
    """Write the calls that a query's filters match to a Parquet file; as `UsageStore.export`.

    Returns:
        How many they are.

    """
    with CallFile(path) as file, reading(engine, target, is_long=True) as connection:
        for calls in streamed(connection, query):
            file.write(calls)
    return file.calls


def streamed(connection: Connection, query: Query) -> Iterator[list[Call]]:
    """The calls that a query's filters match, oldest first, as many at a time as memory is meant to hold."""
    statement = select(CALLS).where(conditions(query, connection.dialect.name))
    ordered = statement.order_by(CALLS.c.started_at, CALLS.c.call_id)
    for rows in connection.execute(ordered, execution_options={"yield_per": BATCH}).partitions():
        yield [call_from_row(row) for row in rows]
