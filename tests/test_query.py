"""What can be asked? Dimensions, filters and moments, and what is said about each wrong one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_tokens.errors import QueryError, TokensError
from langchain_tokens.query import DIMENSIONS, EQUALITY_FILTERS, Query, make_query, parse_moment

NOW = datetime(2026, 11, 20, 15, 30, 45, tzinfo=UTC)
KOLKATA = timezone(timedelta(hours=5, minutes=30))
TEXTS = {
    "7d": datetime(2026, 11, 13, 15, tzinfo=UTC),
    "168h": datetime(2026, 11, 13, 15, 30, 45, tzinfo=UTC),
    "36h/h": datetime(2026, 11, 19, 3, tzinfo=UTC),
    "24h": datetime(2026, 11, 19, 15, 30, 45, tzinfo=UTC),
    "90m": datetime(2026, 11, 20, 14, 0, 45, tzinfo=UTC),
    "2w": datetime(2026, 11, 6, 15, tzinfo=UTC),
    "0d": NOW,
    "7d/h": datetime(2026, 11, 13, 15, tzinfo=UTC),
    "30 D / d": datetime(2026, 10, 21, tzinfo=UTC),
    "0m/h": datetime(2026, 11, 20, 15, tzinfo=UTC),
    " 7 D ": datetime(2026, 11, 13, 15, tzinfo=UTC),
    "today": datetime(2026, 11, 20, tzinfo=UTC),
    "Yesterday": datetime(2026, 11, 19, tzinfo=UTC),
    "2026-11-01": datetime(2026, 11, 1, tzinfo=UTC),
    "2026-11-01T12:00Z": datetime(2026, 11, 1, 12, tzinfo=UTC),
    "2026-11-01T12:00": datetime(2026, 11, 1, 12, tzinfo=UTC),
    "2026-11-01 12:00:30+05:30": datetime(2026, 11, 1, 6, 30, 30, tzinfo=UTC),
}
VALUES: list[tuple[Any, datetime]] = [
    (datetime(2026, 11, 1, 12, tzinfo=UTC), datetime(2026, 11, 1, 12, tzinfo=UTC)),
    (datetime(2026, 11, 1, 2, tzinfo=KOLKATA), datetime(2026, 10, 31, 20, 30, tzinfo=UTC)),
    (date(2026, 11, 1), datetime(2026, 11, 1, tzinfo=UTC)),
    (timedelta(hours=1), datetime(2026, 11, 20, 14, 30, 45, tzinfo=UTC)),
]


class NoOffset(tzinfo):
    """A time zone that does not know its offset, so that its moments are none."""

    def utcoffset(self, _: datetime | None) -> None:
        """No offset."""

    def dst(self, _: datetime | None) -> None:
        """No summer time."""

    def tzname(self, _: datetime | None) -> None:
        """No name."""


def test_dimensions_are_the_contract() -> None:
    """The dimensions and the equality filters are those that the contract names."""
    assert " ".join(DIMENSIONS) == "session run mode agent chain path model provider user status attempt"
    assert " ".join(EQUALITY_FILTERS) == "session run mode agent chain model provider user status"


@pytest.mark.parametrize("name", [*DIMENSIONS, "hour", "day", "month", "tag:team", "tag:a:b"])
def test_each_dimension_can_be_asked_for(name: str) -> None:
    """Every dimension of the contract, and any tag, groups."""
    assert make_query((name,)).by == (name,)


@pytest.mark.parametrize("name", EQUALITY_FILTERS)
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a", ("a",)),
        (["a", "b"], ("a", "b")),
        (("a",), ("a",)),
        (frozenset({"a"}), ("a",)),
        ("(none)", (None,)),
        (["a", None], ("a", None)),
        (7, ("7",)),
        (UUID(int=7), (str(UUID(int=7)),)),
        ([UUID(int=7), "a"], (str(UUID(int=7)), "a")),
    ],
)
def test_each_filter_takes_one_value_or_several(name: str, value: Any, expected: tuple[str | None, ...]) -> None:
    """A filter takes a value or a list; `(none)` asks for calls without one, and values are compared as text."""
    assert make_query((), {name: value}).equals == {name: expected}


@pytest.mark.parametrize("label", ["(unattributed)", "(none)"])
def test_calls_without_a_chain_are_asked_for_by_their_label(label: str) -> None:
    """`(unattributed)`, as calls without a chain are shown, asks for them; elsewhere it is a name like any other."""
    assert make_query((), {"chain": label}).equals == {"chain": (None,)}
    assert make_query((), {"agent": "(unattributed)"}).equals == {"agent": ("(unattributed)",)}


def test_no_filter_is_no_condition() -> None:
    """Nothing asked for, and filters of None, leave all calls in."""
    assert make_query() == Query()
    assert make_query((), {"since": None, "session": None, "tags": None}) == Query()


def test_tags_filter_by_key() -> None:
    """Tags are filtered by key, each with one value or several."""
    query = make_query((), {"tags": {"team": "a", "variant": ["x", "(none)"]}})
    assert query.tags == {"team": ("a",), "variant": ("x", None)}


@pytest.mark.parametrize(("text", "expected"), TEXTS.items())
def test_moment_from_text(text: str, expected: datetime) -> None:
    """A text is a span back from now, a word, or an ISO 8601 date or time, in UTC unless it says otherwise."""
    assert parse_moment(text, NOW) == expected
    assert parse_moment(text, NOW).tzinfo is UTC


@pytest.mark.parametrize(("value", "expected"), VALUES)
def test_moment_from_value(value: Any, expected: datetime) -> None:
    """An aware datetime, a date and a timedelta are moments, too."""
    assert parse_moment(value, NOW) == expected


def test_a_day_begins_in_its_zone_and_an_hour_in_utc() -> None:
    """What a span goes back to is an hour of UTC, of which sums are kept, or a day of the zone that is asked for."""
    assert parse_moment("7d/h", NOW, zone=KOLKATA) == datetime(2026, 11, 13, 15, tzinfo=UTC)
    assert parse_moment("7d", NOW, zone=KOLKATA) == datetime(2026, 11, 13, 15, tzinfo=UTC)
    assert parse_moment("7d/d", NOW, zone=KOLKATA) == datetime(2026, 11, 12, 18, 30, tzinfo=UTC)
    assert parse_moment("7d/h", NOW.astimezone(KOLKATA)) == datetime(2026, 11, 13, 15, tzinfo=UTC)


@pytest.mark.parametrize("text", ["7d/m", "7d/", "/h", "7/h", "7d/hh", "7d//h", "today/h", "2026-11-01/d"])
def test_what_begins_no_hour_and_no_day_is_no_moment(text: str) -> None:
    """Only spans can be taken back, to an hour or to a day; the error shows how."""
    with pytest.raises(QueryError, match="'7d/h'"):
        parse_moment(text, NOW)


@pytest.mark.parametrize("text", ["999999999d/h", "9999999d/d", "740330d/d"])
def test_a_span_from_before_the_calendar_is_no_moment(text: str) -> None:
    """Nothing but our own error comes of a span that no calendar has, or whose day began before the first."""
    with pytest.raises(QueryError):
        parse_moment(text, NOW, zone=timezone(timedelta(hours=14)))


def test_today_is_the_day_in_utc() -> None:
    """`today` begins at midnight in UTC, whatever the clock's own time zone is."""
    now = datetime(2026, 11, 20, 2, 0, tzinfo=KOLKATA)
    assert parse_moment("today", now) == datetime(2026, 11, 19, tzinfo=UTC)


