"""Keep more of how a call was counted and priced, and what it had cost before it was priced again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_COLUMNS = {
    "saved_cost": sa.BigInteger,
    "computed_cost": sa.BigInteger,
    "priced_provider": sa.Text,
    "priced_model": sa.Text,
    "price_context": sa.JSON,
    "price_flags": sa.JSON,
    "superseded": sa.Boolean,
    "estimate_basis": sa.JSON,
}


def upgrade(op: Operations) -> None:
    """Apply."""
    for name, kind in _COLUMNS.items():
        op.add_column("llm_call", sa.Column(name, kind(), nullable=True))
    op.create_table(
        "cost_revision",
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("input_cost", sa.BigInteger(), nullable=True),
        sa.Column("output_cost", sa.BigInteger(), nullable=True),
        sa.Column("other_cost", sa.BigInteger(), nullable=True),
        sa.Column("total_cost", sa.BigInteger(), nullable=True),
        sa.Column("saved_cost", sa.BigInteger(), nullable=True),
        sa.Column("unit_prices", sa.JSON(), nullable=True),
        sa.Column("price_status", sa.Text(), nullable=False),
        sa.Column("price_source", sa.Text(), nullable=True),
        sa.Column("price_version", sa.Text(), nullable=True),
        sa.Column("replaced_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("call_id", "number"),
    )


def downgrade(op: Operations) -> None:
    """Take back, with what earlier prices are kept."""
    op.drop_table("cost_revision")
    for name in reversed(_COLUMNS):
        op.drop_column("llm_call", name)
