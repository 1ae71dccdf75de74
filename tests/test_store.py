"""Where is it kept? The same promises on an SQLite file, SQLite in memory and PostgreSQL."""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, get_args
from uuid import UUID

import pytest
from sqlalchemy import select, text

from langchain_tokens import open_store
from langchain_tokens.breakdown import aggregate
from langchain_tokens.call import Call, RunStatus, completed
from langchain_tokens.errors import QueryError, SchemaError, StoreError, TokensError
from langchain_tokens.query import DIMENSIONS, make_query
from langchain_tokens.store.engine import RowError, writing
from langchain_tokens.store.rows import from_pico, to_pico
from langchain_tokens.store.schema import HEAD
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.tables import CALLS, RUNS
from langchain_tokens.store.target import parse_target
from langchain_tokens.store.writes import write_batch
from tests.builders import NOON, ODD_KEYS, TAG_KEYS, make_call, make_fact, make_usage

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

MakeStore = Callable[["Database"], UsageStore]
KOLKATA = timezone(timedelta(hours=5, minutes=30))
FULL: dict[str, Any] = {
    "parent_run_id": "parent",
    "session": "s",
    "chain": "c",
    "agent": "a",
    "path": "a/c",
    "node": "n",
    "step": 3,
    "attempt": 2,
    "attempt_error": "no such column",
    "retry_kind": "fallback",
    "mode": "rag",
    "model": "m-1",
    "requested_model": "m",
    "provider": "openai",
    "user": "u",
    "tags": {"team": "\u732b", "empty": ""},
    "ended_at": NOON + timedelta(microseconds=1_234_567),
    "duration_ms": 1_234.567,
    "time_to_first_token_ms": 0.25,
    "usage": make_usage(
        2**40,
        7,
        cache_read_tokens=1,
        cache_write_tokens=2,
        cache_write_5m_tokens=0,
        cache_write_1h_tokens=2,
        reasoning_tokens=3,
        audio_input_tokens=4,
        audio_output_tokens=5,
        other_units={"searches": 2, "seconds": 1.5},
        service_tier="flex",
    ),
    "usage_flags": ("total_mismatch",),
    "saved_usage": make_usage(1, 1),
    "raw_usage": {"prompt_tokens": 1, "details": {"a": [1, None, True]}},
    "cost_usd": Decimal("12.345678901234"),
    "input_cost_usd": Decimal(12),
    "output_cost_usd": Decimal("0.345678901233"),
    "other_cost_usd": Decimal("0.000000000001"),
    "price_status": "priced",
    "price_source": "genai-prices",
    "price_version": "0.2.3",
    "unit_prices": {"input_mtok": "2.5"},
    "saved_cost_usd": Decimal("0.000000000002"),
    "computed_cost_usd": Decimal("12.345678901233"),
    "priced_provider": "openai",
    "priced_model": "gpt-4o",
    "price_context": {"service_tier": "flex"},
    "price_flags": ("standard_estimate",),
    "estimate_basis": {"sent_characters": 400, "arrived_characters": 20},
    "superseded": True,
    "status": "error",
    "error_type": "ValueError",
    "error_message": "no",
    "tool_calls": ("search", "search"),
    "streamed": True,
    "finish_reason": "stop",
    "message_id": "msg",
    "revision": 1,
    "input_parts": {"system": 2**40, "other": 1},
    "prompt_mark": "0" * 32,
}


def totals(store: UsageStore, run_id: str = "run-1") -> dict[str, Any]:
    """The totals that a run's row holds."""
    with store._reading() as connection:
        row = connection.execute(select(RUNS).where(RUNS.c.run_id == run_id)).one()._mapping
    names = ("calls", "failed_calls", "calls_without_usage", "unpriced_calls")
    tokens = ("input_tokens", "output_tokens", "total_tokens")
    return {name: row[name] for name in (*names, *tokens)} | {"cost_usd": from_pico(row["total_cost"])}


def duration_column(store: UsageStore, run_id: str) -> float | None:
    """The duration that a run's row holds, in milliseconds."""
    with store._reading() as connection:
        duration: float | None = connection.execute(select(RUNS.c.duration_ms).where(RUNS.c.run_id == run_id)).scalar()
    return duration


def sums(store: UsageStore, run_id: str = "run-1") -> dict[str, Any]:
    """The same numbers, summed over the run's calls."""
    total = aggregate(store.calls(run=run_id, limit=10_000), make_query()).total
    return {name: getattr(total, name) for name in totals(store, run_id)}


# What is stored


def test_every_field_of_a_call_comes_back(store: UsageStore) -> None:
    """A call with a value in every field is read back equal, in UTC."""
    call = make_call(**FULL)
    assert all(getattr(call, item.name) not in (None, "", ()) for item in fields(Call))
    store.add([call])
    assert store.calls() == [call]
    assert store.calls()[0].started_at.tzinfo is UTC


def test_call_that_knows_nothing_comes_back(store: UsageStore) -> None:
    """What nobody knows is None after storing, never 0."""
    call = make_call(tokens=None)
    store.add([call])
    assert store.calls() == [call]


def test_calls_of_a_run_come_back(store: UsageStore) -> None:
    """A run's fact is read back equal, with its calls in the order they started."""
    fact = make_fact(
        name="nl2sql",
        session="s",
        mode="rag",
        user="u",
        tags={"team": "a"},
        status="error",
        error_type="E",
        error_message="no",
    )
    late, early = make_call(started_at=NOON + timedelta(seconds=1)), make_call()
    store.add([late, early, make_call(run_id="other")], [fact])
    (run,) = store.runs()
    assert (run._source.fact, list(run.calls)) == (fact, [early, late])
    assert run.total.calls == 2


