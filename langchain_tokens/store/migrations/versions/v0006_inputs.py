"""Keep what fills a call's input, and a mark of its prompt; find the few calls fast that tell of waste."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_REMARKABLE = (
    "superseded IS TRUE OR attempt_error IS NOT NULL"
    " OR finish_reason IN ('length', 'LENGTH', 'max_tokens', 'MAX_TOKENS', 'max_output_tokens', 'model_length')"
)
_MARKED = "prompt_mark IS NOT NULL AND status = 'ok' AND superseded IS NOT TRUE"
_INDEXES = {
    "ix_llm_call_remarkable": (["started_at"], _REMARKABLE),
    "ix_llm_call_prompt_mark": (["started_at", "prompt_mark", "call_id"], _MARKED),
}


def upgrade(op: Operations) -> None:
    """Apply."""
    op.add_column("llm_call", sa.Column("input_parts", sa.JSON(), nullable=True))
    op.add_column("llm_call", sa.Column("prompt_mark", sa.Text(), nullable=True))
    for name, (columns, condition) in _INDEXES.items():
        where = sa.text(condition)
        op.create_index(name, "llm_call", columns, sqlite_where=where, postgresql_where=where)


def downgrade(op: Operations) -> None:
    """Take back, with what is known of inputs."""
    for name in _INDEXES:
        op.drop_index(name, "llm_call")
    op.drop_column("llm_call", "prompt_mark")
    op.drop_column("llm_call", "input_parts")
