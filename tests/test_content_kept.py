"""For how long is it kept what was said? Stored with its call, gone with its call, or alone, on every kind of database."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from langchain_tokens import UsageStore
from langchain_tokens.errors import QueryError
from langchain_tokens.said import ContentFact
from langchain_tokens.store.downgrade import downgrade_store
from langchain_tokens.store.engine import writing
from langchain_tokens.store.inspection import inspect_store
from langchain_tokens.store.partitioning import partition_store
from langchain_tokens.store.target import parse_target
from langchain_tokens.store.upgrade import upgrade_store
from tests.builders import NOON, make_call

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

MakeStore = Callable[["Database"], UsageStore]
DAYS = [NOON - timedelta(days=days) for days in (0, 1, 40)]


def said(call_id: str, **more: object) -> ContentFact:
    """What was said in a call."""
    messages, answer = ([{"role": "human", "text": f"ask {call_id} \u732b"}], {"text": f"say {call_id}"})
    return ContentFact(
        **{"call_id": call_id, "messages": json.dumps(messages), "answer": json.dumps(answer), **more}  # type: ignore[arg-type]
    )


def fill(store: UsageStore) -> None:
    """Three calls on three days and in sessions of their own, with what was said in them."""
    calls = [make_call(call_id=f"c{day}", session=f"s{day}", started_at=at) for day, at in enumerate(DAYS)]
    store.add(calls, (), [said(call.call_id) for call in calls])


def kept(store: UsageStore) -> list[str]:
    """The calls of which it is kept what was said, and nothing of any call that is not stored."""
    assert store.contents_without_call() == []
    return sorted(store.calls_said_like(""))


@pytest.fixture
def store(database: Database, make_store: MakeStore) -> UsageStore:
    """A store with three calls."""
    made = make_store(database)
    fill(made)
    return made


def test_it_is_stored_once_and_as_it_was(store: UsageStore) -> None:
    """A batch may come twice; what is read is what was written, with the call's own start."""
    fill(store)
    content = store.content("c2")
    assert content is not None
    assert (content.call_id, content.started_at) == ("c2", DAYS[2])
    assert content.messages == ({"role": "human", "text": "ask c2 \u732b"},)
    assert content.answer == {"text": "say c2"}
    assert (kept(store), store.content("none")) == (["c0", "c1", "c2"], None)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_later_record_brings_the_answer(store: UsageStore, order: tuple[int, int]) -> None:
    """In whichever order they come, the messages are those of the first and the answer is that of the last."""
    store.add([make_call(call_id="late")])
    first = said("late", answer=None, messages_cut=True)
    later = said("late", messages=None, answer='{"text": "whole"}', answer_cut=True, revision=1)
    for place in order:
        store.add([], [], [(first, later)[place]])
        store.add([], [], [(first, later)[place]])
    store.add([], [], [said("late", messages=None, answer=None, revision=2)])
    content = store.content("late")
    assert content is not None
    assert (content.messages[0]["text"], content.answer) == ("ask late \u732b", {"text": "whole"})
    assert (content.messages_cut, content.answer_cut) == (True, True)


def test_nothing_is_kept_of_calls_that_are_not_stored(store: UsageStore) -> None:
    """Of a call that was deleted, or never came, what was said in it does not come back."""
    store.delete(session="s1")
    store.add([], [], [said("c1"), said("never")])
    assert kept(store) == ["c0", "c2"]


def test_it_goes_with_its_call(store: UsageStore) -> None:
    """Whether a session is deleted, a range, or what is old."""
    assert store.delete(session="s0") == 1
    assert kept(store) == ["c1", "c2"]
    assert store.prune(NOON - timedelta(days=20)).calls == 1
    assert kept(store) == ["c1"]
    assert store.delete(until="2100-01-01") == 1
    assert kept(store) == []
    assert store.check().is_clean


def test_it_may_go_alone(store: UsageStore) -> None:
    """A shorter life for what was said leaves calls, sums and what is newer as they are."""
    before = str(store.breakdown("session")), str(store.calls())
    planned = store.prune_content(NOON, dry_run=True)
    assert (planned.contents, planned.before, kept(store)) == (
        2,
        datetime(2026, 11, 20, tzinfo=UTC),
        ["c0", "c1", "c2"],
    )
    assert store.prune_content(NOON).contents == 2
    assert store.prune_content(NOON).contents == 0
    assert kept(store) == ["c0"]
    assert (str(store.breakdown("session")), str(store.calls())) == before
    with pytest.raises(QueryError, match="yet to come"):
        store.prune_content("2100-01-01")


def test_what_is_left_behind_is_found(store: UsageStore) -> None:
    """A check names what was said in calls that somebody took away by hand."""
    with writing(store._engine(), store.target) as connection:
        connection.execute(text("DELETE FROM llm_call WHERE call_id = 'c1'"))
    found = [difference for difference in store.check().differences if difference.column == "llm_call_content"]
    assert [difference.row for difference in found] == ["c1"]


def test_migrations_with_content(lasting_database: Database, make_store: MakeStore) -> None:
    """Down it goes, and is named before; up again the table is there, empty, and all else as before."""
    store = make_store(lasting_database)
    fill(store)
    store.close()
    target = parse_target(lasting_database.url)
    done = downgrade_store(target, "0012")
    assert dict(done.plan.lost_rows) == {"llm_call_content": 3}
    assert upgrade_store(target).calls == 3
    assert inspect_store(target).is_right
    store = make_store(lasting_database)
    assert (len(store.calls()), kept(store)) == (3, [])
    store.add([], [], [said("c0")])
    assert kept(store) == ["c0"]


def test_partitions_take_it_along(postgresql_database: Database, make_store: MakeStore) -> None:
    """Where calls are partitioned, it is stored, pruned with whole partitions, and deleted as elsewhere."""
    store = make_store(postgresql_database)
    fill(store)
    partition_store(store.target, now=NOON, by="day")
    store.add([make_call(call_id="c3", session="s3")], (), [said("c3"), said("c0"), said("never")])
    assert kept(store) == ["c0", "c1", "c2", "c3"]
    assert inspect_store(store.target).is_right
    assert store.prune(NOON - timedelta(days=20)).calls == 1
    assert kept(store) == ["c0", "c1", "c3"]
    assert store.delete(session="s3") == 1
    assert kept(store) == ["c0", "c1"]
