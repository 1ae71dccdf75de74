"""Many hosts and many machines: writers at once, roles with few rights, and a schema that can be spread."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import event

from langchain_tokens import open_store
from langchain_tokens.errors import StoreError
from langchain_tokens.store.distribution import DISTRIBUTION
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.tables import METADATA
from langchain_tokens.store.target import parse_target
from langchain_tokens.store.upgrade import upgrade_store
from tests.builders import NOON, make_call, make_fact
from tests.test_rollups import repriced

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

MakeStore = Callable[["Database"], UsageStore]
ROOT = Path(__file__).resolve().parent.parent

# Many hosts

HOSTS, SHARED, OWN, RUNS, ROUNDS = 4, 80, 50, 40, 5
PROGRAM = f"""
import json, os, random, signal, sys
from langchain_tokens import TokenUsageHandler, open_store
from tests.builders import make_fact
from tests.test_scale import shared_call

url, folder = sys.argv[1:]
children = []
for host in range({HOSTS}):
    child = os.fork()
    if child:
        children.append(child)
        continue
    signal.alarm(100)
    if folder:
        os.environ["XDG_STATE_HOME"] = f"{{folder}}/host-{{host}}"
    chance = random.Random(host)
    handler, store = TokenUsageHandler(url), open_store(url)
    for number in range({ROUNDS}):
        several = chance.sample(range({SHARED}), {SHARED} // 2)
        facts = [make_fact(f"run-{{number}}-{{which}}") for which in chance.sample(range({RUNS}), {RUNS})]
        store.add([shared_call(which, chance.randrange({ROUNDS})) for which in several], facts)
        for _ in range({OWN} // {ROUNDS}):
            handler.record({{"input_tokens": 3, "output_tokens": 1}}, chain=f"chain-{{number % 3}}", session="s", run_id="run-0")
    last = [shared_call(which, {ROUNDS} + host) for which in chance.sample(range({SHARED}), {SHARED})]
    store.add(last)
    is_stored = handler.flush(60)
    handler.close()
    store.close()
    os._exit(0 if is_stored else 1)
print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]))
"""
"""Several hosts that send the same calls in another order each, corrections of them, and calls of their own."""


def shared_call(which: int, revision: int) -> Any:
    """A call that several hosts send: one of few hours, chains, sessions and runs; corrections say other counts."""
    return make_call(
        call_id=f"shared-{which}",
        run_id=f"run-{which % RUNS}",
        chain=f"chain-{which % 3}",
        session=f"session-{(which + revision) % 2}",
        started_at=NOON + timedelta(minutes=which),
        tokens=(100 + revision, 1),
        revision=revision,
    )


@pytest.fixture
def programs() -> Iterator[list[subprocess.Popen[str]]]:
    """Programs that a test starts; none outlives it."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for program in started:
        if program.poll() is None:
            program.kill()
            program.communicate()


def test_many_hosts_write_at_once(
    lasting_database: Database, tmp_path: Path, programs: list[subprocess.Popen[str]]
) -> None:
    """What several hosts send at once is stored once, in the newest revision, and a reader meanwhile sees it grow."""
    url = lasting_database.url
    upgrade_store(parse_target(url))
    folder = str(tmp_path) if lasting_database.kind == "postgresql" else ""
    command = [sys.executable, "-W", "error", "-W", "ignore:.*fork:DeprecationWarning", "-c", PROGRAM, url, folder]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    programs.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    seen: list[int] = []
    with closing(open_store(url)) as store:
        while programs[0].poll() is None:
            seen.append(store.breakdown("chain").total.calls)
            with suppress(subprocess.TimeoutExpired):
                programs[0].wait(0.1)
        assert json.loads(programs[0].communicate()[0]) == [0] * HOSTS
        calls = {call.call_id: call for call in store.calls(limit=10_000)}
        assert len(calls) == SHARED + HOSTS * OWN
        assert store.breakdown().total.calls == len(calls)
        newest = ROUNDS + HOSTS - 1
        for which in range(SHARED):
            assert calls[f"shared-{which}"] == shared_call(which, newest)
        assert store.check().is_clean
    assert seen == sorted(seen)
    if lasting_database.kind == "postgresql":
        with psycopg.connect(url) as connection:
            found = connection.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
            assert found.fetchone() == (0,)


# Roles

WRITES = f"""
GRANT USAGE ON SCHEMA public TO {{role}};
GRANT SELECT, INSERT, UPDATE, DELETE ON {", ".join(DISTRIBUTION)} TO {{role}};
GRANT SELECT ON langchain_tokens_version TO {{role}};
"""
READS = "GRANT USAGE ON SCHEMA public TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role};"
ROLES = {"tokens_writer": WRITES, "tokens_reader": READS}


