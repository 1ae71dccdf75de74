"""What is a row? The tables as SQLModel classes, with metadata of their own beside the application's.

Rows are written only from checked facts and never leave this package: SQLModel table classes do not validate.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, DateTime, Index, Text, text
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import registry
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel

__all__ = (
    "BY_CALLS",
    "BY_RECORD",
    "CALLS",
    "CONTENTS",
    "COST_REVISIONS",
    "CUT_OFF",
    "IS_MARKED",
    "IS_NOT_OK",
    "IS_REMARKABLE",
    "IS_TOLD",
    "KNOWS_HALF",
    "METADATA",
    "RUNS",
    "STARTS_LATE",
    "CostRevision",
    "LlmCall",
    "LlmCallContent",
    "LlmRun",
    "UtcDateTime",
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware moment: `timestamptz` where the database has it, UTC text in SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC; SQLite's text carries no offset."""
        if value is None:
            return None
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002  # the library gives it
        """Aware again."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class _Table(SQLModel, registry=registry()):
    """Base with a registry of its own: an application's `SQLModel.metadata.create_all` must not make our tables."""


def _count() -> Any:
    return Field(default=None, sa_type=BigInteger, nullable=True)


def _text() -> Any:
    return Field(default=None, sa_type=Text, nullable=True)


def _moment(*, nullable: bool) -> Any:
    return Field(sa_type=UtcDateTime, nullable=nullable)


def _json() -> Any:
    return Field(default=None, sa_type=JSON(none_as_null=True), nullable=True)


BY_CALLS = "calls"
"""`LlmRun.known_by` of a run of which nothing has come but calls."""
BY_RECORD = "record"
"""The same of a run that was said with a call, by `TokenUsageHandler.record()`."""
_HAS_USER = text("user_id IS NOT NULL")
"""Many applications name no users."""
STARTS_LATE = text("calls > 0 AND (first_call_at IS NULL OR started_at > first_call_at)")
"""Runs that started after one of their calls, by what was told of them, or of which that is not known; few or none, and
an index has them.
"""
IS_NOT_OK = text("status <> 'ok'")
"""Runs that failed, were stopped, or go on: by status, an index has them. A statement has to say it in these words."""

CUT_OFF = ("length", "LENGTH", "max_tokens", "MAX_TOKENS", "max_output_tokens", "model_length")
"""What providers call it when an answer ended at the limit of tokens."""
_CUT_OFF = ", ".join(f"'{reason}'" for reason in CUT_OFF)
IS_REMARKABLE = f"superseded IS TRUE OR attempt_error IS NOT NULL OR finish_reason IN ({_CUT_OFF})"
"""Calls whose work was done again, that had to be made again, or that were cut off: few, and found by an index."""
_REMARKABLE = text(IS_REMARKABLE)
IS_MARKED = "prompt_mark IS NOT NULL AND status = 'ok' AND superseded IS NOT TRUE"
"""Answers to questions that can be compared."""
_MARKED = text(IS_MARKED)

KNOWS_HALF = text("(total_cost IS NULL) <> (total_tokens IS NULL)")
"""Calls that know their tokens and not their cost, or the other way round."""


class LlmCall(_Table, table=True):
    """One request to one model. Counts in tokens; money in integer pico-USD (1e-12 USD); NULL is unknown."""

    __tablename__: ClassVar[str] = "llm_call"
    __table_args__: ClassVar[Any] = (
        Index("ix_llm_call_started_at", "started_at"),
        Index("ix_llm_call_run_id", "run_id"),
        Index("ix_llm_call_session_id", "session_id", "started_at"),
        Index("ix_llm_call_agent_name", "agent_name", "started_at"),
        Index("ix_llm_call_total_cost", "total_cost", "started_at"),
        Index("ix_llm_call_total_tokens", "total_tokens", "started_at"),
        Index("ix_llm_call_duration_ms", "duration_ms", "started_at"),
        Index("ix_llm_call_user_id", "user_id", "started_at", sqlite_where=_HAS_USER, postgresql_where=_HAS_USER),
        Index("ix_llm_call_remarkable", "started_at", sqlite_where=_REMARKABLE, postgresql_where=_REMARKABLE),
        Index(
            "ix_llm_call_knows_half",
            *("model_name", "started_at", "provider", "total_tokens", "total_cost"),  # again all that is asked for
            sqlite_where=KNOWS_HALF,
            postgresql_where=KNOWS_HALF,
        ),
        Index(
            "ix_llm_call_prompt_mark",
            *("started_at", "prompt_mark", "call_id"),  # all that is asked for, so that no rows have to be read
            sqlite_where=_MARKED,
            postgresql_where=_MARKED,
        ),
    )

    call_id: str = Field(primary_key=True, sa_type=Text)
    run_id: str = Field(sa_type=Text)
    parent_run_id: str | None = _text()
    session_id: str | None = _text()
    message_id: str | None = _text()
    chain_name: str | None = _text()
    agent_name: str | None = _text()
    path: str | None = _text()
    node: str | None = _text()
    step: int | None = None
    attempt: int = 1
    attempt_error: str | None = _text()
    retry_kind: str | None = _text()
    mode: str | None = _text()
    model_name: str | None = _text()
    requested_model: str | None = _text()
    provider: str | None = _text()
    user_id: str | None = _text()
    tags: dict[str, str] | None = _json()
    started_at: datetime = _moment(nullable=False)
    ended_at: datetime | None = _moment(nullable=True)
    duration_ms: float | None = None
    time_to_first_token_ms: float | None = None
    tokens_per_second: float | None = None
    input_tokens: int | None = _count()
    output_tokens: int | None = _count()
    total_tokens: int | None = _count()
    cache_read_tokens: int | None = _count()
    cache_write_tokens: int | None = _count()
    cache_write_5m_tokens: int | None = _count()
    cache_write_1h_tokens: int | None = _count()
    reasoning_tokens: int | None = _count()
    audio_input_tokens: int | None = _count()
    audio_output_tokens: int | None = _count()
    other_units: dict[str, Any] | None = _json()
    service_tier: str | None = _text()
    saved_usage: dict[str, Any] | None = _json()
    input_cost: int | None = _count()
    output_cost: int | None = _count()
    other_cost: int | None = _count()
    total_cost: int | None = _count()
    saved_cost: int | None = _count()
    computed_cost: int | None = _count()
    unit_prices: dict[str, str] | None = _json()
    price_status: str = Field(sa_type=Text)
    price_source: str | None = _text()
    price_version: str | None = _text()
    priced_provider: str | None = _text()
    priced_model: str | None = _text()
    price_context: dict[str, str] | None = _json()
    price_flags: list[str] | None = _json()
    status: str = Field(sa_type=Text)
    error_type: str | None = _text()
    error_message: str | None = _text()
    tool_calls: list[str] | None = _json()
    streamed: bool | None = None
    usage_source: str = Field(sa_type=Text)
    usage_flags: list[str] | None = _json()
    raw_usage: dict[str, Any] | None = _json()
    estimate_basis: dict[str, int] | None = _json()
    finish_reason: str | None = _text()
    superseded: bool | None = None
    revision: int = 0
    input_parts: dict[str, int] | None = _json()
    prompt_mark: str | None = _text()


