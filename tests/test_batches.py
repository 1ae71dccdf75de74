"""A batch that comes again, in part or twice in itself, is stored once; facts of runs come to the same in any batches."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event, select

from langchain_tokens import UsageStore
from langchain_tokens.call import RunFact
from langchain_tokens.store.tables import RUNS
from tests.builders import NOON, make_call, make_fact

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)


@pytest.mark.parametrize("count", [5, 60, 700])
def test_batch_that_is_stored_in_part(store: UsageStore, count: int) -> None:
    """Whatever of it is there already stays as it is, the rest is stored, and sums and totals count each call once."""
    calls = [make_call(run_id=f"r-{number % 7}", session=f"s-{number % 3}") for number in range(count)]
    store.add(calls[::2], [make_fact("r-0")])
    store.add([replace(call, chain="late") for call in reversed(calls)], [make_fact("r-0"), make_fact("r-1")])
    store.add([*calls, *calls])
    stored = {call.call_id: call.chain for call in store.calls(limit=1_000)}
    assert stored == {call.call_id: None if place % 2 == 0 else "late" for place, call in enumerate(calls)}
    assert store.breakdown("run")["r-0"].calls == len(calls[::7])
    assert store.check().is_clean


def test_new_calls_are_written_once(postgresql_database: Database, make_store: object) -> None:
    """New calls are copied into their table; a stage is only made where one of them is there already."""
    store: UsageStore = make_store(postgresql_database)  # type: ignore[operator]  # a fixture
    said: list[str] = []
    event.listen(store._engine(), "before_cursor_execute", lambda *arguments: said.append(arguments[2]))
    calls = [make_call() for _ in range(300)]
    store.add(calls)
    assert sum(text.startswith("COPY llm_call ") for text in said) == 1
    assert not any("staged" in text for text in said)
    store.add(calls)
    assert any("staged" in text for text in said)
    assert store.breakdown().total.calls == len(calls)


def some_facts(chance: Random) -> list[RunFact]:
    """Facts of few runs, seen and given, that begin and end in any order."""
    facts = []
    for _ in range(60):
        start = NOON + timedelta(seconds=chance.randrange(100))
        ended = None if chance.random() < 0.4 else start + timedelta(seconds=chance.randrange(100))
        status = "running" if ended is None else chance.choice(("ok", "error", "cancelled"))
        name = chance.choice((None, "a", "b"))
        made = make_fact(f"r-{chance.randrange(6)}", started_at=start, ended_at=ended, status=status, name=name)
        facts.append(replace(made, is_given=chance.random() < 0.5))
    return facts


@pytest.mark.parametrize("seed", range(4))
def test_facts_of_one_batch_are_those_of_many(store: UsageStore, seed: int) -> None:
    """All facts in one batch make the rows that they make one by one, also of runs of which calls came first."""
    facts = some_facts(Random(seed))
    early = [make_call(run_id=f"{way}r-{number}") for way in ("", "x") for number in range(0, 6, 2)]
    store.add(early)
    store.add([], facts)
    for fact in facts:
        store.add([], [replace(fact, run_id=f"x{fact.run_id}")])
    with store._reading() as connection:
        rows = {row.run_id: tuple(row)[1:] for row in connection.execute(select(RUNS))}
    assert {f"x{run_id}": row for run_id, row in rows.items() if run_id[0] == "r"} == {
        run_id: row for run_id, row in rows.items() if run_id[0] == "x"
    }
