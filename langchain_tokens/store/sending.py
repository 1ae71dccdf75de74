"""How do several statements get to the database in a row? A server has the next one before it is done with the last.

So the server works while the values of the next statement are put together here, and nobody waits for the way between.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from sqlalchemy import Connection

from langchain_tokens.store.server import DRIVEN

__all__ = ("Statement", "send_all")

Statement = tuple[str, Any]
"""A statement in the driver's own words, and what goes with it: SQLite's rows, or a server's parameters."""
_NAME = "-- runs and sums of a batch"
"""What the library shows for all of them together."""


def send_all(connection: Connection, statements: Iterable[Statement]) -> None:
    """Run statements whose results nobody needs.

    Args:
        connection: one that writes.
        statements: each is asked for when the one before was sent.

    Raises:
        RowError: within `writing`, for a value that the database refuses; none of them counts then.

    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(_NAME, execution_options={DRIVEN: partial(_send, statements)})
        return
    for text, rows in statements:
        connection.exec_driver_sql(text, rows)


def _send(statements: Iterable[Statement], cursor: Any, _: str) -> None:
    with _pipeline(cursor.connection):
        for text, values in statements:
            cursor.execute(text, values)


def _pipeline(connection: Any) -> AbstractContextManager[Any]:
    """The driver's pipeline; where its library is too old for one, each statement is waited for."""
    from psycopg import Pipeline

    return connection.pipeline() if Pipeline.is_supported() else nullcontext()
