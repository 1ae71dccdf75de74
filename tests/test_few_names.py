"""What a database says of few sessions or users in a range is found by their names, not among those of all."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from langchain_tokens import UsageStore
from langchain_tokens.query import Query
from langchain_tokens.store.prepared import asked, whole_statement
from tests.builders import NOON, make_call

pytest_plugins = ("tests.databases",)

SINCE = NOON.replace(hour=0)
COUNT = 20


def fill(store: UsageStore) -> None:
    """Days of many sessions, the same for the user of each, and calls of none."""
    for day in range(3):
        names = [None, *(f"name-{number}" for number in range(COUNT))]
        calls = [make_call(session=name, user=name, started_at=NOON + timedelta(days=day)) for name in names]
        store.add([*calls, make_call(started_at=NOON - timedelta(days=1), session="name-1", user="name-1")])


def plan_of(store: UsageStore, query: Query) -> str:
    """How SQLite finds the answer."""
    question = asked(query, "sqlite")
    with store._reading() as connection:
        statement = whole_statement(question.form).params(question.values)
        compiled = statement.compile(connection.engine, compile_kwargs={"literal_binds": True})
        return str(connection.execute(text(f"EXPLAIN QUERY PLAN {compiled}")).all())


@pytest.mark.parametrize("dimension", ["session", "user"])
@pytest.mark.parametrize("names", [("name-1",), ("name-1", None, "no such"), (None,), tuple("abc" * 6)])
def test_answer_of_names_is_a_part_of_that_of_all(
    store: UsageStore, dimension: str, names: tuple[str | None, ...]
) -> None:
    """By day, and by name, of a range that begins with a day or within one: what all calls of these names add up to."""
    fill(store)
    for since in (SINCE, SINCE + timedelta(days=1, hours=3, minutes=5), None):
        whole = store.breakdown(dimension, since=since)
        some = store.breakdown(dimension, since=since, **{dimension: list(names)})
        expected = {row.key[dimension]: replace(row, share=None) for row in whole if row.key[dimension] in names}
        assert {row.key[dimension]: replace(row, share=None) for row in some} == expected
        assert some.total == store.breakdown("day", since=since, **{dimension: list(names)}).total


@pytest.mark.parametrize("dimension", ["session", "user"])
@pytest.mark.parametrize(("count", "is_sought"), [(1, True), (16, True), (17, False)])
def test_days_of_few_names_are_looked_up(
    memory_store: UsageStore, dimension: str, count: int, *, is_sought: bool
) -> None:
    """SQLite reads the days of few names by an index; it would read those of all by itself."""
    names = tuple(f"name-{number}" for number in range(count))
    said = plan_of(memory_store, Query(by=("day",), equals={dimension: names}, since=SINCE))
    assert ("ix_usage_daily_by_name_day" in said) is is_sought
