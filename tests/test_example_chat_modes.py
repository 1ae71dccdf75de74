"""The chat example: what it prints is what is stored and what its models say themselves, in every mode and for every agent."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.tools import ToolException

from examples.chat_modes import history
from examples.chat_modes.budgets import Inbox, make_budgets
from examples.chat_modes.chat import MODES, Chat, Conversation
from examples.chat_modes.graph import Models
from examples.chat_modes.legacy import conversation_shape, token_usage_row
from examples.chat_modes.main import CONVERSATIONS, SIDE_BY_SIDE, main
from examples.chat_modes.prices import look_up, make_prices
from examples.chat_modes.prompts import AGENTS
from examples.chat_modes.retriever import Retriever
from examples.chat_modes.scripted_models import MODELS, scripted_models
from examples.chat_modes.sources import DOCUMENTS, Sources, make_sources
from examples.chat_modes.statistics import day_statistics, facts, last_days, session_summary
from examples.chat_modes.tool_server import ToolClient, ToolServer
from examples.chat_modes.tools import calculate, file_tools, query_tool, table_tool
from examples.scripted import Entry, Ledger, is_exact
from langchain_tokens import Budget, PriceBook, TokenUsage, TokenUsageHandler, open_store
from langchain_tokens.render import UNKNOWN
from langchain_tokens.reports import forecast
from langchain_tokens.testing import ScriptedChatModel
from tests.printed import ROOT, expect_shown

PROVIDERS = {model: provider for provider, model in MODELS.values()}
LIMIT = Decimal("0.008")
"""USD that each chat may cost."""
ALL_SIX = CONVERSATIONS[-1][2]
PARTS: Mapping[str, Callable[[Entry], str]] = {
    "session": lambda entry: entry.step.split("/")[0],
    "mode": lambda entry: entry.step.split("/")[1],
    "agent": lambda entry: entry.step.split("/")[2].replace("Model", "(none)"),
    "model": lambda entry: entry.model,
}
COLUMNS = {"session": "session_id", "mode": "mode", "agent": "agent_name", "model": "model_name"}
Sums = tuple[int, int, int, int]


def sums_of(entries: Sequence[Entry], part: str) -> dict[str, Sums]:
    """Calls, failed ones, input and output tokens as the models say it, for each value of a part."""
    found: dict[str, list[int]] = {}
    for entry in entries:
        sums = found.setdefault(PARTS[part](entry), [0, 0, 0, 0])
        for place, number in enumerate((1, int(entry.is_failed), entry.input_tokens, entry.output_tokens)):
            sums[place] += number
    return {name: (calls, failed, given, said) for name, (calls, failed, given, said) in found.items()}


def stored_sums(database: Path, part: str) -> dict[str, Sums]:
    """The same as SQL finds it in the rows of the new conversations; those of the old history have no channel."""
    query = f"""SELECT COALESCE({COLUMNS[part]}, '(none)'), COUNT(*), SUM(status = 'error'),
        COALESCE(SUM(input_tokens), 0), COALESCE(SUM(output_tokens), 0)
        FROM llm_call WHERE tags LIKE '%channel%' GROUP BY 1"""
    with closing(sqlite3.connect(database)) as connection:
        return {row[0]: row[1:] for row in connection.execute(query)}


def printed_sums(out: str, part: str) -> dict[str, Sums]:
    """The same as the program prints it."""
    table = out.split(f"Since the start, by {part}\n", 1)[1].split("\n\n", maxsplit=1)[0]
    rows = [line.replace(",", "").replace(UNKNOWN, "0").split() for line in table.splitlines()[2:]]
    numbers = {row[0]: row[1:5] for row in rows if row[1].isdigit() and row[0] not in ("total", "1")}
    return {name: (int(row[0]), int(row[1]), int(row[2]), int(row[3])) for name, row in numbers.items()}


def cost_of(entry: Entry) -> Decimal | None:
    """What a request costs by the rates of today, for tokens in and out and for the request; None where it failed."""
    rates = PriceBook().rates(entry.model, PROVIDERS[entry.model])
    assert rates is not None
    given, said = (Decimal(rates.unit_prices[name]) for name in ("input_mtok", "output_mtok"))
    request = Decimal(rates.unit_prices.get("requests_kcount", 0)) / 1_000
    cost = (entry.input_tokens * given + entry.output_tokens * said) / 1_000_000 + request
    return None if entry.is_failed else cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one run of the program left behind."""

    out: str
    ledger: Ledger
    database: Path


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One run of the program with nothing but a place for its database."""
    database, ledger, out = tmp_path_factory.mktemp("program") / "chat.db", Ledger(), io.StringIO()
    with redirect_stdout(out):
        assert main(["--db", str(database)], ledger) == 0
    return Outcome(out=out.getvalue(), ledger=ledger, database=database)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The application with scripted models, on a database of its own."""

    chat: Chat
    ledger: Ledger
    handler: TokenUsageHandler
    database: Path


