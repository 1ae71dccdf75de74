"""What does the service answer? SQL, rows, and with each answer the tokens that it took.

`python -m examples.sql_agent.service` serves it on port 8000; `/docs` describes it, `/usage/` is the dashboard.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from fastapi import FastAPI, HTTPException
from langchain_core.language_models import BaseChatModel
from pydantic import BaseModel

from examples.providers import ModelError
from examples.sql_agent.database import Shop, create_shop
from examples.sql_agent.graph import State, Variant, ask, build_executor, build_graph, execute
from examples.sql_agent.main import choose_model
from examples.sql_agent.question_log import QuestionLog
from langchain_tokens import Budget, Run, TokensError, TokenUsageHandler, track
from langchain_tokens.dashboard import create_app as create_dashboard
from langchain_tokens.integrations.fastapi import RequestUsage, TokenUsageMiddleware, WithTokenUsage, retry_usage
from langchain_tokens.webhook import Webhook

__all__ = ("Service", "create_app", "llm_token_usage", "main")

SESSION = "X-Session-Id"


class Asked(BaseModel):
    """A question; `variant` says which prompt writes the query, else the session does."""

    question: str
    variant: Variant | None = None


class Query(BaseModel):
    """An SQL query, and the question that it is to answer."""

    sql: str
    question: str = ""
    question_id: int | None = None
    """The row of the question, which gets what repairing used."""


class Written(WithTokenUsage):
    """The query for a question; where none is needed, the answer in words."""

    question_id: int
    question: str
    intent: str
    variant: str
    sql: str | None
    answer: str | None = None


class Executed(BaseModel):
    """What a query found, and what repairing it took."""

    sql: str
    rows: list[dict[str, Any]] | None
    error: str | None
    retry_count: int
    retry_token_usage: list[dict[str, Any]]


class Answered(Written):
    """The query for a question, and what it found."""

    rows: list[dict[str, Any]] | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What the endpoints need."""

    model: BaseChatModel
    shop: Shop
    handler: TokenUsageHandler
    questions: QuestionLog
    budgets: Sequence[Budget] = ()


def create_app(service: Service) -> FastAPI:
    """Return the service as an ASGI application."""
    app = FastAPI(title="Questions to a shop")
    app.add_middleware(TokenUsageMiddleware, service.handler, session=SESSION)
    writer = build_graph(service.model, service.shop, executes=False)
    executor = build_executor(service.model, service.shop)
    whole = build_graph(service.model, service.shop)
    questions = service.questions

    @app.post("/query")
    def query(asked: Asked, usage: RequestUsage) -> Written:
        variant = variant_of(asked, usage)
        with answering(questions, asked, usage), track(mode="query", tags={"variant": variant}):
            state = ask(writer, asked.question, variant=variant)
        return Written(**written(questions, state, usage), variant=variant)

    @app.post("/execute-sql")
    def execute_sql(query: Query, usage: RequestUsage) -> Executed:
        with track(mode="execute-sql"):
            state = execute(executor, query.sql, query.question)
        if query.question_id is not None and not questions.add_repairs(query.question_id, usage):
            raise HTTPException(404, f"there is no question {query.question_id}")
        return Executed(sql=state["query"], **executed(state), **retry_usage(usage, "sql_fix"))

    @app.post("/query-and-execute")
    def query_and_execute(asked: Asked, usage: RequestUsage) -> Answered:
        variant = variant_of(asked, usage)
        with answering(questions, asked, usage), track(mode="query-and-execute", tags={"variant": variant}):
            state = ask(whole, asked.question, variant=variant)
        return Answered(**written(questions, state, usage), **executed(state), variant=variant)

    app.mount("/usage", create_dashboard(service.handler.store, budgets=service.budgets))
    return app


def variant_of(asked: Asked, usage: Run) -> Variant:
    """Return the prompt variant of a request: the one it asks for, else always the same for one session."""
    variants: tuple[Variant, ...] = get_args(Variant)
    return asked.variant or variants[zlib.crc32((usage.session or "").encode()) % len(variants)]


def llm_token_usage(usage: Run) -> dict[str, Any]:
    """Return what clients know: all chains, and a list of repairs even where there are none."""
    return {"sql_fix_retries": [], **usage.to_response()}


def written(questions: QuestionLog, state: State, usage: Run) -> dict[str, Any]:
    """Write the row of the question, and return what an answer says of it."""
    return {
        "question_id": questions.add(state["question"], state["intent"], usage),
        "question": state["question"],
        "intent": state["intent"],
        "sql": state.get("query"),
        "answer": state.get("answer"),
        "llm_token_usage": llm_token_usage(usage),
    }


def executed(state: State) -> dict[str, Any]:
    """Return the rows, or the last error of the database."""
    tried = state.get("tried")
    return {"rows": state.get("rows"), "error": tried[-1]["error"] if tried else None}


@contextmanager
def answering(questions: QuestionLog, asked: Asked, usage: Run) -> Iterator[None]:
    """Write the row of a question that could not be answered, too, and say what it used: that is paid."""
    try:
        yield
    except Exception as error:  # each provider's package has its own
        question_id = questions.add(asked.question, None, usage)
        said = {"message": str(error), "question_id": question_id, "llm_token_usage": llm_token_usage(usage)}
        raise HTTPException(502, said) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        model = choose_model(options.model)
        alert = [Webhook(options.webhook)] if options.webhook else []
        budgets = [Budget(name="daily", limit_usd=options.daily_budget, per="day", tz=options.tz, alert=alert)]
        opened = closing(QuestionLog(options.questions))
        with TokenUsageHandler(options.db, budgets=budgets) as handler, opened as questions:
            shop = create_shop(options.shop)
            _serve(Service(model=model, shop=shop, handler=handler, questions=questions, budgets=budgets), options.port)
    except (ModelError, TokensError, sqlite3.Error) as error:
        print(f"sql_agent: {error}", file=sys.stderr)
        return 2
    return 0


def _serve(service: Service, port: int) -> None:
    import uvicorn

    uvicorn.run(create_app(service), port=port, ws="websockets-sansio")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.sql_agent.service", description=__doc__)
    parser.add_argument("--model", help="a name for init_chat_model; default: scripted, offline")
    parser.add_argument("--db", default="langchain_tokens.db", help="token store; default: %(default)s")
    parser.add_argument("--questions", default="sqlite:///questions.db", help="URL of llm_token_logs' database")
    parser.add_argument("--shop", type=Path, default=Path("shop.db"), help="SQLite database to ask; made if missing")
    parser.add_argument(
        "--daily-budget", default="5", metavar="USD", help="told at 50, 80, 100 %%; default: %(default)s"
    )
    parser.add_argument("--tz", default="UTC", help="where the day begins; default: %(default)s")
    parser.add_argument("--webhook", metavar="URL", help="who is told, beside the log")
    parser.add_argument("--port", type=int, default=8000, help="default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
