"""The database as it was: responses without metrics."""

from __future__ import annotations

import sqlalchemy
from alembic import op

revision, down_revision, branch_labels, depends_on = "r0001", None, None, None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "responses",
        sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True),
        sqlalchemy.Column("result_id", sqlalchemy.String, nullable=False, unique=True),
        sqlalchemy.Column("batch_id", sqlalchemy.String, nullable=False),
        sqlalchemy.Column("document", sqlalchemy.String, nullable=False),
        sqlalchemy.Column("prompt", sqlalchemy.String, nullable=False),
        sqlalchemy.Column("response", sqlalchemy.String),
        sqlalchemy.Column("status", sqlalchemy.String, nullable=False),
        sqlalchemy.Column("error_message", sqlalchemy.String),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("responses")