@pytest.fixture
def sources(tmp_path: Path) -> Iterator[Sources]:
    """The shop's files and orders."""
    made = make_sources(tmp_path / "shop")
    yield made
    made.orders.close()


@pytest.fixture
def desk(tmp_path: Path, sources: Sources) -> Iterator[Desk]:
    """An application without an old history."""
    ledger, database = Ledger(), tmp_path / "chat.db"
    with TokenUsageHandler(database, prices=make_prices()) as handler:
        yield Desk(
            chat=Chat(scripted_models(ledger), sources, handler), ledger=ledger, handler=handler, database=database
        )


@pytest.fixture
def old_database(tmp_path: Path) -> Path:
    """A database as the application had it before, up to now."""
    path = tmp_path / "old.db"
    history.make_old_database(path, datetime.now(UTC))
    return path


def ask_all(desk: Desk) -> dict[str, Conversation]:
    """Ask the questions of the first chat, one in each mode; mode → conversation."""
    return {mode: desk.chat.ask(question, session=name, mode=mode) for name, mode, question in CONVERSATIONS[1:]}


# The numbers


@pytest.mark.parametrize("part", PARTS)
def test_printed_numbers_are_those_of_the_models(program: Outcome, part: str) -> None:
    """Each printed row, by mode, model, agent and session, is what the models wrote down themselves."""
    expected = sums_of(program.ledger.entries, part)

    assert len(expected) > 2
    assert expected == printed_sums(program.out, part)


@pytest.mark.parametrize("part", PARTS)
def test_stored_numbers_are_those_of_the_models(program: Outcome, part: str) -> None:
    """The rows in the store add up to what the models wrote down, without the chat that was deleted in the end."""
    kept = [entry for entry in program.ledger.entries if not entry.step.startswith("carol/")]

    assert sums_of(kept, part) == stored_sums(program.database, part)


def test_every_agent_and_mode_is_there(program: Outcome) -> None:
    """The program shows three modes, the orchestrator with its six agents, and five models of three providers."""
    rows = open_store(program.database).breakdown("mode", "agent", since=timedelta(hours=1))

    assert {row.key["mode"] for row in rows} == set(MODES)
    assert {"Orchestrator", *AGENTS} == {row.key["agent"] for row in rows if row.key["mode"] == "RAG"}
    assert {entry.model for entry in program.ledger.entries} == set(PROVIDERS)


def test_cost_is_what_the_providers_charge(desk: Desk) -> None:
    """The cost of each call is that of the counts in the ledger by its model's own rates, to the last digit."""
    ask_all(desk)
    expected = Counter(cost_of(entry) for entry in desk.ledger.entries)

    assert expected == Counter(call.cost_usd for call in desk.handler.store.calls())


# Conversations


def test_a_conversation_is_one_object_when_it_has_ended(desk: Desk) -> None:
    """It has its mode, agents, totals, cost, start and end; the orchestrator's decision is in it, and is no agent's."""
    run = desk.chat.ask(ALL_SIX, session="alice", mode="RAG").run
    expected = sums_of(desk.ledger.entries, "agent")
    found = {
        str(row.key["agent"]): (row.calls, row.failed_calls, row.input_tokens or 0, row.output_tokens or 0)
        for row in run.breakdown("agent")
    }
    decision = next(call for call in run.calls if call.chain == "decision")

    assert expected == found
    assert {"Orchestrator", *AGENTS} == found.keys()
    assert (decision.agent, decision.path) == ("Orchestrator", "RAG conversation/Orchestrator/decision")
    assert (run.session, run.mode, run.status) == ("alice", "RAG", "ok")
    assert run.total.cost_usd == sum(call.cost_usd or 0 for call in run.calls)
    assert run.ended_at is not None
    assert all(run.started_at <= call.started_at <= run.ended_at for call in run.calls)


