"""Are the latest runs those of a walk through all of them? However they are looked for."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, text

from langchain_tokens.call import Call, RunFact
from langchain_tokens.query import make_query
from langchain_tokens.store import latestruns
from langchain_tokens.store.store import UsageStore
from langchain_tokens.sums import matches
from tests.builders import NOON, make_call, make_fact

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

MakeStore = Callable[["Database"], UsageStore]
RUN_FILTERS: tuple[dict[str, Any], ...] = (
    {"chain": "rare"},
    {"chain": "retired"},
    {"chain": "no such"},
    {"chain": ["rare", "retired"], "model": "m"},
    {"model": "m", "status": "ok"},
    {"chain": "common", "status": "error"},
    {"chain": "rare", "status": "error", "since": NOON - timedelta(days=40)},
    {"agent": "a", "status": "cancelled"},
    {"chain": "rare", "session": "s1"},
    {"chain": "rare", "tags": {"team": "t"}},
    {"chain": "(unattributed)", "agent": "a", "since": NOON - timedelta(days=20)},
    {"chain": "rare", "until": NOON - timedelta(days=10)},
    {"chain": "retired", "since": NOON - timedelta(days=3)},
)


def some_runs() -> tuple[list[Call], list[RunFact]]:
    """Sixty runs of sixty days with their calls, most of which start after the run, some before it; of every tenth
    nothing was told but its calls.
    """
    chance = random.Random(5)
    calls: list[Call] = []
    facts: list[RunFact] = []
    for number in range(60):
        name, start = f"run-{number:02}", NOON - timedelta(days=number, hours=chance.randrange(2))
        late = chance.choice((0, 0, 0, 0, 5, 9))
        calls += [
            make_call(
                run_id=name,
                started_at=start + timedelta(hours=index * chance.randrange(30)),
                chain=chance.choices(("common", "retired" if number > 30 else "rare", None), (10, 3, 1))[0],
                agent=chance.choice(("a", "b", None)),
                model=chance.choice(("m", "n")),
            )
            for index in range(chance.randrange(1, 5))
        ]
        if number % 10:
            begun = start + timedelta(days=late)
            status = chance.choice(("ok", "error"))
            session, tags = chance.choice(("s1", "s2", None)), chance.choice(({}, {"team": "t"}))
            facts.append(make_fact(name, started_at=begun, status=status, session=session, tags=tags))
    return calls, facts


def listed(calls: Sequence[Call], facts: Sequence[RunFact], filters: dict[str, Any]) -> list[str]:
    """The names of the runs that a walk through all of them would list."""
    own = {"status", "session", "tags", "since", "until"}
    of_calls = make_query((), {name: filters[name] for name in filters if name not in own})
    having = {call.run_id for call in calls if matches(call, of_calls)}
    found = [
        fact
        for fact in facts
        if fact.run_id in having
        and fact.status == filters.get("status", fact.status)
        and fact.session == filters.get("session", fact.session)
        and dict(fact.tags) == filters.get("tags", fact.tags)
        and fact.started_at >= filters.get("since", fact.started_at)
        and not ("until" in filters and fact.started_at >= filters["until"])
    ]
    return [fact.run_id for fact in sorted(found, key=lambda fact: (-fact.started_at.timestamp(), fact.run_id))]


@pytest.mark.parametrize(("probe", "many"), [(1, 10_000), (3, 20), (200, 10_000)], ids=["calls", "few calls", "runs"])
def test_runs_are_found_by_their_calls(
    database: Database, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, probe: int, many: int
) -> None:
    """Runs with such a call, the newest first, whether runs or calls are gone through, and however many calls."""
    monkeypatch.setattr(latestruns, "_PROBE", probe)
    monkeypatch.setattr(latestruns, "_MANY", many)
    store, (calls, facts) = make_store(database), some_runs()
    store.add(calls, facts)
    for filters in RUN_FILTERS:
        right = listed(calls, facts, filters)
        for limit, offset in ((1, 0), (3, 1), (100, 0)):
            found = store.runs(limit=limit, offset=offset, **filters)
            assert [run.run_id for run in found] == right[offset : offset + limit], (filters, limit)


@pytest.mark.parametrize(("many", "farthest"), [(90, 4), (10_000, 1_000)], ids=["no such run", "enough such runs"])
def test_runs_are_asked_what_they_are_themselves_before_calls_are_looked_for(
    database: Database, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, many: int, farthest: int
) -> None:
    """What holds of the run itself is seen at once: nobody looks for the hours of thousands of calls of other runs."""
    for name, value in {"_PROBE": 2, "_MANY": many, "_FARTHEST": farthest}.items():
        monkeypatch.setattr(latestruns, name, value)
    store, sent = make_store(database), []
    statuses = ["ok"] * 100 if farthest < 100 else ["ok", "error"] * 50
    facts = [
        make_fact(f"run-{n:03}", started_at=NOON - timedelta(hours=n), status=one) for n, one in enumerate(statuses)
    ]
    store.add([make_call(run_id=fact.run_id, started_at=fact.started_at, chain="c") for fact in facts], facts)
    event.listen(store._engine(), "before_cursor_execute", lambda *told: sent.append(told[2]))
    found = store.runs(limit=40, chain="c", status="error")
    assert [run.run_id for run in found] == [fact.run_id for fact in facts if fact.status == "error"][:40]
    assert sent
    assert not [statement for statement in sent if "usage_hourly" in statement or "usage_daily" in statement]


def test_runs_whose_calls_are_gone_are_not_listed(
    database: Database, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a prune that keeps sums, runs are found by the calls that are left."""
    monkeypatch.setattr(latestruns, "_PROBE", 1)
    store, (calls, facts) = make_store(database), some_runs()
    store.add(calls, facts)
    cut = (NOON - timedelta(days=30)).replace(hour=0)
    store.prune(cut)
    left = [call for call in calls if call.started_at >= cut]
    for filters in RUN_FILTERS:
        assert [run.run_id for run in store.runs(limit=100, **filters)] == listed(left, facts, filters), filters


