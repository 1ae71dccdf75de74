"""Hours, days, weeks and months of a time zone: the same numbers from a database as from calls in memory, with DST."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_tokens import UsageStore
from langchain_tokens.breakdown import aggregate
from langchain_tokens.errors import QueryError
from langchain_tokens.query import Query, make_query
from langchain_tokens.zones import labels_between, parse_zone, step_label, zone_name
from tests.builders import NOON, make_call
from tests.made_usage import store_of

pytest_plugins = ("tests.databases",)

ZONES = (
    "UTC",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Pacific/Apia",
)
CHANGES = (
    datetime(2026, 3, 29, 1, tzinfo=UTC),  # Berlin, to summer
    datetime(2026, 10, 25, 1, tzinfo=UTC),  # Berlin, to winter
    datetime(2026, 4, 4, 15, tzinfo=UTC),  # Lord Howe, by half an hour
    datetime(2026, 11, 1, 6, tzinfo=UTC),  # New York, to winter
    datetime(2025, 12, 31, 18, 30, tzinfo=UTC),  # a year's end in Kolkata
)
MOMENTS = st.builds(
    lambda change, quarters, seconds: change + timedelta(minutes=15 * quarters, seconds=seconds),
    st.sampled_from(CHANGES),
    st.integers(-200, 200),
    st.sampled_from([-1, 0, 1]),
)


def counted(breakdown: Any) -> dict[tuple[Any, ...], tuple[int, int | None]]:
    """Each row's calls and tokens."""
    return {tuple(row.key.values()): (row.calls, row.total_tokens) for row in breakdown}


@pytest.mark.parametrize("zone", ZONES)
@settings(max_examples=12, deadline=None)
@given(
    moments=st.lists(MOMENTS, min_size=1, max_size=8),
    steps=st.sampled_from([("hour",), ("day",), ("week",), ("month",), ("month", "day")]),
    others=st.sampled_from([(), ("chain",)]),
    since=st.none() | MOMENTS,
)
def test_database_counts_as_memory_does(
    zone: str,
    *,
    moments: list[datetime],
    steps: tuple[str, ...],
    others: tuple[str, ...],
    since: datetime | None,
) -> None:
    """Whatever the zone, the step and the range: ranges of sums and rows give what counting one by one gives."""
    calls = [make_call(chain=f"c{index % 2}", started_at=moment) for index, moment in enumerate(moments)]
    by, filters = (*others, *steps), {"tz": zone, "since": since}
    expected = aggregate(calls, make_query(by, filters))
    with store_of(calls) as store:
        found = store.breakdown(*by, **filters)
    assert counted(found) == counted(expected)
    assert found.total.calls == expected.total.calls


@pytest.mark.parametrize("every", ["hour", "day", "week", "month"])
def test_timeline_on_every_kind_of_database(store: UsageStore, every: str) -> None:
    """A day in Kolkata begins within an hour of UTC; so does every part of it."""
    half = datetime(2026, 11, 15, 18, 30, tzinfo=UTC)  # Monday's first moment there
    calls = [make_call(started_at=half + timedelta(minutes=minutes)) for minutes in (-1, 0, 29, 30, 59, 60)]
    store.add(calls)
    found = store.timeline(every, tz="Asia/Kolkata")
    expected = aggregate(calls, make_query((every,), {"tz": "Asia/Kolkata"}))
    assert counted(found) == counted(expected)
    assert [row.key[every] for row in found] == sorted(str(row.key[every]) for row in found)
    days = store.timeline("day", tz=ZoneInfo("Asia/Kolkata"))
    assert {row.key["day"]: row.calls for row in days} == {"2026-11-15": 1, "2026-11-16": 5}


def test_hours_of_an_autumn_night_are_two() -> None:
    """The hour that comes twice is two rows, told apart by their offsets."""
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    labels = [step_label(first + timedelta(hours=hours), "hour", ZoneInfo("Europe/Berlin")) for hours in (0, 1, 2)]
    assert labels == ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00", "2026-10-25T03:00+01:00"]


@pytest.mark.parametrize(
    ("zone", "change"),
    [
        ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
        ("America/New_York", datetime(2026, 11, 1, 6, tzinfo=UTC)),
        ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
        ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
        ("Asia/Kolkata", NOON),
    ],
)
def test_a_timeline_is_in_the_order_of_time(memory_store: UsageStore, zone: str, change: datetime) -> None:
    """Hours come as they were lived, also where clocks are set back; between any two there are those between them."""
    moments = [change + timedelta(minutes=30 * place + 1) for place in range(-6, 7)]
    memory_store.add([make_call(started_at=moment) for moment in moments])
    right = list(dict.fromkeys(step_label(moment, "hour", ZoneInfo(zone)) for moment in moments))
    found = memory_store.timeline("hour", by="status", tz=zone)
    memory_store.delete(until="2100-01-01")
    assert [row.key["hour"] for row in found] == right
    for first, last in itertools.combinations_with_replacement(range(len(right)), 2):
        between = labels_between(right[first], right[last], "hour", ZoneInfo(zone))
        assert between == right[first : last + 1]


