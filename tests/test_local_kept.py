"""Is what is kept of a zone's days what their calls say? Until one of them changes, and afterwards again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, update

from langchain_tokens.breakdown import aggregate
from langchain_tokens.query import Query, make_query
from langchain_tokens.store import localkept, periods
from langchain_tokens.store.engine import writing
from langchain_tokens.store.settledtables import LOCAL, SETTLED
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target
from tests.builders import make_call
from tests.test_zone_sums import CHANGES, rows_of, some_calls

if TYPE_CHECKING:
    from tests.databases import Database, MakeStore

pytest_plugins = ("tests.databases",)

NOON = datetime(2026, 7, 7, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ZONES = ("Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns", "Europe/Berlin", "Asia/Tokyo")
QUESTIONS: tuple[tuple[str, ...], ...] = (
    *(("day",), ("week",), ("month",), ("day", "model"), ("chain", "month"), ("week", "agent", "day")),
    *(("hour", "model"), ("day", "session"), ("day", "chain", "model"), ("day", "status"), ("day", "attempt")),
)


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what few calls come to, too."""
    monkeypatch.setattr(periods, "_PAYS", 1)


def kept(store: UsageStore) -> set[tuple[str, datetime]]:
    """What steps are called that are kept, and when they begin."""
    with store._reading() as connection:
        noted = select(SETTLED.c.step, SETTLED.c.since).where(SETTLED.c.step.contains(" "))
        return {(row.step, row.since) for row in connection.execute(noted)}


def check(store: UsageStore, calls: list[Any], chance: Random) -> None:
    """All questions are answered with what the calls say, the first time and the next; and so says the check."""
    for by in QUESTIONS:
        filters = {"tz": chance.choice(ZONES), **chance.choice(({}, {"since": NOON - 9 * DAY}, {"until": NOON}))}
        expected = rows_of(aggregate(calls, make_query(by, filters)))
        for _ in range(2):
            assert rows_of(store.breakdown(*by, **filters)) == expected, (by, filters)
    assert store.wrong_rollups() == []


@pytest.mark.parametrize("seed", range(2))
def test_what_is_kept_is_what_calls_say(store: UsageStore, seed: int) -> None:
    """Through calls that come late, are corrected, priced again and deleted, every answer is that of the calls."""
    chance = Random(seed)
    calls = some_calls(chance, CHANGES[seed], 120)
    store.add(calls)
    check(store, calls, chance)
    calls += (late := some_calls(chance, CHANGES[seed], 20))
    store.add(late)
    check(store, calls, chance)
    for place in chance.sample(range(len(calls)), 10):
        moved = calls[place].started_at + chance.choice((0, 0, 5)) * DAY
        calls[place] = replace(calls[place], model="model-3", started_at=moved, revision=calls[place].revision + 1)
    store.add(calls)
    check(store, calls, chance)
    priced = {call.call_id: replace(call, cost_usd=Decimal(2), price_status="priced") for call in store.calls(limit=9)}
    assert store.change_costs([(call, priced[call.call_id]) for call in store.calls(limit=9)], None) == 9
    calls = [priced.get(call.call_id, call) for call in calls]
    check(store, calls, chance)
    store.delete(model="model-1")
    calls = [call for call in calls if call.model != "model-1"]
    check(store, calls, chance)


def test_attempts_are_numbers_whoever_answers(store: UsageStore) -> None:
    """Added up or kept: in the order of numbers, 0 among them, as an application's own records may have it."""
    store.add([make_call(started_at=NOON, attempt=attempt) for attempt in (10, 2, 0)])
    for _ in range(2):
        found = store.timeline("day", by="attempt", tz="Asia/Kolkata")
        assert [row.key["attempt"] for row in found] == [0, 2, 10]
        assert [row.key["attempt"] for row in store.timeline("day", by="attempt")] == [0, 2, 10]
        assert store.check().is_clean
    assert kept(store)


