"""How is it shown? As text, section by section; every number comes from the store or from a run."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from examples.chat_modes.budgets import Inbox, make_budgets
from examples.chat_modes.chat import Conversation
from examples.chat_modes.history import MigratedHistory
from examples.chat_modes.legacy import conversation_shape, token_usage_row
from examples.chat_modes.prices import look_up, make_prices
from examples.chat_modes.statistics import DIMENSIONS, day_statistics, facts, last_days, session_summary
from langchain_tokens import Breakdown, UsageStore
from langchain_tokens.breakdown import BreakdownRow
from langchain_tokens.budgetstates import budget_states
from langchain_tokens.errors import MissingExtraError
from langchain_tokens.render import UNKNOWN

__all__ = (
    "show_accounting",
    "show_conversation",
    "show_conversations",
    "show_deletion",
    "show_history",
    "show_limits",
    "show_piece",
    "show_prices",
    "show_usage",
)

_A_DAY = timedelta(days=10, hours=12)
_MOST_CHATS = 100
_RANGES = (("7 days", "7d"), ("30 days", "30d"), ("all", None))


def show_history(moved: MigratedHistory, *, is_as_before: bool, again: MigratedHistory) -> None:
    """Print what became of the old tracker's rows."""
    _head("History")
    print(f"{moved.calls} rows of the old tracker are calls now, in {moved.tables} new tables and views")
    print(f"rolled back: the database is {'as it was' if is_as_before else 'NOT as it was'}")
    print(f"moved again, for good: {again.calls} calls; a copy of the file was made before each step")


def show_piece(piece: str) -> None:
    """Print a piece of an answer that is streamed."""
    print(piece, end="", flush=True)


def show_conversation(conversation: Conversation) -> None:
    """Print a single conversation, if that was not done while its answer arrived, and where its tokens went."""
    print()
    if conversation.run.mode != "SIMPLE":
        _show_answer(conversation)
    print(f"\n{conversation.run.breakdown('agent', 'chain', 'model')}")


def show_conversations(conversations: Sequence[Conversation]) -> None:
    """Print all conversations, and one of them as it is when it has ended."""
    _head("Conversations")
    for conversation in conversations:
        _show_answer(conversation)
    run = next(each.run for each in conversations if each.findings)
    _head(f"{run.name} of {run.session}, ended")
    lasted = UNKNOWN if run.duration_ms is None else f"{run.duration_ms:,.0f} ms"
    print(f"id {run.run_id}, mode {run.mode}, {run.status}")
    print(f"from {run.started_at:%Y-%m-%d %H:%M:%S} to {run.ended_at:%Y-%m-%d %H:%M:%S}, {lasted}")
    print(run.breakdown("agent"))


def show_usage(store: UsageStore, conversations: Sequence[Conversation], began: datetime) -> None:
    """Print what was used: in these conversations, in one chat, in days and weeks, and as the old pages want it."""
    for name in (*DIMENSIONS, "session"):
        _head(f"Since the start, by {name}")
        print(store.breakdown(name, since=began))
    _show_session(store, conversations[0].run.session or "")
    _show_day(store, began)
    for title, since in _RANGES:
        _head(f"Statistics, {title}")
        for name, value in facts(store, since):
            print(f"{name:<24} {value}")
    _head("The last three days")
    print(last_days(store, 3))
    shown = next(each.run for each in conversations if each.run.mode == "TOOL")
    _head("A row of the old table, and a conversation for the old page")
    for name, value in token_usage_row(shown.calls[0]).items():
        print(f"{name:<16} {json.dumps(value)}")
    print(_as_json(conversation_shape(shown)))


def show_limits(store: UsageStore, inbox: Inbox, began: datetime) -> None:
    """Print what the chats have left of their budget, and whose alert was told."""
    _head("Budget of each chat")
    names = {str(row.key["session"]) for row in store.breakdown("session", since=began)}
    for state in budget_states(store, make_budgets(inbox)[:1], limit=_MOST_CHATS):
        session = str(state.scope["session"])
        if session in names:  # the old history's have spent theirs long ago
            reached = [mark for mark in (*state.budget.warn_at, 1.0) if state.share >= mark]
            told = inbox.wait_for(reached[-1], session) if reached else None
            alert = "" if told is None else f", told at {told.mark:.0%}"
            print(f"{session:<8} {Decimal(state.spent):.6f} of {state.limit:.3f} USD{alert}")


