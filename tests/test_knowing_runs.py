"""How many runs know a number? Counted by indexes, as going through all of them counts."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest

from langchain_tokens import UsageStore
from langchain_tokens.call import Call, RunFact
from langchain_tokens.query import make_query
from langchain_tokens.store import counting
from langchain_tokens.store.counting import count_knowing_runs, count_runs
from tests.builders import NOON, make_call, make_fact

pytest_plugins = ("tests.databases",)

FILTERS: tuple[dict[str, Any], ...] = (
    {},
    {"since": NOON - timedelta(days=3)},
    {"until": NOON - timedelta(days=2, hours=1)},
    {"since": NOON - timedelta(days=5), "until": NOON - timedelta(days=1)},
    {"since": NOON - timedelta(days=4), "session": "s-1"},
    {"mode": "batch"},
    {"chain": "sql_fix"},
    {"since": NOON - timedelta(days=4), "chain": "sql_fix"},
)


def some_runs(chance: Random) -> tuple[list[Call], list[RunFact]]:
    """Runs with calls around them that know their tokens or not, some told as if they had begun after all of them."""
    calls: list[Call] = []
    facts: list[RunFact] = []
    for number in range(60):
        run_id, at = f"run-{number}", NOON - timedelta(hours=chance.randrange(7 * 24))
        names = {"run_id": run_id, "session": f"s-{number % 4}", "mode": chance.choice(("batch", None))}
        late = timedelta(days=chance.choice((0, 0, 0, 2)))
        facts.append(replace(make_fact(run_id), started_at=at + late, session=names["session"], mode=names["mode"]))
        for _ in range(chance.randrange(4)):
            tokens = chance.choice((None, None, (1, 1)))
            started = at + timedelta(minutes=chance.randrange(90))
            calls.append(make_call(**names, tokens=tokens, started_at=started, chain=chance.choice(("a", "sql_fix"))))
    return calls, facts


def knowing(calls: list[Call], facts: list[RunFact], chosen: dict[str, Any]) -> int:
    """The same, run by run."""
    since: datetime = chosen.get("since", NOON - timedelta(days=999))
    until: datetime = chosen.get("until", NOON + timedelta(days=999))
    if "chain" in chosen:
        of_it = [call for call in calls if call.chain == chosen["chain"] and since <= call.started_at < until]
        return len({call.run_id for call in of_it if call.usage is not None})
    found = 0
    for fact in facts:
        is_asked = all(getattr(fact, name) == value for name, value in chosen.items() if name in ("session", "mode"))
        mine = [call for call in calls if call.run_id == fact.run_id]
        is_known = not mine or any(call.usage is not None for call in mine)
        found += is_asked and since <= fact.started_at < until and is_known
    return found


@pytest.mark.parametrize("chosen", FILTERS)
def test_runs_that_know_are_those_of_all(store: UsageStore, chosen: dict[str, Any]) -> None:
    """Whatever is asked for: runs without a call count, those of which no call knows the number do not."""
    calls, facts = some_runs(Random(1))
    store.add(calls, facts)
    query = make_query((), chosen)
    unknown = store.breakdown(**chosen).total.calls_without_usage
    with store._reading() as connection:
        runs = count_runs(connection, query, len(calls))
        assert runs is not None
        assert count_knowing_runs(connection, query, runs, "total_tokens", unknown) == knowing(calls, facts, chosen)


def test_many_runs_that_do_not_know_are_not_counted(store: UsageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it would take long, nobody says how many."""
    monkeypatch.setattr(counting, "_MOST_UNKNOWN", 2)
    calls = [make_call(run_id=f"run-{number}", tokens=None) for number in range(3)]
    store.add(calls, [make_fact(call.run_id) for call in calls])
    with store._reading() as connection:
        assert count_knowing_runs(connection, make_query((), {}), 3, "total_tokens", 3) is None
        later = make_query((), {"since": NOON + timedelta(days=1)})
        assert count_knowing_runs(connection, later, 0, "total_tokens", 3) == 0
