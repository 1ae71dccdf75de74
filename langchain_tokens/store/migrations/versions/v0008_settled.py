"""Make the tables of what is found out of past hours and days; let the largest and longest calls be read by index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_INDEXES = {
    "ix_llm_call_total_tokens": ["total_tokens", "started_at"],
    "ix_llm_call_duration_ms": ["duration_ms", "started_at"],
}
_NAMES = ("kind", "mode", "chain_name", "agent_name", "model_name", "provider")
_SUMMED = {"calls": False, "total_tokens": True, "known_calls": False, "total_cost": True, "priced_calls": False}
"""Column → whether it may be NULL."""


def upgrade(op: Operations) -> None:
    """Apply."""
    op.create_table(
        "usage_settled",
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("step", "since"),
    )
    op.create_index("ix_usage_settled_until", "usage_settled", ["until"])
    op.create_table(
        "usage_waste",
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in _NAMES),
        *(sa.Column(name, sa.BigInteger(), nullable=may_be_null) for name, may_be_null in _SUMMED.items()),
        sa.PrimaryKeyConstraint("step", "since", *_NAMES),
        sqlite_with_rowid=False,
    )
    for name, columns in _INDEXES.items():
        op.create_index(name, "llm_call", columns)


def downgrade(op: Operations) -> None:
    """Take back; the rows of calls keep all that was found out of them."""
    for name in _INDEXES:
        op.drop_index(name, "llm_call")
    op.drop_table("usage_waste")
    op.drop_table("usage_settled")
