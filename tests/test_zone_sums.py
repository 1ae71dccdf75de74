"""Are the sums of a zone's hours, days, weeks and months those of its calls? At random, on every database, to the last digit."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import event

from langchain_tokens import UsageStore
from langchain_tokens.breakdown import Breakdown, aggregate
from langchain_tokens.call import Call
from langchain_tokens.query import make_query
from langchain_tokens.store.covering import covers
from langchain_tokens.store.localsteps import local_steps
from langchain_tokens.zones import STEPS, step_label
from tests.builders import NOON, make_call, make_usage

pytest_plugins = ("tests.databases",)

ZONES: tuple[Any, ...] = (
    *("UTC", "Europe/Berlin", "Europe/London", "America/New_York", "Asia/Tokyo", "Pacific/Apia", "America/Santiago"),
    *("Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Chatham"),
    *("Antarctica/Troll", "Africa/Casablanca", "Atlantic/Azores", timezone(timedelta(hours=-3, minutes=-7))),
)
CHANGES = (
    datetime(2026, 3, 29, 1, tzinfo=UTC),  # Europe, to summer
    datetime(2026, 10, 25, 1, tzinfo=UTC),  # Europe, to winter
    datetime(2026, 4, 4, 15, tzinfo=UTC),  # Lord Howe, by half an hour
    datetime(2026, 11, 1, 6, tzinfo=UTC),  # New York, to winter
    datetime(2026, 9, 6, 4, tzinfo=UTC),  # Santiago, to summer at a midnight that there is not
    datetime(2025, 12, 31, 18, 30, tzinfo=UTC),  # a year's end in Kolkata
)
OTHERS = ("model", "chain", "agent", "status", "attempt", "session", "tag:team")
Known = tuple[int | None, int | None]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def some_calls(chance: random.Random, change: datetime, count: int = 250) -> list[Call]:
    """Calls of some weeks around a change of the clock, most of them close to it or to the ends of hours."""
    spread = chance.choice((DAY, 3 * DAY, 40 * DAY))
    return [_some_call(chance, change + chance.uniform(-1, 1) * chance.choice((DAY, spread))) for _ in range(count)]


def _some_call(chance: random.Random, moment: datetime) -> Call:
    def maybe(*values: Any) -> Any:
        return chance.choice((*values, None))

    started = chance.choice(
        (moment, moment.replace(minute=chance.choice((0, 15, 29, 30, 45)), second=0, microsecond=0))
    )
    usage = make_usage(*maybe((chance.randrange(5_000), chance.randrange(900)), (0, 0)) or (None, None))
    usage = replace(usage, cache_read_tokens=maybe(0, 0, 3), reasoning_tokens=maybe(0))
    cost = maybe(Decimal(chance.randrange(10**9)).scaleb(-12), Decimal(0))
    return make_call(
        started_at=started,
        run_id=f"run-{chance.randrange(40)}",
        **{name: maybe(f"{name}-1", f"{name}-2", f"{name} '3'") for name in ("model", "chain", "agent", "session")},
        tags={"team": "a"} if chance.random() < 0.3 else {},
        status=chance.choice(("ok", "ok", "error", "cached")),
        attempt=chance.randrange(1, 3),
        usage=usage,
        cost_usd=cost,
        price_status="unpriced" if cost is None else "priced",
        duration_ms=maybe(chance.randrange(1, 10**7) / 1_000),
    )


def some_question(chance: random.Random, change: datetime) -> tuple[tuple[str, ...], dict[str, Any]]:
    """What to group by, one part of time at least, and filters: of a zone, often of a range, at times of a name."""
    by = [*chance.sample(STEPS, chance.choice((1, 1, 2))), *chance.sample(OTHERS, chance.choice((0, 1, 1, 2)))]
    chance.shuffle(by)
    filters: dict[str, Any] = {"tz": chance.choice(ZONES)}
    if chance.random() < 0.5:
        filters["since"] = change - timedelta(seconds=chance.randrange(40 * 86_400))
    if chance.random() < 0.5:
        filters["until"] = change + timedelta(minutes=15 * chance.randrange(1, 2_000))
    if chance.random() < 0.4:
        filters |= chance.choice(({"model": "model-1"}, {"chain": ["(none)", "chain-2"]}, {"tags": {"team": "a"}}))
    return tuple(by), filters


def rows_of(breakdown: Breakdown) -> dict[tuple[Any, ...], Any]:
    """Each row by its key."""
    found = {tuple(row.key.values()): row for row in breakdown}
    assert len(found) == len(breakdown)
    return found


@pytest.mark.parametrize("seed", range(6))
def test_sums_of_steps_are_those_of_their_calls(store: UsageStore, seed: int) -> None:
    """Every number of every row, unknown ones among them, is what the same calls give one by one."""
    chance, change = random.Random(seed), CHANGES[seed]
    calls = some_calls(chance, change)
    store.add(calls)
    for _ in range(15):
        by, filters = some_question(chance, change)
        expected = aggregate(calls, make_query(by, filters))
        assert rows_of(store.breakdown(*by, **filters)) == rows_of(expected), (by, filters)


@pytest.mark.parametrize("seed", range(6))
def test_where_rows_are_gone_hours_count_where_they_begin(store: UsageStore, seed: int) -> None:
    """The sums of pruned hours are counted once each, as if all their calls had come in their first moment."""
    chance, change = random.Random(seed), CHANGES[seed]
    calls, cut = some_calls(chance, change, 150), change.replace(hour=0, minute=0)
    store.add(calls)
    store.prune(cut)
    held = [replace(call, started_at=_hour_of(call.started_at)) if call.started_at < cut else call for call in calls]
    for zone in ("Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns", "UTC"):
        by = (chance.choice(STEPS), *chance.choice(((), ("model",), ("chain", "model"))))
        since = chance.choice((None, change - timedelta(seconds=chance.randrange(40 * 86_400))))
        whole = None if since is None or since >= cut else _hour_of(since)
        expected = aggregate(held, make_query(by, {"tz": zone, "since": whole or since}))
        assert rows_of(store.breakdown(*by, tz=zone, since=since)) == rows_of(expected), (by, zone, since)


def _hour_of(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


NIGHT = datetime(2026, 7, 6, 22, 30, tzinfo=UTC)
"""A day of UTC, but the next one in Berlin."""
EVENING = datetime(2026, 7, 6, 18, 5, tzinfo=UTC)
"""In Kathmandu a day begins ten minutes later."""


@pytest.mark.parametrize(("zone", "moment", "hours"), [("Europe/Berlin", NIGHT, -5), ("Asia/Kathmandu", EVENING, 5)])
@pytest.mark.parametrize(
    ("others", "expected"),
    [
        pytest.param([(None, None)], (None, None), id="both unknown"),
        pytest.param([(0, 0)], (0, 0), id="both zero"),
        pytest.param([(0, None)], (0, None), id="one of them unknown"),
        pytest.param([(0, None), (None, 0)], (0, 0), id="each known of another hour"),
        pytest.param([(3, None)], (3, None), id="more than zero"),
    ],
)
def test_zero_is_told_from_unknown(
    store: UsageStore, zone: str, moment: datetime, hours: int, *, others: Sequence[Known], expected: Known
) -> None:
    """What only calls know that are next to a day, and that were taken away from a longer time, is not known of it."""
    store.add([_call_of(moment, (0, 0))])
    store.add([_call_of(moment + (hours + place) * HOUR, known) for place, known in enumerate(others)])
    day = step_label(moment + hours * HOUR, "day", ZoneInfo(zone))
    for by in ((), ("model",), ("model", "chain")):
        found = {
            row.key["day"]: (row.cache_read_tokens, row.reasoning_tokens)
            for row in store.breakdown("day", *by, tz=zone)
        }
        assert found.pop(day) == expected
        assert list(found.values()) == [(0, 0)]


def _call_of(moment: datetime, known: Known) -> Call:
    usage = make_usage(10, 5, cache_read_tokens=known[0], reasoning_tokens=known[1])
    return make_call(started_at=moment, usage=usage, model="m", chain="c")


@pytest.mark.parametrize("every", ["day", "week", "month"])
def test_long_history_is_asked_as_often_as_a_short_one(memory_store: UsageStore, every: str) -> None:
    """However many days, weeks and months there are, the database is asked for all of them at once."""
    memory_store.delete(until="2100-01-01")
    calls = [make_call(started_at=NIGHT - place * DAY - timedelta(minutes=7)) for place in range(120)]
    statements: list[str] = []

    def note(*said: Any) -> None:
        statements.append(said[2])

    asked = []
    event.listen(memory_store._engine(), "before_cursor_execute", note)
    for some in (calls[:40], calls[40:]):
        memory_store.add(some)
        statements.clear()
        memory_store.timeline(every, tz="Asia/Kolkata")
        asked.append(len(statements))
    event.remove(memory_store._engine(), "before_cursor_execute", note)
    assert asked[0] == asked[1]


@pytest.mark.parametrize("step", [None, "hour", "day", "month"])
def test_sums_that_are_added_and_taken_away_are_those_of_the_range(step: Any) -> None:
    """Each quarter of an hour of a range is there once, and none beyond it is left."""
    chance, start, quarter = random.Random(step), datetime(2026, 1, 1, tzinfo=UTC), HOUR / 4
    for _ in range(40):
        since = start + chance.randrange(16_000) * quarter
        until = (
            since
            + chance.choice((chance.randrange(1, 9), chance.randrange(1, 200), chance.randrange(1, 9_000))) * quarter
        )
        found: Counter[datetime] = Counter()
        for part in covers(since, until, step):
            for place in range((part.until - part.since) // quarter):
                found[part.since + place * quarter] += part.sign
        expected = {since + place * quarter: 1 for place in range((until - since) // quarter)}
        assert {moment: count for moment, count in found.items() if count} == expected


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Santiago"])
@pytest.mark.parametrize("step", STEPS)
def test_steps_are_where_their_names_change(zone: str, step: str) -> None:
    """Every quarter of an hour of a year is in one step, which has its name; a day without calls is in none."""
    first, tz = datetime(2026, 1, 1, tzinfo=UTC), ZoneInfo(zone)
    found = local_steps([first + place * DAY for place in range(365)], [step], tz)
    assert found[0].since == first
    assert [item.since for item in found[1:]] == [item.until for item in found[:-1]]
    for item in found:
        moments = [
            item.since + place * timedelta(minutes=15) for place in range((item.until - item.since) // (HOUR / 4))
        ]
        assert {step_label(moment, step, tz) for moment in moments} == set(item.labels)
    assert [item.labels for item in local_steps([first, first + 9 * DAY], ["day"], UTC)] == [
        ("2026-01-01",),
        ("2026-01-10",),
    ]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"])
@pytest.mark.parametrize("every", STEPS)
def test_the_calendars_ends_are_days_of_utc(store: UsageStore, zone: str, every: str) -> None:
    """A call of a date that stands for none, such as the calendar's last, does not keep the others from being told."""
    ends = (datetime(1, 1, 1, 5, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, tzinfo=UTC))
    store.add([make_call(started_at=moment) for moment in (*ends, NOON)])
    rows = list(store.timeline(every, tz=zone))
    assert [row.calls for row in rows] == [1, 1, 1]
    assert [int(str(row.key[every]).split("-")[0]) for row in rows] == [1, 2026, 9999]
