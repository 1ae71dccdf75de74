"""Are the first calls and runs those of a walk through all of them? However they are looked for."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from langchain_tokens.call import Call
from langchain_tokens.query import make_query
from langchain_tokens.store import latest, places
from langchain_tokens.store.store import UsageStore
from langchain_tokens.sums import matches
from tests.builders import NOON, make_call, make_fact, make_usage

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

MakeStore = Callable[["Database"], UsageStore]
SPANS: tuple[dict[str, Any], ...] = (
    {},
    {"since": NOON - timedelta(days=80), "until": NOON - timedelta(days=2, minutes=11)},
)
FILTERS: tuple[dict[str, Any], ...] = (
    {"chain": "common"},
    {"chain": "rare"},
    {"chain": "no such"},
    {"chain": "(unattributed)", "model": "m"},
    {"status": ["error", "cancelled"], "agent": "a"},
    {"chain": "rare", "tags": {"team": "t"}},
    {"chain": "rare", "session": "s"},
    {"provider": "p", "mode": "(none)"},
    {"status": "error"},
    {"agent": "a", "model": ["m", "(none)"]},
    {"chain": ["rare", "common"], "tags": {"team": "no such"}},
)


def some_calls(count: int) -> list[Call]:
    """Calls of ninety days, some at the same moment, at the very start of an hour or at the calendar's end."""
    chance = random.Random(11)
    starts = [
        NOON - timedelta(hours=chance.randrange(90 * 24), seconds=chance.choice((0, 1, 1, 7))) for _ in range(count)
    ]
    return [
        make_call(
            call_id=f"call-{number:04}",
            run_id=f"run-{number % 40:02}",
            started_at=start,
            chain=chance.choices(("common", "rare", None), (30, 2, 5))[0],
            **_names(chance),
            agent=chance.choice(("a", "b", "", None)),
            tokens=chance.choice(((1, 1), (2, 2), (0, 0), None)),
            status=chance.choices(("ok", "error", "cancelled"), (20, 2, 1))[0],
            tags={"team": "t"} if chance.random() < 0.5 else {},
        )
        for number, start in enumerate((*starts, datetime(9999, 12, 31, 23, 59, tzinfo=UTC)))
    ]


def _names(chance: random.Random) -> dict[str, Any]:
    return {name: chance.choice((name[0], None)) for name in ("model", "provider", "mode", "session")}


def first(calls: Sequence[Call], *, newest: bool) -> list[str]:
    """The ids of calls in the order in which they started."""
    sign = -1 if newest else 1
    return [call.call_id for call in sorted(calls, key=lambda call: (sign * call.started_at.timestamp(), call.call_id))]


@pytest.mark.parametrize(("probe", "most"), [(3, 60), (1, 2)])
def test_first_calls_are_those_of_all_calls(
    database: Database, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, probe: int, most: int
) -> None:
    """Pages of calls in either order, of common, rare and missing names, are those of all calls in that order."""
    monkeypatch.setattr(latest, "_PROBE", probe)
    monkeypatch.setattr(places, "_MOST", most)
    store, calls = make_store(database), some_calls(160)
    store.add(calls)
    for filters, span, newest in itertools.product(FILTERS, SPANS, (True, False)):
        query = make_query((), {**filters, **span})
        right = first([call for call in calls if matches(call, query)], newest=newest)
        for limit, offset in ((1, 0), (4, 0), (400, 1)):
            order = "-started_at" if newest else "started_at"
            found = store.calls(limit=limit, offset=offset, order=order, **filters, **span)
            assert [call.call_id for call in found] == right[offset : offset + limit], (filters, span, order, limit)


