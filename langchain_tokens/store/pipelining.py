"""How do several statements get to PostgreSQL without a wait for each? Sent one after another, answered at the end.

So the server works on one while the next is made here, and neither of the two is woken up for each answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection

from langchain_tokens.store.server import DRIVEN

__all__ = ("pipelined",)


@contextmanager
def pipelined(connection: Connection) -> Iterator[None]:
    """Statements within give no rows, and may fail as late as the block's end; where the driver cannot, at once.

    Args:
        connection: one that writes, of any database.

    Raises:
        RowError: within `writing`, for a value that PostgreSQL refuses.

    """
    if connection.dialect.name != "postgresql":
        yield
        return
    import psycopg

    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection) or not psycopg.Pipeline.is_supported():
        yield
        return
    mode = driver.pipeline()
    pipeline = mode.__enter__()
    try:
        yield
        # As a statement, so that the library takes care of errors: they are those of the first one that failed.
        connection.exec_driver_sql("", execution_options={DRIVEN: lambda *_: pipeline.sync()})
    finally:
        with suppress(psycopg.Error):  # that nothing came of what was sent after it
            mode.__exit__(None, None, None)