def test_only_what_is_not_kept_is_added_up(store: UsageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day is added up once; after a call of it came, that day alone is added up again."""
    asked: list[int] = []
    read = localkept.read_ranges
    monkeypatch.setattr(
        localkept,
        "read_ranges",
        lambda connection, query, ranges: asked.append(len(ranges)) or read(connection, query, ranges),
    )
    store.add(
        [make_call(call_id=f"c-{day}", run_id=f"r-{day}", started_at=NOON - day * DAY, model="m") for day in range(5)]
    )
    store.timeline("day", by="model", tz="Asia/Kolkata")
    store.timeline("day", by="model", tz="Asia/Kolkata")
    assert asked == [6]  # what is left of the last day of UTC, too
    store.add([make_call(call_id="late", run_id="r-late", started_at=NOON - 2 * DAY, model="m")])
    found = store.timeline("day", by="model", tz="Asia/Kolkata")
    assert asked == [6, 1]
    assert [row.calls for row in found] == [1, 1, 2, 1, 1]


def test_days_that_are_not_over_are_not_kept(store: UsageStore) -> None:
    """Today goes on, and so does what a range cuts off; hours, sessions and two names at once are not kept at all."""
    now = datetime.now(UTC)
    store.add([make_call(call_id=f"c-{day}", started_at=now - day * DAY) for day in range(5)])
    store.timeline("hour", tz="Asia/Kolkata")
    store.breakdown("day", "session", tz="Asia/Kolkata")
    store.breakdown("day", "model", "agent", tz="Asia/Kolkata")
    store.timeline("day", by="model", tz="Asia/Kolkata", model="m-1")
    assert kept(store) == set()
    store.timeline("day", tz="Asia/Kolkata", since=now - 3 * DAY)
    with store._reading() as connection:
        ends = connection.execute(select(SETTLED.c.since, SETTLED.c.until)).all()
    assert ends
    assert all(row.since > now - 3 * DAY and row.until < now for row in ends)


def test_a_wrong_sum_is_found(store: UsageStore) -> None:
    """The check names the day, the name and the number that is not that of the calls."""
    store.add([make_call(call_id=f"c-{day}", started_at=NOON - day * DAY, model="m") for day in range(3)])
    store.timeline("day", by="model", tz="Asia/Kolkata")
    assert store.wrong_rollups() == []
    with writing(store._engine(), store.target) as connection:
        connection.execute(
            update(LOCAL).where(LOCAL.c.since == NOON.replace(hour=18, minute=30) - 2 * DAY).values(calls=7)
        )
    ((row, column, found, right),) = store.wrong_rollups()
    assert row == "usage_local model 2026-07-05T18:30Z/2026-07-06T18:30Z m"
    assert (column, found, right) == ("calls", 7, 1)


def test_where_nobody_may_write_days_are_added_up(postgresql_database: Database, make_store: MakeStore) -> None:
    """Who may only read gets the same answer, and nothing is kept."""
    store = make_store(postgresql_database)
    store.add([make_call(call_id=f"c-{day}", started_at=NOON - day * DAY, model="m") for day in range(3)])
    reading = f"{postgresql_database.url}&options=-cdefault_transaction_read_only%3Don"
    reader = UsageStore(parse_target(reading))
    found = reader.timeline("day", by="model", tz="Asia/Kolkata")
    assert [row.calls for row in found] == [1, 1, 1]
    assert kept(store) == set()
    assert rows_of(store.timeline("day", by="model", tz="Asia/Kolkata")) == rows_of(found)
    assert len(kept(store)) == 4
    reader.close()


def test_prune_leaves_what_hours_leave(store: UsageStore) -> None:
    """Days of which only sums are left are those of whole hours, also where they were kept before."""
    store.add(
        [
            make_call(call_id=f"c-{day}", started_at=NOON + timedelta(hours=6, minutes=45) - day * DAY)
            for day in range(6)
        ]
    )
    before = [row.key["day"] for row in store.timeline("day", tz="Asia/Kolkata")]
    store.prune(NOON - 2 * DAY)
    after = [row.key["day"] for row in store.timeline("day", tz="Asia/Kolkata")]
    assert before[-2:] == after[-2:]
    assert before[0] > after[0]
    assert store.wrong_rollups() == []


def test_a_question_of_no_zone_keeps_nothing(store: UsageStore) -> None:
    """Days of UTC have sums of their own."""
    store.add([make_call(started_at=NOON)])
    store.timeline("day", by="model")
    assert kept(store) == set()
    assert localkept._dimension(Query(by=("day",))) == "all"
