"""An older database becomes the present one: copied first, all rows kept, and older ones named with the command."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from langchain_tokens import UsageStore, open_store
from langchain_tokens.errors import SchemaError
from langchain_tokens.store.engine import make_engine, writing
from langchain_tokens.store.schema import HEAD, upgrade
from langchain_tokens.store.target import parse_target
from langchain_tokens.store.upgrade import found_revision, upgrade_store

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

_OLD_CALL = (
    "INSERT INTO llm_call (call_id, run_id, attempt, started_at, price_status, status, usage_source, revision, "
    "total_tokens, total_cost) VALUES (:id, 'r', 1, '2026-11-20 12:00:00', 'priced', 'ok', 'provider', 0, 12, 34)"
)
_OLD_RUN = (
    "INSERT INTO llm_run (run_id, started_at, status, calls, failed_calls, calls_without_usage, unpriced_calls) "
    "VALUES ('r', '2026-11-20 12:00:00', 'ok', 2, 0, 0, 0)"
)


@pytest.fixture
def old(lasting_database: Database) -> str:
    """A database of the first schema, with two calls in it."""
    target = parse_target(lasting_database.url)
    engine = make_engine(target)
    with writing(engine, target) as connection:
        upgrade(connection, "0001")
        connection.execute(text(_OLD_CALL), [{"id": "a"}, {"id": "b"}])
        connection.execute(text(_OLD_RUN))
    engine.dispose()
    return lasting_database.url


def test_older_schema_is_refused_until_it_is_upgraded(old: str) -> None:
    """Opening names the command; after it every row is there and the store takes new ones."""
    with pytest.raises(SchemaError, match="langchain-tokens db upgrade"):
        open_store(old)
    done = upgrade_store(parse_target(old))
    assert (done.before, done.after, done.calls) == ("0001", HEAD, 2)
    store = open_store(old)
    calls = store.calls()
    assert sorted(call.call_id for call in calls) == ["a", "b"]
    assert {(call.superseded, call.price_flags, call.saved_cost_usd) for call in calls} == {(False, (), None)}
    total = store.breakdown().total
    assert (total.calls, total.total_tokens, total.wasted_cost_usd) == (2, 24, None)
    store.close()


def test_sqlite_file_is_copied_as_it_was(old: str) -> None:
    """Beside the upgraded file stands a copy of the old schema with the same rows."""
    target = parse_target(old)
    copy = upgrade_store(target).backup
    if target.path is None:
        assert copy is None
        return
    assert copy is not None
    assert copy.name.startswith("tokens.db.backup-0001-")
    assert found_revision(parse_target(copy)) == "0001"
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT count(*) FROM llm_call").fetchone() == (2,)


def test_upgrade_of_the_present_schema_does_nothing(old: str) -> None:
    """A second upgrade finds nothing to do and makes no copy."""
    target = parse_target(old)
    upgrade_store(target, backup=False)
    again = upgrade_store(target)
    assert (again.before, again.after, again.backup) == (HEAD, HEAD, None)


def test_upgrade_makes_a_new_database(tmp_path: Path) -> None:
    """Where there is nothing yet, an upgrade makes the schema."""
    done = upgrade_store(parse_target(tmp_path / "new.db"))
    assert (done.before, done.after, done.calls, done.backup) == (None, HEAD, 0, None)


def test_newer_schema_is_refused(database: Database, make_store: Callable[[Database], UsageStore]) -> None:
    """A database of a later version is left alone."""
    if database.kind == "sqlite-memory":
        return
    store = make_store(database)
    store.calls()
    with writing(store._engine(), store.target) as connection:
        connection.execute(text("UPDATE langchain_tokens_version SET version_num = '9999'"))
    store.close()
    with pytest.raises(SchemaError, match="newer than"):
        upgrade_store(parse_target(database.url))
    assert found_revision(parse_target(database.url)) == "9999"


def test_calls_wait_in_the_journal_until_the_upgrade(tmp_path: Path) -> None:
    """A handler on an older database raises nothing and loses nothing: its calls are stored after the upgrade."""
    from langchain_tokens import TokenUsageHandler

    path = tmp_path / "tokens.db"
    target = parse_target(path)
    engine = make_engine(target)
    with writing(engine, target) as connection:
        upgrade(connection, "0001")
    engine.dispose()
    handler = TokenUsageHandler(path)
    handler.record({"input_tokens": 3, "output_tokens": 4}, chain="c")
    assert not handler.flush(0.5)
    upgrade_store(target)
    assert handler.flush(60)
    handler.close()
    assert open_store(path).breakdown().total.total_tokens == 7
