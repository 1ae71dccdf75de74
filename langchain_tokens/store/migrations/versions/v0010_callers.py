"""Make sums by who called which model, and of attempts alone; find a name's days and costs, and a user's runs."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_COUNTS = (
    *("calls", "failed_calls", "succeeded_calls", "cached_calls", "estimated_calls", "unpriced_calls"),
    "calls_without_usage",
)
_SUMMED = (
    *("input_tokens", "output_tokens", "total_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"),
    *("total_cost", "saved_cost", "wasted_cost", "duration_us", "timed_output_tokens", "timed_us"),
)
_NAMES = ("agent_name", "chain_name", "path", "model_name", "provider")
_STEPS = {"usage_hourly": "hour", "usage_daily": "day", "usage_monthly": "month"}
_INDEXES = {
    "ix_usage_daily_by_name_day": ("usage_daily_by_name", ["dimension", "name", "day"]),
    "ix_usage_by_name_total_cost": ("usage_by_name", ["dimension", "total_cost"]),
}
_OF_USERS = "ix_llm_run_user_id"


def upgrade(op: Operations) -> None:
    """Apply."""
    for source, step in _STEPS.items():
        keys = (step, *_NAMES)
        op.create_table(
            f"{source}_by_caller",
            *(sa.Column(key, sa.Text(), nullable=False) for key in keys),
            *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _COUNTS),
            *(sa.Column(name, sa.BigInteger(), nullable=True) for name in _SUMMED),
            sa.PrimaryKeyConstraint(*keys),
            sqlite_with_rowid=False,
        )
    for statement in _filled():
        op.execute(statement)
    for name, (table, columns) in _INDEXES.items():
        op.create_index(name, table, columns)
    user = sa.text("user_id IS NOT NULL")
    op.create_index(_OF_USERS, "llm_run", ["user_id", "started_at"], sqlite_where=user, postgresql_where=user)


def downgrade(op: Operations) -> None:
    """Take back; the sums in every combination keep all that these were made of."""
    op.drop_index(_OF_USERS, "llm_run")
    for name, (table, _) in _INDEXES.items():
        op.drop_index(name, table)
    for table in ("usage_hourly_by_name", "usage_daily_by_name", "usage_by_name"):
        op.execute(f"DELETE FROM {table} WHERE dimension = 'attempt'")  # noqa: S608  # our own names
    for table in reversed(_STEPS):
        op.drop_table(f"{table}_by_caller")


def _filled() -> Iterator[str]:
    """The statements that add up what is there."""
    for source, step in _STEPS.items():
        yield _added(f"{source}_by_caller", {key: key for key in (step, *_NAMES)}, source)
    attempts = {"dimension": "'attempt'", "name": "CAST(attempt AS TEXT)"}
    yield _added("usage_hourly_by_name", {**attempts, "hour": "hour"}, "usage_hourly")
    yield _added("usage_daily_by_name", {**attempts, "day": "day"}, "usage_daily")
    yield _added("usage_by_name", attempts, "usage_monthly")


def _added(table: str, keys: dict[str, str], source: str) -> str:
    # As bigint: PostgreSQL sums bigints as numeric.
    sums = (f"CAST(sum({name}) AS BIGINT)" for name in (*_COUNTS, *_SUMMED))
    by = [value for value in keys.values() if not value.startswith("'")]
    return (
        f"INSERT INTO {table} ({', '.join((*keys, *_COUNTS, *_SUMMED))}) "  # noqa: S608  # our own names
        f"SELECT {', '.join((*keys.values(), *sums))} FROM {source} GROUP BY {', '.join(by)}"
    )
