"""Say with a name's sums of all time what its last day is, so that lists of a range pass over names of earlier days."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_TABLE = "usage_by_name"
_RANKS = ("total_tokens", "total_cost")


def upgrade(op: Operations) -> None:
    """Apply."""
    for rank in _RANKS:
        op.drop_index(f"ix_usage_by_name_{rank}", _TABLE)
    op.add_column(_TABLE, sa.Column("last_day", sa.Text(), nullable=False, server_default="9999-12-31"))
    op.execute("""
        UPDATE usage_by_name SET last_day = coalesce((
            SELECT max(day) FROM usage_daily_by_name AS days
            WHERE days.dimension = usage_by_name.dimension AND days.name = usage_by_name.name
        ), last_day)""")
    if op.get_bind().dialect.name == "postgresql":  # SQLite has no way to add the column without it
        op.alter_column(_TABLE, "last_day", server_default=None)
    for rank in _RANKS:
        op.create_index(f"ix_usage_by_name_{rank}", _TABLE, ["dimension", rank, "last_day"])


def downgrade(op: Operations) -> None:
    """Take back."""
    for rank in _RANKS:
        op.drop_index(f"ix_usage_by_name_{rank}", _TABLE)
        op.create_index(f"ix_usage_by_name_{rank}", _TABLE, ["dimension", rank])
    op.drop_column(_TABLE, "last_day")