def test_agents_work_side_by_side(tmp_path: Path, sources: Sources) -> None:
    """Three agents' models wait for each other, which they can only do at once, and each call stays its agent's."""
    meeting, plain = threading.Barrier(3), scripted_models(Ledger())

    def models(agent: str) -> BaseChatModel:
        if agent not in ("RAGAgent", "MCPAgent", "SQLAgent"):
            return plain(agent)

        def answer(_: object) -> str:
            meeting.wait(timeout=20)
            return f"{agent} was there"

        return ScriptedChatModel(answer, model=MODELS[agent][1], provider=MODELS[agent][0])

    with TokenUsageHandler(tmp_path / "chat.db") as handler:
        said = Chat(models, sources, handler).ask(
            "What of the supplier, the policy, our orders?", session="s", mode="RAG"
        )

    assert {name: f"{name} was there" for name in ("RAGAgent", "MCPAgent", "SQLAgent")} == dict(said.findings)
    assert Counter(call.agent for call in said.run.calls) == {
        "Orchestrator": 2,
        "RAGAgent": 1,
        "MCPAgent": 1,
        "SQLAgent": 1,
    }


def test_a_model_that_fails_holds_up_nobody(desk: Desk) -> None:
    """The agent whose model is late says so, its call is a failed row without tokens, and the answer has the others'."""
    said = desk.chat.ask(ALL_SIX, session="alice", mode="RAG")
    failed = desk.handler.store.calls(status="error")

    assert dict(said.findings)["FileSystemAgent"] == "could not be asked"
    assert said.answer.endswith("(Not asked: FileSystemAgent.)")
    assert "16,480.00 USD" in said.answer
    assert [(call.agent, call.error_type, call.usage, call.cost_usd) for call in failed] == [
        ("FileSystemAgent", "TimeoutError", None, None)
    ]


def test_a_tool_that_fails_is_told_to_the_model(desk: Desk) -> None:
    """What a tool server refuses, and a query with a wrong column, reach the model, which goes on."""
    refused = desk.chat.ask("Does the supplier have the cargo bike?", session="bob", mode="RAG")
    mended = desk.chat.ask("How many open orders for the city bike?", session="bob", mode="RAG")

    assert dict(refused.findings)["MCPAgent"] == "the supplier does not list 'cargo bike'."
    assert dict(mended.findings)["SQLAgent"] == "6 are ordered and not sent."
    assert [call.tool_calls for call in mended.run.calls if call.agent == "SQLAgent"] == [
        ("query_orders",),
        ("query_orders",),
        (),
    ]


def test_a_simple_answer_is_streamed(desk: Desk) -> None:
    """It arrives in pieces, is one call with its first token's time, and the next question carries what was said."""
    pieces: list[str] = []
    first = desk.chat.ask("Hub gear or derailleur?", session="alice", mode="SIMPLE", on_piece=pieces.append)
    second = desk.chat.ask("Hub gear or derailleur?", session="alice", mode="SIMPLE")
    (call,), (later,) = first.run.calls, second.run.calls

    assert len(pieces) > 5
    assert "".join(pieces) == first.answer
    assert (call.streamed, call.agent, call.mode) == (True, None, "SIMPLE")
    assert 0 < (call.time_to_first_token_ms or 0) <= (call.duration_ms or 0)
    assert (later.usage or TokenUsage()).input_tokens > (call.usage or TokenUsage()).input_tokens  # type: ignore[operator]


def test_conversations_side_by_side_do_not_mix(desk: Desk) -> None:
    """Of twelve conversations in threads each has exactly its own calls: in its object, in the store, in the ledger."""
    asked = [(f"s{number}", *SIDE_BY_SIDE[number % len(SIDE_BY_SIDE)][1:]) for number in range(12)]
    with ThreadPoolExecutor(max_workers=6) as pool:
        said = list(pool.map(lambda each: desk.chat.ask(each[2], session=each[0], mode=each[1]), asked))
    expected = sums_of(desk.ledger.entries, "session")
    desk.handler.flush()

    assert len(expected) == len(asked)
    assert expected == stored_sums(desk.database, "session")
    for conversation in said:
        total, session = conversation.run.total, conversation.run.session
        found = (total.calls, total.failed_calls, total.input_tokens or 0, total.output_tokens or 0)
        assert expected[session or ""] == found
        assert {call.session for call in conversation.run.calls} == {session}


# Rows, shapes and deletion


def test_a_call_is_a_row_with_all_that_was_kept(desk: Desk) -> None:
    """A call gives each field of the old table: session, message, mode, model, agent, counts, cost, tools and more."""
    run = ask_all(desk)["TOOL"].run
    call, entry = run.calls[0], next(entry for entry in desk.ledger.entries if "/TOOL/" in entry.step)
    row = token_usage_row(call)

    assert row == {
        "id": call.call_id,
        "session_id": "alice",
        "message_id": run.run_id,
        "timestamp": call.started_at.isoformat(),
        "chat_mode": "TOOL",
        "model_name": "gpt-4o-mini",
        "agent_name": "Assistant",
        "input_tokens": entry.input_tokens,
        "output_tokens": entry.output_tokens,
        "total_tokens": entry.input_tokens + entry.output_tokens,
        "cost_usd": format(call.cost_usd or 0, "f"),
        "duration_ms": call.duration_ms,
        "tool_calls": ["supplier_stock", "exchange_rate"],
        "additional_info": {"step": "thinking", "status": "ok", "channel": "web"},
    }
    assert {key: value for key, value in row.items() if value is None} == {}
    assert row["duration_ms"] >= 10


