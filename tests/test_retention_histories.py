"""Are kept sums right whatever happens in whatever order? Random histories, held against the same calls in memory."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from langchain_tokens.breakdown import Breakdown, aggregate
from langchain_tokens.call import Call
from langchain_tokens.query import make_query
from langchain_tokens.store.store import UsageStore
from tests.test_rollups import repriced, some_call

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

MakeStore = Callable[["Database"], UsageStore]
FIRST = datetime(2026, 9, 1, tzinfo=UTC)
DAYS = 4
ASKED = (
    (),
    ("session",),
    ("user",),
    ("chain",),
    ("day", "session"),
    ("month", "chain"),
    ("hour",),
    ("status", "attempt"),
)


@dataclass(kw_only=True)
class History:
    """A store, and what is to be in it."""

    store: UsageStore
    chance: random.Random
    held: dict[str, Call] = field(default_factory=dict)
    """Calls that have a row."""
    gone: list[Call] = field(default_factory=list)
    """Calls whose rows were pruned, and whose sums stay."""

    def moment(self) -> datetime:
        """One of few hours, so that calls meet in them."""
        hours = 24 * self.chance.randrange(DAYS) + self.chance.choice((0, 1))
        return FIRST + timedelta(hours=hours, minutes=self.chance.choice((0, 20, 40)))

    def call(self) -> Call:
        """A call with few names."""
        few = {"agent": None, "mode": None, "model": None, "provider": None, "path": None, "duration_ms": None}
        return replace(some_call(self.chance), started_at=self.moment(), **few)

    def sample(self, most: int) -> list[Call]:
        """Some of the calls that have a row."""
        return self.chance.sample(list(self.held.values()), min(most, len(self.held)))

    def keep(self, calls: list[Call]) -> None:
        """Note that these are stored now."""
        self.held |= {call.call_id: call for call in calls}

    def add(self) -> None:
        """New calls, also of a time that was pruned."""
        calls = [self.call() for _ in range(self.chance.randrange(1, 9))]
        self.store.add(calls)
        self.keep(calls)

    def correct(self) -> None:
        """Other names, times and numbers, or none any more."""
        calls = []
        for call in self.sample(4):
            new = replace(self.call(), call_id=call.call_id, revision=call.revision + 1)
            unknown = replace(call, usage=None, usage_source="missing", cost_usd=None, price_status="unpriced")
            calls.append(self.chance.choice((new, replace(unknown, revision=call.revision + 1))))
        self.store.add(calls)
        self.keep(calls)

    def reprice(self) -> None:
        """Other costs."""
        calls = self.sample(3)
        self.store.change_costs([(call, repriced(call)) for call in calls])
        self.keep([repriced(call) for call in calls])

    def delete(self) -> None:
        """Calls of a chain, which leaves the sums of those without a row."""
        chain, until = self.chance.choice(("chain-1", "chain-2")), self.moment()
        self.store.delete(chain=chain, until=until)
        self.held = {key: call for key, call in self.held.items() if call.chain != chain or call.started_at >= until}

    def delete_name(self) -> None:
        """Calls of a session or a user until a moment, which takes the name from the whole hours before it."""
        dimension = self.chance.choice(("session", "user"))
        of_gone = [call.started_at.replace(minute=30) for call in self.gone]
        until = self.chance.choice(of_gone or [self.moment()])
        name = f"{dimension}-1"
        self.store.delete(**{dimension: name}, until=until)
        self.held = {
            key: call for key, call in self.held.items() if getattr(call, dimension) != name or call.started_at >= until
        }
        end = until if until.minute == 0 else until.replace(minute=0) + timedelta(hours=1)
        nameless: dict[str, Any] = {dimension: None}
        self.gone = [
            replace(call, **nameless) if getattr(call, dimension) == name and call.started_at < end else call
            for call in self.gone
        ]

    def prune(self) -> None:
        """Rows, whose sums stay."""
        cut = self.moment().replace(hour=0, minute=0)
        self.store.prune(cut)
        self.gone += [call for call in self.held.values() if call.started_at < cut]
        self.held = {key: call for key, call in self.held.items() if call.started_at >= cut}

    def prune_sums(self) -> None:
        """Rows with their sums."""
        cut = self.moment().replace(hour=0, minute=0)
        self.store.prune(cut, keep_rollups=False)
        self.gone = [call for call in self.gone if call.started_at >= cut]
        self.held = {key: call for key, call in self.held.items() if call.started_at >= cut}

    def rebuild(self) -> None:
        """What is derived again is what was there."""
        assert self.store.rebuild_rollups() == 0


def numbers(found: Breakdown) -> dict[Any, tuple[Any, ...]]:
    """What kept sums can tell exactly: how many calls, and whether their tokens and cost are known."""
    return {
        tuple(row.key.values()): (
            row.calls,
            row.failed_calls,
            row.unpriced_calls,
            row.calls_without_usage,
            row.total_tokens,
            row.cost_usd,
        )
        for row in found
    }


@pytest.mark.parametrize("seed", range(4))
def test_kept_sums_are_right_through_every_history(database: Database, make_store: MakeStore, seed: int) -> None:
    """New and late calls, corrections, deletions and prunes in any order: each sum is that of the calls, or unknown."""
    history = History(store=make_store(database), chance=random.Random(seed))
    steps = [
        *[history.add] * 4,
        *[history.correct, history.delete, history.delete_name] * 2,
        *[history.reprice, history.prune, history.prune, history.prune_sums, history.rebuild],
    ]
    done: list[str] = []
    for _ in range(25):
        step = history.chance.choice(steps)
        done.append(step.__name__)
        step()
        assert history.store.check().is_clean, done
        calls = [*history.held.values(), *history.gone]
        for by in ASKED:
            assert numbers(history.store.breakdown(*by)) == numbers(aggregate(calls, make_query(by))), (by, done)
    assert {call.call_id: call for call in history.store.calls(limit=10_000)} == history.held
