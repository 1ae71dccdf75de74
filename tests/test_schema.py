"""Is the schema the right one? The migrations are its only source, on SQLite and on PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, create_engine, inspect, text
from sqlmodel import SQLModel

import langchain_tokens.store.migrations
from langchain_tokens.errors import StoreError
from langchain_tokens.store.backup import back_up
from langchain_tokens.store.engine import writing
from langchain_tokens.store.inspection import inspect_store
from langchain_tokens.store.looking import changing
from langchain_tokens.store.schema import HEAD, VERSION_TABLE, current_revision, upgrade
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.tables import METADATA
from langchain_tokens.store.target import StoreTarget, parse_target
from tests.builders import make_call, make_fact
from tests.schemas import remembering

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)
pytestmark = pytest.mark.usefixtures("migrations")

MIGRATIONS = Path(str(langchain_tokens.store.migrations.__file__)).parent
OURS = {
    "budget_reservation",
    "budget_told",
    "cost_revision",
    "llm_call",
    "llm_call_content",
    "llm_run",
    "usage_by_name",
    "usage_daily",
    "usage_daily_by_caller",
    "usage_daily_by_name",
    "usage_hourly",
    "usage_hourly_by_caller",
    "usage_hourly_by_name",
    "usage_local",
    "usage_monthly",
    "usage_monthly_by_caller",
    "usage_settled",
    "usage_state",
    "usage_waste",
    VERSION_TABLE,
}


_DESCRIBED = {
    "sqlite": "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name",
    "postgresql": """
        SELECT relation.relname, relation.relkind::text, attnum, attname, format_type(atttypid, atttypmod), attnotnull,
            pg_get_expr(adbin, adrelid), CASE relkind WHEN 'v' THEN pg_get_viewdef(relation.oid) END,
            CASE relkind WHEN 'i' THEN pg_get_indexdef(relation.oid) END,
            (SELECT string_agg(pg_get_constraintdef(pg_constraint.oid), '; ' ORDER BY conname)
             FROM pg_constraint WHERE conrelid = relation.oid)
        FROM pg_class relation JOIN pg_attribute ON attrelid = relation.oid
        LEFT JOIN pg_attrdef ON adrelid = relation.oid AND adnum = attnum
        WHERE relnamespace = 'public'::regnamespace ORDER BY relname, attnum
    """,
}


def config(connection: Connection) -> Config:
    """Alembic's configuration as the package makes it."""
    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS))
    made.attributes["connection"] = connection
    return made


def tables(connection: Connection) -> set[str]:
    """The tables that a database has."""
    return set(inspect(connection).get_table_names())


def test_schema_is_the_sum_of_the_migrations(store: UsageStore) -> None:
    """A database made by the migrations is what the table classes describe, with the same types and indexes."""
    with writing(store._engine(), store.target) as connection:
        options: dict[str, Any] = {"compare_type": True, "version_table": VERSION_TABLE}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, METADATA) == []


def test_schema_of_other_tests_is_the_same(
    lasting_database: Database, make_store: Callable[[Database], UsageStore]
) -> None:
    """What `tests.schemas` gives to the other tests, the first time and again, is what the migrations make."""
    store = make_store(lasting_database)
    as_before = remembering()
    found = []
    for make in (upgrade, as_before, as_before):
        with writing(store._opener._engine, store.target) as connection:
            make(connection)
            everything = connection.exec_driver_sql(_DESCRIBED[connection.dialect.name]).all()
            state = connection.exec_driver_sql("SELECT * FROM usage_state ORDER BY name").all()
            found.append((everything, state, current_revision(connection)))
            connection.rollback()
    assert len(found[0][0]) > len(OURS)
    assert found[1:] == [found[0]] * 2