def test_the_old_page_gets_its_shape(desk: Desk) -> None:
    """Steps in their order with the ledger's tokens, their sum, the tools' names; unknown tokens are null."""
    run = desk.chat.ask(ALL_SIX, session="alice", mode="RAG").run
    shape = json.loads(json.dumps(conversation_shape(run)))
    expected = Counter(
        None if entry.is_failed else entry.input_tokens + entry.output_tokens for entry in desk.ledger.entries
    )

    assert list(shape) == ["conversation_id", "model_name", "steps_count", "total_actual_tokens", "steps"]
    assert (shape["conversation_id"], shape["model_name"]) == (run.run_id, "gpt-4o")
    assert shape["steps_count"] == len(shape["steps"]) == len(desk.ledger.entries)
    assert shape["total_actual_tokens"] == sum(key * number for key, number in expected.items() if key is not None)
    assert expected == Counter(step["actual_tokens"] for step in shape["steps"])
    assert {tuple(step) for step in shape["steps"]} == {("step_name", "actual_tokens", "duration_ms", "tool_name")}
    names = [step["step_name"] for step in shape["steps"]]
    assert (names[0], names[-1]) == ("Orchestrator decision", "Orchestrator answer")
    assert {"query_orders", "list_files", None} & {step["tool_name"] for step in shape["steps"]} == {
        "query_orders",
        None,
    }
    assert all(step["duration_ms"] > 0 for step in shape["steps"])


def test_deleting_a_chat_deletes_its_rows(desk: Desk) -> None:
    """Its calls, runs and sums are gone, as many as it had, and those of others are as before."""
    for session in ("alice", "bob"):
        desk.chat.ask("What is the warranty?", session=session, mode="RAG")
    desk.handler.flush()
    before, store = stored_sums(desk.database, "session"), desk.handler.store

    assert desk.chat.forget("alice") == before["alice"][0]
    assert {"bob": before["bob"]} == stored_sums(desk.database, "session")
    assert [row.key["session"] for row in store.sessions()] == ["bob"]
    assert [run.session for run in store.runs()] == ["bob"]
    assert store.check().is_clean


# Statistics


def test_a_chats_summary_is_that_of_its_rows(desk: Desk) -> None:
    """Totals, cost, the three breakdowns, first and last message of a session; the view for SQL says the same."""
    ask_all(desk)
    desk.chat.ask("What is the warranty?", session="bob", mode="RAG")
    mine = [entry for entry in desk.ledger.entries if entry.step.startswith("alice/")]
    summary, calls = session_summary(desk.handler.store, "alice"), desk.handler.store.calls(session="alice")
    with closing(sqlite3.connect(desk.database)) as connection:
        connection.row_factory = sqlite3.Row
        view = connection.execute("SELECT * FROM session_token_summary WHERE session_id = 'alice'").fetchone()

    assert summary.total.total_tokens == sum(entry.input_tokens + entry.output_tokens for entry in mine)
    assert summary.total.cost_usd == sum(call.cost_usd or 0 for call in calls)
    assert (summary.first_message_at, summary.last_updated) == (calls[-1].started_at, calls[0].started_at)
    for breakdown in summary.breakdowns:
        expected = {name: sums[2] + sums[3] for name, sums in sums_of(mine, breakdown.by[0]).items()}
        assert expected == {str(row.key[breakdown.by[0]] or "(none)"): row.total_tokens or 0 for row in breakdown}
        said = json.loads(view[f"{breakdown.by[0]}_breakdown"])
        assert expected == {name: tokens or 0 for name, tokens in said.items()}
    assert (view["total_tokens"], Decimal(str(view["total_cost_usd"])).quantize(Decimal("1e-9"))) == (
        summary.total.total_tokens,
        (summary.total.cost_usd or Decimal(0)).quantize(Decimal("1e-9")),
    )
    with pytest.raises(LookupError, match="no calls of the session 'nobody'"):
        session_summary(desk.handler.store, "nobody")


