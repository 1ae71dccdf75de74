"""Is the schema the right one? The migrations are its only source, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, inspect
from sqlmodel import SQLModel

import langchain_tokens.store.migrations
from langchain_tokens.store.engine import writing
from langchain_tokens.store.schema import HEAD, VERSION_TABLE, current_revision, upgrade
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.tables import METADATA
from tests.builders import make_call, make_fact

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

MIGRATIONS = Path(str(langchain_tokens.store.migrations.__file__)).parent
OURS = {"cost_revision", "llm_call", "llm_run", VERSION_TABLE}


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