def test_head_is_the_newest_migration() -> None:
    """The revision that the package asks for is the only newest one, and the migrations are one line."""
    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS))
    scripts = ScriptDirectory.from_config(made)
    assert scripts.get_heads() == [HEAD]
    assert len(list(scripts.walk_revisions())) == len(list((MIGRATIONS / "versions").glob("v*.py")))


def test_database_of_a_new_store_has_the_newest_revision(store: UsageStore) -> None:
    """A store brings a new database to the newest revision, with our tables and no others."""
    with writing(store._engine(), store.target) as connection:
        assert (current_revision(connection), tables(connection)) == (HEAD, OURS)


def test_down_and_up_again(database: Database, store: UsageStore, make_store: Callable[[Database], UsageStore]) -> None:
    """The migrations can be taken back to nothing and applied again, and the store works as before."""
    store.add([make_call()], [make_fact()])
    with writing(store._engine(), store.target) as connection:
        command.downgrade(config(connection), "base")
        assert (current_revision(connection), tables(connection)) == (None, {VERSION_TABLE})
    with writing(store._engine(), store.target) as connection:
        upgrade(connection)
        assert (current_revision(connection), tables(connection)) == (HEAD, OURS)
    assert store.breakdown().total.calls == 0
    store.add([make_call()], [make_fact()])
    assert store.breakdown().total.calls == 1


def test_database_without_a_revision_is_migrated(
    lasting_database: Database, make_store: Callable[[Database], UsageStore]
) -> None:
    """A database that was taken back to nothing is made ready by the next store."""
    first = make_store(lasting_database)
    with writing(first._engine(), first.target) as connection:
        command.downgrade(config(connection), "base")
    assert make_store(lasting_database).breakdown().total.calls == 0


def test_failed_migration_leaves_nothing(
    lasting_database: Database, make_store: Callable[[Database], UsageStore]
) -> None:
    """All of a migration is one transaction: when it breaks off, no table is left half made."""
    store = make_store(lasting_database)
    engine = store._opener._engine
    with suppress(KeyboardInterrupt), writing(engine, store.target) as connection:
        upgrade(connection)
        raise KeyboardInterrupt
    with writing(engine, store.target) as connection:
        assert tables(connection) == set()


def test_tables_are_not_in_the_applications_metadata() -> None:
    """An application's own `SQLModel.metadata.create_all` does not make our tables."""
    assert METADATA is not SQLModel.metadata
    assert not set(METADATA.tables) & set(SQLModel.metadata.tables)
    assert isinstance(METADATA, MetaData)
    assert set(METADATA.tables) == OURS - {VERSION_TABLE}


def test_right_database_is_said_to_be_right(
    lasting_database: Database, make_store: Callable[[Database], UsageStore]
) -> None:
    """A database as a store makes it has nothing to find fault with; other tables in it are not looked at."""
    store = make_store(lasting_database)
    store.add([make_call()], [make_fact()])
    with changing(store.target) as connection:
        connection.execute(text("CREATE TABLE own (id INTEGER, other INTEGER)"))
        connection.execute(text("CREATE INDEX ix_own ON own (other)"))
    found = inspect_store(store.target)
    is_file = lasting_database.kind == "sqlite-file"
    assert (found.is_right, found.schema, found.differences, found.additions) == (True, HEAD, (), ())
    assert found.damage == (() if is_file else None)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ("DROP INDEX ix_llm_call_run_id", "the index ix_llm_call_run_id of llm_call is missing"),
        ("DROP TABLE cost_revision", "the table cost_revision is missing"),
        ("DROP VIEW llm_call_usd", "the view llm_call_usd is missing"),
        ("ALTER TABLE llm_run RENAME COLUMN mode TO way", "the column llm_run.mode is missing"),
        (
            "CREATE UNIQUE INDEX ix_more ON llm_run (started_at)",
            "the index ix_more of llm_run is not of this package",
        ),
        (
            "DROP TABLE usage_state; CREATE TABLE usage_state (name TEXT NOT NULL, value TEXT, PRIMARY KEY (name))",
            "the nullable of usage_state.value is True, and should be False",
        ),
        (
            "DROP TABLE usage_state; CREATE TABLE usage_state (name TEXT NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (name))",
            "the type of usage_state.value is INTEGER, and should be TEXT",
        ),
        (
            "DROP TABLE usage_state; CREATE TABLE usage_state (name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (value))",
            "the primary key of usage_state is (value), and should be (name)",
        ),
    ],
)
def test_difference_is_named(
    lasting_database: Database, make_store: Callable[[Database], UsageStore], change: str, difference: str
) -> None:
    """What is missing, is of another type, or would refuse rows, is a sentence of its own."""
    store = make_store(lasting_database)
    store.breakdown()
    with changing(store.target) as connection:
        for statement in change.split(";"):
            connection.execute(text(statement))
    found = inspect_store(store.target)
    assert difference in found.differences
    assert not found.is_right


