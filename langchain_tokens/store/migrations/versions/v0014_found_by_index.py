"""Find runs by their status or mode, and calls that know their tokens and not their cost, or the other way round."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_INDEXES: dict[str, tuple[str, list[str], str | None]] = {
    "ix_llm_call_knows_half": (
        "llm_call",
        ["model_name", "started_at", "provider", "total_tokens", "total_cost"],
        "(total_cost IS NULL) <> (total_tokens IS NULL)",
    ),
    "ix_llm_run_status": ("llm_run", ["status", "started_at"], "status <> 'ok'"),
    "ix_llm_run_mode": ("llm_run", ["mode", "started_at"], None),
}


def upgrade(op: Operations) -> None:
    """Apply."""
    for name, (table, columns, condition) in _INDEXES.items():
        where = None if condition is None else sa.text(condition)
        op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)


def downgrade(op: Operations) -> None:
    """Take back."""
    for name, (table, _, _) in _INDEXES.items():
        op.drop_index(name, table)
