"""What is kept of each question? A row in the application's own table, filled from the run of its request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from sqlalchemy import DateTime, String, TypeDecorator
from sqlmodel import Field, Session, SQLModel, col, create_engine, select

from langchain_tokens import Run

__all__ = ("LLMTokenLog", "QuestionLog")

CHAINS = {
    "intent": "intent_classification",
    "table_selection": "table_selection",
    "sql_generation": "sql_generation",
}
"""How columns begin → whose tokens they hold."""
RETRIES = "sql_fix_retries"
Number = TypeVar("Number", int, Decimal)


class ExactDecimal(TypeDecorator[Decimal]):
    """Money to the last digit; SQLite has no decimals, so it is text."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, _: Any) -> str | None:
        """Write it."""
        return None if value is None else format(value, "f")

    def process_result_value(self, value: str | None, _: Any) -> Decimal | None:
        """Read it."""
        return None if value is None else Decimal(value)


class LLMTokenLog(SQLModel, table=True):
    """One question; a number that nobody knows is NULL."""

    __tablename__ = "llm_token_logs"

    id: int | None = Field(default=None, primary_key=True)
    session_id: str | None = Field(default=None, index=True)
    question: str
    intent: str | None = None
    timestamp: datetime = Field(sa_type=DateTime(timezone=True))
    intent_prompt_tokens: int | None = None
    intent_completion_tokens: int | None = None
    intent_total_tokens: int | None = None
    table_selection_prompt_tokens: int | None = None
    table_selection_completion_tokens: int | None = None
    table_selection_total_tokens: int | None = None
    sql_generation_prompt_tokens: int | None = None
    sql_generation_completion_tokens: int | None = None
    sql_generation_total_tokens: int | None = None
    retry_count: int = 0
    retry_total_tokens: int | None = None
    total_prompt_tokens: int | None = None
    total_completion_tokens: int | None = None
    total_tokens: int | None = None
    estimated_cost: Decimal | None = Field(default=None, sa_type=ExactDecimal)


class QuestionLog:
    """The table in the application's database.

    Arguments:
        url: The database, as SQLAlchemy names it; the table is made where it is missing.

    """

    def __init__(self, url: str) -> None:
        self.engine = create_engine(url)
        SQLModel.metadata.create_all(self.engine, tables=[LLMTokenLog.metadata.tables["llm_token_logs"]])

    def add(self, question: str, intent: str | None, run: Run) -> int:
        """Write the row of a question, and return its id."""
        usage = run.to_response()
        counts = {
            f"{column}_{kind}": usage.get(chain, {}).get(kind)
            for column, chain in CHAINS.items()
            for kind in ("prompt_tokens", "completion_tokens", "total_tokens")
        }
        row = LLMTokenLog(
            session_id=run.session, question=question, intent=intent, timestamp=run.started_at, **counts, **_sums(run)
        )
        with Session(self.engine) as session:
            session.add(row)
            session.commit()
            assert row.id is not None
            return row.id

    def add_repairs(self, question_id: int, run: Run) -> bool:
        """Add to a question what executing its query used, and tell whether there is such a question."""
        with Session(self.engine) as session:
            row = session.get(LLMTokenLog, question_id, with_for_update=True)
            if row is None:
                return False
            for name, value in _sums(run).items():
                setattr(row, name, _plus(getattr(row, name), value))
            session.commit()
            return True

    def rows(self, *sessions: str) -> Sequence[LLMTokenLog]:
        """Return the rows of some sessions, else all, session by session in the order they were asked."""
        wanted = select(LLMTokenLog).order_by(col(LLMTokenLog.session_id), col(LLMTokenLog.id))
        if sessions:
            wanted = wanted.where(col(LLMTokenLog.session_id).in_(sessions))
        with Session(self.engine) as session:
            return session.exec(wanted).all()

    def close(self) -> None:
        """Close the connections to the database."""
        self.engine.dispose()


def _sums(run: Run) -> Mapping[str, Any]:
    total, retries = run.total, run.to_response().get(RETRIES, [])
    known = [retry["tokens"]["total_tokens"] for retry in retries if retry["tokens"]["total_tokens"] is not None]
    return {
        "retry_count": len(retries),
        "retry_total_tokens": sum(known) if known or not retries else None,
        "total_prompt_tokens": total.input_tokens,
        "total_completion_tokens": total.output_tokens,
        "total_tokens": total.total_tokens,
        "estimated_cost": total.cost_usd,
    }


def _plus(left: Number | None, right: Number | None) -> Number | None:
    if left is None or right is None:
        return right if left is None else left
    return left + right
