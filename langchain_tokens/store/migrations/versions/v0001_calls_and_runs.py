"""Make the tables of calls and runs."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade(op: Operations) -> None:
    """Apply."""
    _make_calls(op)
    _make_runs(op)


def downgrade(op: Operations) -> None:
    """Take back, with all that is stored."""
    op.drop_table("llm_run")
    op.drop_table("llm_call")


def _make_calls(op: Operations) -> None:
    op.create_table("llm_call", *_names(), *_numbers(), *_outcome(), sa.PrimaryKeyConstraint("call_id"))
    op.create_index("ix_llm_call_agent_name", "llm_call", ["agent_name", "started_at"])
    op.create_index("ix_llm_call_run_id", "llm_call", ["run_id"])
    op.create_index("ix_llm_call_session_id", "llm_call", ["session_id", "started_at"])
    op.create_index("ix_llm_call_started_at", "llm_call", ["started_at"])


def _names() -> list[sa.Column[Any]]:
    """Whose call it is."""
    return [
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("parent_run_id", sa.Text(), nullable=True),
        sa.Column("session_id", sa.Text(), nullable=True),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("chain_name", sa.Text(), nullable=True),
        sa.Column("agent_name", sa.Text(), nullable=True),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("node", sa.Text(), nullable=True),
        sa.Column("step", sa.Integer(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("attempt_error", sa.Text(), nullable=True),
        sa.Column("retry_kind", sa.Text(), nullable=True),
        sa.Column("mode", sa.Text(), nullable=True),
        sa.Column("model_name", sa.Text(), nullable=True),
        sa.Column("requested_model", sa.Text(), nullable=True),
        sa.Column("provider", sa.Text(), nullable=True),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("tags", sa.JSON(), nullable=True),
    ]


def _numbers() -> list[sa.Column[Any]]:
    """When, how long, how many and how much."""
    return [
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("duration_ms", sa.Float(), nullable=True),
        sa.Column("time_to_first_token_ms", sa.Float(), nullable=True),
        sa.Column("tokens_per_second", sa.Float(), nullable=True),
        sa.Column("input_tokens", sa.BigInteger(), nullable=True),
        sa.Column("output_tokens", sa.BigInteger(), nullable=True),
        sa.Column("total_tokens", sa.BigInteger(), nullable=True),
        sa.Column("cache_read_tokens", sa.BigInteger(), nullable=True),
        sa.Column("cache_write_tokens", sa.BigInteger(), nullable=True),
        sa.Column("cache_write_5m_tokens", sa.BigInteger(), nullable=True),
        sa.Column("cache_write_1h_tokens", sa.BigInteger(), nullable=True),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=True),
        sa.Column("audio_input_tokens", sa.BigInteger(), nullable=True),
        sa.Column("audio_output_tokens", sa.BigInteger(), nullable=True),
        sa.Column("other_units", sa.JSON(), nullable=True),
        sa.Column("service_tier", sa.Text(), nullable=True),
        sa.Column("saved_usage", sa.JSON(), nullable=True),
        sa.Column("input_cost", sa.BigInteger(), nullable=True),
        sa.Column("output_cost", sa.BigInteger(), nullable=True),
        sa.Column("other_cost", sa.BigInteger(), nullable=True),
        sa.Column("total_cost", sa.BigInteger(), nullable=True),
    ]


def _outcome() -> list[sa.Column[Any]]:
    """By which prices, and what came of it."""
    return [
        sa.Column("unit_prices", sa.JSON(), nullable=True),
        sa.Column("price_status", sa.Text(), nullable=False),
        sa.Column("price_source", sa.Text(), nullable=True),
        sa.Column("price_version", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("error_type", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("tool_calls", sa.JSON(), nullable=True),
        sa.Column("streamed", sa.Boolean(), nullable=True),
        sa.Column("usage_source", sa.Text(), nullable=False),
        sa.Column("usage_flags", sa.JSON(), nullable=True),
        sa.Column("raw_usage", sa.JSON(), nullable=True),
        sa.Column("finish_reason", sa.Text(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
    ]


def _make_runs(op: Operations) -> None:
    op.create_table(
        "llm_run",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("session_id", sa.Text(), nullable=True),
        sa.Column("mode", sa.Text(), nullable=True),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("tags", sa.JSON(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("duration_ms", sa.Float(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("error_type", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("failed_calls", sa.Integer(), nullable=False),
        sa.Column("calls_without_usage", sa.Integer(), nullable=False),
        sa.Column("unpriced_calls", sa.Integer(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=True),
        sa.Column("output_tokens", sa.BigInteger(), nullable=True),
        sa.Column("total_tokens", sa.BigInteger(), nullable=True),
        sa.Column("total_cost", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("run_id"),
    )
    op.create_index("ix_llm_run_session_id", "llm_run", ["session_id", "started_at"])
    op.create_index("ix_llm_run_started_at", "llm_run", ["started_at"])
