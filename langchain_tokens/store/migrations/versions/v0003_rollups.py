"""Make the tables of sums by hour, day, month and name, and views for people who read SQL."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_COUNTS = (
    "calls",
    "failed_calls",
    "succeeded_calls",
    "cached_calls",
    "estimated_calls",
    "unpriced_calls",
    "calls_without_usage",
)
_SUMMED = (
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "total_cost",
    "saved_cost",
    "wasted_cost",
    "duration_us",
    "timed_output_tokens",
    "timed_us",
)
_NAMES = ("mode", "agent_name", "chain_name", "path", "model_name", "provider", "status", "attempt")
_TABLES = {
    "usage_hourly": ("hour", *_NAMES),
    "usage_daily": ("day", *_NAMES),
    "usage_monthly": ("month", *_NAMES),
    "usage_hourly_by_name": ("dimension", "hour", "name"),
    "usage_daily_by_name": ("dimension", "day", "name"),
    "usage_by_name": ("dimension", "name"),
}
_VIEWS = ("llm_call_usd", "session_token_summary", "daily_token_stats")


def upgrade(op: Operations) -> None:
    """Apply."""
    for name, keys in _TABLES.items():
        op.create_table(name, *_columns(keys), sa.PrimaryKeyConstraint(*keys), sqlite_with_rowid=False)
    op.create_index("ix_usage_by_name_total_tokens", "usage_by_name", ["dimension", "total_tokens"])
    op.create_table(
        "usage_state",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    user = sa.text("user_id IS NOT NULL")
    op.create_index(
        "ix_llm_call_user_id", "llm_call", ["user_id", "started_at"], sqlite_where=user, postgresql_where=user
    )
    is_sqlite = op.get_context().dialect.name == "sqlite"
    made = [name for name in _VIEWS if name not in _taken_names(op)]
    statements = (_calls_in_usd(), _sessions(is_sqlite=is_sqlite), _days(is_sqlite=is_sqlite))
    for name, statement in zip(_VIEWS, statements, strict=True):
        if name in made:
            op.execute(statement)
    op.execute(f"INSERT INTO usage_state (name, value) VALUES ('views', '{' '.join(made)}')")  # noqa: S608  # our own


def downgrade(op: Operations) -> None:
    """Take back; the rows of calls keep all that the sums were made of."""
    for view in _made_names(op):
        op.execute(f"DROP VIEW {view}")
    op.drop_index("ix_llm_call_user_id", "llm_call")
    op.drop_table("usage_state")
    for name in reversed(_TABLES):
        op.drop_table(name)


def _taken_names(op: Operations) -> set[str]:
    """What the database has already: an application's own table of a view's name stays what it is."""
    context = op.get_context()
    if context.as_sql:
        return set(context.opts.get("taken_names", ()))
    inspector = sa.inspect(op.get_bind())
    names = {*inspector.get_table_names(), *inspector.get_view_names()}
    return {name.lower() for name in names} if context.dialect.name == "sqlite" else names


def _made_names(op: Operations) -> tuple[str, ...]:
    """The views that were made, those that build on others first."""
    if op.get_context().as_sql:
        return _VIEWS
    made = op.get_bind().execute(sa.text("SELECT value FROM usage_state WHERE name = 'views'")).scalar_one()
    return tuple(str(made).split())


def _columns(keys: tuple[str, ...]) -> list[sa.Column[Any]]:
    return [
        *(sa.Column(key, sa.Integer() if key == "attempt" else sa.Text(), nullable=False) for key in keys),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _COUNTS),
        *(sa.Column(name, sa.BigInteger(), nullable=True) for name in _SUMMED),
    ]


def _usd(column: str) -> str:
    """Pico-USD as US dollars: exact where the database has exact fractions, for reading where it has not."""
    return f"CAST({column} AS NUMERIC) / 1000000000000.0"


def _calls_in_usd() -> str:
    return f"""
        CREATE VIEW llm_call_usd AS
        SELECT call_id, run_id, session_id, chain_name, agent_name, path, attempt, mode, model_name, provider, user_id,
            started_at, duration_ms, status, input_tokens, output_tokens, total_tokens, cache_read_tokens,
            cache_write_tokens, reasoning_tokens, usage_source, price_status, {_usd("input_cost")} AS input_cost_usd,
            {_usd("output_cost")} AS output_cost_usd, {_usd("total_cost")} AS cost_usd,
            {_usd("saved_cost")} AS saved_cost_usd
        FROM llm_call"""  # noqa: S608  # names of our own


def _sessions(*, is_sqlite: bool) -> str:
    def tokens_by(column: str) -> str:
        return _tokens_by(column, "llm_call", "session_id = kept.name", is_sqlite=is_sqlite)

    return f"""
        CREATE VIEW session_token_summary AS
        SELECT name AS session_id, calls, failed_calls, calls_without_usage, unpriced_calls,
            input_tokens AS total_input_tokens, output_tokens AS total_output_tokens, total_tokens,
            {_usd("total_cost")} AS total_cost_usd, {tokens_by("mode")} AS mode_breakdown,
            {tokens_by("model_name")} AS model_breakdown, {tokens_by("agent_name")} AS agent_breakdown,
            (SELECT min(started_at) FROM llm_call WHERE session_id = kept.name) AS first_message_at,
            (SELECT max(started_at) FROM llm_call WHERE session_id = kept.name) AS last_updated
        FROM usage_by_name AS kept WHERE dimension = 'session' AND name <> ''"""  # noqa: S608  # names of our own


def _days(*, is_sqlite: bool) -> str:
    def tokens_by(column: str) -> str:
        return _tokens_by(column, "usage_daily", "day = kept.day", is_sqlite=is_sqlite)

    sessions = "SELECT count(*) FROM usage_daily_by_name WHERE dimension = 'session' AND day = kept.day AND name <> ''"
    return f"""
        CREATE VIEW daily_token_stats AS
        SELECT day AS stat_date, calls, failed_calls, calls_without_usage, unpriced_calls, input_tokens, output_tokens,
            total_tokens, {_usd("total_cost")} AS total_cost_usd, {tokens_by("mode")} AS mode_breakdown,
            {tokens_by("model_name")} AS model_breakdown, {tokens_by("agent_name")} AS agent_breakdown,
            ({sessions}) AS session_count
        FROM usage_daily_by_name AS kept WHERE dimension = 'all'"""  # noqa: S608  # names of our own


def _tokens_by(column: str, table: str, condition: str, *, is_sqlite: bool) -> str:
    """A JSON object of tokens by name, for one row of a view."""
    collect = "json_group_object" if is_sqlite else "json_object_agg"
    groups = (
        f"SELECT coalesce(nullif({column}, ''), '(none)') AS name, sum(total_tokens) AS tokens "  # noqa: S608  # our own
        f"FROM {table} WHERE {condition} GROUP BY 1"
    )
    return f"(SELECT {collect}(one.name, one.tokens) FROM ({groups}) AS one)"  # noqa: S608  # our own