def test_an_empty_tag_comes_after_none(store: UsageStore) -> None:
    """Rows of the same size have one order, whichever database answers: calls without a tag, then those of an empty one."""
    store.add([make_call(tags={"team": ""}), make_call(), make_call(tags={"team": "a"})])
    assert [row.key["tag:team"] for row in store.breakdown("tag:team")] == [None, "", "a"]


def test_weeks_begin_on_monday(store: UsageStore) -> None:
    """A week is that of ISO 8601, also over a year's end."""
    for day in (date(2026, 12, 27), date(2026, 12, 28), date(2027, 1, 3), date(2027, 1, 4)):
        store.add([make_call(started_at=datetime(day.year, day.month, day.day, tzinfo=UTC))])
    assert [(row.key["week"], row.calls) for row in store.timeline("week")] == [
        ("2026-W52", 1),
        ("2026-W53", 2),
        ("2027-W01", 1),
    ]
    assert len(store.breakdown("week", "model", limit=2)) == 2


def test_time_that_was_pruned_is_counted_once(store: UsageStore) -> None:
    """Where only sums are left, days of a zone are made of whole hours of UTC, none of them twice."""
    start = datetime(2026, 11, 10, tzinfo=UTC)
    store.add([make_call(started_at=start + timedelta(minutes=20 * step)) for step in range(3 * 72)])
    whole = store.timeline("day", tz="Asia/Kolkata")
    store.prune("2026-11-12")
    found = store.timeline("day", tz="Asia/Kolkata")
    assert found.total.calls == whole.total.calls == 216
    assert {row.key["day"]: row.calls for row in found} == {
        "2026-11-10": 57,  # with all of the hour in which it ended
        "2026-11-11": 72,
        "2026-11-12": 71,
        "2026-11-13": 16,
    }


@pytest.mark.parametrize(
    ("text", "zone", "moment"),
    [
        ("today", "Asia/Kolkata", "2026-11-19T18:30+00:00"),
        ("yesterday", "Asia/Kolkata", "2026-11-18T18:30+00:00"),
        ("mtd", "Asia/Kolkata", "2026-10-31T18:30+00:00"),
        ("mtd", "UTC", "2026-11-01T00:00+00:00"),
        ("2026-11-01", "America/New_York", "2026-11-01T04:00+00:00"),
        ("2026-11-01T12:00", "America/New_York", "2026-11-01T17:00+00:00"),
        ("2026-11-01T12:00Z", "America/New_York", "2026-11-01T12:00+00:00"),
        (date(2026, 11, 1), "Europe/Berlin", "2026-10-31T23:00+00:00"),
        ("24h", "Asia/Kolkata", "2026-11-19T12:00+00:00"),
        ("2026-03-29T02:30", "Europe/Berlin", "2026-03-29T01:30+00:00"),  # a time that there is not
        ("2026-09-06", "America/Santiago", "2026-09-06T04:00+00:00"),  # a day without a midnight
    ],
)
def test_moments_are_read_in_the_zone(text: Any, zone: str, moment: str) -> None:
    """What has no offset of its own is of the zone that was asked for."""
    query = make_query((), {"since": text, "tz": zone}, now=NOON)
    assert query.since == datetime.fromisoformat(moment)


@pytest.mark.parametrize("tz", ["Nowhere", "../etc/passwd", "/etc/localtime", "Europe", "", "\0", 5, b"UTC"])
def test_what_is_no_zone_is_refused(tz: Any) -> None:
    """It is said what was found, and what would be right."""
    with pytest.raises(QueryError, match="expected an IANA name") as caught:
        make_query((), {"tz": tz})
    assert repr(tz) in str(caught.value)


def test_all_names_of_utc_are_utc() -> None:
    """They cost no ranges, and look as without a zone."""
    assert {make_query(("day",), {"tz": name}).zone for name in ("UTC", "utc", "Etc/UTC", "Z", UTC, None)} == {None}
    assert zone_name(None) == zone_name(parse_zone("Zulu")) == "UTC"


def test_zone_alone_is_no_filter(store: UsageStore) -> None:
    """To delete with nothing but a zone is refused: it would be everything."""
    store.add([make_call()])
    assert make_query((), {"tz": "Asia/Kolkata"}) == Query()
    with pytest.raises(QueryError, match="at least one filter"):
        store.delete(tz="Asia/Kolkata")
    assert store.breakdown().total.calls == 1
