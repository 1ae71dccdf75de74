"""The largest runs, found without adding up all, are those that adding up all finds: of any range, on every database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise, product
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, text, update

from langchain_tokens import UsageStore
from langchain_tokens.breakdown import Breakdown
from langchain_tokens.call import Call
from langchain_tokens.errors import QueryError
from langchain_tokens.store import largest
from langchain_tokens.store.engine import writing
from langchain_tokens.store.tables import RUNS
from tests.builders import NOON, make_call, make_fact

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

RUN_COUNT = 40
HOURS = (0, 7, 20, 33, 48)
SPANS = [(None, None), *((HOURS[0], None), (None, HOURS[3])), *pairwise(HOURS), (7, 33), (60, 70)]


@pytest.fixture(autouse=True)
def pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs be gone through, few at a time, also where there are few calls."""
    monkeypatch.setattr(largest, "_FEW", -1)
    monkeypatch.setattr(largest, "_PAGE", 3)


def some_calls(chance: Random) -> list[Call]:
    """Calls of runs that are short or go on for days; of some nothing, of others not all tokens are known."""
    calls = []
    for number in range(RUN_COUNT):
        begins, lasts = chance.uniform(0, 48), chance.choice((0.1, 0.1, 12, 48))
        for _ in range(chance.choice((1, 2, 5))):
            at = NOON + timedelta(hours=begins + chance.random() * lasts)
            is_known = chance.random() > (0.9 if number % 5 == 0 else 0.1)
            tokens = (chance.choice((1, 10, 100)), 5) if is_known else None
            cost = chance.choice(("0.1", "0.2", "0.5", None))
            calls.append(make_call(run_id=f"run-{number}", started_at=at, tokens=tokens, cost=cost))
    return calls


def sizes(answer: Breakdown, order: str, limit: int | None = None) -> list[tuple[bool, Any, int]]:
    """How large the groups of an answer are, the largest first."""
    found = [(getattr(row, order) is not None, getattr(row, order) or 0, row.calls) for row in answer]
    return sorted(found, reverse=True)[:limit]


def ranges() -> list[dict[str, datetime]]:
    """Ranges that cut runs at one end, at both or at none."""
    return [
        {
            name: NOON + timedelta(hours=hour, minutes=17)
            for name, hour in (("since", since), ("until", until))
            if hour is not None
        }
        for since, until in SPANS
    ]


def hold(store: UsageStore) -> None:
    """Every answer with a limit is the beginning of the one without."""
    for span in ranges():
        whole = store.breakdown("run", **span)
        by_run = {row.key["run"]: row for row in whole}
        for limit, order in product((0, 1, 4, 1_000), ("total_tokens", "cost_usd")):
            part = store.breakdown("run", limit=limit, order=order, **span)
            assert sizes(part, order) == sizes(whole, order, limit)
            assert part.total == whole.total
            assert [by_run[row.key["run"]] for row in part] == list(part)


@pytest.mark.parametrize("seed", [1, 2])
def test_largest_are_those_of_all(store: UsageStore, seed: int) -> None:
    """Runs within a range and runs that it cuts, those of which nothing is known but calls, and unknown tokens."""
    chance = Random(seed)
    calls = some_calls(chance)
    chance.shuffle(calls)
    for start in range(0, len(calls), 25):
        facts = [make_fact(f"run-{number}") for number in chance.sample(range(RUN_COUNT), 5)]
        store.add(calls[start : start + 25], [*facts, make_fact(f"empty-{start}")])
    hold(store)
    changed = [replace(call, revision=1, usage=None) for call in chance.sample(calls, 20)]
    moved = [replace(call, revision=1, run_id="run-1", started_at=NOON) for call in chance.sample(calls, 5)]
    store.add([*changed, *[call for call in moved if call.call_id not in {other.call_id for other in changed}]])
    hold(store)
    store.delete(until=NOON + timedelta(hours=9))
    hold(store)
    assert store.check().is_clean


def test_runs_from_before_are_right(store: UsageStore) -> None:
    """A run's row from before the times of its calls were kept says nothing of them, also when others come."""
    store.add(some_calls(Random(3)))
    with writing(store._engine(), store.target) as connection:
        connection.execute(update(RUNS).values(first_call_at=None, last_call_at=None))
    hold(store)
    store.add(some_calls(Random(4)))
    hold(store)


def test_run_of_calls_only_is_told_of_later(store: UsageStore) -> None:
    """A run of which there are only calls is no run that is listed; its fact makes it one, whatever came first."""
    early, late = NOON - timedelta(minutes=1), NOON + timedelta(minutes=1)
    store.add([make_call(run_id="r", started_at=early)])
    assert store.runs() == []
    assert [row.key["run"] for row in store.breakdown("run", limit=5)] == ["r"]
    store.add([make_call(run_id="r", started_at=late)], [make_fact("r", is_given=True, status="error")])
    (run,) = store.runs()
    assert run._source.fact == make_fact("r", status="error")
    with store._reading() as connection:
        row = connection.execute(select(RUNS)).one()
    assert (row.calls, row.first_call_at, row.last_call_at) == (2, early, late)


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ("DELETE FROM llm_run", "calls"),
        ("UPDATE llm_run SET total_tokens = 1", "total_tokens"),
        ("UPDATE llm_run SET first_call_at = last_call_at", "first_call_at"),
        ("UPDATE llm_run SET last_call_at = first_call_at", "last_call_at"),
    ],
)
def test_check_finds_a_wrong_row_of_a_run(store: UsageStore, change: str, column: str) -> None:
    """A row that is missing, a wrong total, and a time that leaves calls out are reported."""
    store.add([make_call(run_id="r"), make_call(run_id="r", started_at=NOON + timedelta(hours=1))])
    assert store.check().is_clean
    with writing(store._engine(), store.target) as connection:
        connection.execute(text(change))
    assert ("r", column) in {(item.row, item.column) for item in store.check().differences}


def test_pruned_time_is_refused_as_before(store: UsageStore) -> None:
    """Of a time whose rows are gone, runs are not told: sums are not kept by run."""
    store.add([make_call(run_id="old", started_at=NOON - timedelta(days=3)), make_call(run_id="new")])
    store.prune(NOON.date().isoformat())
    with pytest.raises(QueryError, match="pruned"):
        store.breakdown("run", limit=5)
    kept = store.breakdown("run", limit=5, since=NOON.date().isoformat())
    assert [row.key["run"] for row in kept] == ["new"]


def test_statement_goes_along_the_index(lasting_database: Database, make_store: Any) -> None:
    """The next page of runs is read from the index, not sorted."""
    store = make_store(lasting_database)
    store.add(some_calls(Random(5)))
    said: Sequence[Any]
    with store._reading() as connection:
        if lasting_database.kind == "postgresql":
            connection.execute(text("SET LOCAL enable_sort = off"))
            connection.execute(text("SET LOCAL enable_seqscan = off"))
        explain = "EXPLAIN" if lasting_database.kind == "postgresql" else "EXPLAIN QUERY PLAN"
        order = "ORDER BY total_tokens DESC, calls DESC, run_id DESC LIMIT 3"
        for known in ("IS NOT NULL", "IS NULL"):
            statement = f"{explain} SELECT run_id FROM llm_run WHERE total_tokens {known} {order}"
            said = connection.execute(text(statement)).all()
            assert "ix_llm_run_total_tokens" in str(said)
            assert "Sort" not in str(said)
            assert "TEMP B-TREE" not in str(said)