def test_range_is_read_against_one_now() -> None:
    """`since` and `until` count back from the same moment, and days from the same hour: no call is in two of them."""
    query = make_query((), {"since": "168h", "until": "24h"}, now=NOW)
    assert (query.since, query.until) == (NOW - timedelta(days=7), NOW - timedelta(days=1))
    query = make_query((), {"since": "7d", "until": "1d"}, now=NOW)
    assert (query.since, query.until) == (TEXTS["7d"], make_query((), {"since": "1d"}, now=NOW).since)


@pytest.mark.parametrize(
    ("by", "filters", "found", "allowed"),
    [
        (("chian",), {}, "'chian'", "session, run, mode, agent, chain"),
        (("cost",), {}, "'cost'", "tag:KEY"),
        (("tag:",), {}, "'tag:'", "tag:KEY"),
        ((None,), {}, "None", "chain"),
        ((["chain"],), {}, "['chain']", "chain"),
        (("chain", "model", "chain"), {}, "chain, model, chain", "each once"),
        ((), {"chains": "a"}, "'chains'", "since, until, tags, session"),
        ((), {"attempt": 2}, "'attempt'", "chain, model"),
        ((), {"since": datetime(2026, 11, 1)}, "2026", "aware datetime"),  # noqa: DTZ001  # what it is about
        ((), {"until": datetime(2026, 11, 1)}, "until=", "aware datetime"),  # noqa: DTZ001
        ((), {"since": "last week"}, "'last week'", "'7d'"),
        ((), {"since": "7x"}, "'7x'", "'2026-11-01'"),
        ((), {"since": ""}, "''", "'7d'"),
        ((), {"since": "2026-13-01"}, "'2026-13-01'", "'7d'"),
        ((), {"since": "99999999999w"}, "'99999999999w'", "'7d'"),
        ((), {"since": 7}, "7 is a int", "a timedelta"),
        ((), {"since": "2026-11-02", "until": "2026-11-01"}, "empty range", "2026-11-01T00:00:00+00:00"),
        ((), {"since": "2026-11-01", "until": "2026-11-01"}, "empty range", "not before"),
        ((), {"session": []}, "session", "at least one value"),
        ((), {"tags": {"team": []}}, "tags['team']", "at least one value"),
        ((), {"tags": "team"}, "tags='team'", "mapping"),
        ((), {"tags": {1: "a"}}, "tags has the key 1", "text"),
        ((), {"tags": {"a": 1.5}}, "tags['a']=1.5 is a float", "text"),
        ((), {"session": True}, "session=True is a bool", "a list of them"),
        ((), {"session": 1.5}, "session=1.5 is a float", "text"),
        ((), {"session": b"s"}, "session=b's' is a bytes", "text"),
        ((), {"chain": {"a": 1}}, "chain={'a': 1} is a dict", "a list of them"),
        ((), {"chain": [["a"]]}, "chain=['a'] is a list", "text"),
        ((), {"model": (name for name in "ab")}, "is a generator", "a list of them"),
        ((), {"since": True}, "True is a bool", "a timedelta"),
        ((), {"since": "yesterday-ish"}, "'yesterday-ish'", "'7d'"),
        ((), {"until": datetime(2026, 11, 1, tzinfo=NoOffset())}, "no time zone", "aware datetime"),
        ((5,), {}, "unknown dimension 5", "chain"),
    ],
)
def test_wrong_question_says_what_was_found_and_what_is_allowed(
    by: Sequence[Any], filters: dict[str, Any], found: str, allowed: str
) -> None:
    """A question that cannot be asked is a `TokensError` that names what was found and what is allowed."""
    with pytest.raises(QueryError) as caught:
        make_query(by, filters, now=NOW)
    assert isinstance(caught.value, TokensError)
    assert isinstance(caught.value, ValueError)
    assert found in str(caught.value)
    assert allowed in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [timedelta.max, datetime.min.replace(tzinfo=KOLKATA), datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))],
)
def test_moment_beyond_the_calendar_is_a_wrong_question(value: Any) -> None:
    """A moment that no calendar has is a `TokensError` like any other wrong one."""
    with pytest.raises(QueryError):
        parse_moment(value, NOW)


@given(text=st.text(max_size=20))
def test_any_text_is_a_moment_or_a_query_error(text: str) -> None:
    """Whatever stands in a range, it is read as an aware UTC moment or refused as a wrong question."""
    try:
        moment = parse_moment(text, NOW)
    except QueryError:
        return
    assert moment.tzinfo is UTC
