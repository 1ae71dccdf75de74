"""The largest sessions and users of a range, found without adding up all, are those that adding up all finds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from langchain_tokens import UsageStore
from langchain_tokens.call import Call
from langchain_tokens.query import Query, make_query
from langchain_tokens.store import answers, largestnames
from langchain_tokens.store.answers import ranked_names, read_largest
from langchain_tokens.store.engine import writing
from langchain_tokens.store.namesearch import names_statement
from langchain_tokens.store.prepared import asked
from langchain_tokens.store.rebuilding import rebuild_rollups
from langchain_tokens.store.sums import SUMS
from tests.builders import NOON, make_call

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

MIDNIGHT = NOON.replace(hour=0)
NAME_COUNT = 40
DAYS = 12
MOMENTS = (None, 0, 2.37, 4, 7 + 5 / 24, 20)
"""Days after midnight with which ranges begin and end: whole ones, whole hours, within an hour, and where nothing is."""
ORDERS = ("total_tokens", "cost_usd")


def rows(count: int) -> dict[str, int]:
    """So many rows of days, in every database."""
    return dict.fromkeys(("sqlite", "postgresql"), count)


LIMITS = {
    "_FEW": 1,
    "_ROWS_OF_NAME": rows(0),
    "_PAGE": 5,
    "_SAMPLE": 4,
    "_PASSED_IN_SAMPLE": 4,
    "_SOME": 3,
    "_SPARE": 1,
    "_ALIKE": 2,
}


@pytest.fixture(autouse=True)
def pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let names be gone through, few at a time, also where there are few days."""
    for name, value in LIMITS.items():
        monkeypatch.setattr(largestnames, name, value)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each question, whether it was answered without adding up all."""
    said: list[bool] = []

    def remember(*arguments: Any) -> Any:
        names = largestnames.largest_names(*arguments)
        said.append(names is not None)
        return names

    monkeypatch.setattr(answers, "largest_names", remember)
    return said


def some_calls(chance: Random) -> list[Call]:
    """Calls of sessions that are short or go on for days, and of none; of some nothing, or not all, is known."""
    calls = []
    for number in range(NAME_COUNT):
        begins, lasts = chance.uniform(0, DAYS), chance.choice((0.01, 0.01, 0.01, 0.3, 6))
        session = f"session-{number}" if number else None
        for _ in range(chance.choice((1, 2, 5))):
            at = MIDNIGHT + timedelta(days=begins + chance.random() * lasts)
            is_known = chance.random() > (0.9 if number % 8 == 0 else 0.1)
            tokens = (chance.choice((1, 10, 100, 1_000)) * (1 + number % 7), 5) if is_known else None
            cost = chance.choice(("0.1", "0.2", "0.5", "0", None))
            user = chance.choice((None, "ann", f"user-{number % 20}"))
            calls.append(make_call(session=session, user=user, started_at=at, tokens=tokens, cost=cost))
    return calls


def ranges() -> Iterator[dict[str, datetime]]:
    """Ranges that cut names at one end, at both or at none."""
    for since, until in product(MOMENTS, MOMENTS):
        ends = {"since": since, "until": until}
        if since is None or until is None or since < until:
            yield {name: MIDNIGHT + timedelta(days=day) for name, day in ends.items() if day is not None}


def sizes(answer: Sequence[Any], order: str, limit: int | None = None) -> list[tuple[bool, Any, int]]:
    """How large the groups of an answer are, the largest first."""
    said = [(getattr(row, order) is not None, getattr(row, order) or 0, row.calls) for row in answer]
    return sorted(said, reverse=True)[:limit]


def hold(store: UsageStore) -> None:
    """Every answer with a limit is the beginning of the one without."""
    for span, name in product(ranges(), ("session", "user")):
        whole = store.breakdown(name, **span)
        by_name = {row.key[name]: row for row in whole}
        for limit, order in product((1, 4, 15), ORDERS):
            part = store.breakdown(name, limit=limit, order=order, **span)
            assert sizes(part, order) == sizes(whole, order, limit)
            assert part.total == whole.total
            assert [by_name[row.key[name]] for row in part] == list(part)


@pytest.mark.parametrize("seed", [1, 2])
def test_largest_are_those_of_all(store: UsageStore, seed: int, found: list[bool]) -> None:
    """Names within a range and names that it cuts, calls without one, unknown tokens, and what changes them."""
    chance = Random(seed)
    calls = some_calls(chance)
    chance.shuffle(calls)
    for start in range(0, len(calls), 25):
        store.add(calls[start : start + 25])
    hold(store)
    assert 50 < sum(found) < len(found)
    changed = [replace(call, revision=1, usage=None, cost_usd=None) for call in chance.sample(calls, 20)]
    store.add(changed)
    store.delete(session=["session-3", "session-4"])
    hold(store)
    store.delete(until=MIDNIGHT + timedelta(days=2.5))
    hold(store)
    assert store.check().is_clean


def test_sums_without_rows_tell_the_same(store: UsageStore, found: list[bool]) -> None:
    """Where rows were pruned, ranges begin with an hour, and the largest names are those of the sums."""
    store.add(some_calls(Random(3)))
    store.prune((MIDNIGHT + timedelta(days=5)).date().isoformat())
    hold(store)
    assert any(found)


def ask(store: UsageStore, order: str = "total_tokens", limit: int = 3, **filters: Any) -> list[str]:
    """The largest sessions, the largest first."""
    return [row.key["session"] for row in store.breakdown("session", limit=limit, order=order, **filters)]


def test_names_of_one_size_are_added_up(store: UsageStore, found: list[bool]) -> None:
    """Where others that were not looked at may have as much as the last one, and more calls, all are added up."""
    tokens = [(100, 0), *[(10, 0)] * 9]
    costs = ["0.01", "0.1", *["0.01"] * 5, *["0.1"] * 3]
    both = zip(tokens, costs, strict=True)
    calls = [make_call(session=f"s-{number}", tokens=used, cost=cost) for number, (used, cost) in enumerate(both)]
    store.add([*calls, make_call(session="s-1", tokens=(0, 0), cost="0")])
    assert ask(store, since=MIDNIGHT, limit=1) == ["s-0"]
    assert ask(store, since=MIDNIGHT, limit=2) == ["s-0", "s-1"]
    assert ask(store, since=MIDNIGHT, limit=6)[:2] == ["s-0", "s-1"]
    assert ask(store, since=MIDNIGHT, limit=1, order="cost_usd") == ["s-1"]
    assert found == [True, False, True, False]


def test_next_look_begins_with_names_of_the_last_size(store: UsageStore, found: list[bool]) -> None:
    """Of names of one size the first look may have seen some only; all of them are in the answer, by their calls."""
    within = {"a": 100, "b": 99, "c": 98, "d": 97, "m": 49, "n": 50, "o": 50, "p": 10, "q": 9, "r": 8}
    calls = [make_call(session=name, tokens=(size, 0), cost=None) for name, size in within.items()]
    before = NOON - timedelta(days=1)
    others = [make_call(session=f"x{number}", tokens=(90 + number, 0), started_at=before) for number in range(4)]
    store.add([*calls, *others, make_call(session="m", tokens=(1, 0), cost=None)])
    assert ask(store, since=MIDNIGHT, limit=6)[:5] == ["a", "b", "c", "d", "m"]
    assert found == [True]


def last_days(store: UsageStore, dimension: str = "session") -> dict[str, str]:
    """What is said to be the last day of each name."""
    asked_for = text("SELECT name, last_day FROM usage_by_name WHERE dimension = :dimension")
    with store._reading() as connection:
        return {row.name: row.last_day for row in connection.execute(asked_for, {"dimension": dimension})}


def test_last_days_follow_calls(store: UsageStore) -> None:
    """A later call moves a name's last day, an earlier one does not; what is gone leaves it until sums are derived."""
    early, late = NOON - timedelta(days=9), NOON + timedelta(days=1)
    store.add([make_call(session="a"), make_call(session="b", started_at=late), make_call(session="b", user="u")])
    store.add(
        [make_call(session=name, started_at=moment) for name, moment in (("a", late), ("b", early), ("c", early))]
    )
    tomorrow, today, before = (f"{moment:%Y-%m-%d}" for moment in (late, NOON, early))
    assert last_days(store) == {"a": tomorrow, "b": tomorrow, "c": before}
    assert last_days(store, "user") == {"": tomorrow, "u": today}
    store.delete(since=late)
    assert last_days(store) == {"a": tomorrow, "b": tomorrow, "c": before}
    assert [row.key["session"] for row in store.breakdown("session", since=late, limit=2)] == []
    assert store.check().is_clean
    with writing(store._engine(), store.target) as connection:
        rebuild_rollups(connection)
    assert last_days(store) == {"a": today, "b": today, "c": before}


