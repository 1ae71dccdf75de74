"""Find the runs that started after one of their calls, by what was told of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_INDEX = "ix_llm_run_starts_late"
_STARTS_LATE = "calls > 0 AND (first_call_at IS NULL OR started_at > first_call_at)"


def upgrade(op: Operations) -> None:
    """Apply."""
    where = sa.text(_STARTS_LATE)
    op.create_index(_INDEX, "llm_run", ["started_at"], sqlite_where=where, postgresql_where=where)


def downgrade(op: Operations) -> None:
    """Take back."""
    op.drop_index(_INDEX, "llm_run")