def test_batch_may_come_twice(store: UsageStore) -> None:
    """The same batch stored again changes nothing: each token once."""
    batch = [make_call(cost="0.1"), make_call(tokens=None)], [make_fact()]
    store.add(*batch)
    before = store.breakdown("chain"), totals(store)
    store.add(*batch)
    assert (store.breakdown("chain"), totals(store)) == before
    assert totals(store) == sums(store)


def test_call_may_stand_twice_in_a_batch(store: UsageStore) -> None:
    """A call and its correction in one batch are one call."""
    first = make_call(status="cancelled", tokens=None)
    corrected = replace(first, status="ok", usage=make_usage(1, 2), usage_source="provider", revision=1)
    store.add([first, first, corrected, first], [make_fact(ended_at=None), make_fact()])
    assert store.calls() == [corrected]
    assert totals(store) == sums(store)


def test_a_run_whose_last_call_is_moved_to_another_has_no_totals_left(store: UsageStore) -> None:
    """What a correction takes from one run it counts in the other alone."""
    call = make_call(run_id="before", tokens=(7, 3), cost="0.5")
    store.add([call, make_call(run_id="after")])
    store.add([replace(call, run_id="after", revision=1)])
    with store._reading() as connection:
        runs = select(RUNS.c.run_id, RUNS.c.calls, RUNS.c.total_tokens, RUNS.c.total_cost).order_by(RUNS.c.run_id)
        assert [tuple(row) for row in connection.execute(runs)] == [
            ("after", 2, 130, 500_000_000_000),
            ("before", 0, None, None),
        ]


def test_higher_revision_corrects(store: UsageStore) -> None:
    """A correction replaces what was stored, and an earlier revision that comes late does not."""
    first = make_call(call_id="c", tokens=None, status="cancelled")
    second = make_call(call_id="c", tokens=(7, 3), cost="0.5", revision=1)
    store.add([first], [make_fact()])
    assert (store.calls(), totals(store)["total_tokens"]) == ([first], None)
    store.add([second])
    assert (store.calls(), totals(store)["total_tokens"]) == ([second], 10)
    store.add([first])
    assert (store.calls(), totals(store)) == ([second], sums(store))
    store.add([replace(second, chain="other")])
    assert store.calls() == [second]


def test_empty_batch_is_nothing(store: UsageStore) -> None:
    """A batch without facts stores nothing and fails at nothing."""
    store.add([])
    assert (store.breakdown().total.calls, store.runs()) == (0, [])


def test_calls_of_a_run_are_found_by_its_uuid(store: UsageStore) -> None:
    """A run id may be asked for as the UUID that LangChain gives."""
    run_id = UUID(int=7)
    store.add([make_call(run_id=str(run_id)), make_call()], [make_fact(str(run_id)), make_fact()])
    assert [call.run_id for call in store.calls(run=run_id)] == [str(run_id)]
    assert [run.run_id for run in store.runs(run=[run_id])] == [str(run_id)]
    assert store.breakdown(run=run_id).total.calls == 1


LATER = timedelta(seconds=10, microseconds=999_999)
SPANS = [
    (NOON, NOON + timedelta(seconds=1)),
    (NOON + LATER, NOON + LATER + timedelta(seconds=5)),
    (NOON - timedelta(days=2), None),
    (NOON + timedelta(seconds=3), NOON + timedelta(seconds=4)),
]


@pytest.mark.parametrize("together", [True, False])
def test_facts_of_a_run_come_in_any_order(store: UsageStore, together: bool) -> None:
    """A run begins at the least start and ends at the greatest end that is known, and its duration is between them."""
    for number, order in enumerate(itertools.permutations(SPANS)):
        facts = [make_fact(f"{number}", started_at=start, ended_at=end, status="ok") for start, end in order]
        for batch in [facts] if together else [[fact] for fact in facts]:
            store.add([], batch)
        expected = functools.reduce(completed, facts)
        assert store.runs(run=f"{number}")[0]._source.fact == expected
        assert (expected.started_at, expected.ended_at) == (SPANS[2][0], SPANS[1][1])
        assert duration_column(store, f"{number}") == expected.duration_ms


@pytest.mark.parametrize("is_given", [True, False])
@pytest.mark.parametrize("before", get_args(RunStatus))
@pytest.mark.parametrize("now", get_args(RunStatus))
def test_status_of_a_run_is_completed_alike(memory_store: UsageStore, before: Any, now: Any, is_given: bool) -> None:
    """Memory and store agree on what a later fact does to a run's status and end, seen or said."""
    facts = [make_fact(f"{before} {now} {is_given}", status=before, ended_at=None if before == "running" else NOON)]
    facts.append(make_fact(facts[0].run_id, status=now, ended_at=None if now == "running" else LATE, is_given=is_given))
    memory_store.add([], facts)
    stored = memory_store.runs(run=facts[0].run_id)[0]._source.fact
    assert stored == replace(completed(*facts), is_given=False)
    if is_given and now != "running":
        assert stored.status == ("error" if now == "error" and before != "running" else before)
    else:
        assert stored.status == (before if now == "running" else now)


LATE = NOON + timedelta(hours=1)


def test_later_fact_completes_a_run(store: UsageStore) -> None:
    """A run's end completes what its start said; a start that comes late does not open it again."""
    start = make_fact(ended_at=None, name="nl2sql", session="s", tags={"team": "a"})
    end = make_fact(status="error", error_message="no")
    store.add([], [start])
    assert (store.runs()[0].status, store.runs()[0].ended_at) == ("running", None)
    store.add([], [end])
    (run,) = store.runs()
    assert (run.status, run.duration_ms, run.name, run.session, run.error_message) == (
        "error",
        2_000.0,
        "nl2sql",
        "s",
        "no",
    )
    store.add([], [start])
    assert (store.runs()[0].status, store.runs()[0].ended_at) == ("error", end.ended_at)


