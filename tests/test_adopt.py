"""Our tables come into an application's own database: all else stays as it was, and exactly ours go away again."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, inspect, text

from langchain_tokens import UsageStore
from langchain_tokens.errors import SchemaError, StoreError
from langchain_tokens.store import adoption
from langchain_tokens.store.adoption import adopt_store, adoption_sql, downgrade_tables, include_name, upgrade_tables
from langchain_tokens.store.backup import back_up
from langchain_tokens.store.downgrade import BASE, downgrade_store
from langchain_tokens.store.inspection import inspect_store
from langchain_tokens.store.looking import changing, looking
from langchain_tokens.store.ours import OURS, is_ours, our_tables
from langchain_tokens.store.safeguard import safeguarded
from langchain_tokens.store.schema import HEAD, current_revision, upgrade
from langchain_tokens.store.surroundings import look_around
from langchain_tokens.store.target import StoreTarget, parse_target
from langchain_tokens.store.upgrade import found_revision, upgrade_store
from tests.builders import make_call, make_fact

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)
pytestmark = pytest.mark.usefixtures("migrations")

APPLICATION = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers (id), total NUMERIC(10, 2));
CREATE INDEX ix_orders_customer ON orders (customer_id);
CREATE VIEW big_orders AS SELECT id FROM orders WHERE total > 100;
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY);
INSERT INTO alembic_version VALUES ('a1b2c3');
INSERT INTO customers VALUES (1, 'Asha'), (2, 'Ben');
INSERT INTO orders VALUES (1, 1, 120), (2, 1, 80), (3, 2, 500);
"""
ROWS = {"customers": 2, "orders": 3, "alembic_version": 1}


@pytest.fixture
def application(lasting_database: Database) -> StoreTarget:
    """A database that an application has, with rows, an index, a view, and Alembic's own version."""
    target = parse_target(lasting_database.url)
    engine = create_engine(target.url)
    with engine.begin() as connection:
        for statement in APPLICATION.split(";\n"):
            if statement.strip():
                connection.execute(text(statement))
    engine.dispose()
    return target


def surroundings(target: StoreTarget) -> tuple[frozenset[tuple[str, ...]], dict[str, int]]:
    """What a database has beside our tables, and how many rows the application's have."""
    with looking(target) as connection:
        counted = {name: connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() for name in ROWS}
        return look_around(connection).objects, counted


def names(target: StoreTarget) -> set[str]:
    """The tables that a database has."""
    with looking(target) as connection:
        return set(inspect(connection).get_table_names())


def test_adopt_and_away_again(application: StoreTarget) -> None:
    """Our tables are added and hold calls, the application's are as they were; `base` takes exactly ours away."""
    before = surroundings(application)
    assert before[1] == ROWS
    done = adopt_store(application)
    assert (set(done.added), done.other_tables) == (set(OURS), 3)
    assert surroundings(application) == before
    assert inspect_store(application).is_right
    store = UsageStore(application)
    store.add([make_call()], [make_fact()])
    assert store.breakdown().total.calls == 1
    store.close()
    downgrade_store(application, BASE)
    assert surroundings(application) == before
    assert names(application) == set(ROWS)


def test_adopted_database_is_left_alone(application: StoreTarget) -> None:
    """A second adoption finds our tables and does nothing, nor does its dry run say anything."""
    adopt_store(application, backup=False)
    again = adopt_store(application)
    assert (again.added, again.other_tables, again.backup) == ((), 3, None)
    assert adoption_sql(application) == ""


def test_file_is_copied_first(application: StoreTarget) -> None:
    """The copy of a SQLite file is what the application had; a server is not copied."""
    before = surroundings(application)
    copy = adopt_store(application).backup
    if application.path is None:
        assert copy is None
        return
    assert copy is not None
    assert copy.name.startswith("tokens.db.backup-none-")
    assert surroundings(parse_target(copy)) == before
    assert found_revision(parse_target(copy)) is None


