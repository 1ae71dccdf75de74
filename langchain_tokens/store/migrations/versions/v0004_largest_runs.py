"""Let the largest runs be read without reading all."""

from __future__ import annotations

from alembic.operations import Operations

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade(op: Operations) -> None:
    """Apply."""


def downgrade(op: Operations) -> None:
    """Take back."""
