"""A database goes back to an older schema and up again: said beforehand what goes, copied first, rows kept."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import inspect, text

from langchain_tokens import UsageStore
from langchain_tokens.errors import SchemaError, StoreError
from langchain_tokens.store import downgrade as downgrading
from langchain_tokens.store import periods
from langchain_tokens.store.adoption import downgrade_tables
from langchain_tokens.store.downgrade import BASE, downgrade_store, known_revisions, plan_downgrade
from langchain_tokens.store.inspection import inspect_store
from langchain_tokens.store.looking import changing, looking
from langchain_tokens.store.ours import OURS, our_tables
from langchain_tokens.store.partitioning import partition_store
from langchain_tokens.store.partitions import is_partitioned
from langchain_tokens.store.schema import HEAD
from langchain_tokens.store.target import StoreTarget, parse_target
from langchain_tokens.store.upgrade import found_revision, upgrade_store
from tests.builders import NOON, make_call, make_fact
from tests.test_retention import sums
from tests.test_rollups import some_call

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)
pytestmark = pytest.mark.usefixtures("migrations")

_ALIKE = "FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()"
_DELETES = "DELETE FROM llm_run WHERE run_id = 'x'"


@pytest.fixture
def filled(lasting_database: Database, make_store: Callable[[Database], UsageStore]) -> Database:
    """A database with three calls of one run, and what one of them had cost before."""
    store = make_store(lasting_database)
    calls = [make_call(call_id=f"c{number}", chain="c", user="u", cost="0.5", session="s") for number in range(3)]
    store.add(calls, [make_fact()])
    store.reprice(write=True, overwrite=True, reason="test")
    store.close()
    with changing(parse_target(lasting_database.url)) as connection:
        connection.execute(
            text(
                "INSERT INTO cost_revision (call_id, number, price_status, replaced_at) "
                "VALUES ('c0', 99, 'priced', '2026-11-21 12:00:00')"
            )
        )
    return lasting_database


@pytest.mark.parametrize("revision", known_revisions()[:-1])
def test_down_to_each_schema_and_up_again(
    filled: Database, revision: str, make_store: Callable[[Database], UsageStore]
) -> None:
    """Calls and runs are kept on the way down and up, the sums made of them are there again, and the schema is right."""
    target = parse_target(filled.url)
    before = make_store(filled).breakdown("chain", "session")
    done = downgrade_store(target, revision)
    assert (done.plan.before, done.plan.after, found_revision(target)) == (HEAD, revision, revision)
    assert (done.rows["llm_call"], done.rows["llm_run"]) == (3, 1)
    assert upgrade_store(target).calls == 3
    assert inspect_store(target).is_right
    store = make_store(filled)
    assert store.breakdown("chain", "session") == before
    assert store.breakdown().total.cost_usd == Decimal("1.5")
    assert store.check().is_clean


@pytest.mark.parametrize("revision", ["0003", "0008", "0009"])
@pytest.mark.parametrize("is_pruned", [False, True])
def test_sums_are_what_they_were_when_up_again(
    lasting_database: Database,
    make_store: Callable[[Database], UsageStore],
    monkeypatch: pytest.MonkeyPatch,
    revision: str,
    is_pruned: bool,
) -> None:
    """To the last row, those of pruned calls among them; also where days of a zone were kept, which may be void then."""
    monkeypatch.setattr(periods, "_PAYS", 1)
    chance, target = Random(5), parse_target(lasting_database.url)
    store = make_store(lasting_database)
    store.add([some_call(chance) for _ in range(80)])
    if is_pruned:
        store.prune(NOON - timedelta(days=30))

    def told() -> tuple[Any, ...]:
        days = [store.timeline("day", by=by, tz="Asia/Kolkata") for by in (None, "model", "attempt") for _ in range(2)]
        return (*days, sums(store), store.check().differences)

    before = told()
    downgrade_store(target, revision)
    upgrade_store(target)
    assert inspect_store(target).is_right
    assert told() == before
    assert store.check().is_clean


def test_base_takes_exactly_ours_away(filled: Database, make_store: Callable[[Database], UsageStore]) -> None:
    """The application's own table, with its rows and index, is all that is left; a store makes ours again."""
    target = parse_target(filled.url)
    with changing(target) as connection:
        connection.execute(text("CREATE TABLE own (id INTEGER PRIMARY KEY, name TEXT)"))
        connection.execute(text("CREATE INDEX ix_own ON own (name)"))
        connection.execute(text("INSERT INTO own (id, name) VALUES (1, 'a')"))
    done = downgrade_store(target, BASE)
    assert done.rows == {}
    assert done.plan.lost_rows["llm_call"] == 3
    with looking(target) as connection:
        assert our_tables(connection) == []
        assert inspect(connection).get_table_names() == ["own"]
        assert inspect(connection).get_indexes("own")[0]["name"] == "ix_own"
        assert connection.execute(text("SELECT name FROM own")).scalars().all() == ["a"]
    assert make_store(filled).breakdown().total.calls == 0