@pytest.fixture
def url_of(postgresql_database: Database) -> Iterator[Callable[[str], str]]:
    """Gives the URL of a role that may do no more than the page on scaling says, in a database that an owner made."""
    upgrade_store(parse_target(postgresql_database.url))
    name = parse_target(postgresql_database.url).url.split("?")[0].rsplit("/", 1)[1]

    def url(role: str) -> str:
        with psycopg.connect(postgresql_database.url, autocommit=True) as connection:
            connection.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
            connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
            connection.execute(f"CREATE ROLE {role} LOGIN")
            connection.execute(f"GRANT CONNECT ON DATABASE {name} TO {role}")
            connection.execute(ROLES[role].format(role=role))
        return postgresql_database.url.replace("//postgres", f"//{role}", 1)

    yield url
    with psycopg.connect(postgresql_database.url, autocommit=True) as connection:
        for role in ROLES:
            if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone():
                connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_writer_needs_no_right_to_change_the_schema(url_of: Callable[[str], str], make_store: MakeStore) -> None:
    """A role that can neither make tables nor temporary ones stores, corrects, reprices, deletes and checks."""
    store = open_store(url_of("tokens_writer"))
    with psycopg.connect(store.target.url.replace("+psycopg", "")) as connection, pytest.raises(psycopg.Error):
        connection.execute("CREATE TEMPORARY TABLE own ()")
    use_everything(store)
    assert store.breakdown().total.calls == MANY + 2
    assert store.check().is_clean
    store.close()


def test_reader_reads_and_cannot_write(url_of: Callable[[str], str], postgresql_database: Database) -> None:
    """A role with SELECT only answers everything, and is refused where it would write."""
    with closing(open_store(postgresql_database.url)) as owner:
        owner.add([make_call(session="s"), make_call(chain="c")], [make_fact()])
    with closing(open_store(url_of("tokens_reader"))) as store:
        assert store.breakdown("chain").total.calls == 2
        assert (len(store.calls()), len(store.runs()), len(store.sessions())) == (2, 1, 2)
        assert store.check().is_clean
        with pytest.raises(StoreError, match="permission denied"):
            store.add([make_call()])
        with pytest.raises(StoreError, match="permission denied"):
            store.delete(session="s")


MANY = 2_500


def use_everything(store: UsageStore) -> None:
    """Use whatever reads or writes: few and many calls, replays, corrections, prices, deletions, all kinds of answers."""
    many = [make_call(run_id=f"r-{number % 50}", session=f"s-{number % 9}", cost="0.1") for number in range(MANY)]
    store.add(many, [make_fact(f"r-{number}") for number in range(50)])
    store.add(many[:3], [make_fact("r-0")])
    store.add([replace(many[0], revision=1, chain="other"), make_call(run_id="r-0"), make_call(run_id="alone")])
    store.add([make_call(session="doomed", run_id="r-1"), make_call(session="doomed", run_id="doomed")])
    stored = store.calls(limit=3)
    store.change_costs([(call, repriced(call)) for call in stored])
    assert store.delete(session="doomed") == 2
    for by in ((), ("chain",), ("session",), ("run",), ("day", "model"), ("tag:a",)):
        store.breakdown(*by)
        store.breakdown(*by, since=NOON - timedelta(minutes=7), limit=3)
    store.runs(chain="other")
    store.revisions(stored[0].call_id)
    store.check()
    store.rebuild_rollups()


# Many machines

BY_NAMES = {"usage_by_name", "usage_daily_by_name"}
"""The tables among whose names the largest of a range are looked for."""
TYPES = {"bigint", "boolean", "double precision", "integer", "json", "text", "timestamp with time zone"}
CATALOGUE = {
    "a sequence": "SELECT relname FROM pg_class WHERE relkind = 'S'",
    "an identity": "SELECT attname FROM pg_attribute JOIN ours ON attrelid = ours.oid WHERE attidentity <> ''",
    "a default": "SELECT adrelid::regclass FROM pg_attrdef JOIN ours ON adrelid = ours.oid",
    "a trigger": "SELECT tgname FROM pg_trigger JOIN ours ON tgrelid = ours.oid",
    "a key of another table, or an exclusion": "SELECT conname FROM pg_constraint JOIN ours ON conrelid = ours.oid"
    " WHERE contype NOT IN ('p', 'n')",
    "a function": "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    "an extension": "SELECT extname FROM pg_extension WHERE extname <> 'plpgsql'",
}


@pytest.fixture
def catalogue(postgresql_database: Database) -> Iterator[Callable[[str], list[tuple[Any, ...]]]]:
    """Asks the catalogue of a database that the migrations made; `ours` are its tables of ours."""
    upgrade_store(parse_target(postgresql_database.url))
    names = ", ".join(f"'{name}'::regclass" for name in DISTRIBUTION)
    with psycopg.connect(postgresql_database.url) as connection:

        def ask(statement: str) -> list[tuple[Any, ...]]:
            ours = f"WITH ours AS (SELECT oid, relname FROM pg_class WHERE oid IN ({names}))"
            return connection.execute(f"{ours} {statement}").fetchall()

        yield ask