class LlmCallContent(_Table, table=True):
    """What was said in a call, where a handler captures it."""

    __tablename__: ClassVar[str] = "llm_call_content"
    __table_args__: ClassVar[Any] = (Index("ix_llm_call_content_started_at", "started_at"),)

    call_id: str = Field(primary_key=True, sa_type=Text)
    started_at: datetime = _moment(nullable=False)
    messages: list[dict[str, Any]] | None = _json()
    answer: dict[str, Any] | None = _json()
    messages_cut: bool = False
    answer_cut: bool = False
    revision: int = 0


class CostRevision(_Table, table=True):
    """What a call had cost before it was priced again; one row for each time, never changed."""

    __tablename__: ClassVar[str] = "cost_revision"

    call_id: str = Field(primary_key=True, sa_type=Text)
    number: int = Field(primary_key=True)
    input_cost: int | None = _count()
    output_cost: int | None = _count()
    other_cost: int | None = _count()
    total_cost: int | None = _count()
    saved_cost: int | None = _count()
    unit_prices: dict[str, str] | None = _json()
    price_status: str = Field(sa_type=Text)
    price_source: str | None = _text()
    price_version: str | None = _text()
    replaced_at: datetime = _moment(nullable=False)
    reason: str | None = _text()


class LlmRun(_Table, table=True):
    """One root run with the totals of its calls; the totals are derived from `llm_call` whenever calls arrive."""

    __tablename__: ClassVar[str] = "llm_run"
    __table_args__: ClassVar[Any] = (
        Index("ix_llm_run_started_at", "started_at"),
        Index("ix_llm_run_session_id", "session_id", "started_at"),
        Index("ix_llm_run_user_id", "user_id", "started_at", sqlite_where=_HAS_USER, postgresql_where=_HAS_USER),
        Index("ix_llm_run_starts_late", "started_at", sqlite_where=STARTS_LATE, postgresql_where=STARTS_LATE),
        Index("ix_llm_run_status", "status", "started_at", sqlite_where=IS_NOT_OK, postgresql_where=IS_NOT_OK),
        Index("ix_llm_run_mode", "mode", "started_at"),
        Index("ix_llm_run_total_tokens", "total_tokens", "calls", "run_id", "first_call_at", "last_call_at"),
        Index("ix_llm_run_total_cost", "total_cost", "calls", "run_id", "first_call_at", "last_call_at"),
    )

    run_id: str = Field(primary_key=True, sa_type=Text)
    name: str | None = _text()
    session_id: str | None = _text()
    mode: str | None = _text()
    user_id: str | None = _text()
    tags: dict[str, str] | None = _json()
    started_at: datetime = _moment(nullable=False)
    ended_at: datetime | None = _moment(nullable=True)
    duration_ms: float | None = None
    status: str = Field(sa_type=Text)
    error_type: str | None = _text()
    error_message: str | None = _text()
    calls: int = 0
    failed_calls: int = 0
    calls_without_usage: int = 0
    unpriced_calls: int = 0
    input_tokens: int | None = _count()
    output_tokens: int | None = _count()
    total_tokens: int | None = _count()
    total_cost: int | None = _count()
    first_call_at: datetime | None = _moment(nullable=True)
    """All its calls started from then on; NULL where that is not known, or it has none."""
    last_call_at: datetime | None = _moment(nullable=True)
    """None of its calls started after that."""
    known_by: str | None = _text()
    """NULL for a run whose start or end was seen; else what is known of it comes from its calls, see `BY_CALLS`."""


METADATA = _Table.metadata
CALLS = METADATA.tables["llm_call"]
CONTENTS = METADATA.tables["llm_call_content"]
RUNS = METADATA.tables["llm_run"]
COST_REVISIONS = METADATA.tables["cost_revision"]
IS_TOLD = RUNS.c.known_by.is_distinct_from(BY_CALLS)
"""Runs of which more is known than their calls: those that are listed. The others' rows are for sums alone."""
