"""Are the first calls and runs those of a walk through all of them? However they are looked for."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from langchain_tokens.call import Call
from langchain_tokens.query import make_query
from langchain_tokens.store import latest, places
from langchain_tokens.store.store import UsageStore
from langchain_tokens.sums import matches
from tests.builders import NOON, make_call, make_usage

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

MakeStore = Callable[["Database"], UsageStore]
SPANS: tuple[dict[str, Any], ...] = (
    {},
    {"since": NOON - timedelta(days=80), "until": NOON - timedelta(days=2, minutes=11)},
)
FILTERS: tuple[dict[str, Any], ...] = (
    {"chain": "common"},
    {"chain": "rare"},
    {"chain": "no such"},
    {"chain": "(unattributed)", "model": "m"},
    {"status": ["error", "cancelled"], "agent": "a"},
    {"chain": "rare", "tags": {"team": "t"}},
    {"chain": "rare", "session": "s"},
    {"provider": "p", "mode": "(none)"},
    {"status": "error"},
    {"agent": "a", "model": ["m", "(none)"]},
    {"chain": ["rare", "common"], "tags": {"team": "no such"}},
)


def some_calls(count: int) -> list[Call]:
    """Calls of ninety days, some at the same moment, at the very start of an hour or at the calendar's end."""
    chance = random.Random(11)
    starts = [
        NOON - timedelta(hours=chance.randrange(90 * 24), seconds=chance.choice((0, 1, 1, 7))) for _ in range(count)
    ]
    return [
        make_call(
            call_id=f"call-{number:04}",
            run_id=f"run-{number % 40:02}",
            started_at=start,
            chain=chance.choices(("common", "rare", None), (30, 2, 5))[0],
            **_names(chance),
            agent=chance.choice(("a", "b", "", None)),
            tokens=chance.choice(((1, 1), (2, 2), (0, 0), None)),
            status=chance.choices(("ok", "error", "cancelled"), (20, 2, 1))[0],
            tags={"team": "t"} if chance.random() < 0.5 else {},
        )
        for number, start in enumerate((*starts, datetime(9999, 12, 31, 23, 59, tzinfo=UTC)))
    ]


def _names(chance: random.Random) -> dict[str, Any]:
    return {name: chance.choice((name[0], None)) for name in ("model", "provider", "mode", "session")}


def first(calls: Sequence[Call], *, newest: bool) -> list[str]:
    """The ids of calls in the order in which they started."""
    sign = -1 if newest else 1
    return [call.call_id for call in sorted(calls, key=lambda call: (sign * call.started_at.timestamp(), call.call_id))]


@pytest.mark.parametrize(("probe", "most"), [(3, 60), (1, 2)])
def test_first_calls_are_those_of_all_calls(
    database: Database, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, probe: int, most: int
) -> None:
    """Pages of calls in either order, of common, rare and missing names, are those of all calls in that order."""
    monkeypatch.setattr(latest, "_PROBE", probe)
    monkeypatch.setattr(places, "_MOST", most)
    store, calls = make_store(database), some_calls(160)
    store.add(calls)
    for filters, span, newest in itertools.product(FILTERS, SPANS, (True, False)):
        query = make_query((), {**filters, **span})
        right = first([call for call in calls if matches(call, query)], newest=newest)
        for limit, offset in ((1, 0), (4, 0), (400, 1)):
            order = "-started_at" if newest else "started_at"
            found = store.calls(limit=limit, offset=offset, order=order, **filters, **span)
            assert [call.call_id for call in found] == right[offset : offset + limit], (filters, span, order, limit)


def test_calls_whose_rows_are_gone_are_not_looked_for_in_vain(
    database: Database, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of what is left after a prune, whose sums stay, and after calls came late and some told their tokens anew."""
    monkeypatch.setattr(latest, "_PROBE", 1)
    store, calls = make_store(database), some_calls(160)
    store.add(calls)
    cut = (NOON - timedelta(days=30)).replace(hour=0)
    store.prune(cut)
    late = [replace(call, call_id=f"late-{number}") for number, call in enumerate(calls[:40])]
    anew = [replace(call, usage=make_usage(7, 7), revision=1) for call in calls[::3] if call.started_at >= cut]
    store.add([*late, *anew])
    known = {call.call_id: call for call in (*calls, *anew) if call.started_at >= cut} | {
        call.call_id: call for call in late
    }
    for filters, newest in itertools.product(FILTERS, (True, False)):
        query = make_query((), filters)
        right = first([call for call in known.values() if matches(call, query)], newest=newest)
        for limit in (2, 400):
            found = store.calls(limit=limit, order="-started_at" if newest else "started_at", **filters)
            assert [call.call_id for call in found] == right[:limit], (filters, newest, limit)


def test_what_only_rows_can_tell_is_not_asked_of_sums(database: Database, make_store: MakeStore) -> None:
    """Hours of calls are not told by a filter that no sums have: it would not be looked at."""
    with make_store(database)._reading() as connection, pytest.raises(ValueError, match="all names of session, chain"):
        places.next_hours(connection, make_query((), {"chain": "c", "session": "s"}), (None, None), 1, newest=True)
