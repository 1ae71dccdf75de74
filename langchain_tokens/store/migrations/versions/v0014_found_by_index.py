"""Find the calls that know their tokens and not their cost, or the other way round."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_INDEX = "ix_llm_call_knows_half"
_COLUMNS = ["model_name", "started_at", "provider", "total_tokens", "total_cost"]
_KNOWS_HALF = "(total_cost IS NULL) <> (total_tokens IS NULL)"


def upgrade(op: Operations) -> None:
    """Apply."""
    where = sa.text(_KNOWS_HALF)
    op.create_index(_INDEX, "llm_call", _COLUMNS, sqlite_where=where, postgresql_where=where)


def downgrade(op: Operations) -> None:
    """Take back."""
    op.drop_index(_INDEX, "llm_call")
