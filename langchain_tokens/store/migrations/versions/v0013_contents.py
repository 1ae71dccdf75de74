"""Make the table of what was said in calls, which is empty unless a handler captures it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_TABLE = "llm_call_content"


def upgrade(op: Operations) -> None:
    """Apply."""
    op.create_table(
        _TABLE,
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("messages", sa.JSON(), nullable=True),
        sa.Column("answer", sa.JSON(), nullable=True),
        sa.Column("messages_cut", sa.Boolean(), nullable=False),
        sa.Column("answer_cut", sa.Boolean(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("call_id"),
    )
    op.create_index(f"ix_{_TABLE}_started_at", _TABLE, ["started_at"])


def downgrade(op: Operations) -> None:
    """Take back, with all that was said."""
    op.drop_table(_TABLE)