def test_totals_follow_each_change(store: UsageStore) -> None:
    """A run's totals are the sums of its calls after every batch, correction and deletion."""
    store.add([], [make_fact()])
    assert totals(store) == sums(store)
    changes: list[list[Call]] = [
        [make_call(call_id="a", cost="0.1", chain="x")],
        [make_call(call_id="b", tokens=None, chain="y"), make_call(call_id="c", status="error", tokens=(0, 0))],
        [make_call(call_id="b", tokens=(5, 5), cost="0.2", chain="y", revision=1)],
        [make_call(run_id="other")],
    ]
    for calls in changes:
        store.add(calls)
        assert totals(store) == sums(store)
    assert store.delete(chain="x") == 1
    assert totals(store) == sums(store) | {"calls": 2}


def test_refused_value_leaves_nothing_behind(store: UsageStore) -> None:
    """A batch with a value that no database takes is refused as a whole, and said to be the value's fault."""
    with pytest.raises(RowError):
        store.add([make_call(), make_call(usage=make_usage(2**64, 1))], [make_fact()])
    assert (store.calls(), store.runs()) == ([], [])


@pytest.mark.parametrize("name", [SimpleNamespace(), UUID(int=7), 7])
def test_name_that_is_no_text_is_refused_or_kept_as_text(store: UsageStore, name: Any) -> None:
    """A name of a foreign type never looks like a database that is away, which would be tried for ever."""
    try:
        store.add([make_call(session=name)])
    except RowError:
        return
    assert [call.session for call in store.calls()] == [str(name)]


# What is read


def test_memory_and_store_agree_in_each_dimension(store: UsageStore) -> None:
    """Each dimension groups the same calls the same way in memory and in the database."""
    calls = [
        make_call(
            run_id=f"run-{number % 3}",
            started_at=datetime(2026, 10, 31, 17, tzinfo=KOLKATA) + timedelta(minutes=97 * number),
            session=[None, "s", "t"][number % 3],
            chain=["a", None][number % 2],
            path=["a/b", None, "c"][number % 3],
            attempt=number % 12 + 1,
            status=["ok", "error", "cancelled", "cached"][number % 4],
            tokens=[(number, 1), None, (3, 0)][number % 3],
            cost=["0.1", None][number % 2],
            duration_ms=[250.0, None, 1_000.0, 0.0][number % 4],
            tags={TAG_KEYS[number % len(TAG_KEYS)]: "x"} if number % 5 else {},
        )
        for number in range(40)
    ]
    store.add(calls)
    names = [*DIMENSIONS, "hour", "day", "month", *(f"tag:{key}" for key in TAG_KEYS)]
    for dimensions in [(), *((name,) for name in names), ("day", "attempt"), ("tag:team", "chain", "status")]:
        assert store.breakdown(*dimensions) == aggregate(calls, make_query(dimensions))
    for key in TAG_KEYS:
        for wanted in ("x", ["x", "(none)"], "(none)"):
            filters = {"tags": {key: wanted}}
            assert store.breakdown(**filters) == aggregate(calls, make_query((), filters))


@pytest.mark.parametrize("key", ODD_KEYS)
def test_tag_keys_that_json_escapes(store: UsageStore, key: str) -> None:
    """A tag is found by its key, whatever characters it has."""
    store.add([make_call(tags={key: "x"}), make_call()])
    assert store.breakdown(f"tag:{key}")["x"].calls == 1
    assert store.breakdown(tags={key: "x"}).total.calls == 1


@pytest.mark.parametrize(
    ("moment", "hour", "day", "month"),
    [
        (datetime(2026, 10, 31, 23, 59, 59, 999_999, tzinfo=UTC), "2026-10-31T23:00Z", "2026-10-31", "2026-10"),
        (datetime(2026, 11, 1, tzinfo=UTC), "2026-11-01T00:00Z", "2026-11-01", "2026-11"),
        (datetime(2026, 11, 1, 5, 29, 59, tzinfo=KOLKATA), "2026-10-31T23:00Z", "2026-10-31", "2026-10"),
        (datetime(2026, 11, 1, 5, 30, tzinfo=KOLKATA), "2026-11-01T00:00Z", "2026-11-01", "2026-11"),
        (
            datetime(2026, 12, 31, 20, tzinfo=timezone(timedelta(hours=-5))),
            "2027-01-01T01:00Z",
            "2027-01-01",
            "2027-01",
        ),
    ],
)
def test_hour_day_and_month_are_those_of_utc(
    store: UsageStore, moment: datetime, hour: str, day: str, month: str
) -> None:
    """A call near midnight belongs to its hour, day and month in UTC, wherever it was made."""
    store.add([make_call(started_at=moment)])
    assert list(store.breakdown("hour", "day", "month")[0].key.values()) == [hour, day, month]


def test_range_includes_its_start_and_not_its_end(store: UsageStore) -> None:
    """`since` is the first moment that counts, `until` the first that does not."""
    store.add([make_call(started_at=NOON + timedelta(microseconds=number)) for number in range(3)])
    filters: dict[str, Any] = {"since": NOON + timedelta(microseconds=1), "until": NOON + timedelta(microseconds=2)}
    assert store.breakdown(**filters).total.calls == 1
    assert [call.started_at for call in store.calls(**filters)] == [NOON + timedelta(microseconds=1)]


