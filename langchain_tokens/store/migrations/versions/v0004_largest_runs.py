"""Let the largest runs be read without reading all: a row for each run that has calls, when they were, and an index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_INDEX = "ix_llm_run_total_tokens"
_TIMES = ("first_call_at", "last_call_at")


def upgrade(op: Operations) -> None:
    """Apply."""
    for name in _TIMES:
        op.add_column("llm_run", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    op.add_column("llm_run", sa.Column("known_by", sa.Text(), nullable=True))
    op.execute(_add_unknown_runs())
    op.execute(_note_times())
    op.create_index(_INDEX, "llm_run", ["total_tokens", "calls", "run_id", "first_call_at", "last_call_at"])


def downgrade(op: Operations) -> None:
    """Take back; a run that was known by its calls only stays, as one that goes on."""
    op.drop_index(_INDEX, "llm_run")
    for name in ("known_by", *reversed(_TIMES)):
        op.drop_column("llm_run", name)


def _add_unknown_runs() -> str:
    """Rows for runs of which there are calls only."""
    return """
        INSERT INTO llm_run (run_id, started_at, status, known_by, calls, failed_calls, calls_without_usage,
            unpriced_calls, input_tokens, output_tokens, total_tokens, total_cost)
        SELECT run_id, min(started_at), 'running', 'calls', count(*),
            sum(CASE WHEN status = 'error' THEN 1 ELSE 0 END), sum(CASE WHEN total_tokens IS NULL THEN 1 ELSE 0 END),
            sum(CASE WHEN price_status = 'unpriced' THEN 1 ELSE 0 END), sum(input_tokens), sum(output_tokens),
            sum(total_tokens), sum(total_cost)
        FROM llm_call WHERE run_id NOT IN (SELECT run_id FROM llm_run) GROUP BY run_id"""


def _note_times() -> str:
    """When calls of each run started, found in one pass over them."""
    times = "(SELECT run_id, min(started_at) AS first, max(started_at) AS last FROM llm_call GROUP BY run_id) AS times"
    return f"""
        UPDATE llm_run SET first_call_at = times.first, last_call_at = times.last
        FROM {times} WHERE times.run_id = llm_run.run_id"""  # noqa: S608  # our own names
