"""An older database becomes the present one: copied first, all rows kept, and older ones named with the command."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from langchain_tokens import TokenUsageHandler, UsageStore, open_store
from langchain_tokens.errors import SchemaError, StoreError
from langchain_tokens.store import upgrade as upgrading
from langchain_tokens.store.downgrade import downgrade, known_revisions
from langchain_tokens.store.engine import make_engine, writing
from langchain_tokens.store.inspection import inspect_store
from langchain_tokens.store.looking import looking
from langchain_tokens.store.rebuilding import rebuild_rollups
from langchain_tokens.store.schema import HEAD, VERSION_TABLE, upgrade
from langchain_tokens.store.target import StoreTarget, parse_target
from langchain_tokens.store.upgrade import found_revision, upgrade_store
from tests.builders import make_call

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)
pytestmark = pytest.mark.usefixtures("migrations")

OLDER = [revision for revision in known_revisions() if revision != HEAD]
_OLD_CALL = (
    "INSERT INTO llm_call (call_id, run_id, attempt, started_at, price_status, status, usage_source, revision, "
    "total_tokens, total_cost) VALUES (:id, 'r', 1, '2026-11-20 12:00:00', 'priced', 'ok', 'provider', 0, 12, 34)"
)
_OLD_RUN = (
    "INSERT INTO llm_run (run_id, started_at, status, calls, failed_calls, calls_without_usage, unpriced_calls, "
    "total_tokens, total_cost) VALUES ('r', '2026-11-20 12:00:00', 'ok', 2, 0, 0, 0, 24, 68)"
)
_OLD_REVISION = (
    "INSERT INTO cost_revision (call_id, number, price_status, total_cost, replaced_at) "
    "VALUES ('a', 1, 'priced', 33, '2026-11-21 12:00:00')"
)


def make_old(url: str, revision: str) -> str:
    """Make a database of an older schema, with two calls, their run, and what one of them had cost before."""
    target = parse_target(url)
    engine = make_engine(target)
    with writing(engine, target) as connection:
        has_sums = revision >= "0003"
        upgrade(connection, "head" if has_sums else revision)
        connection.execute(text(_OLD_CALL), [{"id": "a"}, {"id": "b"}])
        connection.execute(text(_OLD_RUN))
        if revision >= "0002":
            connection.execute(text(_OLD_REVISION))
        if has_sums:
            rebuild_rollups(connection)
            downgrade(connection, revision)
    engine.dispose()
    return url


@pytest.fixture(params=OLDER)
def revision(request: pytest.FixtureRequest) -> str:
    """Each schema that was released before."""
    return str(request.param)


@pytest.fixture
def old(lasting_database: Database, revision: str) -> str:
    """A database of an older schema."""
    return make_old(lasting_database.url, revision)


def test_older_schema_is_refused_until_it_is_upgraded(old: str, revision: str) -> None:
    """Opening names the command; after it every row is there and the store takes new ones."""
    with pytest.raises(SchemaError, match="langchain-tokens db upgrade"):
        open_store(old)
    done = upgrade_store(parse_target(old))
    assert (done.before, done.after, done.calls) == (revision, HEAD, 2)
    store = open_store(old)
    calls = store.calls()
    assert sorted(call.call_id for call in calls) == ["a", "b"]
    assert {(call.superseded, call.price_flags, call.saved_cost_usd) for call in calls} == {(False, (), None)}
    total = store.breakdown().total
    assert (total.calls, total.total_tokens, total.wasted_cost_usd) == (2, 24, None)
    assert len(store.revisions("a")) == (1 if revision >= "0002" else 0)
    assert store.check().is_clean
    store.close()
    assert inspect_store(parse_target(old)).is_right


def test_sqlite_file_is_copied_as_it_was(old: str, revision: str) -> None:
    """Beside the upgraded file stands a copy of the old schema with the same rows; a server is not copied."""
    target = parse_target(old)
    copy = upgrade_store(target).backup
    if target.path is None:
        assert copy is None
        return
    assert copy is not None
    assert copy.name.startswith(f"tokens.db.backup-{revision}-")
    assert found_revision(parse_target(copy)) == revision
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT count(*) FROM llm_call").fetchone() == (2,)


def test_several_processes_upgrade_at_once(lasting_database: Database) -> None:
    """Of four processes that start together one upgrades, and all find the present schema; one copy is made."""
    url = make_old(lasting_database.url, OLDER[0])
    command = [sys.executable, "-m", "langchain_tokens.cli", "db", "upgrade", "--json", "--db", url]
    started = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
        )
        for _ in range(4)
    ]
    outcomes = [(*process.communicate(timeout=100), process.returncode) for process in started]
    assert [(code, err) for _, err, code in outcomes if "the file as it was" not in err] == [(0, "")] * (
        3 if lasting_database.kind == "sqlite-file" else 4
    )
    documents = [json.loads(out) for out, _, _ in outcomes]
    assert sorted(document["before"] for document in documents) == [OLDER[0], HEAD, HEAD, HEAD]
    assert {(document["after"], document["calls"]) for document in documents} == {(HEAD, 2)}
    is_file = lasting_database.kind == "sqlite-file"
    assert sum(document["backup"] is not None for document in documents) == (1 if is_file else 0)


def test_upgrade_that_would_lose_rows_changes_nothing(old: str, revision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are counted before and after; a difference takes all of it back, and the copy goes again."""

    def forgetful(connection: Any) -> None:
        upgrade(connection)
        connection.execute(text("DELETE FROM llm_call WHERE call_id = 'a'"))

    monkeypatch.setattr(upgrading, "upgrade", forgetful)
    with pytest.raises(SchemaError, match="llm_call 2 → 1"):
        upgrade_store(parse_target(old))
    assert found_revision(parse_target(old)) == revision
    assert copies_of(parse_target(old)) == []
    monkeypatch.undo()
    assert upgrade_store(parse_target(old)).calls == 2


