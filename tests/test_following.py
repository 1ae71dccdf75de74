"""New calls are seen once each: also late ones, corrected ones, and after others were deleted; by any process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from langchain_tokens import UsageStore
from langchain_tokens.errors import TokensError
from langchain_tokens.store.engine import make_engine
from langchain_tokens.store.target import parse_target
from tests.builders import NOON, make_call, make_fact

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

Stores = Callable[["Database"], UsageStore]


def ids(calls: Any) -> list[str]:
    """Their ids."""
    return [call.call_id for call in calls]


def test_each_new_call_is_seen_once(lasting_database: Database, make_store: Stores) -> None:
    """Those that are there come first, then what others store; nothing new is nothing."""
    writer, reader = make_store(lasting_database), make_store(lasting_database)
    old = [make_call(call_id=f"old-{minute}", started_at=NOON + timedelta(minutes=minute)) for minute in range(4)]
    writer.add(old)
    with reader.following(limit=2) as follower:
        assert ids(follower.latest) == ["old-2", "old-3"]
        assert ids(follower.new()) == []
        writer.add([make_call(call_id="b", started_at=NOON + timedelta(hours=2)), make_call(call_id="a")])
        writer.add([make_call(call_id="c", started_at=NOON + timedelta(hours=1))])
        assert ids(follower.new()) == ["a", "c", "b"]
        assert ids(follower.new()) == []


def test_late_and_corrected_calls(lasting_database: Database, make_store: Stores) -> None:
    """A call of last year that is stored now is new; a correction of one that was seen, or a new price, is not."""
    writer, reader = make_store(lasting_database), make_store(lasting_database)
    known = make_call(call_id="known", status="cancelled")
    writer.add([known, *(make_call(started_at=NOON + timedelta(seconds=second)) for second in range(700))])
    with reader.following(limit=0) as follower:
        assert follower.latest == []
        late = make_call(call_id="late", started_at=NOON - timedelta(days=400))
        among = make_call(call_id="among", started_at=NOON + timedelta(seconds=3))
        writer.add([late, replace(known, revision=1, status="ok"), among])
        assert ids(follower.new()) == ["late", "among"]
        writer.add([replace(known, revision=2, status="error"), late])
        assert ids(follower.new()) == []


def test_filters_and_deletions(lasting_database: Database, make_store: Stores) -> None:
    """Only what is asked for is seen; what comes after the newest were deleted is new, too."""
    writer, reader = make_store(lasting_database), make_store(lasting_database)
    writer.add([make_call(session="keep"), *(make_call(session="gone") for _ in range(5))])
    with reader.following(agent="coder", limit=5) as follower:
        writer.delete(session="gone")
        writer.add([make_call(call_id="mine", agent="coder", session="s", started_at=NOON + timedelta(hours=1))])
        writer.add([make_call(call_id="other", agent="rag", session="s", started_at=NOON + timedelta(hours=1))])
        assert ids(follower.new()) == ["mine"]
        writer.delete(until="2100-01-01")
        assert ids(follower.new()) == []
        writer.add([make_call(call_id="again", agent="coder")])
        assert ids(follower.new()) == ["again"]


def test_moment_that_the_server_ended(postgresql_database: Database, make_store: Stores) -> None:
    """A server may end a transaction that nobody asks for long: the newest are then taken for what is new."""
    writer, reader = make_store(postgresql_database), make_store(postgresql_database)
    writer.add([make_call()])
    with reader.following() as follower:
        engine = make_engine(parse_target(postgresql_database.url))
        writer.close()
        with engine.connect() as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        engine.dispose()
        writer.add([make_call(call_id="new", started_at=NOON + timedelta(minutes=1))])
        assert ids(follower.new()) == ["new"]
        writer.add([make_call(call_id="next")])
        assert ids(follower.new()) == ["next"]


def test_runs_by_the_beginning_of_an_id(store: UsageStore) -> None:
    """A beginning finds all that share it, newest first; an id itself is found alone; signs of patterns are letters."""
    for number, name in enumerate(("abc", "abcd", "abd", "a%c", "x")):
        moment = NOON + timedelta(minutes=number)
        store.add([make_call(run_id=name, started_at=moment)], [make_fact(name, started_at=moment)])
    found = {start: [run.run_id for run in store.find_runs(start)] for start in ("ab", "abc", "a%", "", "ABC", "z")}
    assert found == {"ab": ["abd", "abcd", "abc"], "abc": ["abc"], "a%": ["a%c"], "": [], "ABC": [], "z": []}
    assert [run.run_id for run in store.find_runs("a", limit=2)] == ["a%c", "abd"]
    with pytest.raises(TokensError, match="start=5 is a int; expected text"):
        store.find_runs(5)  # type: ignore[arg-type]  # what must not come


def test_sessions_by_their_newest_call(store: UsageStore) -> None:
    """The session that was used last comes first, with the first and the last of its calls that match."""
    for minute, session in enumerate(("a", "b", "a", None, "c", "a")):
        chain = "x" if minute != 5 else "y"
        store.add([make_call(session=session, chain=chain, started_at=NOON + timedelta(minutes=minute))])
    first = store.spans(limit=2)
    assert [(span.session, (span.last_call_at - span.first_call_at).seconds // 60) for span in first] == [
        ("a", 5),
        ("c", 0),
    ]
    assert [span.session for span in store.spans(chain="x")] == ["c", None, "a", "b"]
    assert [span.session for span in store.spans("b", None)] == [None, "b"]
    assert list(store.spans(limit=0)) == []


@pytest.mark.parametrize("order", ["total_tokens", "cost_usd", "calls", "duration_ms"])
def test_largest_by_any_number(store: UsageStore, order: str) -> None:
    """The rows are the largest of what was asked for, unknown last, with and without a limit, and the total is of all."""
    store.add(
        [
            make_call(chain="tokens", tokens=(1_000, 0), cost="1", duration_ms=1.0),
            make_call(chain="money", tokens=(10, 0), cost="5", duration_ms=2.0),
            *(make_call(chain="many", tokens=(1, 0), cost="0.1", duration_ms=0.5) for _ in range(3)),
            make_call(chain="long", tokens=(2, 0), cost="0.2", duration_ms=9.0),
            make_call(chain="unknown", tokens=None),
        ]
    )
    first = {"total_tokens": "tokens", "cost_usd": "money", "calls": "many", "duration_ms": "long"}[order]
    everything = store.breakdown("chain", order=order)
    assert everything[0].key["chain"] == first
    limited = store.breakdown("chain", order=order, limit=2)
    assert [row.key for row in limited] == [row.key for row in everything][:2]
    assert limited.total == everything.total
    if order != "calls":
        assert everything[-1].key["chain"] == "unknown"
