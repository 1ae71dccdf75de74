"""Metrics: four columns beside each response, its call's id, and the tables of langchain_tokens."""

from __future__ import annotations

import sqlalchemy
from alembic import op

from langchain_tokens.store.adoption import downgrade_tables, upgrade_tables

revision, down_revision, branch_labels, depends_on = "r0002", "r0001", None, None
INDEX = "ix_responses_call_id"


def upgrade() -> None:
    """Add columns, which rows from before have empty, and tables."""
    op.add_column("responses", sqlalchemy.Column("call_id", sqlalchemy.String))
    op.add_column("responses", sqlalchemy.Column("input_tokens", sqlalchemy.Integer))
    op.add_column("responses", sqlalchemy.Column("output_tokens", sqlalchemy.Integer))
    op.add_column("responses", sqlalchemy.Column("time_taken_seconds", sqlalchemy.Float))
    op.add_column("responses", sqlalchemy.Column("tokens_per_second", sqlalchemy.Float))
    op.create_index(INDEX, "responses", ["call_id"])
    upgrade_tables(op.get_bind())


def downgrade() -> None:
    """Take away what was added."""
    downgrade_tables(op.get_bind())
    op.drop_index(INDEX, "responses")
    for name in ("tokens_per_second", "time_taken_seconds", "output_tokens", "input_tokens", "call_id"):
        op.drop_column("responses", name)