def test_calls_whose_rows_are_gone_are_not_looked_for_in_vain(
    database: Database, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of what is left after a prune, whose sums stay, and after calls came late and some told their tokens anew."""
    monkeypatch.setattr(latest, "_PROBE", 1)
    store, calls = make_store(database), some_calls(160)
    store.add(calls)
    cut = (NOON - timedelta(days=30)).replace(hour=0)
    store.prune(cut)
    late = [replace(call, call_id=f"late-{number}") for number, call in enumerate(calls[:40])]
    anew = [replace(call, usage=make_usage(7, 7), revision=1) for call in calls[::3] if call.started_at >= cut]
    store.add([*late, *anew])
    known = {call.call_id: call for call in (*calls, *anew) if call.started_at >= cut} | {
        call.call_id: call for call in late
    }
    for filters, newest in itertools.product(FILTERS, (True, False)):
        query = make_query((), filters)
        right = first([call for call in known.values() if matches(call, query)], newest=newest)
        for limit in (2, 400):
            found = store.calls(limit=limit, order="-started_at" if newest else "started_at", **filters)
            assert [call.call_id for call in found] == right[:limit], (filters, newest, limit)


def test_what_only_rows_can_tell_is_not_asked_of_sums(database: Database, make_store: MakeStore) -> None:
    """Hours of calls are not told by a filter that no sums have: it would not be looked at."""
    with make_store(database)._reading() as connection, pytest.raises(ValueError, match="all names of session, chain"):
        places.next_hours(connection, make_query((), {"chain": "c", "session": "s"}), (None, None), 1, newest=True)


RUN_FILTERS: tuple[dict[str, Any], ...] = (
    {"chain": "rare"},
    {"chain": "no such"},
    {"model": "m", "status": "ok"},
    {"chain": "(unattributed)", "agent": "a", "since": NOON - timedelta(hours=3)},
)


@pytest.mark.parametrize("rare", [1, 10])
def test_runs_are_found_by_their_calls(
    database: Database, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, rare: int
) -> None:
    """Runs with such a call, the newest first, whether calls are rare or not; none where no call has that name."""
    monkeypatch.setattr(latest, "_RARE", rare)
    store, calls = make_store(database), some_calls(120)
    facts = [make_fact(f"run-{number:02}", started_at=NOON - timedelta(hours=number % 7)) for number in range(40)]
    store.add(calls, facts)
    for filters in RUN_FILTERS:
        of_calls = make_query((), {name: filters[name] for name in filters if name not in {"status", "since"}})
        having = {call.run_id for call in calls if matches(call, of_calls)}
        right = sorted(
            (
                fact
                for fact in facts
                if fact.run_id in having
                and fact.status == filters.get("status", fact.status)
                and fact.started_at >= filters.get("since", fact.started_at)
            ),
            key=lambda fact: (-fact.started_at.timestamp(), fact.run_id),
        )
        assert [run.run_id for run in store.runs(limit=5, offset=1, **filters)] == [fact.run_id for fact in right][1:6]


USER_FILTERS: tuple[dict[str, Any], ...] = (
    {"user": "u1"},
    {"user": "no such"},
    {"user": ["u1", "(none)"]},
    {"user": ["u1", "u2"], "status": "error"},
    {"user": "u2", "since": NOON - timedelta(hours=3)},
)


def test_runs_of_a_user_are_the_runs_own(database: Database, make_store: MakeStore) -> None:
    """Runs are those of the user that the run names, with calls of others, or without any."""
    store = make_store(database)
    facts = [
        make_fact(
            f"run-{number:02}",
            started_at=NOON - timedelta(hours=number % 7),
            user=("u1", "u2", None)[number % 3],
            status=("ok", "error")[number % 2],
        )
        for number in range(40)
    ]
    store.add([make_call(run_id=f"run-{number:02}", user="u2") for number in range(0, 40, 4)], facts)
    for filters in USER_FILTERS:
        users = filters["user"] if isinstance(filters["user"], list) else [filters["user"]]
        right = [
            fact.run_id
            for fact in sorted(facts, key=lambda fact: (-fact.started_at.timestamp(), fact.run_id))
            if (fact.user or "(none)") in users
            and fact.status == filters.get("status", fact.status)
            and fact.started_at >= filters.get("since", fact.started_at)
        ]
        assert [run.run_id for run in store.runs(limit=5, offset=1, **filters)] == right[1:6], filters


def test_runs_of_a_user_are_found_by_an_index(lasting_database: Database, make_store: MakeStore) -> None:
    """Those of one user are read from the index, and nobody else's."""
    with make_store(lasting_database)._reading() as connection:
        if lasting_database.kind == "postgresql":
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            connection.execute(text("SET LOCAL enable_sort = off"))
        explain = "EXPLAIN" if lasting_database.kind == "postgresql" else "EXPLAIN QUERY PLAN"
        asked = "SELECT run_id FROM llm_run WHERE user_id IN ('u') ORDER BY started_at DESC LIMIT 3"
        said = str(connection.execute(text(f"{explain} {asked}")).all())
    assert "ix_llm_run_user_id" in said
    assert "TEMP B-TREE" not in said