def test_a_days_statistics_are_those_of_its_rows(old_database: Path) -> None:
    """Tokens, cost, the three breakdowns, sessions and messages of a day are what SQL finds in the old table."""
    history.migrate(old_database)
    day = date.fromisoformat(_old(old_database, "SELECT MAX(substr(timestamp, 1, 10)) FROM token_usage")[0][0])
    found = day_statistics(open_store(old_database), day)
    where = f"FROM token_usage WHERE timestamp LIKE '{day}%'"
    ((tokens, sessions, messages),) = _old(
        old_database,
        f"SELECT SUM(total_tokens), COUNT(DISTINCT session_id), COUNT(DISTINCT session_id || message_id) {where}",
    )
    costs = _old(old_database, f"SELECT cost_usd {where}")

    assert (found.total.total_tokens, found.sessions, found.messages) == (tokens, sessions, messages)
    assert found.total.cost_usd == sum(Decimal(str(cost)) for (cost,) in costs)
    for breakdown, column in zip(found.breakdowns, ("chat_mode", "model_name", "agent_name"), strict=True):
        expected = dict(_old(old_database, f"SELECT {column}, SUM(total_tokens) {where} GROUP BY 1"))
        assert expected == {row.key[breakdown.by[0]]: row.total_tokens for row in breakdown}


@pytest.mark.parametrize("days", [7, 30, None])
def test_statistics_of_days_are_those_of_the_rows(old_database: Path, days: int | None) -> None:
    """Of the last days, and of all: conversations, calls, tokens, cost, dearest and most used model, and averages."""
    history.migrate(old_database)
    since = datetime.now(UTC) - timedelta(days=days or 365)
    rows = _old(
        old_database,
        f"SELECT model_name, total_tokens, cost_usd, session_id || message_id FROM token_usage WHERE timestamp >= '{since.isoformat()}'",
    )
    costs: dict[str, Decimal] = {}
    for model, _, cost, _ in rows:
        costs[model] = costs.get(model, Decimal(0)) + Decimal(str(cost))
    tokens, cost, chats = sum(row[1] for row in rows), sum(costs.values()), len({row[3] for row in rows})
    dearest, ((most_used, uses), *_) = max(costs, key=costs.__getitem__), Counter(row[0] for row in rows).most_common()
    number = Counter(row[0] for row in rows)[dearest]

    assert dict(facts(open_store(old_database), None if days is None else f"{days}d")) == {
        "conversations": f"{chats:,}",
        "calls": f"{len(rows):,}",
        "tokens": f"{tokens:,}",
        "cost": f"{cost:.6f} USD",
        "most expensive model": f"{dearest} ({number} calls, {costs[dearest]:.6f} USD)",
        "most used model": f"{most_used} ({uses} calls, {costs[most_used]:.6f} USD)",
        "tokens per conversation": f"{tokens / chats:,.1f}",
        "cost per 1K tokens": f"{cost * 1000 / tokens:.6f} USD",
    }


def test_days_are_those_of_the_rows(old_database: Path) -> None:
    """The last days, one by one, have the tokens that SQL finds for them in the old table."""
    history.migrate(old_database)
    since = (datetime.now(UTC) - timedelta(days=9)).isoformat()
    query = "SELECT substr(timestamp, 1, 10), SUM(total_tokens) FROM token_usage WHERE timestamp >= '{}' GROUP BY 1 ORDER BY 1"
    expected = _old(old_database, query.format(since))

    assert len(expected) == 9
    assert expected == [(row.key["day"], row.total_tokens) for row in last_days(open_store(old_database), 9)]


# Prices


def test_all_listed_models_have_a_price() -> None:
    """Each of the 31 names that the old tracker listed has a price; two of them are free."""
    found = look_up(make_prices())

    assert len({each.model for each in found}) == len(found) == 31
    assert [each.model for each in found if each.input_usd is None or each.output_usd is None] == []
    assert [each.model for each in found if not each.output_usd] == ["pollinations", "pollinations-mistral"]


def test_the_owner_changes_a_price() -> None:
    """A price that the owner sets wins from then on, and moves the model among the cheapest and the dearest."""
    usage, models = (
        TokenUsage(input_tokens=1_000_000, output_tokens=0, total_tokens=1_000_000),
        ["gpt-4", "gpt-4o", "gpt-4o-mini"],
    )
    prices = PriceBook()
    before = prices.cost(usage, model="gpt-4o", provider="openai").total_usd
    ends = [prices.cheapest(usage, models, provider="openai"), prices.dearest(usage, models, provider="openai")]
    prices.set_price("gpt-4o", provider="openai", input="0.01", output="0.04")

    assert [each.model for each in ends if each is not None] == ["gpt-4o-mini", "gpt-4"]
    assert (before, prices.cost(usage, model="gpt-4o", provider="openai").total_usd) == (
        Decimal("2.5"),
        Decimal("0.01"),
    )
    assert prices.ranking(usage, models, provider="openai")[0].model == "gpt-4o"
    assert make_prices().cost(usage, model="gpt-4-turbo", provider="openai").total_usd == 9


