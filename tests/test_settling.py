"""What was in vain is found out once for past hours and days, and is always what the rows say now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from threading import Thread
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import event, func, select, update

from langchain_tokens import PriceBook, UsageStore
from langchain_tokens.call import Call, RunFact
from langchain_tokens.query import make_query
from langchain_tokens.reports import findings
from langchain_tokens.store import periods, settling, unsettling
from langchain_tokens.store.engine import writing
from langchain_tokens.store.settledtables import SETTLED, WASTE
from langchain_tokens.store.settling import read_settled_waste, settle, wrong_waste
from langchain_tokens.store.unsettling import unsettle_range
from langchain_tokens.store.waste import read_waste
from langchain_tokens.store.writes import write_batch
from tests.builders import NOON, make_call, make_fact

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.databases import Database

pytest_plugins = ("tests.databases",)

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LATER = NOON + 7 * DAY
"""When findings are asked for: all calls here are from before."""
NO_PRICES = PriceBook([], corrections=False, stale_after_days=None)
FILTERS: tuple[dict[str, Any], ...] = (
    {},
    {"since": NOON - 2 * DAY + timedelta(minutes=40), "until": NOON + DAY + timedelta(minutes=17)},
    {"since": NOON - 5 * HOUR},
    {"until": NOON + 90 * HOUR, "chain": ["plan", None]},
    {"agent": None},
    {"model": "m-1", "mode": "batch"},
    {"session": "s-1"},
    {"status": "ok"},
)


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settle stores of a few calls, too."""
    monkeypatch.setattr(periods, "_PAYS", 1)


