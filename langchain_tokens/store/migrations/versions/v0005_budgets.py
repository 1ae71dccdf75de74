"""Make the tables of budgets: what is reserved, and which marks were told."""

from __future__ import annotations

from alembic.operations import Operations

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade(op: Operations) -> None:
    """Apply."""


def downgrade(op: Operations) -> None:
    """Take back."""
