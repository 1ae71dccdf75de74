"""Keep what fills a call's input, and a mark of its prompt."""

from __future__ import annotations

from alembic.operations import Operations

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade(op: Operations) -> None:
    """Apply."""


def downgrade(op: Operations) -> None:
    """Take back."""