# The old history


def test_history_moves_with_a_copy_and_back(old_database: Path) -> None:
    """All rows become calls, once; a copy is made first; going back leaves the database as it was."""
    before = history.imprint(old_database), history.tables_of(old_database)
    moved, again = history.migrate(old_database), history.migrate(old_database)

    assert (moved.calls, again.calls, again.tables) == (4 * history.DAYS, 0, 0)
    assert moved.backup is not None
    assert before == (history.imprint(moved.backup), history.tables_of(moved.backup))
    assert history.imprint(old_database) == before[0]
    copy = history.roll_back(old_database)
    assert copy is not None
    assert open_store(copy).breakdown().total.calls == moved.calls
    assert before == (history.imprint(old_database), history.tables_of(old_database))


def test_history_that_would_differ_is_not_moved(old_database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the new tables would say something else than the old one, the database is left as it was."""
    before = history.imprint(old_database), history.tables_of(old_database)
    monkeypatch.setattr(history, "_sums_of_old", lambda _: {("RAG", "gpt-4o", None): (1, 1, 1)})

    with pytest.raises(history.MigrationError, match="the old table says"):
        history.migrate(old_database)
    assert before == (history.imprint(old_database), history.tables_of(old_database))


def test_numbers_outlive_the_process(program: Outcome) -> None:
    """A second run on the same database moves nothing again, and both runs' conversations are there."""
    kept = stored_sums(program.database, "session")
    out = io.StringIO()
    with redirect_stdout(out):
        assert main(["--db", str(program.database), "--ask", "Is it flat?", "--mode", "SIMPLE"], Ledger()) == 0

    assert "History" not in out.getvalue()
    assert "pump it up once a month." in out.getvalue()
    assert {*kept, "you"} == stored_sums(program.database, "session").keys()
    assert open_store(program.database).delete(session="you") == 1


# Limits, what is to come, and what goes out


def test_a_budget_tells_before_it_is_used_up(program: Outcome) -> None:
    """Of each chat the program prints what is spent, and at which mark the owner was told: half, 80 %, or all of it."""
    section = program.out.split("Budget of each chat\n", 1)[1].split("\n\n")[0]
    told = dict(re.findall(r"^(\w+) +\S+ of 0.008 USD, told at (\d+)%$", section, re.MULTILINE))

    spent: dict[str, Decimal] = {}
    for entry in program.ledger.entries:
        session = PARTS["session"](entry)
        spent[session] = spent.get(session, Decimal(0)) + (cost_of(entry) or 0)
    marks = {
        name: max((mark for mark in (50, 80, 100) if cost >= LIMIT * mark / 100), default=0)
        for name, cost in spent.items()
    }

    assert {name: str(mark) for name, mark in marks.items() if mark} == told
    assert told
    assert re.findall(r"^(\w+) +([\d.]+) of", section, re.MULTILINE) == [
        (name, f"{cost:.6f}") for name, cost in sorted(spent.items(), key=lambda each: -each[1])
    ]


def test_alerts_arrive(tmp_path: Path, sources: Sources) -> None:
    """An alert names the budget, the chat, the mark and what is spent; a chat that spent nothing has none."""
    inbox = Inbox()
    chats = Budget(name="a chat", limit_tokens=300, per="session", warn_at=(0.5,), alert=inbox)
    with TokenUsageHandler(tmp_path / "chat.db", budgets=[chats, *make_budgets(Inbox())[1:]]) as handler:
        Chat(scripted_models(Ledger()), sources, handler).ask("What is the warranty?", session="s", mode="RAG")
        handler.flush()
        alert = inbox.wait_for(1.0, "s")

    assert alert is not None
    assert (alert.budget, dict(alert.account.scope), alert.mark) == (chats, {"session": "s"}, 1.0)
    assert alert.spent >= 300
    assert inbox.wait_for(0.5, "another", timeout=0) is None


def test_a_limit_ends_a_conversation_before_the_call(program: Outcome) -> None:
    """The visitor's second question is answered by a sentence and no call; what was spent stays below the limit."""
    visitor = sums_of(program.ledger.entries, "session")["visitor"]

    assert "visitor: And on hills?\n       The budget of this chat is used up.\n" in program.out
    assert visitor[0] == 1
    assert visitor[2] + visitor[3] < 500


def test_accounting_gets_all_calls(program: Outcome, tmp_path: Path) -> None:
    """The file for the accountant has each call once, with costs that add up to what was printed and is stored."""
    store, since = open_store(program.database), timedelta(hours=1)
    store.export(tmp_path / "kept.csv", since=since)
    with (tmp_path / "kept.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    printed = re.search(r"accounting.csv: (\d+) calls, ([\d.]+) USD", program.out)

    assert printed is not None
    assert len(program.ledger.entries) == int(printed[1])
    assert len({row["call_id"] for row in rows}) == sum(
        sums[0] for sums in stored_sums(program.database, "mode").values()
    )
    assert sum(Decimal(row["cost_usd"] or 0) for row in rows) == store.breakdown(since=since).total.cost_usd
    assert "stored sums against their parts: right" in program.out


def test_a_cheaper_model_is_recommended(program: Outcome) -> None:
    """For the models that cost most there is one of the same provider that would have cost less."""
    found = {row.model: row for row in open_store(program.database).savings(since=timedelta(hours=1), top=1).rows}

    assert {"gpt-4o", "sonar"} <= found.keys()
    assert all(row.other_cost_usd < row.cost_usd for row in found.values())
    assert "What a cheaper model would save" in program.out


def test_the_month_is_projected(program: Outcome) -> None:
    """The forecast goes by the moved history, and is printed."""
    pytest.importorskip("statsmodels")
    month = forecast(open_store(program.database))

    assert month.spent is not None
    assert month.projected is not None
    assert month.projected >= month.spent
    assert month.history_days >= history.DAYS - 2
    assert re.search(r"projected until \d{4}-\d\d-\d\d +[\d.]+", program.out)


# The dashboard


def test_the_dashboard_answers_over_the_chats_database(program: Outcome) -> None:
    """Its API says what the store says: overview, modes, models and agents of a range, the filtered export, budgets."""
    client = pytest.importorskip("fastapi.testclient").TestClient
    from examples.chat_modes.dashboard import make_dashboard

    store = open_store(program.database)
    with client(make_dashboard(store), base_url="http://127.0.0.1:4321") as browser:
        assert browser.get("/").status_code == 200
        for part in ("mode", "model", "agent"):
            said = browser.get("/api/v1/breakdown", params={"by": part, "since": "7d"}).json()
            assert {row[part]: row["total_tokens"] for row in said["rows"]} == {
                row.key[part]: row.total_tokens for row in store.breakdown(part, since="7d")
            }
        assert browser.get("/api/v1/overview", params={"since": "30d"}).json()["total"]["calls"] == (
            store.breakdown(since="30d").total.calls
        )
        exported = browser.get("/api/v1/export", params={"format": "csv", "session": "alice"}).text
        assert len(list(csv.DictReader(io.StringIO(exported)))) == store.breakdown(session="alice").total.calls
        assert "a chat" in browser.get("/api/v1/budgets").text


# Tools, retrieval and the program itself


def test_the_retriever_finds_by_rare_words() -> None:
    """The document that a question is about comes first, and none comes for words that no document has."""
    retriever = Retriever(DOCUMENTS)

    assert [
        retriever.search(text)[0][0]
        for text in ("What is the frame's warranty?", "reorder policy?", "open on Tuesday?")
    ] == [
        "warranty",
        "reorder-policy",
        "opening-hours",
    ]
    assert retriever.search("xylophone") == []


@pytest.mark.parametrize("expression", ["__import__('os')", "2 ** 9", "open('x')", "1 / 0", "'a' * 9", "(", "True + 1"])
def test_only_arithmetic_is_calculated(expression: str) -> None:
    """Names, calls, powers and text are refused."""
    with pytest.raises(ToolException):
        calculate.invoke({"expression": expression})


def test_arithmetic_is_right() -> None:
    """Precedence, signs and fractions are those of Python."""
    assert calculate.invoke({"expression": "-(2 + 3) * 4.5 / 2"}) == "-11.25"


def test_tools_stay_within_their_bounds(sources: Sources) -> None:
    """Files outside the folder are not read, and the order table is not written."""
    _, read = file_tools(sources.folder / "notes")
    for path in ("../sales.csv", "/etc/hostname", "none.txt"):
        with pytest.raises(ToolException, match="there is no file"):
            read.invoke({"path": path})
    with pytest.raises(ToolException, match="readonly"):
        query_tool(sources.orders).invoke({"sql": "DELETE FROM orders"})


def test_sums_are_the_same_without_pandas(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sales file is summed up alike with pandas and without."""
    table = table_tool(sources.folder / "sales.csv")
    said = table.invoke({"product": "city bike"})
    monkeypatch.setitem(sys.modules, "pandas", None)

    assert said == table.invoke({"product": "city bike"}) == "2026-08: 14, 2026-09: 11, 2026-10: 17"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"method": "tools/drop"}, -32601),
        ({"method": "tools/call", "params": {"name": "none"}}, -32602),
        ({"method": "tools/call", "params": {"name": "supplier_stock", "arguments": {"wrong": "x"}}}, -32602),
    ],
)
def test_the_tool_server_refuses_by_the_protocol(request_: Any, code: int) -> None:
    """An unknown method or tool and wrong arguments are errors of JSON-RPC with the request's id."""
    answer = json.loads(ToolServer().handle(json.dumps({"jsonrpc": "2.0", "id": 7, **request_})))

    assert (answer["id"], answer["error"]["code"], "result" in answer) == (7, code, False)


def test_the_tool_client_offers_what_the_server_has() -> None:
    """Tools have the server's names and schemas, answer with its text, and raise what it refuses."""
    stock, rate = ToolClient(ToolServer()).tools()

    assert (stock.name, rate.name, list(rate.args)) == ("supplier_stock", "exchange_rate", ["source", "target"])
    assert stock.invoke({"product": "kids bike"}) == "12 of the kids bike at the supplier, 188.00 USD each"
    with pytest.raises(ToolException, match="no rate"):
        rate.invoke({"source": "USD", "target": "XAU"})


def test_a_model_of_a_provider_can_be_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --model one model of init_chat_model answers for all agents."""
    chat_models = pytest.importorskip("langchain.chat_models")
    model = ScriptedChatModel(
        lambda messages: "SQLAgent, RAGAgent" if "Which of these" in str(messages[-1].text) else "42"
    )
    monkeypatch.setattr(chat_models, "init_chat_model", lambda name: {"openai:gpt-x": model}[name])

    assert main(["--model", "openai:gpt-x", "--ask", "How many?"]) == 0
    out = capsys.readouterr().out
    assert "SQLAgent        42" in out
    assert len(model.requests) == 4


@pytest.mark.parametrize("fails_at", ["start", "call"])
def test_a_provider_that_refuses_is_one_line(
    fails_at: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing key, whenever it comes up, is one line on stderr and exit code 2."""
    chat_models = pytest.importorskip("langchain.chat_models")

    def make(_: str) -> Models:
        if fails_at == "start":
            raise ValueError("no key")
        return ScriptedChatModel(ValueError("no key"))  # type: ignore[return-value]

    monkeypatch.setattr(chat_models, "init_chat_model", make)

    assert main(["--model", "openai:gpt-x", "--ask", "How many?"]) == 2
    assert "chat_modes: model openai:gpt-x: no key\n" in capsys.readouterr().err


def test_the_program_runs_by_one_command(tmp_path: Path) -> None:
    """As a user starts it, without a key, it answers, says that it is offline, and leaves nothing behind."""
    environment = {name: value for name, value in os.environ.items() if "OPENAI" not in name}
    finished = subprocess.run(
        [sys.executable, "-m", "examples.chat_modes", "--ask", "What is the warranty?"],
        cwd=tmp_path / "work",
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert finished.returncode == 0, finished.stderr
    assert finished.stderr.startswith("offline: scripted answers")
    assert "Frames have a warranty of ten years" in finished.stdout
    assert list((tmp_path / "work").iterdir()) == []


_VARIES = (
    (r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "ID"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+\+00:00)?", "TIME"),
    (r"(?<=\n)\d{4}-\d\d-\d\d: 1 session", "DAY: 1 session"),
    (r"\d[\d,]* ms\b", "N ms"),
    (r"\b\d+\.\d{6,}\b", "USD"),
    (r"told at \d+%", "told"),
    (r'(duration_ms"?:? +)[\d.]+', r"\1N"),
)
_UNCHECKED = ("The last three days", "What a cheaper model would save", "What the month will come to")
"""Sections that go by today's prices or by the calendar."""


def test_readme_shows_the_real_output(program: Outcome) -> None:
    """The output in the README is what the program prints, but for ids, times, prices and what depends on the day."""
    if not is_exact():
        pytest.skip("tiktoken's table o200k_base is not on this machine, so that tokens are counted by characters")
    expect_shown(ROOT / "examples/chat_modes/README.md", "## What it prints", program.out, _sections)


def _sections(out: str) -> list[tuple[str, str | None]]:
    """Titles and texts, without what differs from run to run; None where the text is not checked."""
    found = re.split(r"(?:^|\n)([^\n]+)\n-{4,}\n", out.strip())[1:]
    sections = dict(zip(found[::2], found[1::2], strict=True))
    for pattern, instead in _VARIES:
        sections = {title: re.sub(pattern, instead, f"\n{text}") for title, text in sections.items()}
    return [(title, None if title in _UNCHECKED else text.strip()) for title, text in sections.items()]


def _old(database: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()
