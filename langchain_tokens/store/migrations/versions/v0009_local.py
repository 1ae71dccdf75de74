"""Make the table of what past days, weeks and months of time zones come to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_COUNTS = (
    *("calls", "failed_calls", "succeeded_calls", "cached_calls", "estimated_calls", "unpriced_calls"),
    "calls_without_usage",
)
_SUMMED = (
    *("input_tokens", "output_tokens", "total_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"),
    *("total_cost", "saved_cost", "wasted_cost", "duration_us", "timed_output_tokens", "timed_us"),
)


def upgrade(op: Operations) -> None:
    """Apply."""
    op.create_table(
        "usage_local",
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _COUNTS),
        *(sa.Column(name, sa.BigInteger(), nullable=True) for name in _SUMMED),
        sa.PrimaryKeyConstraint("step", "since", "name"),
        sqlite_with_rowid=False,
    )


def downgrade(op: Operations) -> None:
    """Take back; the sums of hours and the rows of calls keep all that was found out of them."""
    op.drop_table("usage_local")
    op.execute("DELETE FROM usage_settled WHERE step NOT IN ('hour', 'day', 'month')")