def test_timeline_is_oldest_first(store: UsageStore) -> None:
    """A timeline has a row for each hour, day or month with calls, oldest first, however large they are."""
    days = [3, 1, 2, 1]
    store.add([make_call(started_at=NOON + timedelta(days=day), tokens=(day, 0), chain=f"c{day}") for day in days])
    assert [row.key["day"] for row in store.timeline()] == ["2026-11-21", "2026-11-22", "2026-11-23"]
    assert [row.total_tokens for row in store.timeline("day", chain=["c1", "c3"])] == [2, 3]
    assert [row.calls for row in store.timeline("month")] == [4]
    assert store.timeline("hour")[0].key == {"hour": "2026-11-21T12:00Z"}
    split = store.timeline(by="chain", since="2026-11-22")
    assert [tuple(row.key.values()) for row in split] == [("2026-11-22", "c2"), ("2026-11-23", "c3")]


def test_calls_come_in_the_asked_order(store: UsageStore) -> None:
    """Calls come newest first, or in the order that was asked for, unknown values last; limit and offset page."""
    ids = ("a", "b", "c")
    store.add(
        [
            make_call(call_id="a", started_at=NOON, duration_ms=2.0, tokens=None, cost="0.2"),
            make_call(call_id="b", started_at=NOON + timedelta(1), duration_ms=None, tokens=(9, 0), cost="0.1"),
            make_call(call_id="c", started_at=NOON + timedelta(2), duration_ms=1.0, tokens=(1, 0)),
        ]
    )
    expected = {
        "-started_at": "cba",
        "started_at": "abc",
        "duration_ms": "cab",
        "-duration_ms": "acb",
        "total_tokens": "cba",
        "-total_tokens": "bca",
        "cost_usd": "bac",
        "-cost_usd": "abc",
    }
    for order, answer in expected.items():
        assert "".join(call.call_id for call in store.calls(order=order)) == answer
    assert [call.call_id for call in store.calls(order="started_at", limit=1, offset=1)] == [ids[1]]
    assert store.calls(limit=0) == []
    assert store.calls(offset=3) == []


def test_calls_of_one_moment_have_a_fixed_order(store: UsageStore) -> None:
    """Paging never repeats or leaves out a call, also where all started at once."""
    store.add([make_call(call_id=f"{number:02}") for number in range(10)])
    pages = [store.calls(limit=3, offset=start) for start in range(0, 10, 3)]
    assert [call.call_id for page in pages for call in page] == [f"{number:02}" for number in range(10)]


RUN_FILTERS: list[tuple[dict[str, Any], str]] = [
    ({}, "cba"),
    ({"limit": 1}, "c"),
    ({"limit": 1, "offset": 1}, "b"),
    ({"session": "s"}, "a"),
    ({"session": "(none)"}, "c"),
    ({"session": ["s", "t"]}, "ba"),
    ({"run": "b"}, "b"),
    ({"mode": "rag"}, "a"),
    ({"user": "u"}, "b"),
    ({"status": "error"}, "b"),
    ({"status": "running"}, "c"),
    ({"chain": "x"}, "a"),
    ({"chain": "x", "model": "m"}, "a"),
    ({"chain": "x", "model": "n"}, ""),
    ({"agent": "(none)"}, "ba"),
    ({"provider": "p"}, "b"),
    ({"since": NOON + timedelta(days=1)}, "cb"),
    ({"until": "2026-11-21"}, "a"),
    ({"tags": {"team": "one"}}, "a"),
    ({"tags": {"team": "(none)"}}, "cb"),
]


def test_several_filters_of_one_kind(store: UsageStore) -> None:
    """Any number of tags and names may be asked for at once, in every order of by and filters."""
    tags = {"team": "a", "variant": "b", "region": "c"}
    store.add([make_call(tags=tags, chain="x", model="m", session="s"), make_call(tags={"team": "a"}, chain="x")])
    for wanted, calls in (({"team": "a", "variant": "b"}, 1), (tags, 1), ({"team": "a", "variant": "(none)"}, 1)):
        found = store.breakdown(
            "tag:team", "tag:variant", "chain", tags=wanted, chain=["x", "y"], model=["m", "(none)"]
        )
        assert found.total.calls == calls
        assert store.breakdown(tags=wanted).total.calls == calls
        assert store.breakdown("session", tags=wanted, limit=1, since="2020-01-01").total.calls == calls


def test_runs_by_filter(store: UsageStore) -> None:
    """Runs come newest first, by what is known of the run itself and of its calls."""
    day = timedelta(days=1)
    store.add(
        [
            make_call(run_id="a", chain="x", model="m"),
            make_call(run_id="a", chain="y", model="n", status="error"),
            make_call(run_id="b", provider="p"),
        ],
        [
            make_fact("a", session="s", mode="rag", tags={"team": "one"}),
            make_fact("b", session="t", user="u", status="error", started_at=NOON + day, ended_at=NOON + 2 * day),
            make_fact("c", ended_at=None, started_at=NOON + 2 * day),
        ],
    )
    for filters, expected in RUN_FILTERS:
        assert (filters, "".join(run.run_id for run in store.runs(**filters))) == (filters, expected)


def test_sessions_are_a_breakdown(store: UsageStore) -> None:
    """Sessions are summed largest first, those calls without one as `(none)`."""
    store.add([make_call(session="s"), make_call(session="t", tokens=(900, 0)), make_call(tokens=(1, 0), chain="x")])
    assert [row.key["session"] for row in store.sessions()] == ["t", "s", None]
    assert store.sessions(chain="(none)")["s"].total_tokens == 120