def show_prices() -> None:
    """Print what the listed models cost, the least and the most of them, and what the owner changed."""
    prices, found = make_prices(), look_up(make_prices())
    known = [each for each in found if each.output_usd is not None]
    paid = sorted((each.output_usd, each.model) for each in known if each.output_usd)
    _head("Prices")
    print(f"{len(known)} of {len(found)} listed models have a price, {len(known) - len(paid)} of them are free")
    print(f"cheapest {paid[0][1]}, dearest {paid[-1][1]}, by output")
    rates = prices.rates("gpt-4-turbo", "openai")
    if rates is not None:
        print(
            f"the owner's own price of gpt-4-turbo: {rates.unit_prices['input_mtok']} USD for a million tokens of input"
        )


def show_accounting(store: UsageStore, began: datetime, folder: Path) -> None:
    """Print what goes to the accountant, what a cheaper model would save, and what the month will come to."""
    file = folder / "accounting.csv"
    number = store.export(file, since=began)
    with file.open(encoding="utf-8", newline="") as lines:
        costs = [Decimal(row["cost_usd"]) for row in csv.DictReader(lines) if row["cost_usd"]]
    _head("Accounting")
    print(f"{file.name}: {number} calls, {sum(costs):.6f} USD")
    print(f"stored sums against their parts: {'right' if store.check().is_clean else 'wrong'}")
    _head("What a cheaper model would save")
    print(store.savings(since=began, top=1))
    _head("What the month will come to")
    month = budget_states(store, make_budgets(Inbox())[1:])[0]
    print(f"{Decimal(month.spent):.6f} of {month.limit:.2f} USD are spent")
    print(_forecast(store))


def show_deletion(store: UsageStore, session: str, number: int) -> None:
    """Print that a chat was deleted."""
    _head("Deleted")
    left = store.breakdown(session=session).total.calls
    print(f"the chat of {session}, with {number} rows about its tokens; {left} are left")


def _forecast(store: UsageStore) -> str:
    from langchain_tokens.reports import forecast

    try:
        return str(forecast(store))
    except MissingExtraError as error:
        return str(error)


def _show_session(store: UsageStore, session: str) -> None:
    summary = session_summary(store, session)
    _head(f"The chat of {session}")
    print(f"first {summary.first_message_at:%Y-%m-%d %H:%M:%S}, last {summary.last_updated:%Y-%m-%d %H:%M:%S}")
    _show_parts(summary.total, summary.breakdowns)


def _show_day(store: UsageStore, began: datetime) -> None:
    day = day_statistics(store, (began - _A_DAY).date())
    _head("A day before, of the old history")
    print(f"{day.day}: {day.sessions} session, {day.messages} messages")
    _show_parts(day.total, day.breakdowns)


def _show_parts(total: BreakdownRow, breakdowns: Sequence[Breakdown]) -> None:
    """A line for the whole and one for each way to part it, with tokens."""
    print(f"{'total':<9}{_tokens(total)} tokens in {total.calls} calls, {total.cost_usd or 0:.6f} USD")
    for parts in breakdowns:
        shown = (f"{row.key[parts.by[0]] or '(none)'} {_tokens(row)}" for row in parts)
        print(f"{'by ' + parts.by[0]:<9}{', '.join(shown)}")


def _tokens(row: BreakdownRow) -> str:
    return UNKNOWN if row.total_tokens is None else f"{row.total_tokens:,}"


def _as_json(shape: dict[str, Any]) -> str:
    """A document with one step in a line."""
    lines = [f'  "{name}": {json.dumps(value)},' for name, value in shape.items() if name != "steps"]
    steps = ",\n".join(f"    {json.dumps(step)}" for step in shape["steps"])
    return "\n".join(["{", *lines, '  "steps": [', steps, "  ]", "}"])


def _show_answer(conversation: Conversation) -> None:
    run = conversation.run
    print(f"{run.mode:<7}{run.session}: {conversation.question}")
    for agent, text in conversation.findings:
        print(f"{'':<9}{agent:<16}{text}")
    print(f"{'':<7}{conversation.answer}")


def _head(title: str) -> None:
    print(f"\n{title}\n{'-' * len(title)}")