@pytest.mark.parametrize("revision", ["0002", BASE])
def test_partitioned_table_goes_back(
    postgresql_database: Database, make_store: Callable[[Database], UsageStore], revision: str
) -> None:
    """Older versions know nothing of partitions: the table is a plain one again; `base` takes them all away."""
    store = make_store(postgresql_database)
    store.add([make_call() for _ in range(3)], [make_fact()])
    target = store.target
    partition_store(target, by="month", ahead=1)
    assert inspect_store(target).is_right
    done = downgrade_store(target, revision)
    with looking(target) as connection:
        assert not is_partitioned(connection)
        assert not [name for name in our_tables(connection) if name.startswith("llm_call_2")]
    assert done.rows.get("llm_call") == (None if revision == BASE else 3)
    assert upgrade_store(target).calls == (0 if revision == BASE else 3)
    assert inspect_store(target).is_right


def test_one_step_is_the_default(filled: Database) -> None:
    """Without a revision it goes back by one; from the first schema that is none."""
    target = parse_target(filled.url)
    known = [BASE, *known_revisions()]
    went = []
    while found_revision(target) is not None:
        went.append(downgrade_store(target, backup=False).plan.after)
    assert went == known[-2::-1]


@pytest.mark.parametrize(
    ("kind", "made", "name"),
    [
        (None, "CREATE VIEW dear AS SELECT call_id FROM llm_call WHERE total_cost > 1", "the view dear"),
        (None, "CREATE VIEW dearer AS SELECT call_id FROM llm_call_usd", "the view dearer"),
        (None, "CREATE TABLE note (id TEXT REFERENCES llm_run (run_id))", "the foreign key .*note"),
        ("postgresql", "CREATE MATERIALIZED VIEW kept AS SELECT call_id FROM llm_call", "the view kept"),
        ("postgresql", "CREATE TABLE heir () INHERITS (llm_run)", "the table heir that inherits"),
        ("postgresql", f"CREATE TRIGGER told BEFORE UPDATE ON llm_call {_ALIKE}", "the trigger told"),
        (
            "postgresql",
            "CREATE FUNCTION newest() RETURNS SETOF llm_call AS 'TABLE llm_call' LANGUAGE sql",
            "the function newest",
        ),
        ("sqlite-file", f"CREATE TRIGGER told AFTER INSERT ON own BEGIN {_DELETES}; END", "the trigger told"),
        ("sqlite-file", "CREATE TRIGGER told AFTER INSERT ON LLM_CALL BEGIN DELETE FROM own; END", "the trigger told"),
        ("sqlite-file", 'CREATE TABLE note (id TEXT REFERENCES "LLM_CALL")', "the foreign key of note"),
    ],
)
def test_what_needs_our_tables_is_named(filled: Database, kind: str | None, made: str, name: str) -> None:
    """What the application built on our tables is named, and they stay; an older schema that has them is no matter."""
    if kind not in (None, filled.kind):
        return
    target = parse_target(filled.url)
    with changing(target) as connection:
        connection.execute(text("CREATE TABLE own (id TEXT)"))
        connection.execute(text(made))
    for attempt in (plan_downgrade, downgrade_store, _migrate):
        with pytest.raises(SchemaError, match=f"has {name}.*, not ours, .*nothing was changed"):
            attempt(target, BASE)
    assert found_revision(target) == HEAD
    assert target.path is None or list(target.path.parent.glob("*.backup*")) == []
    downgrade_store(target, "0011", backup=False)
    assert found_revision(target) == "0011"