WRONG: list[tuple[Callable[[UsageStore], Any], str]] = [
    (lambda store: store.breakdown("chian"), "'chian'"),
    (lambda store: store.breakdown(chian="x"), "'chian'"),
    (lambda store: store.timeline("year"), "'year' of a timeline; allowed: hour, day, week, month"),
    (lambda store: store.timeline("week' --"), "unknown step"),
    (lambda store: store.timeline("day", by="day"), "day, day"),
    (lambda store: store.timeline("day", by="chian"), "'chian'"),
    (lambda store: store.calls(order="size"), "'size'; allowed: started_at, duration_ms, total_tokens, cost_usd"),
    (lambda store: store.calls(order="--started_at"), "unknown order"),
    (lambda store: store.timeline(None), "unknown step None"),  # type: ignore[arg-type]
    (lambda store: store.timeline(["day"]), "unknown step ['day']"),  # type: ignore[arg-type]
    (lambda store: store.timeline("day", by=5), "unknown dimension 5"),  # type: ignore[arg-type]
    (lambda store: store.breakdown(5), "unknown dimension 5"),  # type: ignore[arg-type]
    (lambda store: store.calls(order=None), "unknown order None"),  # type: ignore[arg-type]
    (lambda store: store.calls(order=5), "unknown order 5"),  # type: ignore[arg-type]
    (lambda store: store.calls(limit="5"), "limit='5' is a str; expected a whole number from 0 on"),  # type: ignore[arg-type]
    (lambda store: store.calls(limit=True), "limit=True is a bool"),
    (lambda store: store.calls(limit=1.0), "limit=1.0 is a float"),  # type: ignore[arg-type]
    (lambda store: store.calls(limit=None), "limit=None"),  # type: ignore[arg-type]
    (lambda store: store.calls(limit=2**63), "limit=9223372036854775808"),
    (lambda store: store.calls(offset="5"), "offset='5'"),  # type: ignore[arg-type]
    (lambda store: store.runs(limit="5"), "limit='5'"),  # type: ignore[arg-type]
    (lambda store: store.runs(limit=True), "limit=True"),
    (lambda store: store.runs(limit=-1), "limit=-1"),
    (lambda store: store.runs(session=True), "session=True"),
    (lambda store: store.calls(limit=-1), "limit=-1"),
    (lambda store: store.runs(offset=-1), "-1"),
    (lambda store: store.runs(attempt=1), "'attempt'"),
    (lambda store: store.sessions(since="soon"), "'soon'"),
    (lambda store: store.delete(), "at least one filter"),
    (lambda store: store.delete(session=None, tags={}), "at least one filter"),
    (lambda store: store.delete(sesion="x"), "'sesion'"),
]


@pytest.mark.parametrize(("ask", "found"), WRONG)
def test_wrong_question_is_said_so(memory_store: UsageStore, ask: Callable[[UsageStore], Any], found: str) -> None:
    """A question that cannot be asked names what was found, and changes nothing."""
    memory_store.add([make_call(call_id="a")])
    with pytest.raises(QueryError) as caught:
        ask(memory_store)
    assert found in str(caught.value)
    assert memory_store.breakdown().total.calls == 1


def test_sums_of_money_are_exact(store: UsageStore) -> None:
    """A thousand costs that no binary fraction holds add up to the last digit."""
    store.add([make_call(call_id=str(number), cost="0.100000000001") for number in range(1_000)], [make_fact()])
    assert store.breakdown().total.cost_usd == Decimal("100.000000001")
    assert totals(store)["cost_usd"] == Decimal("100.000000001")


@pytest.mark.parametrize(
    ("amount", "pico"),
    [
        ("0", 0),
        ("0.000000000001", 1),
        ("0.0000000000005", 0),
        ("0.0000000000015", 2),
        ("1e6", 10**18),
        ("-1", -(10**12)),
    ],
)
def test_money_is_whole_pico_dollars(amount: str, pico: int) -> None:
    """Money is rounded once, half to even, to 1e-12 USD."""
    assert to_pico(Decimal(amount)) == pico
    assert from_pico(pico) == Decimal(pico) / 10**12
    assert (to_pico(None), from_pico(None)) == (None, None)


# Deleting


def test_delete_takes_calls_and_runs_that_have_none_left(store: UsageStore) -> None:
    """A session's calls go with the runs that they leave empty; the others stay, with right totals."""
    store.add(
        [make_call(run_id="a", session="s"), make_call(run_id="b", session="s"), make_call(run_id="b", session="t")],
        [make_fact("a", session="s"), make_fact("b", session="t")],
    )
    assert store.delete(session="s") == 2
    assert [run.run_id for run in store.runs()] == ["b"]
    assert totals(store, "b") == sums(store, "b") | {"calls": 1}
    assert store.delete(session="s") == 0
    assert store.delete(until="2100-01-01") == 1
    assert (store.runs(), store.calls()) == ([], [])


def test_delete_takes_a_run_that_has_no_call(store: UsageStore) -> None:
    """A run without any call, as one that ended after its session was deleted, goes with its session, too."""
    store.add([], [make_fact("a", session="s", name="secret")])
    store.delete(session="s")
    assert store.runs() == []


# Databases


def test_store_is_one_database_for_all_threads(store: UsageStore) -> None:
    """Threads that read and write at once see whole batches, and lose nothing."""
    torn: list[int] = []

    def write(name: int) -> None:
        for number in range(5):
            calls = [make_call(run_id=f"run-{name}") for _ in range(10)]
            store.add(calls, [make_fact(f"run-{name}", session=str(number))])

    def read(_: int) -> None:
        torn.extend(row.calls for _ in range(10) for row in store.breakdown("run") if row.calls % 10)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(read, 0), *(pool.submit(write, name) for name in range(3))]:
            done.result()
    assert ([row.calls for row in store.breakdown("run")], torn) == ([50, 50, 50], [])
    assert all(totals(store, f"run-{name}") == sums(store, f"run-{name}") for name in range(3))


