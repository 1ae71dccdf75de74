"""Do SQLite, PostgreSQL and plain Python give one answer? Random questions about calls with all that is odd in them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from langchain_tokens import UsageStore
from langchain_tokens.breakdown import add_up, make_breakdown
from langchain_tokens.call import Call, bounded_call
from langchain_tokens.errors import QueryError
from langchain_tokens.query import DIMENSIONS, EQUALITY_FILTERS, Query, make_query
from langchain_tokens.store.paging import Place, next_calls
from langchain_tokens.store.target import parse_target
from langchain_tokens.sums import Sums, matches
from langchain_tokens.zones import STEPS
from tests.builders import ODD_KEYS, TAG_KEYS, make_call, make_usage

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

CALLS, QUESTIONS = 120, 100
"""Of each kind of question."""
CHANGES = (
    datetime(2026, 10, 25, 1, tzinfo=UTC),  # Berlin, to winter
    datetime(2026, 4, 4, 15, tzinfo=UTC),  # Lord Howe, by half an hour, to winter
    datetime(2026, 10, 3, 15, 30, tzinfo=UTC),  # and back
    datetime(2026, 3, 8, 5, 30, tzinfo=UTC),  # St. John's, to summer
    datetime(2025, 12, 31, 18, 30, tzinfo=UTC),  # a year's end in Kolkata
)
ZONES = (
    *(None, "UTC", "Asia/Kolkata", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia", "Europe/Berlin"),
    *("America/New_York", "Asia/Kathmandu", "America/Santiago", "Africa/Cairo", "Pacific/Chatham"),
)
NAMES = (
    *("A", "\u00e9", "e\u0301", "\u00df", "\u732b", "o'brien", 'q"x', "50 %", "_", "(none)", "(unattributed)", " lead"),
    *("line\nfeed", "back\\slash", "$x", "=cmd()", "z" * 300, "z" * 300 + "y", "\u202eabc", "10", "9", "None", "null"),
)
LETTERS = ("c", "C", "\u00e4")
"""What sorts by bytes in one way, and by most languages in another."""
KEYS = (*TAG_KEYS, *ODD_KEYS, "$", "$.team", "[0]", "0", "", "*", "\t", "k" * 500, "\U0001f600")
COSTS = (None, Decimal(0), Decimal("1e-12"), Decimal("0.1"), Decimal("12345.678901234567"))
ORDERS = ("started_at", "cost_usd", "total_tokens", "duration_ms")


def some_call(chance: random.Random, number: int) -> Call:
    """A call near a change of the clock, often within a microsecond of a step's end, of names that few others have."""

    def name() -> str | None:
        return chance.choice((None, None, "a", "b", chance.choice(NAMES)))

    def count() -> int | None:
        return chance.choice((None, 0, 1, 100, chance.randrange(10**4), 10**10))

    moment = chance.choice(CHANGES) + timedelta(
        seconds=chance.uniform(-1, 1) * chance.choice((0, 3_600, 86_400, 10**6))
    )
    edge = {
        "minute": chance.choice((0, 29, 59)),
        "second": 59,
        "microsecond": chance.choice((999_499, 999_500, 999_999)),
    }
    usage = replace(make_usage(count(), count(), total_tokens=count(), cache_read_tokens=count()), reasoning_tokens=3)
    cost = chance.choice((*COSTS, Decimal(chance.randrange(10**15)).scaleb(-12)))
    call = make_call(
        call_id=f"{chance.choice(LETTERS)}-{chance.randrange(10**9)}-{number}",
        run_id=chance.choice(("run-1", "run-2", "RUN-1", "run'3")),
        started_at=chance.choice((moment, moment.replace(**edge), moment.replace(minute=30, second=0, microsecond=0))),
        attempt=chance.choice((1, 1, 2, 10, 2**31 - 1)),
        tags={
            chance.choice(KEYS): chance.choice(("a", "b", "", "(none)", "1", '"')) for _ in range(chance.randrange(4))
        },
        duration_ms=chance.choice((None, 0.0, 0.0004, 0.0005, 1.5, chance.uniform(0, 10**5))),
        usage=chance.choice((usage, usage, None)),
        cost=cost,
        saved_cost_usd=chance.choice((None, cost)),
        status=chance.choice(("ok", "ok", "error", "cancelled", "cached")),
        superseded=chance.random() < 0.1,
        **{field: name() for field in ("session", "chain", "agent", "path", "mode", "model", "provider", "user")},
    )
    return bounded_call(call)


def some_filters(chance: random.Random, calls: Sequence[Call]) -> dict[str, Any]:
    """Filters of any kind; most of them leave something."""

    def value(name: str) -> Any:
        found = getattr(chance.choice(calls), {"run": "run_id"}.get(name, name))
        return chance.choice(("nobody", "(none)", None)) if found is None else found

    filters: dict[str, Any] = {}
    for name in chance.sample(EQUALITY_FILTERS, chance.choice((0, 0, 1, 1, 2, 3))):
        filters[name] = [value(name) for _ in range(chance.randrange(1, 4))] if chance.random() < 0.5 else value(name)
    if chance.random() < 0.2:
        filters["tags"] = {chance.choice(KEYS): chance.choice((None, "a", ["a", None], ["b", "(none)", ""], "1", ""))}
    filters |= {end: some_moment(chance, calls) for end in ("since", "until") if chance.random() < 0.4}
    return {**filters, "tz": chance.choice(ZONES)}


