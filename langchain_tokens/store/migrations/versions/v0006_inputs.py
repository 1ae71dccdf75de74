"""Keep what fills a call's input, and a mark of its prompt."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade(op: Operations) -> None:
    """Apply."""
    op.add_column("llm_call", sa.Column("input_parts", sa.JSON(), nullable=True))
    op.add_column("llm_call", sa.Column("prompt_mark", sa.Text(), nullable=True))


def downgrade(op: Operations) -> None:
    """Take back, with what is known of inputs."""
    op.drop_column("llm_call", "prompt_mark")
    op.drop_column("llm_call", "input_parts")
