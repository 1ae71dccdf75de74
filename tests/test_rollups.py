"""Are the sums that are kept always those of the rows? Through every change, and in every answer."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, text

from langchain_tokens.breakdown import Breakdown, aggregate
from langchain_tokens.call import Call
from langchain_tokens.query import make_query
from langchain_tokens.reports import overview
from langchain_tokens.store import rebuilding
from langchain_tokens.store.engine import writing
from langchain_tokens.store.plan import pieces
from langchain_tokens.store.rolluptables import ROLLUPS
from langchain_tokens.store.store import UsageStore
from tests.builders import NOON, make_call, make_fact, make_usage

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

MakeStore = Callable[["Database"], UsageStore]
NAMES = ("chain", "agent", "mode", "model", "provider", "path", "session", "user")
_NUMBERS = itertools.count(1)


def some_call(chance: random.Random) -> Call:
    """A call like those that a year of an application may hold, with much of it unknown now and then."""

    def maybe(*values: Any) -> Any:
        return chance.choice((*values, None))

    tokens = maybe((chance.randrange(5_000), chance.randrange(900)), (None, 7), (0, 0))
    usage = None if tokens is None else make_usage(*tokens, cache_read_tokens=maybe(0, 3), reasoning_tokens=maybe(5))
    cost = maybe(Decimal(chance.randrange(10**9)).scaleb(-12), Decimal(0))
    duration = maybe(chance.randrange(1, 10**7) / 1_000)
    return make_call(
        call_id=f"some-{next(_NUMBERS)}",
        run_id=f"run-{chance.randrange(12)}",
        started_at=NOON
        + timedelta(seconds=chance.randrange(-90 * 86_400, 5 * 3_600), microseconds=chance.randrange(3)),
        **{name: maybe(f"{name}-1", f"{name}-2", f"{name} '3'") for name in NAMES},
        status=chance.choice(("ok", "ok", "error", "cancelled", "cached")),
        attempt=chance.choice((1, 2, 10)),  # as text, 10 comes before 2
        usage=usage,
        usage_source=chance.choice(("provider", "estimated")) if usage is not None else "missing",
        cost_usd=cost,
        saved_cost_usd=maybe(Decimal("0.000001")),
        price_status="unpriced" if cost is None else "priced",
        duration_ms=duration,
        superseded=chance.random() < 0.2,
    )


def changed(call: Call, chance: random.Random) -> Call:
    """A later revision of a call: everything but its id may be another."""
    return replace(some_call(chance), call_id=call.call_id, revision=call.revision + chance.randrange(1, 3))


def repriced(call: Call) -> Call:
    """A call with another cost."""
    return replace(call, cost_usd=Decimal("0.5"), input_cost_usd=None, output_cost_usd=None, price_status="priced")


@pytest.mark.parametrize("seed", range(2))
def test_sums_follow_rows_through_every_change(database: Database, make_store: MakeStore, seed: int) -> None:
    """New calls, replays, corrections, new prices and deletions leave every kept sum equal to that of the rows."""
    chance, store = random.Random(seed), make_store(database)
    held: dict[str, Call] = {}
    for turn in range(9):
        new = [some_call(chance) for _ in range(chance.randrange(1, 60))]
        again = chance.sample(list(held.values()), min(len(held), 5))
        corrections = [changed(call, chance) for call in chance.sample(list(held.values()), min(len(held), 8))]
        batch = [*new, *again, *corrections, changed(new[0], chance)]
        store.add(batch, [make_fact(f"run-{chance.randrange(12)}")])
        for call in batch:
            if call.call_id not in held or call.revision > held[call.call_id].revision:
                held[call.call_id] = call
        olds = chance.sample(list(held.values()), 3)
        store.change_costs([(old, repriced(old)) for old in olds])
        held |= {old.call_id: repriced(old) for old in olds}
        if chance.random() < 0.5:
            doomed = chance.choice([name for name in NAMES if name != "path"])
            store.delete(**{doomed: f"{doomed}-2"}, since=NOON - timedelta(days=20))
            held = {
                key: call
                for key, call in held.items()
                if getattr(call, doomed) != f"{doomed}-2" or call.started_at < NOON - timedelta(days=20)
            }
        if turn % 3 == 2:
            assert (store.wrong_rollups(), store.wrong_totals()) == ([], [])
    assert {call.call_id: call for call in store.calls(limit=10_000)} == held
    store.delete(until="2100-01-01")
    with writing(store._engine(), store.target) as connection:
        left = [connection.execute(rollup.table.select()).all() for rollup in ROLLUPS]
    assert left == [[]] * len(ROLLUPS)


RANGES: tuple[dict[str, Any], ...] = (
    {},
    {"since": NOON - timedelta(days=7, seconds=11)},
    {"since": NOON - timedelta(days=64), "until": NOON - timedelta(hours=3)},
    {"since": NOON - timedelta(minutes=17)},
    {"since": NOON - timedelta(minutes=17), "until": NOON - timedelta(minutes=5)},
    {"since": "2026-10-01", "until": "2026-11-01"},
    {"until": NOON - timedelta(days=31, minutes=1)},
    {"since": datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)},
    {"until": datetime(1, 1, 1, 0, 0, 1, tzinfo=UTC)},
)
QUESTIONS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    ((), {}),
    (("chain",), {}),
    (("session",), {}),
    (("user",), {"user": ["user-1", "(none)"]}),
    (("day",), {}),
    (("hour", "model"), {}),
    (("month", "agent", "mode"), {}),
    (("month", "session"), {}),
    (("day", "user"), {}),
    (("attempt", "status"), {"chain": "chain-1"}),
    (("attempt",), {}),
    (("day", "attempt"), {}),
    (("agent", "model"), {"provider": ["provider-1", "(none)"]}),
    (("month", "chain", "path"), {"agent": "agent-1"}),
    (("path", "provider"), {"model": "(none)", "status": ["ok", "error"]}),
    ((), {"session": "session-1"}),
    (("chain",), {"session": "session-1"}),
    (("run",), {"agent": "agent-2"}),
    (("hour",), {"mode": "no such"}),
)


def same(found: Breakdown, right: Breakdown) -> bool:
    """Whether two answers are equal, but for the last digits of summed durations."""
    return [known(row) for row in (*found, found.total)] == [known(row) for row in (*right, right.total)]


def known(row: Any) -> Any:
    rounded = {
        name: value if value is None else pytest.approx(value, rel=1e-9)
        for name, value in (("duration_ms", row.duration_ms), ("tokens_per_second", row.tokens_per_second))
    }
    return replace(row, duration_ms=None, tokens_per_second=None), rounded


def test_answers_from_kept_sums_are_those_of_the_calls(database: Database, make_store: MakeStore) -> None:
    """Whatever is asked, of whatever range, is answered as by adding up the calls in memory."""
    chance, store = random.Random(7), make_store(database)
    calls = [some_call(chance) for _ in range(400)]
    store.add(calls)
    for (by, filters), span in itertools.product(QUESTIONS, RANGES):
        right = aggregate(calls, make_query(by, {**filters, **span}))
        found = store.breakdown(*by, **filters, **span)
        assert same(found, right), (by, filters, span)


def unpriced(call: Call, **more: Any) -> Call:
    """A later revision of a call, whose cost nobody knows."""
    return replace(call, revision=1, cost_usd=None, price_status="unpriced", **more)


FORGETTING: Mapping[str, Callable[[UsageStore, Call], object]] = {
    "corrected": lambda store, call: store.add([unpriced(call)]),
    "corrected in its names, too": lambda store, call: store.add([unpriced(call, agent="other", attempt=11)]),
    "deleted": lambda store, _: store.delete(status="error"),
}


@pytest.mark.parametrize(("way", "is_pruned"), [*((way, False) for way in FORGETTING), ("deleted", True)])
def test_what_no_call_knows_any_more_is_unknown_again(store: UsageStore, way: str, is_pruned: bool) -> None:
    """When the one call that knew a cost is gone, each sum is NULL, not 0; also where of the others only sums are left."""
    early = NOON - timedelta(days=40)
    names: dict[str, Any] = {name: name for name in NAMES[:-2]}
    store.add([make_call(started_at=early, attempt=attempt, **names) for attempt in (1, 2, 10)])
    if is_pruned:
        store.prune(NOON - timedelta(days=1))
    known_to = make_call(started_at=early, attempt=10, status="error", cost="0.5", session="s", user="u", **names)
    store.add([known_to])
    assert store.breakdown("agent", "model").total.cost_usd == known_to.cost_usd
    FORGETTING[way](store, known_to)
    assert store.check().is_clean
    with writing(store._engine(), store.target) as connection:
        costs = [set(connection.execute(select(rollup.table.c.total_cost)).scalars()) for rollup in ROLLUPS]
    assert costs == [{None}] * len(ROLLUPS)


def test_a_correction_of_what_is_in_no_sum_leaves_all_of_them(store: UsageStore) -> None:
    """Another tag or another price list with the same cost changes the call, and no sum."""
    call = make_call(chain="c", cost="0.5")
    store.add([call])
    corrected = replace(call, revision=1, tags={"team": "a"})
    store.add([corrected])
    assert store.change_costs([(corrected, replace(corrected, price_version="later"))]) == 1
    assert [(found.tags, found.price_version) for found in store.calls()] == [({"team": "a"}, "later")]
    assert store.breakdown("chain", "attempt").total.cost_usd == call.cost_usd
    assert store.check().is_clean


EMPTY: Mapping[tuple[str, ...], Mapping[tuple[str | None, ...], int]] = {
    ("session",): {(None,): 8, ("s",): 4},
    ("chain",): {(None,): 8, ("c",): 4},
    ("chain", "model"): {(None, None): 8, ("c", None): 4},
    ("month", "chain"): {
        ("2026-11", None): 6,
        ("2026-11", "c"): 3,
        ("2026-12", None): 2,
        ("2026-12", "c"): 1,
    },
}


@pytest.mark.parametrize("by", EMPTY)
def test_an_empty_name_is_none_whatever_answers(database: Database, make_store: MakeStore, by: tuple[str, ...]) -> None:
    """Calls whose name is the empty text and calls without one are one group, of rows and of sums, and no session."""
    store, since = make_store(database), NOON.replace(minute=20)
    moments = [since + timedelta(days=days, hours=days) for days in (0, 1, 3, 30)]
    names: tuple[dict[str, Any], ...] = ({}, {"session": "", "chain": "", "model": ""}, {"session": "s", "chain": "c"})
    store.add([make_call(started_at=at, **more) for at in moments for more in names])
    found = store.breakdown(*by, since=since, until=moments[-1] + timedelta(minutes=5))
    assert {tuple(row.key.values()): row.calls for row in found} == EMPTY[by]
    assert overview(store, since=since).sessions == 1


@pytest.mark.parametrize("by", [("session",), ("user",), ("chain",), ("run",), ("chain", "model")])
def test_limit_gives_the_largest_rows_and_the_whole_total(
    database: Database, make_store: MakeStore, by: tuple[str, ...]
) -> None:
    """With a limit, the rows are the largest, unknown ones last, and the total and the shares are those of all."""
    chance, store = random.Random(3), make_store(database)
    calls = [*[some_call(chance) for _ in range(80)], make_call(session="nobody knows", tokens=None, started_at=NOON)]
    store.add(calls)
    for limit, span in itertools.product((0, 1, 2, 10_000), ({}, {"since": NOON - timedelta(days=40, minutes=7)})):
        whole = aggregate(calls, make_query(by, span))
        found = store.breakdown(*by, limit=limit, **span)
        assert [row.total_tokens for row in found] == [row.total_tokens for row in whole][:limit]
        assert (found.total.calls, found.total.total_tokens) == (whole.total.calls, whole.total.total_tokens)
        assert all(row.share == whole[tuple(row.key.values())].share for row in found)


@pytest.mark.parametrize("rows_at_a_time", [1, 50_000])
def test_a_wrong_sum_is_found_and_mended(
    database: Database, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, rows_at_a_time: int
) -> None:
    """A sum that was changed, one too many and one that is missing are reported by the check, and rebuilt."""
    monkeypatch.setattr(rebuilding, "_PART", rows_at_a_time)
    store = make_store(database)
    store.add([make_call(started_at=NOON - timedelta(minutes=40 * number)) for number in range(9)])
    store.add([make_call(chain="a"), make_call(chain="b", session="s", started_at=NOON - timedelta(days=40))])
    with writing(store._engine(), store.target) as connection:
        connection.execute(text("UPDATE usage_daily SET input_tokens = 7 WHERE chain_name = 'a'"))
        connection.execute(text("DELETE FROM usage_by_name WHERE name = 's'"))
        connection.execute(text("UPDATE usage_hourly_by_name SET name = 'nobody' WHERE dimension = 'user'"))
    found = {(item.row.split()[0], item.column) for item in store.check().differences}
    assert {("usage_daily", "input_tokens"), ("usage_by_name", "calls"), ("usage_hourly_by_name", "calls")} <= found
    store.rebuild_rollups()
    assert store.check().is_clean


def test_pieces_cover_a_range_once() -> None:
    """However a range lies, its pieces follow one another without gap or overlap, whole steps in the middle."""
    chance = random.Random(5)
    for _ in range(500):
        since = NOON + timedelta(seconds=chance.randrange(-(10**7), 10**7))
        until = since + timedelta(seconds=chance.choice((1, 3_000, 90_000, 5_000_000)))
        found = pieces(since, until, chance.choice((None, "hour", "day", "month")))
        assert (found[0].since, found[-1].until) == (since, until)
        assert all(one.until == other.since for one, other in itertools.pairwise(found))
        assert all(piece.since < piece.until for piece in found if piece.since and piece.until)


def test_long_runs_are_added_to(database: Database, make_store: MakeStore) -> None:
    """A run whose calls come in many batches, before and after the run itself, has the totals of all of them."""
    store = make_store(database)
    for number in range(5):
        store.add([make_call(run_id="long", tokens=(number, 1)) for _ in range(3)])
        store.add([], [make_fact("long")] if number == 2 else [])
    assert store.wrong_totals() == []
    assert store.runs()[0].total.total_tokens == 45
