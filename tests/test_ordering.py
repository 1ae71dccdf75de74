"""Calls in the order of a number, read the short way, are those that sorting all of them gives."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from langchain_tokens import UsageStore
from langchain_tokens.call import Call
from langchain_tokens.query import make_query
from langchain_tokens.store.ordering import NUMBERS
from langchain_tokens.store.paging import Place, next_calls
from tests.builders import NOON, make_call

pytest_plugins = ("tests.databases",)

FILTERS: tuple[dict[str, Any], ...] = (
    {},
    {"since": NOON + timedelta(hours=2)},
    {"since": NOON + timedelta(hours=9), "until": NOON + timedelta(hours=9, minutes=30)},
    {"chain": "plan"},
    {"chain": "plan", "since": NOON + timedelta(hours=2)},
    {"agent": "A"},
    {"session": "s-1"},
    {"tags": {"team": "blue"}},
    {"chain": "no such"},
)
LIMITS = (1, 5, 50, 1_000)


def some_calls(count: int, chance: Random) -> list[Call]:
    """Calls with many equal numbers, and unknown ones."""
    return [
        make_call(
            call_id=f"call-{number:03}",
            started_at=NOON + timedelta(minutes=chance.randrange(600)),
            chain=chance.choice(("plan", "answer")),
            agent=chance.choice(("A", None)),
            session=chance.choice(("s-1", "s-2")),
            tags=chance.choice(({"team": "blue"}, {})),
            tokens=chance.choice(((1, 1), (2, 2), (3, 3), None)),
            cost=chance.choice(("0.1", "0.2", "0.3", None)),
            duration_ms=chance.choice((1.5, 2.5, 3.5, None)),
        )
        for number in range(count)
    ]


def number_of(call: Call, name: str) -> Any:
    """What calls are ordered by."""
    if name == "total_tokens":
        return None if call.usage is None else call.usage.total_tokens
    return getattr(call, name)


def expected(calls: Sequence[Call], order: str) -> list[str]:
    """The ids in the order of a number, unknown last, equal ones by their ids."""
    name, sign = order.removeprefix("-"), -1 if order.startswith("-") else 1
    known = [call for call in calls if number_of(call, name) is not None]
    known.sort(key=lambda call: (sign * number_of(call, name), call.call_id))
    unknown = sorted(call.call_id for call in calls if number_of(call, name) is None)
    return [call.call_id for call in known] + unknown


def place_after(call: Call, name: str) -> Place:
    """Where a page ended."""
    return Place(value=number_of(call, name), id=call.call_id)


@pytest.mark.parametrize("name", NUMBERS)
def test_calls_come_in_the_order_of_a_number(store: UsageStore, name: str) -> None:
    """Of any filter and both directions, as many as are asked for, and page by page."""
    store.add(some_calls(120, Random(5)))
    for filters in FILTERS:
        matching = store.calls(limit=1_000, **filters)
        for order in (f"-{name}", name):
            ids = expected(matching, order)
            for limit in LIMITS:
                assert [call.call_id for call in store.calls(order=order, limit=limit, **filters)] == ids[:limit]
            assert [call.call_id for call in store.calls(order=order, limit=7, offset=3, **filters)] == ids[3:10]
            paged: list[Call] = []
            while page := next_calls(
                store, make_query((), filters), order, 17, place_after(paged[-1], name) if paged else None
            ):
                paged += page
            assert [call.call_id for call in paged] == ids
