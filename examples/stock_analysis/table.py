"""Where does the application keep its results? In a table that was there before tokens were counted, and still is.

The table's old form and its row stand for an application that has run for years. The migration adds the columns of
`TokenTotals`; whoever wrote rows before goes on as ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Engine, text
from sqlalchemy.orm import registry
from sqlmodel import Field, Session, SQLModel, create_engine, select

from langchain_tokens import Run
from langchain_tokens.store.totals import TokenTotals, total_columns

__all__ = ("StockAnalysis", "add_analysis", "create_old_table", "migrate", "open_table", "read_analyses")

_OLD_TABLE = """
CREATE TABLE IF NOT EXISTS stock_analyses (
    id INTEGER PRIMARY KEY,
    analysis_id VARCHAR(36) NOT NULL UNIQUE,
    symbol VARCHAR(16) NOT NULL,
    decision VARCHAR NOT NULL
)
"""
_OLD_ROW = """
INSERT INTO stock_analyses (id, analysis_id, symbol, decision)
SELECT 1, '00000000-0000-0000-0000-000000000001', 'ACME', 'HOLD ACME: from before tokens were counted'
WHERE NOT EXISTS (SELECT 1 FROM stock_analyses)
"""


class _Row(SQLModel, registry=registry()):
    """The application's own tables, apart from those of others in one process."""


class StockAnalysis(TokenTotals, _Row, table=True):
    """One analysis: what it said, and what it used."""

    __tablename__ = "stock_analyses"

    id: int | None = Field(default=None, primary_key=True)
    analysis_id: str = Field(max_length=36, unique=True)
    symbol: str = Field(max_length=16)
    decision: str


def open_table(path: Path) -> Engine:
    """Return the application's database."""
    return create_engine(f"sqlite:///{path}")


def create_old_table(engine: Engine) -> None:
    """Make the table as it was, with a row of then; one that is there is left alone."""
    with engine.begin() as connection:
        connection.execute(text(_OLD_TABLE))
        connection.execute(text(_OLD_ROW))


def migrate(engine: Engine) -> None:
    """Add the columns that are missing, as a migration by Alembic does."""
    with engine.begin() as connection:
        there = {row[1] for row in connection.execute(text("PRAGMA table_info(stock_analyses)"))}
        operations = Operations(MigrationContext.configure(connection))
        for column in total_columns():
            if column.name not in there:
                operations.add_column("stock_analyses", column)


def add_analysis(engine: Engine, symbol: str, decision: str, run: Run) -> None:
    """Keep an analysis with the totals of its run."""
    with Session(engine) as session:
        session.add(StockAnalysis(analysis_id=run.run_id, symbol=symbol, decision=decision, **run.totals()))
        session.commit()


def read_analyses(engine: Engine) -> Sequence[StockAnalysis]:
    """Return all analyses, the oldest first."""
    with Session(engine) as session:
        return session.exec(select(StockAnalysis).order_by(text("id"))).all()