def _migrate(target: StoreTarget, revision: str) -> None:
    with changing(target) as connection:
        downgrade_tables(connection, revision)


def test_plan_says_what_goes(filled: Database) -> None:
    """Tables with their rows, and columns of tables that stay, are named; nothing is changed."""
    target = parse_target(filled.url)
    plan = plan_downgrade(target, "0001")
    assert plan.lost_rows["cost_revision"] >= 1
    assert "llm_call" not in plan.lost_rows
    assert set(plan.lost_columns) >= {"llm_call.saved_cost", "llm_call.superseded"}
    assert set(plan_downgrade(target, BASE).lost_rows) < OURS
    assert found_revision(target) == HEAD


def test_file_is_copied_first(filled: Database) -> None:
    """The copy of a SQLite file has the newer schema and all that the older one has no place for."""
    target = parse_target(filled.url)
    copy = downgrade_store(target, "0001").backup
    if target.path is None:
        assert copy is None
        return
    assert copy is not None
    assert inspect_store(parse_target(copy)).is_right
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT count(*) FROM cost_revision").fetchone()[0] >= 1


@pytest.mark.parametrize(
    ("revision", "message"),
    [
        ("0000", f"there is no schema '0000'; known: base, {', '.join(known_revisions())}"),
        ("-1", "there is no schema '-1'"),
        ("head", "there is no schema 'head'"),
        (HEAD, f"has schema 0001, and {HEAD} is newer: langchain-tokens db upgrade"),
    ],
)
def test_wrong_goal_is_refused(filled: Database, revision: str, message: str) -> None:
    """A schema that is not known, or is newer than the one found, is refused with what is known."""
    target = parse_target(filled.url)
    downgrade_store(target, "0001", backup=False)
    with pytest.raises(SchemaError, match=message):
        downgrade_store(target, revision)
    assert found_revision(target) == "0001"


def test_newer_schema_is_refused(filled: Database) -> None:
    """A schema that this version does not know is left alone."""
    target = parse_target(filled.url)
    with changing(target) as connection:
        connection.execute(text("UPDATE langchain_tokens_version SET version_num = '9999'"))
    with pytest.raises(SchemaError, match="newer than"):
        downgrade_store(target)
    assert found_revision(target) == "9999"


def test_same_schema_is_left_alone(filled: Database) -> None:
    """Asked for the schema that is there, nothing is done and nothing is copied."""
    done = downgrade_store(parse_target(filled.url), HEAD)
    assert (done.plan.before, done.plan.after, done.backup, done.rows["llm_call"]) == (HEAD, HEAD, None, 3)


def test_missing_database_is_refused(tmp_path: Path) -> None:
    """Where there is no file none is made; a file without our tables is not changed."""
    with pytest.raises(StoreError, match="there is no database at"):
        downgrade_store(parse_target(tmp_path / "none.db"))
    with pytest.raises(StoreError, match="in memory"):
        downgrade_store(parse_target("sqlite://"))
    assert list(tmp_path.glob("*.db*")) == []
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
        connection.execute("CREATE TABLE own (id INTEGER)")
    with pytest.raises(SchemaError, match="no schema of ours"):
        downgrade_store(parse_target(tmp_path / "app.db"))


def test_downgrade_that_would_lose_rows_changes_nothing(filled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of the tables that stay are counted before and after; a difference takes all of it back."""
    right = downgrading.downgrade

    def forgetful(connection: Any, revision: str) -> None:
        right(connection, revision)
        connection.execute(text("DELETE FROM llm_call WHERE call_id = 'c0'"))

    monkeypatch.setattr(downgrading, "downgrade", forgetful)
    target = parse_target(filled.url)
    with pytest.raises(SchemaError, match="did not come out as planned"):
        downgrade_store(target, "0001")
    assert found_revision(target) == HEAD
    assert inspect_store(target).is_right


def test_old_sqlite_cannot_take_columns_away(filled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library before 3.35 has no means for it: said before anything is changed. PostgreSQL does not care."""
    target = parse_target(filled.url)
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    if target.path is None:
        assert downgrade_store(target, "0001").plan.after == "0001"
        return
    with pytest.raises(StoreError, match=r"needs SQLite 3\.35"):
        downgrade_store(target, "0001")
    assert found_revision(target) == HEAD
    assert downgrade_store(target, BASE).plan.lost_columns == ()
