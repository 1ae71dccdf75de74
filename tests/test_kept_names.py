"""Is what is kept of users' past days what their calls say? Until one of them changes, and afterwards again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, select, update

from langchain_tokens.breakdown import aggregate
from langchain_tokens.query import make_query
from langchain_tokens.store import keptnames
from langchain_tokens.store.engine import writing
from langchain_tokens.store.settledtables import LOCAL, SETTLED, past_step
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target
from tests.builders import make_call, make_usage
from tests.test_zone_sums import rows_of

if TYPE_CHECKING:
    from langchain_tokens.call import Call
    from tests.databases import Database, MakeStore

pytest_plugins = ("tests.databases",)

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
ORDERS = ("total_tokens", "cost_usd", "calls", "duration_ms")


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what few days come to, too."""
    monkeypatch.setattr(keptnames, "_FEWEST_ROWS", 1)
    monkeypatch.setattr(keptnames, "_PAYS", 0)


def some_calls(chance: Random, count: int, name: str) -> list[Call]:
    """Calls of twelve days up to now, some without a user, usage, cost or duration."""
    return [
        make_call(
            call_id=f"{name}-{place}",
            run_id=f"run-{name}-{place // 2}",
            user=chance.choice((None, *(f"user-{number}" for number in range(12)))),
            session=f"session-{chance.randrange(8)}",
            model=f"model-{place % 2}",
            started_at=NOW - timedelta(seconds=chance.randrange(12 * 86_400)),
            duration_ms=chance.choice((None, chance.randrange(9_000))),
            usage=chance.choice((None, make_usage(chance.randrange(900), chance.randrange(90)))),
            cost_usd=(cost := chance.choice((None, Decimal(chance.randrange(99)) / 1000))),
            price_status="unpriced" if cost is None else "priced",
        )
        for place in range(count)
    ]


def kept(store: UsageStore) -> list[tuple[str, datetime, datetime]]:
    """What is noted as kept: the step, the first day, and the one after the last."""
    with store._reading() as connection:
        noted = select(SETTLED).where(SETTLED.c.step.startswith("days by"))
        return [tuple(row) for row in connection.execute(noted.order_by(SETTLED.c.step, SETTLED.c.since))]


def keep(store: UsageStore, days: int, now: datetime) -> None:
    """Keep, as it would be done at some time, what users had on the past days of so many before now."""
    with store._reading() as connection:
        past = keptnames.unkept(connection, make_query(("user",), {"since": NOW - days * DAY}), now)
    if past is not None:
        keptnames.keep_names(store._engine(), store.target, "user", past)


def check(store: UsageStore, calls: list[Call], chance: Random) -> None:
    """All questions are answered with what the calls say, the first time and the next; and so says the check."""
    for by in ("user", "session"):
        for since in (NOW - 3 * DAY, NOW - timedelta(hours=chance.randrange(24, 240))):
            filters: dict[str, Any] = {"since": since, **chance.choice(({}, {"until": NOW - timedelta(hours=2)}))}
            everything = aggregate(calls, make_query((by,), filters))
            for order in (ORDERS[0], chance.choice(ORDERS[1:])):
                found = store.breakdown(by, limit=4, order=order, **filters)
                whole = store.breakdown(by, order=order, **filters)
                assert rows_of(whole) == rows_of(everything)
                assert [row.key for row in found][:4] == [row.key for row in whole][: len(found)], (by, filters, order)
                assert list(found)[:4] == list(whole)[:4]
                assert found.total == whole.total
    assert store.wrong_rollups() == []


@pytest.mark.parametrize("seed", range(2))
def test_what_is_kept_is_what_calls_say(store: UsageStore, seed: int) -> None:
    """Through calls that come late, are corrected, priced again and deleted, every answer is that of the calls."""
    chance = Random(seed)
    calls = some_calls(chance, 150, "first")
    store.add(calls)
    check(store, calls, chance)
    assert kept(store)
    calls += (late := some_calls(chance, 20, "late"))
    store.add(late)
    check(store, calls, chance)
    for place in chance.sample(range(len(calls)), 10):
        moved = calls[place].started_at - chance.choice((0, 0, 5)) * DAY
        calls[place] = replace(calls[place], user="user-3", started_at=moved, revision=calls[place].revision + 1)
    store.add(calls)
    check(store, calls, chance)
    priced = {call.call_id: replace(call, cost_usd=Decimal(2), price_status="priced") for call in store.calls(limit=9)}
    assert store.change_costs([(call, priced[call.call_id]) for call in store.calls(limit=9)], None) == 9
    calls = [priced.get(call.call_id, call) for call in calls]
    check(store, calls, chance)
    store.delete(model="model-1")
    calls = [call for call in calls if call.model != "model-1"]
    check(store, calls, chance)
    assert kept(store)