def test_last_day_that_is_too_early_is_found(store: UsageStore) -> None:
    """A name that would be passed over though it has calls in a range is no clean store; deriving sums puts it right."""
    store.add([make_call(session="a"), make_call(session="b")])
    with writing(store._engine(), store.target) as connection:
        connection.execute(text("UPDATE usage_by_name SET last_day = '2026-01-01' WHERE name = 'b'"))
    said = [str(found) for found in store.check().differences]
    assert said == [f"usage_by_name session b  last_day: stored 2026-01-01, derived {NOON:%Y-%m-%d}"]
    store.rebuild_rollups()
    assert store.check().is_clean


def test_names_of_earlier_days_are_passed_over(
    store: UsageStore, found: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Larger names of other days stand in no one's way, as many as there are."""
    monkeypatch.setattr(largestnames, "_PASSED_IN_SAMPLE", 200)
    before = [make_call(session=f"old-{number}", tokens=(1_000 + number, 0)) for number in range(150)]
    now = [make_call(session=f"s-{number}", tokens=(1 + number, 0)) for number in range(90)]
    store.add([*[replace(call, started_at=NOON - timedelta(days=2)) for call in before], *now])
    assert ask(store, since=MIDNIGHT, limit=2) == ["s-89", "s-88"]
    assert found == [True]


def test_names_that_go_on_are_added_up(store: UsageStore, found: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a range cuts nearly all names, what they have of all time says little: they are not even looked at."""
    monkeypatch.setattr(largestnames._Walk, "_look", None)
    days = [MIDNIGHT + timedelta(days=day) for day in range(4)]
    store.add([make_call(session=f"s-{number}", started_at=day) for number in range(9) for day in days])
    assert len(ask(store, since=days[2])) == 3
    assert len(ask(store, until=days[3])) == 3
    assert found == [False, False]


def test_names_that_are_small_are_added_up(store: UsageStore, found: list[bool]) -> None:
    """Where those of the range have less than most others of all time, these are not gone through."""
    before = [make_call(session=f"old-{number}", tokens=(1_000 + number, 0)) for number in range(60)]
    large = [(5_000 + number, 0) for number in range(3)]
    tokens = [*large, *[(1 + number, 0) for number in range(40)]]
    now = [make_call(session=f"s-{number}", tokens=used, cost=None) for number, used in enumerate(tokens)]
    store.add([*[replace(call, started_at=NOON - timedelta(days=2)) for call in before], *now])
    assert ask(store, since=MIDNIGHT, limit=2) == ["s-2", "s-1"]
    assert ask(store, since=MIDNIGHT, limit=5) == ["s-2", "s-1", "s-0", "s-42", "s-41"]
    assert found == [True, False]


@pytest.mark.parametrize(
    ("more", "limits", "is_found"),
    [
        ({}, {"_FEW": 40}, True),
        ({}, {"_FEW": 41}, False),
        ({}, {"_ROWS_OF_NAME": rows(13)}, True),
        ({}, {"_ROWS_OF_NAME": rows(14)}, False),
        ({"until": NOON + timedelta(days=3)}, {"_ROWS_OF_NAME": rows(8)}, True),
        ({"until": NOON + timedelta(days=3)}, {"_ROWS_OF_NAME": rows(9)}, False),
        ({"limit": 20}, {"_ROWS_OF_NAME": rows(1)}, True),
        ({"limit": 20}, {"_ROWS_OF_NAME": rows(2)}, False),
        ({"order": "calls"}, {}, None),
        ({"order": "duration_ms"}, {}, None),
        ({"mode": "batch"}, {}, None),
        ({"tags": {"team": "a"}}, {}, None),
        ({"since": None}, {}, None),
        ({"since": NOON}, {}, False),
        ({"until": datetime.max.replace(tzinfo=UTC)}, {}, False),
        ({"limit": 0}, {}, False),
    ],
)
def test_goes_through_names_only_where_that_pays(
    store: UsageStore, found: list[bool], more: dict[str, Any], limits: dict[str, Any], *, is_found: bool | None
) -> None:
    """Not for few rows of days, other orders or filters, nor for a range without a whole day."""
    chain = {"mode": "batch", "tags": {"team": "a"}, "duration_ms": 2.0, "cost": "0.1"}
    store.add([make_call(session=f"s-{number}", tokens=(number, 1), **chain) for number in range(40)])
    asked_for = {"since": MIDNIGHT, "limit": 1, **more}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in limits.items():
            patch.setattr(largestnames, name, value)
        assert len(ask(store, **asked_for)) == asked_for["limit"]
    assert found == ([] if is_found is None else [is_found])


def test_names_come_the_largest_first(store: UsageStore, found: list[bool]) -> None:
    """Also where only names are asked for, more than can be gone through at once among them."""
    store.add([make_call(session=f"s-{number}", tokens=(number, 1)) for number in range(30)])
    query = make_query(("session",), {"since": MIDNIGHT})
    with store._reading() as connection:
        assert list(ranked_names(connection, query, 3)) == ["s-29", "s-28", "s-27"]
        assert list(ranked_names(connection, query, 2_000))[:3] == ["s-29", "s-28", "s-27"]
        assert read_largest(connection, query, 1)[0][0] == ("s-29",)
    assert found == [True, True]


@pytest.mark.parametrize("by", [("session",), ("agent",), ("attempt",), ("session", "agent"), ("user", "attempt")])
@pytest.mark.parametrize("filters", [{}, {"since": MIDNIGHT}, {"since": NOON - timedelta(hours=1)}])
def test_equals_are_in_the_order_of_all(store: UsageStore, by: tuple[str, ...], filters: dict[str, Any]) -> None:
    """The largest few are the first of the whole list where many are as large: by name, those without one first."""
    names = (None, "b", "B", "a", "z", "ä", "a b", "_")
    used = {1: (5, 0), 2: None, 10: (5, 0)}
    several = [(name, attempt) for name in names for attempt in used]
    store.add([make_call(session=n, agent=n, user=n, attempt=attempt, tokens=used[attempt]) for n, attempt in several])
    whole = [row.key for row in store.breakdown(*by, **filters)]
    for limit in range(1, len(whole)):
        assert [row.key for row in store.breakdown(*by, limit=limit, **filters)] == whole[:limit]


def plan_of(store: UsageStore, statement: Any, values: dict[str, Any]) -> str:
    """How a database finds what a statement asks for, where it can choose to go along an index."""
    with store._reading() as connection:
        is_server = connection.dialect.name == "postgresql"
        for setting in ("enable_sort", "enable_seqscan", "enable_bitmapscan") if is_server else ():
            connection.execute(text(f"SET LOCAL {setting} = off"))
        compiled = statement.params(values).compile(connection.engine, compile_kwargs={"literal_binds": True})
        explain = "EXPLAIN" if is_server else "EXPLAIN QUERY PLAN"
        return str(connection.execute(text(f"{explain} {compiled}")).all())


@pytest.mark.parametrize(("rank", "is_next"), [("total_tokens", False), ("total_cost", True)])
def test_statement_goes_along_the_indexes(
    lasting_database: Database, make_store: Any, rank: str, *, is_next: bool
) -> None:
    """Names are read in the order of their sums, and the days of each are looked up; none of it is sorted."""
    store = make_store(lasting_database)
    store.add(some_calls(Random(4)))
    statement = names_statement(rank, SUMS, (True, True), is_next=is_next)
    values = {"asked_dimension": "session", "asked_first": "2026-11-20", "asked_after": "2026-11-25"}
    said = plan_of(store, statement, {**values, "asked_least": 100, "asked_page": 5, "asked_most": 5})
    assert f"ix_usage_by_name_{rank}" in said
    assert "ix_usage_daily_by_name_day" in said


@pytest.mark.parametrize("rank", ["total_tokens", "total_cost"])
def test_largest_of_all_time_are_read_in_order(lasting_database: Database, make_store: Any, rank: str) -> None:
    """Of all time an index has the names in their order; only those of one size are put in the order of their calls."""
    store = make_store(lasting_database)
    store.add(some_calls(Random(5)))
    question = asked(Query(by=("session",)), "postgresql" if lasting_database.kind == "postgresql" else "sqlite")
    statement = answers.largest_statement(question.form, rank, is_known=True)
    said = plan_of(store, statement, {**question.values, "asked_most": 5})
    assert f"ix_usage_by_name_{rank}" in said
    assert "Incremental Sort" in said or "RIGHT PART OF ORDER BY" in said