def some_moment(chance: random.Random, calls: Sequence[Call]) -> datetime | date | str:
    """A moment in any form, often that of a call."""
    at = chance.choice(calls).started_at
    near = at + timedelta(microseconds=chance.choice((-1, 0, 1)))
    forms = (
        at,
        near,
        at.replace(minute=0, second=0, microsecond=0),
        at.date(),
        f"{at:%Y-%m-%d}",
        f"{at:%Y-%m-%dT%H:%M}",
    )
    return chance.choice(forms)


def some_dimensions(chance: random.Random) -> tuple[str, ...]:
    """None to four dimensions, of which some are times or tags."""
    by = chance.sample(DIMENSIONS, chance.choice((0, 1, 1, 2, 2)))
    by += chance.sample(STEPS, chance.choice((0, 0, 1, 2)))
    by += [f"tag:{chance.choice(KEYS) or 'team'}"] if chance.random() < 0.2 else []
    return tuple(chance.sample(by, len(by)))


def groups_of(calls: Iterable[Call], query: Query) -> list[tuple[tuple[Any, ...], Sums]]:
    """What calls add up to, one by one; a question that groups by nothing has one group, if it is empty."""
    return list((add_up(calls, query) or ({} if query.by else {(): Sums()})).items())


def in_order(calls: Iterable[Call], order: str) -> list[Call]:
    """Calls by a number, those that do not know it last, equal ones by their ids."""

    def number(call: Call) -> Any:
        of = call if order.removeprefix("-") != "total_tokens" else call.usage
        return getattr(of, order.removeprefix("-"), None)

    by_id = sorted(calls, key=lambda call: call.call_id)
    known = [call for call in by_id if number(call) is not None]
    known.sort(key=number, reverse=order.startswith("-"))
    return [*known, *(call for call in by_id if number(call) is None)]


def paged(store: UsageStore, query: Query, order: str, size: int) -> Iterator[Call]:
    """All calls, page by page."""
    name, after = order.removeprefix("-"), None
    while page := next_calls(store, query, order, size, after):
        yield from page
        last = page[-1]
        of = last if name != "total_tokens" else last.usage
        after = Place(value=getattr(of, name, None), id=last.call_id)


Ask = Callable[[UsageStore], Any]
Question = tuple[Ask, Callable[[Query], Any], Query]


def a_breakdown(chance: random.Random, calls: Sequence[Call]) -> Question:
    """Groups, the largest first, all or some of them."""
    by, filters, limit = (
        some_dimensions(chance),
        some_filters(chance, calls),
        chance.choice((None, None, 0, 1, 3, 1_000)),
    )
    order = chance.choice(("total_tokens", "cost_usd", "calls", "duration_ms"))
    return (
        lambda store: store.breakdown(*by, limit=limit, order=order, **filters),
        lambda query: make_breakdown(by, groups_of(calls, query), order=order, limit=limit),
        make_query(by, filters),
    )


def a_timeline(chance: random.Random, calls: Sequence[Call]) -> Question:
    """Groups by time, the oldest first."""
    every, by, filters = chance.choice(STEPS), chance.choice((None, *DIMENSIONS)), some_filters(chance, calls)
    query = make_query((every, *((by,) if by else ())), filters)
    return (
        lambda store: store.timeline(every, by=by, **filters),
        lambda query: make_breakdown(query.by, groups_of(calls, query), in_time_order=True),
        query,
    )


def a_list(chance: random.Random, calls: Sequence[Call]) -> Question:
    """Calls in an order, some of them."""
    order, filters = chance.choice(("", "-")) + chance.choice(ORDERS), some_filters(chance, calls)
    limit, offset = chance.choice((0, 1, 10, 2_000)), chance.choice((0, 0, 1, 50, 1_000))
    return (
        lambda store: store.calls(limit=limit, offset=offset, order=order, **filters),
        lambda query: in_order([call for call in calls if matches(call, query)], order)[offset : offset + limit],
        make_query((), filters),
    )


def some_pages(chance: random.Random, calls: Sequence[Call]) -> Question:
    """Calls in an order, all of them, by pages."""
    order, filters = chance.choice(("", "-")) + chance.choice(ORDERS), some_filters(chance, calls)
    size, query = chance.choice((7, 40)), make_query((), filters)
    return (
        lambda store: list(paged(store, query, order, size)),
        lambda query: in_order([call for call in calls if matches(call, query)], order),
        query,
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", [a_breakdown, a_timeline, a_list, some_pages])
def test_every_answer_is_that_of_the_calls(
    postgresql_database: Database,
    make_store: Callable[[Database], UsageStore],
    tmp_path: Path,
    kind: Callable[[random.Random, Sequence[Call]], Question],
) -> None:
    """Whatever is asked, by whatever names, zones, ranges and orders, is answered alike, and as counting by hand does."""
    chance = random.Random(kind.__name__)
    calls = [some_call(chance, number) for number in range(CALLS)]
    stores = [make_store(postgresql_database), UsageStore(parse_target(tmp_path / "tokens.db"))]
    for store in stores:
        store.add(calls)
        assert {call.call_id: call for call in store.calls(limit=CALLS)} == {call.call_id: call for call in calls}
    for _ in range(QUESTIONS):
        try:
            ask, right, query = kind(chance, calls)
        except QueryError:
            continue  # a range that ends before it begins
        expected = right(query)
        for store in stores:
            assert ask(store) == expected, (query, store)
    stores[1].close()
