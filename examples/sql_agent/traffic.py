"""What does a day of the service cost? Questions over HTTP, several at once, and what the numbers then say.

Each question is asked once in a session of either prompt variant, so that the variants can be compared.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from langchain_core.language_models import BaseChatModel

from examples.providers import ModelError
from examples.serving import serving
from examples.sql_agent.database import CITIES, create_shop
from examples.sql_agent.graph import Variant
from examples.sql_agent.main import choose_model
from examples.sql_agent.question_log import QuestionLog
from examples.sql_agent.service import SESSION, Service, create_app
from langchain_tokens import Budget, TokensError, TokenUsageHandler, UsageStore
from langchain_tokens.budgets import Alert
from langchain_tokens.budgetstates import budget_states
from langchain_tokens.reports import compare, findings

__all__ = ("Day", "main", "print_day", "run_day")

AT_ONCE = 8
OTHER_QUESTIONS = (
    "Which products earned the most?",
    "How many customers joined in each year?",
    "Which customers are left-handed?",
    "Hello, who are you?",
)
NOWHERE = "Customers in Atlantis?"
"""For this one the scripted provider gives no answer."""


@dataclass(slots=True)
class Day:
    """What a day left: the answers of the service, and its alerts."""

    questions: QuestionLog
    store: UsageStore
    budget: Budget
    answers: dict[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    """Session and question → the response."""
    executed: Mapping[str, Any] = field(default_factory=dict)
    """The response of `/execute-sql`."""
    alerts: list[Alert] = field(default_factory=list)


def run_day(model: BaseChatModel, folder: Path, *, daily_usd: str = "0.003", tz: str = "UTC") -> Day:
    """Ask all questions of a day, and return what it left."""
    alerts: list[Alert] = []
    is_spent = threading.Event()

    def tell(alert: Alert) -> None:
        alerts.append(alert)
        if alert.mark == 1:
            is_spent.set()

    budget = Budget(name="daily", limit_usd=daily_usd, per="day", tz=tz, alert=tell)
    questions = QuestionLog(f"sqlite:///{folder / 'questions.db'}")
    with TokenUsageHandler(folder / "langchain_tokens.db", budgets=[budget]) as handler:
        day = Day(questions=questions, store=handler.store, budget=budget, alerts=alerts)
        shop = create_shop(folder / "shop.db")
        service = Service(model=model, shop=shop, handler=handler, questions=questions, budgets=[budget])
        with serving(create_app(service)) as url:
            _ask_all(url, day)
            _ask_in_two_steps(url, day)
        handler.flush()
        if (day.store.breakdown().total.cost_usd or 0) >= Decimal(daily_usd):
            is_spent.wait(10)
    return day


def _ask_all(url: str, day: Day) -> None:
    """Ask every question in a session of each variant; the sessions side by side, the questions of one in turn."""
    about = [[f"Customers in {city}?"] for city, _ in CITIES]
    for city, (name, _) in zip(about[:3], CITIES, strict=False):
        city.append(f"Which customers in {name} have cancelled orders?")
    batches = [*about, list(OTHER_QUESTIONS), [NOWHERE]]

    def ask_in_session(session: str, variant: Variant, texts: Sequence[str]) -> None:
        for text in texts:
            body = {"question": text, "variant": variant}
            day.answers[session, text] = post(f"{url}/query-and-execute", body, session)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = [
            pool.submit(ask_in_session, f"{variant}-{number}", variant, texts)
            for variant in get_args(Variant)
            for number, texts in enumerate(batches, start=1)
        ]
    for done in waiting:
        done.result()


def _ask_in_two_steps(url: str, day: Day) -> None:
    """Ask for a query first, and execute it then, as clients do that show it to somebody."""
    session, text = "by-hand", "Customers in Jaipur?"
    written = post(f"{url}/query", {"question": text, "variant": "plain"}, session)
    body = {"sql": written["sql"], "question": text, "question_id": written["question_id"]}
    day.answers[session, text] = written
    day.executed = post(f"{url}/execute-sql", body, session)


def post(url: str, body: Mapping[str, Any], session: str) -> Mapping[str, Any]:
    """Return the response to a request; of a failed one what it says is wrong."""
    headers = {"Content-Type": "application/json", SESSION: session}
    request = Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - our own server
    try:
        with urlopen(request, timeout=300) as response:  # noqa: S310
            answer: Mapping[str, Any] = json.load(response)
            return answer
    except HTTPError as error:
        with error:
            failed: Mapping[str, Any] = json.load(error)
        if error.code != HTTPStatus.BAD_GATEWAY:  # the provider's fault is part of a day
            raise
        return {**failed["detail"], "status": error.code}


def print_day(day: Day) -> None:
    """Print what the day left."""
    first, by_hand = day.answers["plain-1", "Customers in Mumbai?"], day.executed
    print("POST /query-and-execute: Customers in Mumbai?")
    print(json.dumps({"llm_token_usage": first["llm_token_usage"]}, indent=2))
    print("\nPOST /execute-sql, after POST /query: Customers in Jaipur?")
    print(json.dumps({name: by_hand[name] for name in ("retry_count", "retry_token_usage")}, indent=2))
    _print_rows(day)
    print(f"\nEach day\n{day.store.timeline('day', tz=day.budget.tz)}")
    for state in budget_states(day.store, [day.budget]):
        told = ", ".join(f"{mark:.0%}" for mark in sorted(alert.mark for alert in day.alerts))
        print(f"\nBudget {state.budget.name}: {state.spent:.6f} of {state.limit:.6f} USD spent; told at {told}")
    _print_averages(day)
    variants = compare(
        day.store, values=get_args(Variant), mode="query-and-execute", measures=("tokens", "cost_usd", "calls")
    )
    print(f"\nWhich prompt is better?\n{variants}")
    print("\nIn vain")
    for finding in findings(day.store).rows:
        if finding.is_waste:
            cost = "an unknown amount" if finding.usd is None else f"{finding.usd:.6f} USD"
            print(f"{finding.chain}: {finding.calls} calls, {cost}; {finding.what}\n  -> {finding.remedy}")


def _print_rows(day: Day) -> None:
    print(f"\nllm_token_logs: {len(day.questions.rows())} rows, of which")
    heading = ("retries", "their tokens", "tokens", "estimated cost", "intent", "question")
    print("{:>7} {:>12} {:>6} {:>14} {:<7} {}".format(*heading))
    for row in day.questions.rows("plain-9", "plain-10", "by-hand"):
        cost = "-" if row.estimated_cost is None else f"{row.estimated_cost:.9f}"
        tokens = f"{row.retry_count:>7} {row.retry_total_tokens:>12} {row.total_tokens:>6}"
        print(f"{tokens} {cost:>14} {row.intent or '-':<7} {row.question}")


def _print_averages(day: Day) -> None:
    print(f"\nOn average\n{'chain':<21} {'calls':>5} {'input':>6} {'output':>6} {'total':>6}")
    for row in day.store.breakdown("chain"):
        known = row.calls - row.calls_without_usage
        means = [f"{(count or 0) / known:>6.1f}" for count in (row.input_tokens, row.output_tokens, row.total_tokens)]
        print(f"{row.key['chain']:<21} {known:>5} {' '.join(means)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the day and print what it left."""
    parser = argparse.ArgumentParser(prog="python -m examples.sql_agent.traffic", description=__doc__)
    parser.add_argument("--model", help="a name for init_chat_model; default: scripted, offline")
    options = parser.parse_args(arguments)
    try:
        model = choose_model(options.model)
        with TemporaryDirectory() as folder:
            day = run_day(model, Path(folder))
            print_day(day)
            day.questions.close()
    except (ModelError, TokensError) as error:
        print(f"sql_agent: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
