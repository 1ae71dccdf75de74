"""Let the calls and runs that cost most be read without reading all."""

from __future__ import annotations

from alembic.operations import Operations

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_INDEXES = {
    "ix_llm_call_total_cost": ("llm_call", ["total_cost", "started_at"]),
    "ix_llm_run_total_cost": ("llm_run", ["total_cost", "calls", "run_id", "first_call_at", "last_call_at"]),
}


def upgrade(op: Operations) -> None:
    """Apply."""
    for name, (table, columns) in _INDEXES.items():
        op.create_index(name, table, columns)


def downgrade(op: Operations) -> None:
    """Take back."""
    for name, (table, _) in _INDEXES.items():
        op.drop_index(name, table)
