"""What does the application keep? A row for each result in its own table, in its own database."""

from __future__ import annotations

from sqlalchemy import Engine, Float, Integer, MetaData, String, event
from sqlalchemy.engine import Connection
from sqlmodel import Field, SQLModel, create_engine

__all__ = ("METRICS", "Response", "Table", "open_database")

METRICS = ("input_tokens", "output_tokens", "time_taken_seconds", "tokens_per_second")
"""The columns that a migration adds, beside `call_id`."""


class Table(SQLModel):
    """What the application's tables have in common: that they are its own."""

    metadata = MetaData()


class Response(Table, table=True):
    """One result of the processor; what it did not say is NULL."""

    __tablename__ = "responses"

    id: int | None = Field(default=None, primary_key=True)
    result_id: str = Field(unique=True)
    batch_id: str
    document: str
    prompt: str
    response: str | None = None
    status: str
    error_message: str | None = None
    call_id: str | None = Field(default=None, sa_type=String, index=True)
    """The call in `llm_call` that holds cost, provider and all else; NULL where there is none."""
    input_tokens: int | None = Field(default=None, sa_type=Integer)
    output_tokens: int | None = Field(default=None, sa_type=Integer)
    time_taken_seconds: float | None = Field(default=None, sa_type=Float)
    tokens_per_second: float | None = Field(default=None, sa_type=Float)


def open_database(url: str) -> Engine:
    """Return the application's database.

    Arguments:
        url: `sqlite:///...` or `postgresql://...`.

    """
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1))
    if engine.dialect.name == "sqlite":  # so that a migration is one transaction there, too
        event.listen(engine, "connect", _leave_transactions_to_us)
        event.listen(engine, "begin", _begin)
    return engine


def _leave_transactions_to_us(connection: object, _: object) -> None:
    connection.isolation_level = None  # type: ignore[attr-defined]  # of sqlite3


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