def test_past_days_alone_are_kept(store: UsageStore) -> None:
    """From the first whole day of the range up to a day that is over; neither without a limit nor of an early range."""
    store.add(some_calls(Random(1), 50, "c"))
    store.breakdown("user", since=NOW - 5 * DAY)
    store.breakdown("user", limit=5)
    store.breakdown("user", limit=5, since=NOW - 5 * DAY, model="model-1")
    store.breakdown("user", limit=5, since=NOW - 9 * DAY, until=NOW - 3 * DAY)
    store.breakdown("user", limit=5, since=timedelta(hours=1))
    assert kept(store) == []
    store.breakdown("user", limit=5, since=NOW - 5 * DAY)
    [(step, since, until)] = kept(store)
    assert step == past_step("user")
    assert NOW - 5 * DAY <= since < NOW - 4 * DAY
    assert NOW - DAY - timedelta(hours=1) < until <= NOW
    assert {since.hour, since.minute, until.hour, until.minute} == {0}


def test_what_is_kept_is_asked_for(store: UsageStore) -> None:
    """The days are not added up again: what was written in the place of their sums is in the next answer."""
    store.add(some_calls(Random(2), 60, "c"))
    question: dict[str, Any] = {"limit": 3, "since": NOW - 8 * DAY}
    name = store.breakdown("user", **question)[0].key["user"]
    with writing(store._engine(), store.target) as connection:
        connection.execute(update(LOCAL).where(LOCAL.c.name == (name or "")).values(calls=1_000))
    assert store.breakdown("user", **question)[0].calls >= 1_000
    [(shown, column, found, right)] = store.wrong_rollups()
    assert (column, found) == ("calls", 1_000)
    assert right < 60
    assert shown.endswith(name or "-")
    assert "days by user" in shown


def test_what_is_over_does_not_pile_up(store: UsageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the next day what was kept up to an earlier one goes, with its rows; and of a day so many ranges are kept."""
    store.add(some_calls(Random(3), 60, "c"))
    for days in (9, 8, 7):
        keep(store, days, NOW - 2 * DAY)
    assert len(kept(store)) == 3
    keep(store, 8, NOW)
    [(_, since, _)] = kept(store)
    with store._reading() as connection:
        assert set(connection.execute(select(LOCAL.c.since)).scalars()) == {since}
    monkeypatch.setattr(keptnames, "_MOST_RANGES", 2)
    for days in (9, 7, 6):
        keep(store, days, NOW)
    assert len(kept(store)) == 2


def test_many_names_are_not_kept(store: UsageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where names are more than days make up for, nothing is kept, and answers are the same."""
    monkeypatch.setattr(keptnames, "_MOST_NAMES", 5)
    calls = some_calls(Random(4), 60, "c")
    store.add(calls)
    check(store, calls, Random(4))
    assert kept(store) == []
    with store._reading() as connection:
        assert connection.execute(select(func.count()).select_from(LOCAL)).scalar_one() == 0


def test_days_that_are_too_few_are_not_kept(store: UsageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adding up some rows takes no longer than asking what is kept."""
    monkeypatch.setattr(keptnames, "_FEWEST_ROWS", 1_000)
    store.add(some_calls(Random(5), 60, "c"))
    store.breakdown("user", limit=5, since=NOW - 8 * DAY)
    assert kept(store) == []


def test_where_nobody_may_write_days_are_added_up(
    postgresql_database: Database, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may only read gets the same answer, nothing is kept, and it is not even tried."""
    store = make_store(postgresql_database)
    store.add(some_calls(Random(6), 60, "c"))
    reading = f"{postgresql_database.url}&options=-cdefault_transaction_read_only%3Don"
    reader, tried = UsageStore(parse_target(reading)), []
    monkeypatch.setattr(keptnames, "keep_each", lambda *given: tried.append(given))
    question: dict[str, Any] = {"limit": 4, "since": NOW - 8 * DAY}
    assert rows_of(reader.breakdown("user", **question)) == rows_of(store.breakdown("user", **question))
    assert len(tried) == 1
    assert kept(store) == []
    reader.close()
