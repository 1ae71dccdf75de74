"""Statements that go to PostgreSQL one after another: in their order, all or none, and each trouble is told as it is."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from langchain_tokens.errors import StoreError
from langchain_tokens.store.engine import RowError, writing
from langchain_tokens.store.sending import Statement, send_all
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target
from tests.builders import make_call, make_fact

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

SELECT: Statement = ("SELECT 1", None)
WRONG: Statement = ("SELECT 1 / 0", None)
TOO_LONG = "".join(chr(0x4E00 + place * 7_919 % 20_000) for place in range(9_000))
"""A name that fits no index, and no rollup's key."""
END_OTHERS = (
    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
    " WHERE pid <> pg_backend_pid() AND datname = current_database()"
)


@pytest.fixture
def store(postgresql_database: Database) -> Iterator[UsageStore]:
    """An empty store on PostgreSQL."""
    with closing(UsageStore(parse_target(postgresql_database.url))) as store:
        store.add([])
        yield store


def _send(store: UsageStore, *statements: Statement) -> None:
    with writing(store._engine(), store.target) as connection:
        send_all(connection, statements)


def test_a_statement_is_asked_for_when_the_one_before_was_sent(store: UsageStore) -> None:
    """So that the server works while the next one is put together; each sees what those before it did."""
    said: list[str] = []

    def statements() -> Iterator[Statement]:
        yield "CREATE TEMPORARY TABLE made (number INT)", None
        for number in range(3):
            said.append(f"asked for {number}")
            yield "INSERT INTO made SELECT %(number)s + count(*) FROM made", {"number": number}
            said.append(f"sent {number}")

    with writing(store._engine(), store.target) as connection:
        send_all(connection, statements())
        found = connection.exec_driver_sql("SELECT number FROM made ORDER BY number").scalars().all()
    assert found == [0, 2, 4]
    assert said == [f"{what} {number}" for number in range(3) for what in ("asked for", "sent")]


@pytest.mark.parametrize("before", [0, 1, 20])
@pytest.mark.parametrize("after", [0, 1, 20])
def test_the_error_is_that_of_the_statement_that_failed(
    store: UsageStore, before: int, after: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Not that of those which the server left out after it; and the connection is as good as before."""
    caplog.set_level(logging.INFO)
    with pytest.raises(RowError, match="division by zero"):
        _send(store, *[SELECT] * before, WRONG, *[SELECT] * after)
    _send(store, SELECT)
    assert caplog.text == ""


@pytest.mark.parametrize("error", [RowError("a value"), ValueError("anything"), KeyboardInterrupt()])
def test_what_goes_wrong_on_the_way_to_a_statement_is_raised(
    store: UsageStore, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """Values that cannot be put together end the batch; nothing of it stays."""
    caplog.set_level(logging.INFO)

    def statements() -> Iterator[Statement]:
        yield "CREATE TABLE made (number INT)", None
        yield SELECT
        raise error

    for _ in range(2):  # where the first one stayed, the second would fail otherwise
        with pytest.raises(type(error)) as caught, writing(store._engine(), store.target) as connection:
            send_all(connection, statements())
        assert caught.value is error
    _send(store, SELECT)
    assert caplog.text == ""


def test_nothing_to_send_is_nothing(store: UsageStore) -> None:
    """No statement at all is no error."""
    _send(store)
    store.add([])


def test_a_server_that_goes_away_meanwhile_is_no_refusal(
    store: UsageStore, postgresql_database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """The batch may get in the next time, over another connection; to tell of it is up to who gave it."""
    caplog.set_level(logging.INFO)

    def statements() -> Iterator[Statement]:
        yield SELECT
        with psycopg.connect(postgresql_database.url, autocommit=True) as other:
            other.execute(END_OTHERS)
        yield SELECT
        yield SELECT

    with pytest.raises(StoreError) as caught, writing(store._engine(), store.target) as connection:
        send_all(connection, statements())
    assert not isinstance(caught.value, RowError)
    assert caplog.text == ""
    store.add([make_call()])
    assert store.breakdown().total.calls == 1


@pytest.mark.parametrize("table", ["llm_run", "usage_hourly", "usage_by_name"])
def test_a_lock_is_no_refusal_whichever_statement_waits_for_it(postgresql_database: Database, table: str) -> None:
    """A table that somebody keeps locked is one clear error, and the batch gets in once it is free."""
    url = f"{postgresql_database.url}{'&' if '?' in postgresql_database.url else '?'}options=-clock_timeout%3D50ms"
    with closing(UsageStore(parse_target(url))) as store:
        store.add([])
        with psycopg.connect(postgresql_database.url) as other:
            other.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
            with pytest.raises(StoreError, match="lock timeout") as caught:
                store.add([make_call()])
            assert not isinstance(caught.value, RowError)
        store.add([make_call()])
        assert store.breakdown().total.calls == 1
        assert store.check().is_clean


@pytest.mark.parametrize("good", range(4, 8))
@pytest.mark.parametrize("refused", [{"chain": TOO_LONG}, {"user": TOO_LONG}, {"cost": "9223372"}])
def test_statements_that_the_driver_prepared_outlive_a_refused_batch(
    store: UsageStore, good: int, refused: dict[str, Any]
) -> None:
    """It prepares one that comes for the sixth time; where the server never got to that, the next batch works, too."""
    for number in range(good):
        store.add([make_call(cost="0.1", user="u")], [make_fact(f"run-{number}")])
    for _ in range(3):
        with pytest.raises(RowError):
            store.add([make_call(**{"cost": "9223371", **refused}), make_call(cost="9223372")], [make_fact("other")])
        store.add([make_call(cost="0.1", user="u")], [make_fact("after")])
    assert store.breakdown().total.calls == good + 3
    assert store.check().is_clean


def test_a_driver_without_pipelines_sends_them_one_by_one(store: UsageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its library is too old the same is stored, and the same is refused."""
    monkeypatch.setattr(psycopg.Pipeline, "is_supported", lambda: False)
    store.add([make_call(run_id="a", session="s"), make_call(run_id="b")], [make_fact("a")])
    with pytest.raises(RowError):
        store.add([make_call(chain=TOO_LONG)])
    with pytest.raises(RowError, match="division by zero"):
        _send(store, SELECT, WRONG, SELECT)
    assert store.breakdown().total.calls == 2
    assert store.check().is_clean