@pytest.mark.parametrize(
    ("change", "addition"),
    [
        ("CREATE INDEX ix_mine ON llm_call (model_name)", "the index ix_mine of llm_call is not of this package"),
        ("ALTER TABLE llm_run ADD COLUMN mine TEXT", "the column llm_run.mine is not of this package"),
    ],
)
def test_harmless_additions_are_no_fault(
    lasting_database: Database, make_store: Callable[[Database], UsageStore], change: str, addition: str
) -> None:
    """An index or a column that others added, and that refuses no row, is named and does no harm."""
    store = make_store(lasting_database)
    store.breakdown()
    with changing(store.target) as connection:
        connection.execute(text(change))
    found = inspect_store(store.target)
    assert (found.is_right, found.additions) == (True, (addition,))
    store.add([make_call()], [make_fact()])
    assert make_store(lasting_database).breakdown().total.calls == 1


@pytest.mark.parametrize("revision", ["0001", None])
def test_other_schema_is_one_difference(lasting_database: Database, revision: str | None) -> None:
    """An older schema, or none of ours, is not compared column by column."""
    target = parse_target(lasting_database.url)
    engine = create_engine(target.url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE own (id INTEGER)"))
        if revision:
            upgrade(connection, revision)
    engine.dispose()
    found = inspect_store(target)
    assert (found.schema, found.is_right) == (revision, False)
    assert found.differences == (f"its schema is {revision or 'none'}, and {HEAD} is needed",)


def say_otherwise(target: StoreTarget, name: str, old: str, new: str) -> None:
    """Let the schema of a database with a call say something of a table or an index that its pages do not hold."""
    store = UsageStore(target)
    store.add([make_call()], [make_fact()])
    store.close()
    with closing(sqlite3.connect(target.path or "")) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE name = ?", (old, new, name))
        connection.commit()


def test_damaged_file_is_found(tmp_path: Path) -> None:
    """SQLite's own check of the file is part of it: what it finds is shown."""
    target = parse_target(tmp_path / "tokens.db")
    say_otherwise(target, "llm_run", "mode TEXT", "mode TEXT NOT NULL")
    found = inspect_store(target)
    assert not found.is_right
    assert found.damage
    assert "NULL value in llm_run.mode" in found.damage


def test_index_that_does_not_fit_is_found_and_copied(tmp_path: Path) -> None:
    """A check asks each index for each row; a copy takes the rows as they are, since all of them are there."""
    target = parse_target(tmp_path / "tokens.db")
    say_otherwise(target, "ix_llm_call_run_id", "(run_id)", "(session_id)")
    assert "row 1 missing from index ix_llm_call_run_id" in (inspect_store(target).damage or ())
    assert back_up(target).rows["llm_call"] == 1


def test_missing_database_is_not_checked(tmp_path: Path) -> None:
    """Looking makes no file."""
    with pytest.raises(StoreError, match="there is no database at"):
        inspect_store(parse_target(tmp_path / "none.db"))
    assert list(tmp_path.glob("none*")) == []