def test_every_table_is_distributed(catalogue: Callable[[str], list[tuple[Any, ...]]]) -> None:
    """The list names every table that the migrations make but that with the schema's version, and of the metadata."""
    made = catalogue(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
    )
    assert {name for (name,) in made} == {*DISTRIBUTION, "langchain_tokens_version"}
    assert set(METADATA.tables) == set(DISTRIBUTION)


def test_every_unique_index_has_the_column_of_distribution(catalogue: Callable[[str], list[tuple[Any, ...]]]) -> None:
    """In the catalogue and in the metadata, each machine can keep keys unique by itself."""
    keys = catalogue(
        "SELECT relname, array_agg(attname::text) FROM ours JOIN pg_index ON indrelid = ours.oid "
        "JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY(indkey) WHERE indisunique GROUP BY relname, indexrelid"
    )
    assert {name for name, _ in keys} == set(DISTRIBUTION)
    assert [(name, key) for name, key in keys if DISTRIBUTION[name] not in (None, *key)] == []
    for name, column in DISTRIBUTION.items():
        table = METADATA.tables[name]
        unique = [set(table.primary_key.columns.keys())]
        unique += [set(index.columns.keys()) for index in table.indexes if index.unique]
        assert all(column is None or column in key for key in unique)
        assert not table.foreign_keys


@pytest.mark.parametrize("thing", CATALOGUE)
def test_nothing_needs_all_machines_at_once(catalogue: Callable[[str], list[tuple[Any, ...]]], thing: str) -> None:
    """The schema has nothing that databases of many machines lack, or keep in one place."""
    assert catalogue(CATALOGUE[thing]) == []


def test_types_are_those_that_all_know(catalogue: Callable[[str], list[tuple[Any, ...]]]) -> None:
    """The columns have plain types only, and no machine has to change a value to compare it."""
    found = catalogue(
        "SELECT DISTINCT format_type(atttypid, atttypmod) FROM pg_attribute JOIN ours ON attrelid = ours.oid WHERE attnum > 0"
    )
    assert {kind for (kind,) in found} == TYPES


@pytest.fixture
def together(postgresql_database: Database, make_store: MakeStore) -> tuple[UsageStore, list[str]]:
    """A store in use, and the statements that have named several of our tables since."""
    store, found = make_store(postgresql_database), []
    use_everything(store)
    known = re.compile(rf"\b({'|'.join(DISTRIBUTION)})\b")

    def listen(_: Any, __: Any, statement: str, *more: Any) -> None:
        if len(set(known.findall(statement))) > 1:
            found.append(statement)

    event.listen(store._engine(), "before_cursor_execute", listen)
    return store, found


def test_storing_needs_one_table_at_a_time(together: tuple[UsageStore, list[str]]) -> None:
    """No statement that stores calls and runs, few or many, new or again, joins tables."""
    store, found = together
    for count in (1, 30, MANY):
        calls = [make_call(run_id=f"new-{count}-{number % 9}", session="s-1") for number in range(count)]
        facts = [make_fact(f"new-{count}-{number}") for number in range(9)]
        store.add(calls, facts)
        store.add(calls, facts)
    assert found == []


def test_answers_join_no_tables(together: tuple[UsageStore, list[str]]) -> None:
    """An answer from several tables adds up what each of them gives by itself, or looks up the days of a name, which
    lie beside its sum of all time.
    """

    def tables(statement: str) -> set[str]:
        return {re.sub(r"_\d+$", "", name) for name in re.findall(r"\busage_\w+", statement)}

    store, found = together
    for by in ((), ("chain",), ("session",), ("run",), ("day", "model"), ("tag:a",)):
        for span in ({}, {"since": NOON - timedelta(minutes=7)}, {"since": "90d", "limit": 3}):
            store.breakdown(*by, **span)
    store.calls(session="s-1")
    store.runs(session="s-1")
    by_names = [statement for statement in found if tables(statement) >= BY_NAMES]
    assert {DISTRIBUTION[name] for name in BY_NAMES} == {"name"}
    assert 0 < len(by_names) < len(found)
    for statement in by_names:
        assert tables(statement) == BY_NAMES
        assert "usage_daily_by_name.name = usage_by_name.name" in statement
    for statement in found:
        if statement in by_names:
            continue
        assert "UNION ALL" in statement
        assert re.search(r"\bJOIN\b|\bIN \(SELECT\b|\bEXISTS\b", statement) is None