def test_upgrade_stops_where_the_copy_is_not_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that SQLite finds damaged is not upgraded, and no copy of it is left."""
    path = tmp_path / "tokens.db"
    make_old(f"sqlite:///{path}", OLDER[0])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, 'mode TEXT', 'mode TEXT NOT NULL')")
        connection.commit()
    with pytest.raises(StoreError, match="is damaged"):
        upgrade_store(parse_target(path))
    assert found_revision(parse_target(path)) == OLDER[0]
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith("tokens.db.backup")] == []


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


def test_upgrade_refuses_tables_that_are_not_ours(tmp_path: Path) -> None:
    """A table of our name without our version is not touched."""
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE llm_run (id INTEGER)")
    with pytest.raises(SchemaError, match="has llm_run already, not ours"):
        upgrade_store(parse_target(path))


@pytest.mark.parametrize("attempt", [upgrade_store, lambda target: UsageStore(target).breakdown()])
@pytest.mark.parametrize(
    ("made", "message"),
    [
        ("CREATE TABLE llm_call (x)", "has llm_call already, not ours"),
        ("CREATE TABLE langchain_tokens_version AS SELECT '9999' AS version_num", "newer than"),
        ("CREATE TABLE langchain_tokens_version (x)", "has no version_num"),
    ],
)
def test_refused_file_keeps_its_journal_mode(
    tmp_path: Path, attempt: Callable[[StoreTarget], object], made: str, message: str
) -> None:
    """A file that is refused has each byte that it had: it gets no write-ahead log."""
    folder = tmp_path / "application"
    folder.mkdir()
    path = folder / "app.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(made)
        connection.commit()
    before = path.read_bytes()
    with pytest.raises(SchemaError, match=message):
        attempt(parse_target(path))
    assert (path.read_bytes(), list(folder.iterdir())) == (before, [path])


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


def test_looking_at_a_file_changes_nothing(tmp_path: Path) -> None:
    """Asking an application's own file for its schema leaves each byte of it, and makes no file beside it."""
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE own (id INTEGER)")
    before = path.read_bytes()
    files = set(tmp_path.iterdir())
    assert found_revision(parse_target(path)) is None
    assert (path.read_bytes(), set(tmp_path.iterdir())) == (before, files)


def test_looking_cannot_write(old: str) -> None:
    """The connection that looks at a database refuses a change, on a file and on a server."""
    with pytest.raises(StoreError, match=r"readonly|read-only"), looking(parse_target(old)) as connection:
        connection.execute(text("DELETE FROM llm_run"))


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


def test_upgrade_by_a_newer_version_loses_nothing_of_a_process_that_goes_on(
    lasting_database: Database, make_store: Callable[[Database], UsageStore]
) -> None:
    """Whoever has the database open is refused when it was upgraded; the calls wait in the journal, and arrive."""
    store = make_store(lasting_database)
    store.add([make_call(call_id="a")])
    handler = TokenUsageHandler(lasting_database.url)
    handler.record({"input_tokens": 1, "output_tokens": 2})
    assert handler.flush()
    with set_to(store, "9999"):
        with pytest.raises(SchemaError, match="has schema 9999 now"):
            store.add([make_call(call_id="b")])
        for change in (lambda: store.delete(until="2100-01-01"), lambda: store.prune("1d")):
            with pytest.raises(SchemaError, match="nothing was stored"):
                change()
        handler.record({"input_tokens": 1, "output_tokens": 2})
        assert not handler.flush(timeout=0.5)
    assert handler.flush()
    assert (handler.stats().pending, handler.stats().dropped) == (0, 0)
    handler.close()
    assert (store.breakdown().total.calls, store.check().is_clean) == (3, True)


def copies_of(target: StoreTarget) -> list[Path]:
    """The copies that lie beside a file."""
    return [] if target.path is None else list(target.path.parent.glob("*.backup-*"))


@contextmanager
def set_to(store: UsageStore, revision: str) -> Iterator[None]:
    """Another process says that the schema is another one, for a while."""
    for now in (revision, HEAD):
        with writing(store._engine(), store.target) as connection:
            connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = :now"), {"now": now})
        if now == revision:
            yield