def test_several_stores_write_one_database(lasting_database: Database, make_store: MakeStore) -> None:
    """Writers with connections of their own lose nothing, and a run's totals hold whoever wrote last."""
    make_store(lasting_database).add([], [make_fact()])

    def write(store: UsageStore) -> None:
        for _ in range(8):
            store.add([make_call(cost="0.1"), make_call()], [make_fact(ended_at=None)])

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, [make_store(lasting_database) for _ in range(3)]))
    store = make_store(lasting_database)
    assert store.breakdown().total.calls == 48
    assert totals(store) == sums(store)


def test_writers_of_one_run_wait_for_each_other(postgresql_database: Database, make_store: MakeStore) -> None:
    """Two writers that add calls to one run at the same moment leave totals that cover both."""
    first, second = make_store(postgresql_database), make_store(postgresql_database)
    first.add([], [make_fact()])
    thread = threading.Thread(target=second.add, args=([make_call(call_id="b")],))
    with writing(first._engine(), first.target) as connection:
        write_batch(connection, [make_call(call_id="a")], [])
        thread.start()
        with make_store(postgresql_database)._reading() as observer:
            _wait_until(lambda: _waits_for_a_lock(observer))
    thread.join()
    assert totals(first) == sums(first)


def test_store_can_be_used_after_close(lasting_database: Database, make_store: MakeStore) -> None:
    """A closed store opens the database again when it is used."""
    store = make_store(lasting_database)
    store.add([make_call()])
    store.close()
    store.close()
    assert store.breakdown().total.calls == 1


def test_closed_memory_keeps_its_calls(make_store: MakeStore) -> None:
    """A database in memory lives as long as its store, also when that was closed."""
    store = make_store(SimpleNamespace(url="sqlite://"))  # type: ignore[arg-type]  # a database without a fixture
    store.add([make_call()])
    store.close()
    assert store.breakdown().total.calls == 1


@pytest.mark.usefixtures("migrations")
def test_open_store_makes_an_empty_one(lasting_database: Database) -> None:
    """A database that has nothing of ours is made ready, and can be opened again."""
    for _ in range(2):
        store = open_store(lasting_database.url)
        assert store.breakdown().total.calls == 0
        store.close()


@pytest.mark.usefixtures("migrations")
def test_open_store_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a name it is the environment's store, else a file in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LANGCHAIN_TOKENS_URL", raising=False)
    open_store().close()
    monkeypatch.setenv("LANGCHAIN_TOKENS_URL", "sqlite:///named.db\n")
    open_store().close()
    assert {path.name for path in tmp_path.glob("*.db")} == {"langchain_tokens.db", "named.db"}


def test_store_stays_where_it_was_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path means the working directory of the moment it was given."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    store = UsageStore(open_store("tokens.db").target)
    monkeypatch.chdir(tmp_path / "b")
    store.add([make_call()])
    store.close()
    assert list((tmp_path / "b").iterdir()) == []


@pytest.mark.usefixtures("migrations")
def test_path_may_have_any_characters(tmp_path: Path) -> None:
    """A file's name is taken literally, as a path and percent-decoded as a URL."""
    folder = tmp_path / "100% caf\u00e9 #1?"
    folder.mkdir()
    store = open_store(folder / "a b.db")
    store.add([make_call()])
    store.close()
    again = open_store(str(folder / "a b.db"))
    assert again.breakdown().total.calls == 1
    again.close()
    spaced = open_store(f"sqlite:///{tmp_path}/a%20b.db")
    spaced.close()
    assert (tmp_path / "a b.db").exists()


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("mysql://u:s3cret@h/db", "'mysql'"),
        ("http://u:s3cret@h/db", "'http'"),
        ("sqlite://tokens.db", "sqlite:///tokens.db"),
        ("sqlite://host/tokens.db", "three slashes"),
        ("", "expected a path"),
        ("   ", "expected a path"),
        (7, "int"),
        (b"tokens.db", "bytes"),
        ("missing/tokens.db", "make "),
        ("sqlite:///missing/tokens.db", "make "),
        ("folder", "is a folder"),
        ("sqlite:///folder", "is a folder"),
        ("notes.txt", "not an SQLite database"),
        ("sqlite:///notes.txt", "not an SQLite database"),
        ("sqlite:///x.db?mode=ro", "has the option 'mode'; allowed: timeout"),
        ("sqlite:///x.db?timeout=5&cache=shared", "has the option 'cache'"),
        ("sqlite:///x.db?uri=true", "'uri'"),
        ("sqlite:///x.db?timeout", "has timeout=''; expected seconds"),
        ("sqlite:///x.db?timeout=soon", "has timeout='soon'; expected seconds"),
        ("sqlite:///x.db?timeout=-1", "timeout='-1'"),
        ("sqlite:///x.db?timeout=nan", "timeout='nan'"),
        ("sqlite:///x.db?timeout=inf", "timeout='inf'"),
        ("sqlite:///x.db?timeout=99999999", "timeout='99999999'"),
        ("sqlite://?mode=ro", "'mode'"),
        ("sqlite:///x.db?key=s3cret", "has the option 'key'"),
        ("sqlite://u:s3cret@h/x.db", "names a host"),
        ("host=h dbname=d password=s3cret", "keywords and values"),
        ("password=s3cret host=h", "keywords and values"),
        ("~nosuchuser/x.db", "'~nosuchuser/x.db' cannot be looked at"),
        ("x" * 300 + ".db", "cannot be looked at"),
        ("a\0b.db", "has a NUL"),
        (Path("a\0b.db"), "cannot be looked at"),
        ("sqlite:///a%00b.db", "cannot be looked at"),
        ("pipe", "neither a file nor a folder"),
        ("sqlite:///:memory:?cache=shared", "'cache'"),
        ("postgresql://joe@127.0.0.1:1/db?connect_timeout=soon", "connect_timeout"),
    ],
)
def test_wrong_store_says_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: Any, found: str) -> None:
    """A store that cannot be is refused when it is named, without touching any file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LANGCHAIN_TOKENS_URL", raising=False)
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.txt").write_text("dear diary")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreError) as caught:
        open_store(url)
    assert found in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert (tmp_path / "notes.txt").read_text() == "dear diary"


@pytest.mark.parametrize(
    ("query", "milliseconds"), [("", 30_000), ("?", 30_000), ("?timeout=5", 5_000), ("?timeout=0.5", 500)]
)
def test_timeout_of_an_sqlite_url_is_how_long_it_waits(tmp_path: Path, query: str, milliseconds: int) -> None:
    """`timeout` in the URL is how many seconds a connection waits for a lock; without it, 30."""
    store = UsageStore(parse_target(f"sqlite:///{tmp_path / 'tokens.db'}{query}"))
    with store._reading() as connection:
        assert connection.execute(text("PRAGMA busy_timeout")).scalar() == milliseconds
    store.close()
    assert (tmp_path / "tokens.db").exists()


def test_locked_database_is_given_up_after_the_timeout(tmp_path: Path) -> None:
    """A database that another program holds locked is an error of ours once the URL's timeout is over."""
    store = UsageStore(parse_target(f"sqlite:///{tmp_path / 'tokens.db'}?timeout=0.05"))
    store.add([make_call()])
    blocker = sqlite3.connect(tmp_path / "tokens.db")
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        store.add([make_call()])
    blocker.close()
    store.add([make_call()])
    assert store.breakdown().total.calls == 2
    store.close()


