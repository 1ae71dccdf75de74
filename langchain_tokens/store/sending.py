"""How do several statements get to the database in a row? A server has the next one before it is done with the last.

So the server works while the values of the next statement are put together here, and nobody waits for the way between.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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


@contextmanager
def _pipeline(connection: Any) -> Iterator[None]:
    """The driver's pipeline; where its library is too old for one, each statement is waited for.

    What goes wrong in it is kept from the driver until it has ended: else that would log what comes of it, such as that
    the statements after it were left out.
    """
    from psycopg import Error, Pipeline

    if not Pipeline.is_supported():
        yield
        return
    wrong: BaseException | None = None
    try:
        with connection.pipeline():
            try:
                yield
            except BaseException as error:  # noqa: BLE001  # raised below
                wrong = error
    except Error:
        if wrong is None:
            raise
    if wrong is not None:
        raise wrong
