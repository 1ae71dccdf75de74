"""What does a row of the table say? A scenario, and the calls that must be stored for it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langchain_tokens import TokenUsageHandler
from langchain_tokens.call import Call

Scenario = Callable[[TokenUsageHandler], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One scenario, and the calls that must be stored for it."""

    number: str
    """The row's number in the study of LangChain's callbacks; `+` and a name for those that it lacks."""
    title: str
    play: Scenario
    calls: tuple[str, ...]
    """`chain | agent | path | attempt and why again | status tokens` for each call, in any order."""
    runs: int
    sessions: frozenset[str | None]


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of one test module."""

    rows: list[Row] = field(default_factory=list)

    def row(
        self,
        number: str,
        title: str,
        *calls: str,
        runs: int = 1,
        sessions: Sequence[str | None] = (None,),
    ) -> Callable[[Scenario], Scenario]:
        """Make a function one row's scenario."""

        def take(play: Scenario) -> Scenario:
            self.rows.append(
                Row(number=number, title=title, play=play, calls=calls, runs=runs, sessions=frozenset(sessions))
            )
            return play

        return take


def name_of(row: Row) -> str:
    """A row's name in the test report."""
    return f"{row.number} {row.title}"


def check(row: Row, folder: Path) -> None:
    """Play a row with a handler on a fresh store, and compare what was stored."""
    handler = played(row.play, folder)
    stored = stored_calls(handler)
    runs = handler.store.runs(limit=1_000)
    assert sorted(map(line, stored)) == sorted(row.calls)
    assert len({call.run_id for call in stored}) == row.runs
    assert {run.run_id for run in runs} == {call.run_id for call in stored}
    assert {call.session for call in stored} == set(row.sessions if row.calls else ())
    assert "running" not in {run.status for run in runs}


def played(play: Scenario, folder: Path) -> TokenUsageHandler:
    """Play a scenario to its end with a handler on a fresh store, and close the handler."""
    handler = TokenUsageHandler(store=folder / "usage.db", estimate=False)
    result = play(handler)
    if inspect.isawaitable(result):
        asyncio.run(_awaited(result))
    handler.close()
    return handler


async def _awaited(result: Any) -> Any:
    return await result


def stored_calls(handler: TokenUsageHandler) -> Sequence[Call]:
    """All calls of a handler's store, oldest first."""
    return handler.store.calls(limit=10_000, order="started_at")


def line(call: Call) -> str:
    """A stored call as a row writes it."""
    usage = call.usage
    tokens = "-" if usage is None else f"{usage.input_tokens}/{usage.output_tokens}"
    again = f"{call.attempt} {call.retry_kind}" if call.retry_kind is not None else str(call.attempt)
    return f"{call.chain or '-'} | {call.agent or '-'} | {call.path or '-'} | {again} | {call.status} {tokens}"