@pytest.mark.parametrize(("query", "seconds"), [("", 5), ("?connect_timeout=1", "1")])
def test_timeout_of_a_postgresql_url_is_kept(query: str, seconds: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """`connect_timeout` in a server's URL is the one that counts; without it, a connection is given up after 5 seconds."""
    asked: list[dict[str, Any]] = []

    def connect(*_: object, **named: Any) -> None:
        asked.append(named)
        raise KeyboardInterrupt

    store = UsageStore(parse_target(f"postgresql://joe@127.0.0.1:1/db{query}"))
    monkeypatch.setattr(store._opener._engine.dialect, "connect", connect)
    with pytest.raises(KeyboardInterrupt):
        store.breakdown()
    assert [named["connect_timeout"] for named in asked] == [seconds]


def test_damaged_database_is_a_store_error(tmp_path: Path) -> None:
    """A file that begins as a database and is none is an error of ours."""
    path = tmp_path / "tokens.db"
    path.write_bytes(b"SQLite format 3\x00" + b"junk" * 2_000)
    with pytest.raises(StoreError, match=r"tokens\.db"):
        open_store(path)


@pytest.mark.usefixtures("migrations")
def test_database_of_another_program_keeps_its_tables(lasting_database: Database, make_store: MakeStore) -> None:
    """Our tables stand beside those of an application, also one that uses Alembic itself, and leave them alone."""
    with _raw(lasting_database) as execute:
        execute("CREATE TABLE stock_analyses (id INTEGER, note TEXT)")
        execute("INSERT INTO stock_analyses VALUES (1, 'theirs')")
        execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        execute("INSERT INTO alembic_version VALUES ('their-head')")
    store = make_store(lasting_database)
    store.add([make_call()])
    store.delete(until="2100-01-01")
    with _raw(lasting_database) as execute:
        assert execute("SELECT id, note FROM stock_analyses") == [(1, "theirs")]
        assert execute("SELECT version_num FROM alembic_version") == [("their-head",)]


@pytest.mark.usefixtures("migrations")
@pytest.mark.parametrize("made", ["CREATE TABLE llm_call (id INTEGER)", "CREATE VIEW llm_run AS SELECT 1 AS id"])
def test_table_of_ours_that_is_anothers_is_said(lasting_database: Database, make_store: MakeStore, made: str) -> None:
    """A table with a name of ours in a database that we did not make is left alone, and the error says what to do."""
    with _raw(lasting_database) as execute:
        execute(made)
    for _ in range(2):
        with pytest.raises(SchemaError) as caught:
            make_store(lasting_database).breakdown()
        said = str(caught.value)
        assert f"{made.split()[2]} already, not ours" in said
        assert "another database" in said
    with _raw(lasting_database) as execute:
        assert execute(f"SELECT * FROM {made.split()[2]}") in ([], [(1,)])


SECRET_URLS = [
    "postgresql://joe:s3cret@127.0.0.1:1/db",
    "postgresql+psycopg://joe:s3cret@127.0.0.1:1/db?connect_timeout=1",
    "postgres://joe:s3cret%40x@127.0.0.1:1/db",
    "postgresql://joe@127.0.0.1:1/db?password=s3cret",
]


@pytest.mark.parametrize("url", [*SECRET_URLS, "postgresql://joe:s3cret@127.0.0.1:port/db"])
def test_password_is_never_in_an_error(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """A password in a URL is in no error's text and in no log."""
    with pytest.raises(StoreError) as caught:
        open_store(url)
    assert "s3cret" not in f"{caught.value} {caught.value!r} {caplog.text}"


@pytest.mark.parametrize("url", SECRET_URLS)
def test_password_is_never_shown(url: str) -> None:
    """A store with a password in its URL shows itself, and its target, without it."""
    store = UsageStore(parse_target(url))
    assert "s3cret" not in f"{store!r} {store.target} {store.target!r}"


@pytest.mark.usefixtures("migrations")
def test_newer_schema_is_refused(lasting_database: Database, make_store: MakeStore) -> None:
    """A database of a later version of the package is not touched, and the error says to update."""
    make_store(lasting_database).breakdown()
    with _raw(lasting_database) as execute:
        execute("UPDATE langchain_tokens_version SET version_num = '9999'")
    with pytest.raises(SchemaError) as caught:
        make_store(lasting_database).breakdown()
    assert isinstance(caught.value, TokensError)
    assert f"has schema 9999, which is newer than {HEAD}" in str(caught.value)
    assert "update the package" in str(caught.value)


@pytest.mark.usefixtures("migrations")
def test_older_schema_names_the_command(lasting_database: Database, make_store: MakeStore) -> None:
    """A database of an earlier version is not touched, and the error names what to run."""
    make_store(lasting_database).breakdown()
    with _raw(lasting_database) as execute:
        execute("UPDATE langchain_tokens_version SET version_num = '0000'")
    with pytest.raises(SchemaError, match=f"has schema 0000, and {HEAD} is needed"):
        make_store(lasting_database).breakdown()


@pytest.mark.usefixtures("migrations")
def test_processes_open_a_new_database_at_once(lasting_database: Database, make_store: MakeStore) -> None:
    """Two processes that find no schema at the same moment both store what they have."""
    program = (
        "import sys, datetime\n"
        "from langchain_tokens.call import Call\n"
        "from langchain_tokens.store.store import UsageStore\n"
        "from langchain_tokens.store.target import parse_target\n"
        "import alembic.command, sqlalchemy\n"
        "store = UsageStore(parse_target(sys.argv[1]))\n"
        "print(flush=True), sys.stdin.readline()\n"
        "now = datetime.datetime.now(datetime.timezone.utc)\n"
        "store.add([Call(call_id=sys.argv[2], run_id='r', started_at=now)])\n"
        "store.close()\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program, lasting_database.url, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        )
        for number in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()  # both are ready
    assert [process.communicate("\n", timeout=60)[1] for process in processes] == ["", ""]
    assert make_store(lasting_database).breakdown().total.calls == 2


@pytest.mark.usefixtures("migrations")
def test_threads_open_a_new_database_at_once(lasting_database: Database, make_store: MakeStore) -> None:
    """Many stores that open one new database at the same moment all get it."""
    start = threading.Barrier(6)

    def use(store: UsageStore) -> None:
        start.wait()
        store.add([make_call()])

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(use, [make_store(lasting_database) for _ in range(6)]))
    assert make_store(lasting_database).breakdown().total.calls == 6


@pytest.mark.usefixtures("migrations")
def test_threads_open_many_new_databases_at_once(tmp_path: Path) -> None:
    """Migrations of several new databases do not disturb each other, though each is made in a thread of its own."""
    for number in range(3):
        start = threading.Barrier(4)

        def use(name: str, start: threading.Barrier = start) -> int:
            start.wait()
            return open_store(tmp_path / name).breakdown().total.calls

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(use, [f"{number}-{name}.db" for name in "abcd"])) == [0] * 4


async def test_store_can_be_asked_from_tasks(store: UsageStore) -> None:
    """Reads in worker threads of an event loop do not disturb each other."""
    store.add([make_call()])
    answers = await asyncio.gather(*(asyncio.to_thread(store.breakdown, "chain") for _ in range(5)))
    assert [answer.total.calls for answer in answers] == [1] * 5


def test_repr_names_the_database(database: Database, make_store: MakeStore) -> None:
    """A store's representation says which database it is."""
    store = make_store(database)
    assert repr(store) == f"<UsageStore {store.target}>"
    assert str(store.target).startswith("postgresql" if database.kind == "postgresql" else "sqlite://")


def test_columns_are_not_clamped(store: UsageStore) -> None:
    """A detail above its total is kept as it was said."""
    store.add([make_call(usage=make_usage(1, 2, cache_read_tokens=9, reasoning_tokens=9))])
    with store._reading() as connection:
        row = connection.execute(select(CALLS)).one()._mapping
    assert (row["input_tokens"], row["cache_read_tokens"], row["reasoning_tokens"]) == (1, 9, 9)


def test_enormous_counts_do_not_block_a_store(store: UsageStore) -> None:
    """Counts that one column holds, but no sum of them, are refused as values and do not look like a dead database."""
    with pytest.raises(RowError):
        store.add([make_call(usage=make_usage(2**62, 0)) for _ in range(3)], [make_fact()])
    assert store.breakdown().total.calls == 0


class _raw:  # noqa: N801  # reads as a block
    """A connection of another program: `execute(sql)` gives the rows, if any."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __enter__(self) -> Callable[[str], list[Any]]:
        if self._database.kind == "postgresql":
            import psycopg

            self._connection: Any = psycopg.connect(self._database.url)
        else:
            self._connection = sqlite3.connect(self._database.url.removeprefix("sqlite:///"))
        return self._execute

    def __exit__(self, *_: object) -> None:
        self._connection.commit()
        self._connection.close()

    def _execute(self, sql: str) -> list[Any]:
        cursor = self._connection.execute(sql)
        return list(cursor.fetchall()) if cursor.description is not None else []


def _waits_for_a_lock(connection: Any) -> bool:
    # Not `pg_stat_activity`, of which a transaction sees the state at its first look.
    return bool(connection.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar())


def _wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