def test_file_keeps_its_journal_mode(application: StoreTarget) -> None:
    """Adopting adds tables and nothing else: how the application's file is journalled is its own affair."""
    adopt_store(application)
    if application.path is not None:
        with closing(sqlite3.connect(application.path)) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_table_with_the_name_of_a_view_stays(application: StoreTarget) -> None:
    """An application's own table of the name of one of our views is left alone, and only that view is not made."""
    with changing(application) as connection:
        connection.execute(text("CREATE TABLE session_token_summary (session_id TEXT, total_tokens INTEGER)"))
        connection.execute(text("INSERT INTO session_token_summary VALUES ('s', 7)"))
    assert "VIEW session_token_summary" not in adoption_sql(application)
    done = adopt_store(application)
    assert (set(done.added), done.other_tables) == (OURS - {"session_token_summary"}, 4)
    assert inspect_store(application).is_right
    downgrade_store(application, BASE)
    with looking(application) as connection:
        assert our_tables(connection) == []
        assert connection.execute(text("SELECT * FROM session_token_summary")).all() == [("s", 7)]


@pytest.mark.parametrize("name", ["llm_call", "usage_by_name"])
def test_foreign_table_of_our_name_is_refused(application: StoreTarget, name: str) -> None:
    """A table that is called as ours is named with what can be done, and nothing is changed or copied."""
    with changing(application) as connection:
        connection.execute(text(f"CREATE TABLE {name} (id INTEGER)"))
    before = surroundings(application)
    for attempt in (adopt_store, adoption_sql):
        with pytest.raises(SchemaError, match=f"has {name} already, not ours.*rename it there"):
            attempt(application)
    assert surroundings(application) == before
    assert application.path is None or list(application.path.parent.glob("*.backup*")) == []


@pytest.mark.parametrize(
    ("made", "name"),
    [
        ("CREATE TABLE LLM_CALL (id INTEGER)", "llm_call"),
        ("CREATE VIEW llm_call AS SELECT id FROM orders", "the view llm_call"),
        ("CREATE INDEX ix_llm_call_started_at ON orders (id)", "the index ix_llm_call_started_at"),
        ("CREATE INDEX usage_by_name ON orders (id)", "the index usage_by_name"),
        ("CREATE VIEW langchain_tokens_version AS SELECT 1 AS version_num WHERE 0 = 1", "langchain_tokens_version"),
    ],
)
def test_whatever_has_a_name_of_ours_is_refused(application: StoreTarget, made: str, name: str) -> None:
    """Names are compared as the database does, those of views and indexes too, before anything is copied."""
    with changing(application) as connection:
        connection.execute(text(made))
    before = surroundings(application)
    for attempt in (adopt_store, adoption_sql, upgrade_store):
        with pytest.raises(SchemaError, match=f"(?i)has .*{name} already, not ours"):
            attempt(application)
    assert surroundings(application) == before
    assert application.path is None or list(application.path.parent.glob("*.backup*")) == []


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ("CREATE TABLE langchain_tokens_version (id INTEGER)", "is not ours: it has no version_num"),
        ("CREATE TABLE langchain_tokens_version AS SELECT 'v7' AS version_num", "has 'v7', which is no schema of ours"),
    ],
)
def test_foreign_table_of_versions_is_refused(application: StoreTarget, made: str, message: str) -> None:
    """A table that is called as that with our version, and is another's, is said to be; a copy has no schema of ours."""
    with changing(application) as connection:
        connection.execute(text(made))
    for attempt in (adopt_store, upgrade_store, downgrade_store, found_revision):
        with pytest.raises(SchemaError, match=message):
            attempt(application)
    assert application.path is None or back_up(application).schema is None