def some_calls(chance: Random, count: int, *, days: int = 4) -> tuple[list[Call], list[RunFact]]:
    """Calls of runs that last minutes, hours or days, with all that may tell that one was in vain."""
    starts = {f"run-{number}": NOON + chance.randrange(-24 * days, 96) * HOUR for number in range(count // 4)}
    calls = [_some_call(chance, f"call-{number:04}", *chance.choice([*starts.items()])) for number in range(count)]
    facts = [
        make_fact(run_id, started_at=start, ended_at=start + HOUR, status="error", error_type=error)
        for run_id, start in starts.items()
        if (error := chance.choice((None, None, "OutputParserException", "TimeoutError")))
    ]
    return calls, facts


def _some_call(chance: Random, call_id: str, run_id: str, start: datetime) -> Call:
    later = chance.choice((5, 50, 60, 600, 3_000)) * timedelta(minutes=chance.random())
    error = chance.choice((None, None, "timeout", "Invalid json output"))
    return make_call(
        call_id=call_id,
        run_id=run_id,
        started_at=start + later,
        chain=chance.choice(("plan", "fix", None)),
        agent=chance.choice(("A", None)),
        model=chance.choice(("m-1", "m-2")),
        provider="openai",
        mode=chance.choice(("batch", "interactive", None)),
        session=chance.choice(("s-1", "s-2")),
        path=chance.choice(("a/fix", "a/plan", None)),
        tokens=chance.choice(((100, 20), (7, 3), None)),
        cost=chance.choice(("0.01", "0.002", None)),
        status=chance.choice(("ok", "ok", "ok", "error")),
        superseded=chance.random() < 0.3,
        attempt_error=error,
        retry_kind=chance.choice(("retry", "fallback", "replay", None)) if error else None,
        finish_reason=chance.choice(("stop", "length")),
    )


def ask(store: UsageStore, filters: dict[str, Any], *, is_of_rows: bool = False) -> dict[Any, list[Any]]:
    """What is found by kind and place, with all numbers; of what is settled where that is to be had, or of rows."""
    query, found = make_query((), filters), dict[Any, list[Any]]()
    with store._reading() as connection:
        rows = read_waste(connection, query) if is_of_rows else read_settled_waste(connection, query, LATER)
    for row in rows:
        key, numbers = (*row[:5],), [None if number is None else int(number) for number in row[5:]]
        before = found.get(key, [None] * len(numbers))
        both = zip(before, numbers, strict=True)
        found[key] = [sum(filter(None, pair)) if pair != (None, None) else None for pair in both]
    return found


def settled(store: UsageStore, **filters: Any) -> set[tuple[str, datetime]]:
    """Step and start of the periods that are settled after this question."""
    settle(store._engine(), store.target, make_query((), filters), LATER)
    return known(store)


def known(store: UsageStore) -> set[tuple[str, datetime]]:
    """Step and start of the periods that are settled."""
    with store._reading() as connection:
        return {(row.step, row.since) for row in connection.execute(select(SETTLED.c.step, SETTLED.c.since))}


def assert_right(store: UsageStore) -> None:
    """Whatever is settled by now says what the rows say, and all questions are answered with what they say."""
    with store._reading() as connection:
        assert list(wrong_waste(connection)) == []
    for filters in FILTERS:
        settled(store, **filters)
        assert ask(store, filters) == ask(store, filters, is_of_rows=True)
    assert known(store)


def changes(chance: Random, calls: list[Call], facts: list[RunFact]) -> Iterator[tuple[list[Call], list[RunFact]]]:
    """What comes later: retries of old calls, calls that are thrown away now, others at other times, ends of runs."""
    again = [_some_call(chance, f"later-{number}", *_place(chance.choice(calls))) for number in range(4)]
    yield again, []
    yield [replace(call, superseded=not call.superseded, revision=1) for call in chance.sample(calls, 3)], []
    moved = chance.choice(calls)
    yield [replace(moved, started_at=moved.started_at - 30 * HOUR, run_id=chance.choice(calls).run_id, revision=2)], []
    ended = chance.choice(calls)
    yield [], [make_fact(ended.run_id, started_at=ended.started_at, status="error", error_type="ValidationError")]
    yield again, facts


def _place(call: Call) -> tuple[str, datetime]:
    return call.run_id, call.started_at


@pytest.mark.parametrize(("days", "at_once"), [(4, 5), (60, 100_000)])
def test_what_is_settled_is_what_rows_say(
    store: UsageStore, days: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For all ranges and filters, whatever is added, corrected, moved, ended, deleted, priced or pruned later."""
    monkeypatch.setattr(settling, "_AT_ONCE", at_once)
    chance = Random(days)
    calls, facts = some_calls(chance, 40, days=days)
    store.add(calls, facts)
    assert_right(store)
    for more, told in changes(chance, calls, facts):
        store.add(more, told)
        assert_right(store)
    store.delete(run=calls[0].run_id)
    assert_right(store)
    store.change_costs([(call, replace(call, cost_usd=None, price_status="unpriced")) for call in store.calls(limit=9)])
    assert_right(store)
    store.prune(NOON - 2 * DAY, keep_rollups=False)
    assert_right(store)


def test_whole_days_and_hours_are_settled(store: UsageStore) -> None:
    """A range's days are settled as such, its ends by the hour; neither what lies beyond nor a part of an hour."""
    store.add([make_call(started_at=NOON + number * HOUR) for number in range(-72, 72)])
    since, until = NOON - DAY - timedelta(minutes=90), NOON + DAY + timedelta(minutes=90)
    midnight = NOON.replace(hour=0)
    hours = [NOON - DAY + number * HOUR for number in (-1, *range(12))] + [midnight + DAY + n * HOUR for n in range(13)]
    assert settled(store, since=since, until=until) == {("day", midnight), *(("hour", hour) for hour in hours)}


def test_months_are_made_of_days(store: UsageStore) -> None:
    """A whole month is settled with all of its days; one of which a day is touched is so again."""
    cut_off = {"finish_reason": "length"}
    store.add([make_call(run_id=f"run-{days}", started_at=NOON - days * DAY, **cut_off) for days in range(60)])
    october = NOON.replace(month=10, day=1, hour=0)
    whole = settled(store)
    assert {since for step, since in whole if step == "month"} == {october.replace(month=9), october}
    store.add([make_call(run_id="late", started_at=NOON - 31 * DAY, **cut_off)])
    assert whole - known(store) == {("month", october), ("day", NOON.replace(hour=0) - 31 * DAY)}
    assert sum(found[0] for found in ask(store, {}).values()) == 61
    assert settled(store) == whole
    assert sum(found[0] for found in ask(store, {}).values()) == 61


def test_busy_days_are_made_of_hours(store: UsageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that nobody waits for more calls than there are in an hour."""
    monkeypatch.setattr(settling, "_AT_ONCE", 30)
    cut_off = {"finish_reason": "length"}
    busy = [make_call(run_id=f"r{n}", started_at=NOON + n * timedelta(minutes=1), **cut_off) for n in range(60)]
    store.add([*busy, make_call(run_id="calm", started_at=NOON - DAY, **cut_off)])
    midnight = NOON.replace(hour=0)
    hours = {("hour", midnight + number * HOUR) for number in range(24)}
    whole = settled(store, since=midnight - DAY, until=midnight + DAY)
    assert whole == {("day", midnight - DAY), ("day", midnight), *hours}
    assert sum(found[0] for found in ask(store, {}).values()) == 61


def test_an_old_call_makes_no_age_of_days(store: UsageStore) -> None:
    """A clock that was wrong once does not let two thousand years be settled."""
    store.add([make_call(started_at=NOON, finish_reason="length")])
    store.add([make_call(run_id="odd", started_at=NOON.replace(year=2), finish_reason="length")])
    assert len(settled(store)) < 5_000
    assert sum(found[0] for found in ask(store, {}).values()) == 2


def test_an_hour_is_settled_when_it_has_been_over_for_a_while(store: UsageStore) -> None:
    """The running hour and one that has just ended still get calls."""
    store.add([make_call(started_at=NOON + number * timedelta(minutes=20)) for number in range(-9, 9)])
    engine, query = store._engine(), make_query((), {"since": NOON - 2 * HOUR})
    settle(engine, store.target, query, NOON + timedelta(minutes=14))
    assert known(store) == {("hour", NOON - 2 * HOUR)}
    settle(engine, store.target, query, NOON + timedelta(minutes=15))
    assert known(store) == {("hour", NOON - 2 * HOUR), ("hour", NOON - HOUR)}


def test_only_what_may_be_touched_is_found_out_again(store: UsageStore) -> None:
    """A call touches the periods between its run's first call and itself."""
    store.add([make_call(run_id=f"run-{number}", started_at=NOON + number * HOUR) for number in range(-6, 6)])
    whole = settled(store, since=NOON - 6 * HOUR, until=NOON + 6 * HOUR)
    store.add([make_call(run_id="run--2", started_at=NOON + timedelta(minutes=5))])
    assert whole - known(store) == {("hour", NOON + number * HOUR) for number in (-2, -1, 0)}
    assert known(store) <= whole
    store.add([make_call(run_id="new", started_at=NOON + 4 * HOUR)], [make_fact("new", started_at=NOON + 4 * HOUR)])
    assert ("hour", NOON + 3 * HOUR) in known(store)
    assert ("hour", NOON + 4 * HOUR) not in known(store)


def test_a_run_that_has_no_call_yet_touches_nothing_before_it(store: UsageStore) -> None:
    """Its row, which knows no first call, does not make all that is settled void."""
    store.add([make_call(started_at=NOON - number * HOUR) for number in range(1, 6)])
    whole = settled(store, since=NOON - 5 * HOUR, until=NOON)
    store.add([], [make_fact("empty", started_at=NOON + HOUR, ended_at=None)])
    store.add([make_call(run_id="empty", started_at=NOON + HOUR)])
    assert known(store) == whole


def test_a_small_range_is_read_from_rows(store: UsageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where rows are few, nothing is kept: reading stays reading."""
    monkeypatch.setattr(periods, "_PAYS", 100)
    store.add([make_call(started_at=NOON - number * HOUR) for number in range(99)])
    assert settled(store) == set()
    store.add([make_call(started_at=NOON - 99 * HOUR)])
    assert settled(store) != set()


def test_who_may_not_write_is_answered_from_rows(
    lasting_database: Database, make_store: Callable[[Database], UsageStore]
) -> None:
    """While somebody else holds what a writer needs, the answer is the same, and nothing is kept."""
    store, other = make_store(lasting_database), make_store(lasting_database)
    store.add(*some_calls(Random(9), 40))
    with writing(other._engine(), other.target) as connection:
        unsettle_range(connection, None, None)
        during = findings(store, prices=NO_PRICES).to_dict()
        assert known(store) == set()
    assert findings(store, prices=NO_PRICES).to_dict() == during
    assert known(store)


def test_what_is_settled_is_seen_and_read_in_one_transaction(store: UsageStore) -> None:
    """Where nothing is left to settle, nobody begins another; and what was seen is what is read."""
    store.add(*some_calls(Random(9), 40))
    first, begun = findings(store, prices=NO_PRICES).to_dict(), list[str]()
    event.listen(store._engine(), "begin", lambda _: begun.append("one"))
    assert findings(store, prices=NO_PRICES).to_dict() == first
    assert begun == ["one"]
    store.add([make_call(started_at=NOON, finish_reason="length")])
    begun.clear()
    assert findings(store, prices=NO_PRICES).to_dict() != first
    assert len(begun) > 1


def test_a_call_that_comes_meanwhile_is_not_left_out(
    lasting_database: Database, make_store: Callable[[Database], UsageStore]
) -> None:
    """What is settled beside a writer that has not committed yet is settled again after it."""
    store, other = make_store(lasting_database), make_store(lasting_database)
    store.add([make_call(finish_reason="length", started_at=NOON)])
    with writing(other._engine(), other.target) as connection:
        write_batch(connection, [make_call(finish_reason="length", started_at=NOON)], [])
        settled(store)
    settled(store)
    assert [found[0] for found in ask(store, {}).values()] == [2]


def test_a_run_that_began_earlier_than_was_said_is_no_longer_told_by_its_end(store: UsageStore) -> None:
    """What it then lasts too long for is found out again, also beyond a day after its start."""
    start, unread = NOON - 3 * DAY + 8 * HOUR, {"status": "error", "error_type": "OutputParserException"}
    store.add(
        [make_call(run_id="long", started_at=start + hours * HOUR) for hours in (21, 30)],
        [make_fact("long", started_at=start + 20 * HOUR, ended_at=start + 31 * HOUR, **unread)],
    )
    settled(store)
    assert [found[0] for found in ask(store, {}).values()] == [1]
    store.add([], [make_fact("long", started_at=start, ended_at=start + HOUR, **unread)])
    settled(store)
    assert ask(store, {}) == ask(store, {}, is_of_rows=True) == {}


def test_how_a_range_is_cut_makes_no_difference_to_a_run_that_was_resumed_days_later(store: UsageStore) -> None:
    """Its end tells nothing of calls long before what is known of its start."""
    first, unread = NOON - 5 * DAY, {"status": "error", "error_type": "OutputParserException"}
    store.add([make_call(run_id="r", started_at=first), make_call(run_id="r", started_at=NOON - DAY, status="error")])
    store.add([], [make_fact("r", started_at=NOON - DAY, ended_at=NOON, **unread)])
    settled(store, since=first - DAY, until=first.replace(hour=0) + DAY)
    assert ask(store, {}) == ask(store, {}, is_of_rows=True)


@pytest.mark.parametrize("at", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_the_ends_of_the_calendar_are_asked_for(memory_store: UsageStore, at: datetime) -> None:
    """As a range's, and as the days of calls."""
    memory_store.add([make_call(started_at=at, finish_reason="length"), make_call()])
    assert findings(memory_store, prices=NO_PRICES).rows
    assert findings(memory_store, prices=NO_PRICES, since=at).rows
    assert findings(memory_store, prices=NO_PRICES, until=at).calls <= findings(memory_store, prices=NO_PRICES).calls


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_a_writer_and_a_settler_see_what_was_committed_while_they_waited(
    postgresql_database: Database, make_store: Callable[[Database], UsageStore], isolation: str
) -> None:
    """Whatever the database's own default for transactions is."""
    with psycopg.connect(postgresql_database.url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET default_transaction_isolation = '{isolation}'")
    store, other = make_store(postgresql_database), make_store(postgresql_database)
    store.add([make_call(finish_reason="length")])
    with writing(other._engine(), other.target) as begun:
        settled(store)
        write_batch(begun, [make_call(finish_reason="length")], [])
    settled(store)
    assert [found[0] for found in ask(store, {}).values()] == [2]


def test_those_who_delete_never_wait_for_each_other_in_a_circle(
    postgresql_database: Database, make_store: Callable[[Database], UsageStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that has touched a late day goes on to earlier ones while another transaction deletes all of them."""
    store, other = make_store(postgresql_database), make_store(postgresql_database)
    store.add([make_call(run_id=f"run-{number}", started_at=NOON - number * DAY) for number in range(9)])
    settled(store)
    look, threads = unsettling._calls_of, list[Thread]()

    def look_while_another_waits(*given: Any) -> Any:
        threads.append(Thread(target=lambda: other.delete(session="nobody", until=NOON + DAY)))
        threads[0].start()
        with psycopg.connect(postgresql_database.url, autocommit=True) as watching:
            while not watching.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone():
                pass
        return look(*given)

    monkeypatch.setattr(unsettling, "_calls_of", look_while_another_waits)
    store.add([make_call(run_id="run-5", started_at=NOON)])
    threads[0].join()
    assert {since for _, since in known(store) if since <= NOON + DAY} == set()
    assert store.check().is_clean


def test_check_finds_what_is_settled_wrong(store: UsageStore) -> None:
    """A number that is not that of the rows is reported with its table, key and column."""
    store.add([make_call(finish_reason="length", chain="plan", started_at=NOON)])
    settled(store, since=NOON, until=NOON + HOUR)
    assert store.check().is_clean
    with writing(store._engine(), store.target) as connection:
        assert connection.execute(select(func.count()).select_from(WASTE)).scalar_one() == 1
        connection.execute(update(WASTE).values(total_tokens=7))
    (difference,) = store.check().differences
    assert (difference.column, difference.stored, difference.derived) == ("total_tokens", 7, 120)
    assert "usage_waste hour" in difference.row
    assert "truncated" in difference.row
    store.rebuild_rollups()
    assert store.check().is_clean