def test_runs_that_start_late_are_found_by_an_index(lasting_database: Database, make_store: MakeStore) -> None:
    """Of runs that started after one of their calls an index has all, and no other run."""
    store, is_server = make_store(lasting_database), lasting_database.kind == "postgresql"
    query, sent = make_query((), {"chain": "c", "since": NOON}), []
    with store._reading() as connection:
        if is_server:
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            connection.execute(text("SET LOCAL enable_sort = off"))
        event.listen(connection, "before_cursor_execute", lambda *told: sent.append(told[2:4]))
        latestruns._Page(connection=connection, query=query, limit=3, offset=0).others(NOON)
        ((statement, values),) = sent
        explain = "EXPLAIN" if is_server else "EXPLAIN QUERY PLAN"
        said = str(connection.exec_driver_sql(f"{explain} {statement}", values).all())
    assert "ix_llm_run_starts_late" in said


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


OWN_FILTERS: tuple[dict[str, Any], ...] = (
    {"status": "error"},
    {"status": "running"},
    {"status": "cancelled", "mode": "batch"},
    {"status": ["error", "running"]},
    {"status": ["ok", "error"], "mode": ["batch", "(none)"]},
    {"mode": "batch"},
    {"mode": "(none)"},
    {"mode": "no such"},
    {"mode": "interactive", "status": "ok", "since": NOON - timedelta(hours=30)},
    {"status": "error", "until": NOON - timedelta(hours=20)},
    {"status": "error", "session": "s1"},
    {"mode": "batch", "user": "u1"},
)


def test_runs_of_a_status_or_a_mode_are_in_the_order_of_all(database: Database, make_store: MakeStore) -> None:
    """The newest first, and those of one moment by their id, whichever index has them."""
    store, chance = make_store(database), random.Random(11)
    facts = [
        make_fact(
            f"run-{number:03}",
            started_at=NOON - timedelta(hours=chance.randrange(40)),
            status=chance.choice(("ok", "ok", "error", "running", "cancelled", "interrupted")),
            mode=chance.choice(("interactive", "batch", None)),
            session=chance.choice(("s1", "s2")),
            user=chance.choice(("u1", None)),
        )
        for number in range(200)
    ]
    store.add([], facts)
    for filters in OWN_FILTERS:
        names = {name: value if isinstance(value, list) else [value] for name, value in filters.items()}
        right = [
            fact.run_id
            for fact in sorted(facts, key=lambda fact: (-fact.started_at.timestamp(), fact.run_id))
            if all((getattr(fact, name) or "(none)") in names[name] for name in set(names) - {"since", "until"})
            and fact.started_at >= filters.get("since", fact.started_at)
            and not ("until" in filters and fact.started_at >= filters["until"])
        ]
        for limit, offset in ((7, 0), (10, 5), (500, 0)):
            found = store.runs(limit=limit, offset=offset, **filters)
            assert [run.run_id for run in found] == right[offset : offset + limit], (filters, limit)


FOUND_BY: tuple[tuple[dict[str, Any], str], ...] = (
    ({"status": "error"}, "ix_llm_run_status"),
    ({"status": "running", "mode": "batch", "since": NOON}, "ix_llm_run_status"),
    ({"mode": "batch"}, "ix_llm_run_mode"),
    ({"mode": "batch", "status": "ok"}, "ix_llm_run_mode"),
    ({"mode": "(none)"}, "ix_llm_run_mode"),
    ({"status": "ok"}, "ix_llm_run_started_at"),
    ({"status": ["error", "running"]}, "ix_llm_run_started_at"),
    ({"status": "error", "session": "s"}, "ix_llm_run_session_id"),
    ({"mode": "batch", "user": "u"}, "ix_llm_run_user_id"),
)


@pytest.mark.parametrize(("filters", "index"), FOUND_BY)
def test_runs_of_a_status_or_a_mode_are_found_by_an_index(
    filters: dict[str, Any], index: str, lasting_database: Database, make_store: MakeStore
) -> None:
    """Of one mode, and of one status but the usual, an index has the runs in their order; none of the others is read."""
    store, is_server, sent = make_store(lasting_database), lasting_database.kind == "postgresql", []
    with store._reading() as connection:
        if is_server:
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            connection.execute(text("SET LOCAL enable_bitmapscan = off"))
        event.listen(connection, "before_cursor_execute", lambda *told: sent.append(told[2:4]))
        latestruns.latest_runs(connection, make_query((), filters), 3, 0)
        ((statement, values),) = sent
        explain = "EXPLAIN" if is_server else "EXPLAIN QUERY PLAN"
        said = str(connection.exec_driver_sql(f"{explain} {statement}", values).all())
    # a server, which knows how many runs have a value, has a choice where several indexes have them
    assert index in said or (is_server and index not in ("ix_llm_run_status", "ix_llm_run_mode"))
    assert "TEMP B-TREE FOR ORDER" not in said