def test_view_of_ours_in_other_letters_stays(tmp_path: Path) -> None:
    """SQLite makes no difference between letters: a view LLM_CALL_USD is the application's, and ours is not made."""
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE VIEW LLM_CALL_USD AS SELECT 1 AS one")
    target = parse_target(path)
    assert "VIEW llm_call_usd" not in adoption_sql(target)
    assert set(adopt_store(target).added) == OURS - {"llm_call_usd"}


@pytest.mark.parametrize(("revision", "message"), [("0001", "langchain-tokens db upgrade"), ("9999", "newer than")])
def test_other_schema_of_ours_is_not_adopted(application: StoreTarget, revision: str, message: str) -> None:
    """Tables of ours with an older or newer schema are another command's affair."""
    with changing(application) as connection:
        upgrade(connection, "0001")
        connection.execute(text(f"UPDATE langchain_tokens_version SET version_num = '{revision}'"))
    with pytest.raises(SchemaError, match=message):
        adopt_store(application)
    assert found_revision(application) == revision


@pytest.mark.parametrize(
    "harm",
    [
        "DELETE FROM orders WHERE id = 1",
        "CREATE INDEX ix_more ON orders (total)",
        "ALTER TABLE orders ADD COLUMN more TEXT",
        "DROP VIEW big_orders",
    ],
)
def test_adoption_that_touches_more_changes_nothing(
    application: StoreTarget, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    """All else is held against what it was before; a difference is named and takes all of it back."""

    def harmful(connection: Connection) -> None:
        upgrade(connection)
        connection.execute(text(harm))

    monkeypatch.setattr(adoption, "upgrade", harmful)
    before = surroundings(application)
    with pytest.raises(SchemaError, match=r"would have changed (public\.)?(big_)?orders; nothing was changed"):
        adopt_store(application)
    assert surroundings(application) == before
    assert names(application) == set(ROWS)


def copies_of(target: StoreTarget) -> list[Path]:
    """The copies that lie beside a file."""
    return [] if target.path is None else list(target.path.parent.glob("*.backup-*"))


@pytest.mark.parametrize(
    "error", [SchemaError("no"), RuntimeError("no"), KeyboardInterrupt()], ids=lambda e: type(e).__name__
)
def test_failed_adoption_leaves_nothing_behind(
    application: StoreTarget, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Whatever ends it after the copy was made: no table of ours is there, no copy, and nothing is said of one."""

    def failing(connection: Connection) -> None:
        upgrade(connection)
        raise error

    monkeypatch.setattr(adoption, "upgrade", failing)
    before = surroundings(application)
    with pytest.raises(type(error)) as caught:
        adopt_store(application)
    assert caught.value is error
    assert (surroundings(application), names(application), copies_of(application)) == (before, set(ROWS), [])


@pytest.mark.parametrize(
    ("error", "kind"),
    [(SchemaError("no"), SchemaError), (KeyboardInterrupt(), KeyboardInterrupt), (RuntimeError("no"), RuntimeError)],
    ids=["ours", "Ctrl+C", "another's"],
)
def test_copy_stays_and_is_named_where_the_file_was_changed(
    application: StoreTarget, error: BaseException, kind: type[BaseException]
) -> None:
    """A file that cannot be seen to be as it was keeps its copy, and whatever is raised says where that is."""
    if application.path is None:
        pytest.skip("a server is not copied")

    def change_and_fail() -> None:
        with safeguarded(application, is_wanted=True) as guard:
            guard.make()
            with changing(application) as connection:
                upgrade(connection)
            raise error

    with pytest.raises(kind) as caught:
        change_and_fail()
    (copy,) = copies_of(application)
    said = [str(caught.value), *getattr(caught.value, "__notes__", ())]
    assert any(text.endswith(f"the file as it was: {copy}") for text in said)
    assert found_revision(parse_target(copy)) is None


def test_dry_run_prints_what_would_be_run(
    application: StoreTarget, make_store: Callable[[Database], UsageStore]
) -> None:
    """The SQL touches nothing while it is printed; run by hand it makes the tables that adopting makes."""
    before = surroundings(application), application.path and application.path.read_bytes()
    sql = adoption_sql(application)
    assert (surroundings(application), application.path and application.path.read_bytes()) == before
    assert names(application) == set(ROWS)
    assert "CREATE TABLE llm_call" in sql
    run_by_hand(application, sql)
    assert inspect_store(application).is_right
    assert surroundings(application) == before[0]


def run_by_hand(target: StoreTarget, sql: str) -> None:
    """Run SQL by the database's own means."""
    if target.path is not None:
        with closing(sqlite3.connect(target.path)) as connection:
            connection.executescript(sql)
        return
    import psycopg

    url = target.url.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(sql.encode())


def test_dry_run_after_base(application: StoreTarget) -> None:
    """An empty table of versions, which migrations of Alembic's own leave, is no hindrance."""
    with changing(application) as connection:
        connection.execute(text("CREATE TABLE langchain_tokens_version (version_num VARCHAR(32) NOT NULL)"))
    run_by_hand(application, adoption_sql(application))
    assert found_revision(application) == HEAD


def test_missing_database_is_not_adopted(tmp_path: Path) -> None:
    """Adopting needs a database: none is made."""
    for url in (tmp_path / "none.db", "sqlite://"):
        with pytest.raises(StoreError, match=r"there is no database|in memory"):
            adopt_store(parse_target(url))
        with pytest.raises(StoreError, match=r"there is no database|in memory"):
            adoption_sql(parse_target(url))
    assert list(tmp_path.glob("none*")) == []


def test_opening_a_store_still_adds_the_tables(application: StoreTarget) -> None:
    """A handler needs no command: the first store on an application's database makes the tables by itself."""
    before = surroundings(application)
    store = UsageStore(application)
    assert store.breakdown().total.calls == 0
    store.close()
    assert surroundings(application) == before
    assert names(application) > set(ROWS)


# An application whose own Alembic migrations make our tables

ENVIRONMENT = """
import sqlalchemy as sa
from alembic import context

from langchain_tokens.store.adoption import include_name

metadata = sa.MetaData()
sa.Table("customers", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String, nullable=False))
url = context.config.get_main_option("sqlalchemy.url")
if context.is_offline_mode():
    context.configure(url=url, target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=metadata{filter})
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()
"""
FIRST = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "a1", None, None, None


def upgrade():
    op.create_table("customers", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String, nullable=False))


def downgrade():
    op.drop_table("customers")
"""
SECOND = """
from alembic import op

from langchain_tokens.store.adoption import downgrade_tables, upgrade_tables

revision, down_revision, branch_labels, depends_on = "a2", "a1", None, None


def upgrade():
    upgrade_tables(op.get_bind())


def downgrade():
    downgrade_tables(op.get_bind())
"""


@pytest.fixture
def environment(lasting_database: Database, tmp_path: Path) -> Callable[[str], Config]:
    """An application's own migrations, of which the second makes our tables."""

    def make(filter_: str) -> Config:
        folder = tmp_path / "migrations"
        (folder / "versions").mkdir(parents=True, exist_ok=True)
        (folder / "env.py").write_text(ENVIRONMENT.replace("{filter}", filter_))
        (folder / "versions" / "a1.py").write_text(FIRST)
        (folder / "versions" / "a2.py").write_text(SECOND)
        config = Config()
        config.set_main_option("script_location", str(folder))
        config.set_main_option("path_separator", "os")
        config.set_main_option("sqlalchemy.url", parse_target(lasting_database.url).url.replace("%", "%%"))
        return config

    return make


def test_own_migrations_make_our_tables(
    environment: Callable[[str], Config], lasting_database: Database, make_store: Callable[[Database], UsageStore]
) -> None:
    """A migration brings our tables up and takes them away, in turn with the application's own version."""
    target = parse_target(lasting_database.url)
    config = environment(", include_name=include_name")
    command.upgrade(config, "head")
    assert inspect_store(target).is_right
    make_store(lasting_database).add([make_call()], [make_fact()])
    command.downgrade(config, "a1")
    assert names(target) == {"customers", "alembic_version"}
    command.upgrade(config, "head")
    assert make_store(lasting_database).breakdown().total.calls == 0


def test_autogenerate_leaves_our_tables_alone(environment: Callable[[str], Config]) -> None:
    """With our filter Alembic finds nothing to do; without it, it would drop each of our tables."""
    config = environment(", include_name=include_name")
    command.upgrade(config, "head")
    command.check(config)
    environment("")
    with pytest.raises(CommandError, match=r"remove_table.*llm_call"):
        command.check(config)


def test_migration_on_paper_is_refused(
    environment: Callable[[str], Config], capsys: pytest.CaptureFixture[str]
) -> None:
    """`alembic upgrade --sql` has no database to look at: the error names the command that prints the SQL."""
    config = environment(", include_name=include_name")
    with pytest.raises(SchemaError, match="langchain-tokens db adopt --dry-run"):
        command.upgrade(config, "head", sql=True)


def test_later_migration_brings_our_tables_up(application: StoreTarget) -> None:
    """The same call brings an older schema up and does nothing on the present one; back again by a step or wholly."""
    with changing(application) as connection:
        upgrade(connection, "0001")
        upgrade_tables(connection)
        assert current_revision(connection) == HEAD
        upgrade_tables(connection)
        downgrade_tables(connection, "0001")
        assert current_revision(connection) == "0001"
        downgrade_tables(connection, "0002")
        assert current_revision(connection) == "0001"
        downgrade_tables(connection)
        downgrade_tables(connection)
        assert our_tables(connection) == []


def test_wrong_calls_from_a_migration_are_refused(application: StoreTarget) -> None:
    """Tables that are not ours, a newer schema, and an unknown one are errors that say so."""

    def refused(message: str, call: Callable[[Connection], None], statement: str) -> None:
        with changing(application) as connection:
            step = connection.begin_nested()
            for part in statement.split(";"):
                connection.execute(text(part))
            with pytest.raises(SchemaError, match=message):
                call(connection)
            step.rollback()

    refused("llm_call already, not ours", upgrade_tables, "CREATE TABLE llm_call (id INTEGER)")
    version = "CREATE TABLE langchain_tokens_version (version_num TEXT);INSERT INTO langchain_tokens_version VALUES "
    refused("newer than", upgrade_tables, f"{version} ('9999')")
    refused("newer than", downgrade_tables, f"{version} ('9999')")
    refused("no schema '0000'", lambda connection: downgrade_tables(connection, "0000"), f"{version} ('0001')")
    assert names(application) == set(ROWS)


@pytest.mark.parametrize(
    ("name", "kind", "is_left_alone"),
    [
        ("llm_call", "table", True),
        ("usage_hourly", "table", True),
        ("llm_call_2026_11", "table", True),
        ("langchain_tokens_version", "table", True),
        ("llm_calls", "table", False),
        ("alembic_version", "table", False),
        ("llm_call", "column", False),
        (None, "schema", False),
    ],
)
def test_filter_for_autogenerate(name: str | None, kind: str, is_left_alone: bool) -> None:
    """Our tables are left alone; everything else, as any column or schema, is not."""
    assert include_name(name, kind, {}) is not is_left_alone
    assert kind != "table" or is_ours(name) is is_left_alone


def test_names_of_ours_are_those_of_the_migrations(application: StoreTarget) -> None:
    """What counts as ours is what the migrations make: tables and views, no more and no less."""
    with looking(application) as connection:
        inspector = inspect(connection)
        before: set[Any] = {*inspector.get_table_names(), *inspector.get_view_names()}
    adopt_store(application)
    with looking(application) as connection:
        inspector = inspect(connection)
        assert {*inspector.get_table_names(), *inspector.get_view_names()} - before == OURS
