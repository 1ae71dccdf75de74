"""Which totals does an application keep on its own rows? Five columns: as a mixin, and for a migration.

class StockAnalysis(TokenTotals, SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)

analysis.sqlmodel_update(run.totals())
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Column, Integer, text
from sqlmodel import Field, SQLModel

__all__ = ("TokenTotals", "total_columns")

_COUNTS = ("total_input_tokens", "total_output_tokens", "total_tokens", "llm_calls_count")
_BREAKDOWN = "token_usage_breakdown"
_ZERO, _EMPTY = "0", "'{}'"


def _count() -> Any:
    return Field(default=0, sa_type=Integer, nullable=False, sa_column_kwargs={"server_default": text(_ZERO)})


class TokenTotals(SQLModel):
    """Mixin: the tokens of one run on a row of the application's own, filled by `Run.totals()`.

    The counts are integers with the default 0, in the database too, so that rows from before have a value. A 0 can
    therefore mean "nothing is known": where calls told no usage, `token_usage_breakdown` has `calls_without_usage`, the
    number of calls that the counts do not cover; an empty breakdown is a row from before, or a run without calls. Where
    tokens are estimated, it has `estimated_calls`.
    """

    total_input_tokens: int = _count()
    total_output_tokens: int = _count()
    total_tokens: int = _count()
    llm_calls_count: int = _count()
    token_usage_breakdown: dict[str, Any] = Field(
        default_factory=dict, sa_type=JSON, nullable=False, sa_column_kwargs={"server_default": text(_EMPTY)}
    )


def total_columns() -> list[Column[Any]]:
    """The columns of `TokenTotals` for a migration that adds them to a table that is there.

        for column in total_columns():
            op.add_column("stock_analyses", column)  # and back: op.drop_column("stock_analyses", column.name)

    Returns:
        New columns at each call, NOT NULL with a default of the database's own, which rows from before get.

    """
    counts = [Column(name, Integer(), nullable=False, server_default=text(_ZERO)) for name in _COUNTS]
    return [*counts, Column(_BREAKDOWN, JSON(), nullable=False, server_default=text(_EMPTY))]
